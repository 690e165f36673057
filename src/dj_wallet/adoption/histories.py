"""What release 0.1.0 left of each wallet: its balance and the records that should explain it. Reads only.

A wallet of release 0.1.0 has a balance or records that moved money, but no postings. It is adopted once an OPENING
entry stands for all of that.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from django.db import connections
from django.db.models import CharField, Count, Exists, F, Max, OuterRef, Q, QuerySet, Sum, Value
from django.db.models.functions import Cast, Concat

from dj_wallet.ledger.models import Account, LedgerEntry, Posting
from dj_wallet.ledger.money import EXACT, ZERO
from dj_wallet.models import Transaction

# Followed by the id of the wallet: the idempotency key of its opening entry.
OPENING_KEY: Final = "opening:wallet:"
# A reversed transaction moved its money once; what moved it back is a transaction of its own.
MOVED: Final = (Transaction.STATUS_COMPLETED, Transaction.STATUS_REVERSED)
PAGE: Final = 1000
# Of every amount of release 0.1.0, whose tables allow no more; SQLite keeps them all the same.
PLACES: Final = 8


class History(NamedTuple):
    """What release 0.1.0 says of one wallet. `carried` is the balance that no posting explains."""

    wallet_id: int
    asset: str
    version: int
    carried: Decimal
    deposits: Decimal
    withdrawals: Decimal
    records: int
    largest: Decimal

    @property
    def difference(self) -> Decimal:
        """What the balance has more than the records explain."""
        return EXACT.subtract(self.carried, EXACT.subtract(self.deposits, self.withdrawals))

    @property
    def is_too_late(self) -> bool:
        """Whether money moved on top of the old balance before it was adopted."""
        return self.version > 0 and self.carried != 0


class Totals(NamedTuple):
    """The records of one type on one wallet."""

    amount: Decimal
    records: int
    largest: Decimal


def list_unadopted(alias: str) -> QuerySet[Account]:
    """Return the wallets of release 0.1.0 that have no opening entry yet, in id order."""
    opening = Posting.objects.filter(idempotency_key=build_opening_key(OuterRef("pk")))
    unlinked = list_unlinked(alias).filter(wallet_id=OuterRef("pk"))
    carried = Q(version=0) & ~Q(balance=0)
    wallets = Account.objects.using(alias).filter(kind=Account.Kind.WALLET)
    return wallets.filter(carried | Q(Exists(unlinked))).filter(~Exists(opening)).order_by("pk")


def list_unlinked(alias: str) -> QuerySet[Transaction]:
    """Return the transactions that moved money and point at no entry: release 0.1.0 wrote them."""
    old = Transaction.objects.using(alias).filter(entry_id__isnull=True, status__in=MOVED)
    return old.filter(amount__gt=0)


def iterate_pages(alias: str, size: int = PAGE) -> Iterator[list[int]]:
    """Return the ids of the wallets to adopt, a page at a time; wallets adopted meanwhile do not disturb it."""
    last = 0
    while True:
        page = list(list_unadopted(alias).filter(pk__gt=last).values_list("pk", flat=True)[:size])
        if not page:
            return
        yield page
        last = page[-1]


def read_histories(ids: Sequence[int], alias: str, *, lock: bool = False) -> list[History]:
    """Return the histories of these wallets, in id order; `lock` keeps them as they are until the transaction ends."""
    accounts = Account.objects.using(alias).filter(pk__in=ids).order_by("pk")
    if lock:
        no_key = connections[alias].features.has_select_for_no_key_update
        accounts = accounts.select_for_update(no_key=no_key)
    rows = list(accounts.values_list("pk", "asset_id", "version", "balance"))
    carried = _find_carried([pk for pk, _, version, _ in rows if version], alias)
    totals = _total_transactions(ids, alias)
    nothing = Totals(ZERO, 0, ZERO)
    histories = []
    for pk, asset, version, balance in rows:
        deposits = totals.get((pk, Transaction.TYPE_DEPOSIT), nothing)
        withdrawals = totals.get((pk, Transaction.TYPE_WITHDRAW), nothing)
        histories.append(
            History(
                wallet_id=pk,
                asset=asset,
                version=version,
                carried=carried.get(pk, ZERO) if version else balance,
                deposits=deposits.amount,
                withdrawals=withdrawals.amount,
                records=deposits.records + withdrawals.records,
                largest=max(deposits.largest, withdrawals.largest),
            )
        )
    return histories


def build_opening_key(wallet_id: OuterRef) -> Concat:
    """Return the expression for the idempotency key of a wallet's opening entry."""
    return Concat(Value(OPENING_KEY), Cast(wallet_id, CharField()))


def find_posted_too_early(alias: str) -> dict[int, Decimal]:
    """Return the wallets whose first posting started from a balance that was never opened, with that balance."""
    suspects: set[int] = set()
    for side, change in (("source", -F("amount")), ("destination", F("amount"))):
        after = f"{side}_balance_after"
        first = Posting.objects.using(alias).filter(**{f"{side}_version": 1})
        if (
            connections[alias].vendor != "sqlite"
        ):  # compares floats: all first postings are looked at
            first = first.exclude(**{after: change})
        suspects.update(first.values_list(f"{side}_account_id", flat=True))
    carried: dict[int, Decimal] = {}
    for page in batched(sorted(suspects)):
        carried |= {pk: amount for pk, amount in _find_carried(page, alias).items() if amount}
    return carried


def batched(ids: Sequence[int], size: int = PAGE) -> Iterator[Sequence[int]]:
    """Return the ids in pieces."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _find_carried(ids: Iterable[int], alias: str) -> dict[int, Decimal]:
    """Return, for accounts with postings, the balance that the first of them started from."""
    lines = LedgerEntry.objects.using(alias).filter(account_id__in=list(ids), version=1)
    return {
        pk: EXACT.subtract(after or ZERO, EXACT.subtract(credit, debit))
        for pk, after, credit, debit in lines.values_list(
            "account_id", "balance_after", "credit", "debit"
        )
    }


def _total_transactions(ids: Sequence[int], alias: str) -> Mapping[tuple[int, str], Totals]:
    moved = list_unlinked(alias).filter(wallet_id__in=ids).order_by()
    if connections[alias].vendor != "sqlite":
        grouped = moved.values_list("wallet_id", "type").annotate(
            Sum("amount"), Count("pk"), Max("amount")
        )
        return {(pk, type_): Totals(*numbers) for pk, type_, *numbers in grouped}
    totals: dict[tuple[int, str], Totals] = {}  # SQLite adds floats
    for pk, type_, amount in moved.values_list("wallet_id", "type", "amount").iterator():
        total = totals.get((pk, type_), Totals(ZERO, 0, ZERO))
        totals[pk, type_] = Totals(
            EXACT.add(total.amount, amount), total.records + 1, max(total.largest, amount)
        )
    return totals
