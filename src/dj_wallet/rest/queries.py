"""Whose wallets and movements a user may see: their own. Staff read all. Anything else does not exist."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.http import Http404

from dj_wallet.identity.access import reads_all
from dj_wallet.identity.models import User
from dj_wallet.ledger.errors import AccountNotFound
from dj_wallet.ledger.models import BALANCE_COLUMNS
from dj_wallet.ledger.queries import get_balance
from dj_wallet.lookups import find_by
from dj_wallet.models import Transaction, Transfer, Wallet

M = TypeVar("M", bound=Model)

# What a transfer's answer shows comes with it in one query.
SIDES: Final = ("withdraw__wallet", "deposit__wallet")


def list_wallets(user: User) -> QuerySet[Wallet]:
    """Return the wallets that the user may see."""
    return Wallet.objects.all() if reads_all(user) else Wallet.objects.held_by(user)


def get_wallet(user: User, uuid: UUID) -> Wallet:
    """Return a wallet that the user may see.

    :raises Http404: there is none
    """
    wallet = find_wallets([uuid]).get(uuid)
    if wallet is None or not (reads_all(user) or is_held_by(wallet, user)):
        raise Http404
    return wallet


def go_back(wallet: Wallet, moment: datetime) -> None:
    """Let the wallet, which must not be saved, show what it held at the moment. Three index probes a bucket."""
    for bucket, column in BALANCE_COLUMNS.items():
        setattr(wallet, column, get_balance(wallet.pk, bucket=bucket, as_of=moment))


def get_own_wallet(user: User, uuid: UUID) -> Wallet:
    """Return a wallet whose money is the user's to move.

    :raises Http404: there is none
    """
    wallet = find_wallets([uuid]).get(uuid)
    if wallet is None or not is_held_by(wallet, user):
        raise Http404
    return wallet


def get_transfer_wallets(user: User, source: UUID, destination: UUID) -> tuple[Wallet, Wallet]:
    """Return the user's wallet to take from and anybody's to pay to. One query.

    :raises Http404: the first does not exist or is not the user's
    :raises AccountNotFound: the second does not exist
    """
    wallets = find_wallets([source, destination])
    if source not in wallets or not is_held_by(wallets[source], user):
        raise Http404
    if destination not in wallets:
        raise AccountNotFound("There is no wallet to pay to.")
    return wallets[source], wallets[destination]


def find_wallets(uuids: Iterable[UUID]) -> dict[UUID, Wallet]:
    """Return those of the wallets that exist, whoever holds them. One query."""
    return {wallet.uuid: wallet for wallet in find_by(Wallet, "uuid", list(set(uuids)))}


def is_held_by(wallet: Wallet, user: User) -> bool:
    """Tell whether the user holds the wallet. No query."""
    user_type = ContentType.objects.get_for_model(user)
    return wallet.holder_type_id == user_type.pk and wallet.holder_id == user.pk


def list_transactions(wallet: Wallet) -> QuerySet[Transaction]:
    """Return the wallet's deposits and withdrawals, with their payouts."""
    return wallet.transactions.select_related("payout")


def get_transaction(wallet: Wallet, transaction_id: int) -> Transaction:
    """Return a transaction of the wallet.

    :raises Http404: there is none
    """
    return _get(list_transactions(wallet).filter(pk=transaction_id))


def list_transfers(user: User) -> QuerySet[Transfer]:
    """Return the transfers that the user sent or received."""
    transfers = Transfer.objects.select_related(*SIDES)
    if reads_all(user):
        return transfers
    own = Wallet.objects.held_by(user).values("pk")
    # Two index walks: with OR the planner would read every transfer there is.
    sent = Transfer.objects.filter(withdraw__wallet__in=own).values("pk")
    received = Transfer.objects.filter(deposit__wallet__in=own).values("pk")
    return transfers.filter(pk__in=sent.union(received))


def get_transfer(user: User, uuid: UUID) -> Transfer:
    """Return a transfer that the user sent or received.

    :raises Http404: there is none
    """
    transfer = _get(Transfer.objects.select_related(*SIDES).filter(uuid=uuid))
    sides = (transfer.withdraw.wallet, transfer.deposit.wallet)
    if reads_all(user) or any(is_held_by(wallet, user) for wallet in sides):
        return transfer
    raise Http404


def load_sides(transfers: Iterable[Transfer]) -> dict[int, Transfer]:
    """Return the transfers anew by primary key, with what their answers show. One query."""
    keys = [transfer.pk for transfer in transfers]
    return Transfer.objects.select_related(*SIDES).in_bulk(keys) if keys else {}


def _get(found: QuerySet[M]) -> M:
    """:raises Http404: nothing was found"""
    row = found.first()
    if row is None:
        raise Http404
    return row
