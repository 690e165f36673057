"""Whose holds and escrows a user may see: those of the user's wallets. Staff and our services read all."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404

from dj_wallet.exceptions import AccountNotFound
from dj_wallet.hold_models import Escrow, Hold
from dj_wallet.identity.models import User
from dj_wallet.models import Wallet
from dj_wallet.rest.queries import find_wallets


def list_holds(user: User, *, sees_all: bool) -> QuerySet[Hold]:
    """Return the holds that the user may see."""
    holds = Hold.objects.select_related("wallet")
    return holds if sees_all else holds.filter(wallet__in=_own(user))


def get_hold(user: User, uuid: UUID, *, sees_all: bool) -> Hold:
    """Return a hold that the user may see.

    :raises Http404: there is none
    """
    hold = list_holds(user, sees_all=sees_all).filter(uuid=uuid).first()
    if hold is None:
        raise Http404
    return hold


def list_escrows(user: User, *, sees_all: bool) -> QuerySet[Escrow]:
    """Return the escrows that the user pays or is paid by, or may see anyway."""
    escrows = Escrow.objects.select_related("buyer_wallet", "seller_wallet", "hold")
    if sees_all:
        return escrows
    own = _own(user)
    # Two index walks: with OR the planner would read every escrow there is.
    paid = Escrow.objects.filter(buyer_wallet__in=own).values("pk")
    received = Escrow.objects.filter(seller_wallet__in=own).values("pk")
    return escrows.filter(pk__in=paid.union(received))


def get_escrow(user: User, uuid: UUID, *, sees_all: bool) -> Escrow:
    """Return an escrow that the user may see.

    :raises Http404: there is none
    """
    escrow = list_escrows(user, sees_all=sees_all).filter(uuid=uuid).first()
    if escrow is None:
        raise Http404
    return escrow


def get_any_wallets(*uuids: UUID) -> list[Wallet]:
    """Return these wallets, whoever holds them, in order. One query.

    :raises AccountNotFound: one does not exist
    """
    found = find_wallets(uuids)
    if missing := [uuid for uuid in uuids if uuid not in found]:
        raise AccountNotFound(f"There is no wallet {missing[0]}.")
    return [found[uuid] for uuid in uuids]


def _own(user: User) -> QuerySet[Wallet, Any]:
    return Wallet.objects.held_by(user).values("pk")
