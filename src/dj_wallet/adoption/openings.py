"""Writes the opening entries: the only place besides `post` that sets a balance, and only to hand it to `post`.

A balance of release 0.1.0 is taken off the account and posted back onto it from the system account `opening`, in one
transaction, under the lock of the account. See docs/decisions/0010.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Final, NamedTuple

from django.db import connections
from django.db.models import OuterRef, Subquery

from dj_wallet.ledger.engine import Entry, Kind, Movement, excess_digits
from dj_wallet.ledger.errors import WalletException
from dj_wallet.ledger.models import Account, Posting
from dj_wallet.ledger.money import EIGHT_PLACES as UNIT
from dj_wallet.ledger.money import ZERO, trim
from dj_wallet.ledger.post import post, run_in_transaction
from dj_wallet.models import Transaction, Transfer

from .discrepancies import Discrepancy
from .histories import (
    OPENING_KEY,
    PAGE,
    PLACES,
    History,
    build_opening_key,
    iterate_pages,
    list_unlinked,
    read_histories,
)

OPENING: Final = "opening"
RELEASE: Final = "0.1.0"


class Adopted(NamedTuple):
    """How many wallets got an opening entry, and how many records now point at one."""

    wallets: int = 0
    transactions: int = 0
    transfers: int = 0

    def plus(self, other: "Adopted") -> "Adopted":
        return Adopted(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class _Refused(Exception):
    """The ledger refused some openings: the batch is undone and tried again without them."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__(reasons)
        self.reasons = reasons


def adopt_wallets(
    *,
    using: str,
    batch_size: int = PAGE,
    on_progress: Callable[[Adopted], None] = lambda adopted: None,
) -> tuple[Adopted, list[Discrepancy]]:
    """Write the opening entry of every wallet that has none and link its records; return what was done and refused.

    Each batch commits on its own: stopped at any point, the next call goes on where this one ended. Two calls at
    once do no harm: the second finds the wallets of a batch adopted.
    """
    adopted = Adopted()
    refused: list[Discrepancy] = []
    for page in iterate_pages(using, batch_size):
        done, reasons = _adopt_page(page, using)
        adopted = adopted.plus(done)
        refused += [
            Discrepancy("opening_refused", f"wallet {pk}", None, "", reason)
            for pk, reason in reasons.items()
        ]
        on_progress(adopted)
    return adopted, refused


def _adopt_page(ids: Sequence[int], alias: str) -> tuple[Adopted, dict[int, str]]:
    reasons: dict[int, str] = {}
    while True:
        wanted = [pk for pk in ids if pk not in reasons]
        try:
            done = run_in_transaction(partial(_adopt_batch, wanted, alias), using=alias)
        except _Refused as refusal:
            reasons.update(refusal.reasons)
        else:
            return done, reasons


def _adopt_batch(ids: Sequence[int], alias: str) -> Adopted:
    accounts = Account.objects.using(alias)
    if connections[alias].vendor == "sqlite":
        accounts.filter(pk=0).update(version=0)  # a writer from the start: see GenericStore
    histories = [
        history
        for history in read_histories(ids, alias, lock=True)
        if not history.is_too_late and (history.carried or history.records)
    ]
    taken = _find_adopted(histories, alias)
    histories = [history for history in histories if history.wallet_id not in taken]
    if not histories:
        return Adopted()
    carrying = [history.wallet_id for history in histories if history.carried]
    accounts.filter(pk__in=carrying, version=0).update(balance=ZERO)
    outcomes = post([build_opening(history) for history in histories], using=alias)
    reasons = {
        history.wallet_id: f"{outcome.code}: {outcome}"
        for history, outcome in zip(histories, outcomes, strict=True)
        if isinstance(outcome, WalletException)
    }
    if reasons:
        raise _Refused(reasons)
    return _link_records([history.wallet_id for history in histories], alias)


def _find_adopted(histories: Sequence[History], alias: str) -> set[int]:
    keys = {f"{OPENING_KEY}{history.wallet_id}": history.wallet_id for history in histories}
    found = Posting.objects.using(alias).filter(idempotency_key__in=keys)
    return {keys[str(key)] for key in found.values_list("idempotency_key", flat=True)}


def build_opening(history: History) -> Entry:
    """Return the OPENING entry of a wallet.

    One posting for what it carries over, from the wallet if that is negative. A wallet whose records cancel out gets
    two that do so as well, as high as the largest record: its records need an entry to point at.
    """
    pk, asset, carried = history.wallet_id, history.asset, history.carried
    movements: tuple[Movement, ...]
    if carried > 0:
        movements = (Movement(OPENING, pk, carried, asset),)
    elif carried < 0:
        movements = (Movement(pk, OPENING, -carried, asset),)
    else:
        passing = UNIT if excess_digits(history.largest, PLACES) else history.largest
        movements = (Movement(OPENING, pk, passing, asset), Movement(pk, OPENING, passing, asset))
    return Entry(
        Kind.OPENING,
        movements,
        f"{OPENING_KEY}{pk}",
        reference_type="release",
        reference_id=RELEASE,
        meta=describe(history),
        allow_overdraft=True,
        allow_frozen=True,
    )


def describe(history: History) -> dict[str, Any]:
    """Return what the opening entry stands for; the audit compares it with the records that point at it."""
    figures: dict[str, Decimal] = {
        "deposits": history.deposits,
        "withdrawals": history.withdrawals,
        "difference": history.difference,
    }
    numbers = {name: f"{trim(figure):f}" for name, figure in figures.items()}
    return {"transactions": history.records, **numbers}


def _link_records(ids: Sequence[int], alias: str) -> Adopted:
    entry = Posting.objects.using(alias).filter(
        idempotency_key=build_opening_key(OuterRef("wallet_id"))
    )
    transactions = (
        list_unlinked(alias)
        .filter(wallet_id__in=ids)
        .update(entry_id=Subquery(entry.values("entry_id")[:1]))
    )
    of_wallets = Transaction.objects.using(alias).filter(wallet_id__in=ids)
    transfers = Transfer.objects.using(alias).filter(
        entry_id__isnull=True, withdraw_id__in=of_wallets.values("pk")
    )
    withdraw = Transaction.objects.using(alias).filter(pk=OuterRef("withdraw_id"))
    linked = transfers.update(entry_id=Subquery(withdraw.values("entry_id")[:1]))
    return Adopted(len(ids), transactions, linked)
