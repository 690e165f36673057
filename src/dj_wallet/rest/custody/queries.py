"""Reads of custody for the interface: a user's wallet of a coin, what is on its way to it, its withdrawals and lines."""

from typing import Any, Final
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import CharField, F, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Cast, JSONObject
from django.http import Http404

from dj_wallet.custody.models import AllowedAddress, Chain, Output, WithdrawalRequest
from dj_wallet.custody.served import get_served_asset
from dj_wallet.hold_models import Hold
from dj_wallet.identity.models import User
from dj_wallet.ledger.engine import Bucket
from dj_wallet.ledger.models import LedgerEntry
from dj_wallet.models import Wallet
from dj_wallet.rest.coins.queries import last_change

ACCOUNTS: Final = {bucket.label: bucket for bucket in Bucket}
EVERY_ACCOUNT: Final = "all"


def find_wallet_in_detail(user: User, asset: str) -> Wallet | None:
    """Return the user's wallet of a coin with `incoming`, its deposits that are not deep enough, with `locked_bids`,
    what its open holds keep, and with the time of its last change. One query.
    """
    held = Hold.objects.open().filter(wallet=OuterRef("pk")).values("wallet")
    wallets = Wallet.objects.held_by(user).filter(slug=asset.lower(), asset=asset)
    return wallets.annotate(
        incoming=ArraySubquery(_list_incoming()),
        locked_bids=Subquery(held.annotate(kept=Sum("remaining")).values("kept")),
        changed_at=last_change(),
    ).first()


def _list_incoming() -> "QuerySet[Output, Any]":
    seen = Output.objects.filter(
        address__wallet=OuterRef("pk"),
        status=Output.Status.SEEN,
        height__isnull=False,
        made_by__isnull=True,
    ).order_by("pk")
    described = JSONObject(
        txid="txid",
        vout="vout",
        # As text: JSON numbers would become floats.
        amount=Cast("amount", CharField()),
        confirmations=F("chain__height") - F("height") + Value(1),
        required=F("chain__confirmations"),
    )
    return seen.values(described=described)


def get_coin(given: str | None) -> str:
    """Return the coin that is asked for, or the first one that is served.

    :raises NetworkNotServed: no network of it is served
    """
    return get_served_asset(given).network.asset


def list_withdrawals(user: User) -> "QuerySet[WithdrawalRequest]":
    """Return the withdrawals that the user may see: their own; staff see all."""
    rows = WithdrawalRequest.objects.select_related("wallet", "chain")
    if user.is_staff:
        return rows
    return rows.filter(wallet__in=Wallet.objects.held_by(user).values("pk"))


def get_withdrawal(user: User, uuid: UUID) -> WithdrawalRequest:
    """Return a withdrawal that the user may see.

    :raises Http404: there is none
    """
    found = list_withdrawals(user).filter(pk=uuid).first()
    if found is None:
        raise Http404
    return found


def get_own_withdrawal(user: User, uuid: UUID) -> WithdrawalRequest:
    """Return a withdrawal that is the user's to cancel.

    :raises Http404: there is none
    """
    found = get_withdrawal(user, uuid)
    if found.wallet.holder != user:
        raise Http404
    return found


def list_lines(wallet: Wallet, account: str) -> "QuerySet[LedgerEntry]":
    """Return the ledger's lines of one part of the wallet, or of all its parts."""
    lines = LedgerEntry.objects.filter(account_id=wallet.pk)
    return lines if account == EVERY_ACCOUNT else lines.filter(bucket=ACCOUNTS[account])


def list_allowed_addresses(user: User) -> "QuerySet[AllowedAddress]":
    """Return the destinations that the user's wallets may withdraw to."""
    own = Wallet.objects.held_by(user).values("pk")
    return AllowedAddress.objects.filter(wallet__in=own).select_related("wallet")


def list_chains() -> "QuerySet[Chain]":
    """Return the networks, the most recent reconciliation of each to be asked for."""
    return Chain.objects.order_by("pk")
