"""What is held and why. Reads only."""

from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from .abstract_models import AbstractWallet
from .hold_models import Escrow, Hold, HoldQuerySet, HoldStep


class Locked(NamedTuple):
    """Something that keeps money of a wallet in its locked part."""

    kind: str  # "hold" or "escrow"
    pk: int
    uuid: Any
    reference: str
    amount: Decimal
    state: str
    expires_at: datetime | None
    created_at: datetime


def list_holds(wallet: AbstractWallet) -> HoldQuerySet:
    """Return the holds of a wallet, newest first; `.open()` of them keep money."""
    return Hold.objects.using(wallet._state.db).filter(wallet_id=wallet.pk).order_by("-pk")


def explain_hold(hold: Hold) -> list[HoldStep]:
    """Return every change of a hold, oldest first: what it keeps is what the last one left."""
    return list(hold.steps.order_by("pk"))


def explain_locked(wallet: AbstractWallet) -> list[Locked]:
    """Return the open holds and escrows of a wallet, oldest first: together its locked balance."""
    holds = list_holds(wallet).open()
    escrows = Escrow.objects.using(wallet._state.db).filter(
        buyer_wallet_id=wallet.pk, status__in=Escrow.KEEPING
    )
    found = [
        Locked(
            "hold",
            hold.pk,
            hold.uuid,
            f"{hold.reference_type} {hold.reference_id}",
            hold.remaining,
            hold.status,
            hold.expires_at,
            hold.created_at,
        )
        for hold in holds
    ]
    found += [
        Locked(
            "escrow",
            escrow.pk,
            escrow.uuid,
            f"order {escrow.order_id}",
            escrow.amount,
            escrow.status,
            None,
            escrow.created_at,
        )
        for escrow in escrows
    ]
    return sorted(found, key=lambda one: one.created_at)
