"""Reads of the ledger: balances now and then, statements, trial balance. Nothing here writes but the checkpoints."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import Max, QuerySet, Sum

from .engine import Bucket
from .errors import AccountNotFound
from .models import BALANCE_COLUMNS, Account, Checkpoint, CheckpointHorizon, LedgerEntry, Posting
from .money import EXACT, ZERO, trim

# created_at and id are taken in the same statement, so they can disagree between two sessions by microseconds only.
CLOCK_SKEW: Final = timedelta(seconds=1)

Moment = datetime | int


class Statement(NamedTuple):
    """Lines of one bucket of an account, newest first, with the balance before and after them."""

    opening: Decimal
    closing: Decimal
    lines: list[LedgerEntry]


class TrialBalance(NamedTuple):
    """The books of one asset. `difference` is zero, or they are broken."""

    asset: str
    wallets: Decimal
    system: Decimal

    @property
    def difference(self) -> Decimal:
        return EXACT.add(self.wallets, self.system)


def get_balance(
    account_id: int,
    *,
    bucket: Bucket = Bucket.AVAILABLE,
    as_of: Moment | None = None,
    using: str | None = None,
) -> Decimal:
    """Return the balance of an account's bucket now, or after what was recorded up to a time or an entry.

    Wallets: one index probe now, three for the past. System accounts: the sum since their last checkpoint, or since
    the beginning for a moment before it.

    :param as_of: a datetime, inclusive, or an entry id, inclusive
    :raises AccountNotFound: there is no such account
    """
    alias = using or DEFAULT_DB_ALIAS
    column = BALANCE_COLUMNS[bucket]
    row = Account.objects.using(alias).filter(pk=account_id).values_list("kind", column).first()
    if row is None:
        raise AccountNotFound(f"There is no account {account_id}.")
    kind, balance = row
    if kind == Account.Kind.SYSTEM:
        return _derive_balance(account_id, as_of, alias)
    if as_of is None:
        return Decimal(balance)
    line = _list_lines(account_id, bucket, alias, as_of).first()
    return ZERO if line is None or line.balance_after is None else line.balance_after


def get_statement(
    account_id: int,
    *,
    bucket: Bucket = Bucket.AVAILABLE,
    until: Moment | None = None,
    since: datetime | None = None,
    limit: int = 50,
    using: str | None = None,
) -> Statement:
    """Return the newest `limit` lines of an account's bucket, up to `until` and not before `since`.

    The next page is `until` the entry before the last line's.

    :raises AccountNotFound: there is no such account
    """
    alias = using or DEFAULT_DB_ALIAS
    closing = get_balance(account_id, bucket=bucket, as_of=until, using=alias)
    lines = _list_lines(account_id, bucket, alias, until)
    if since is not None:
        lines = lines.filter(created_at__gte=since)
    page = list(lines[:limit])
    opening = closing
    for line in page:
        opening = EXACT.add(opening, EXACT.subtract(line.debit, line.credit))
    return Statement(trim(opening), closing, page)


def explain_balance(
    account_id: int, *, bucket: Bucket = Bucket.AVAILABLE, using: str | None = None
) -> Iterator[LedgerEntry]:
    """Return every line that made the balance of an account's bucket, oldest first."""
    lines = LedgerEntry.objects.using(using or DEFAULT_DB_ALIAS).filter(
        account_id=account_id, bucket=bucket
    )
    return lines.order_by("posting_id").iterator()


def list_trial_balances(*, using: str | None = None) -> list[TrialBalance]:
    """Return, for each asset, what the wallets hold and what our side owes for it."""
    alias = using or DEFAULT_DB_ALIAS
    wallets: dict[str, Decimal] = {}
    system: dict[str, Decimal] = {}
    accounts = Account.objects.using(alias)
    for column in BALANCE_COLUMNS.values():
        held = accounts.filter(kind=Account.Kind.WALLET)
        for asset, total in _sum_by(held, "asset_id", column, alias):
            wallets[asset] = EXACT.add(wallets.get(asset, ZERO), total)
    assets = dict(accounts.filter(kind=Account.Kind.SYSTEM).values_list("pk", "asset_id"))
    for side, sign in (("source", -1), ("destination", 1)):
        postings = Posting.objects.using(alias).filter(**{f"{side}_account_id__in": assets})
        for account_id, total in _sum_by(postings, f"{side}_account_id", "amount", alias):
            asset = assets[account_id]
            system[asset] = EXACT.add(system.get(asset, ZERO), EXACT.multiply(total, Decimal(sign)))
    return [
        TrialBalance(asset, trim(wallets.get(asset, ZERO)), trim(system.get(asset, ZERO)))
        for asset in sorted(wallets.keys() | system.keys())
    ]


def checkpoint_system_balances(*, using: str | None = None) -> int:
    """Advance the checkpoints of all system accounts; return how many. Idempotent, locks nothing that posting needs.

    Postings become visible in another order than their ids were taken, so a checkpoint must not pass an id whose
    transaction is still running. Hence two passes: one notes the newest id taken and the transactions running then;
    a later one, once all of those have ended, sums up to that id. See docs/decisions/0004.
    """
    alias = using or DEFAULT_DB_ALIAS
    with transaction.atomic(using=alias):
        limit = _find_settled_posting(alias)
        if limit is None:
            return 0
        system = Account.objects.using(alias).filter(kind=Account.Kind.SYSTEM)
        known = Checkpoint.objects.using(alias).in_bulk()
        due = [
            pk
            for pk in system.values_list("pk", flat=True)
            if pk not in known or known[pk].posting_id < limit
        ]
        for account_id in due:
            Checkpoint.objects.using(alias).update_or_create(
                account_id=account_id,
                defaults={
                    "posting_id": limit,
                    "balance": _derive_balance(account_id, limit, alias),
                },
            )
        return len(due)


def _list_lines(
    account_id: int, bucket: Bucket, alias: str, until: Moment | None
) -> QuerySet[LedgerEntry]:
    lines = (
        LedgerEntry.objects.using(alias)
        .filter(account_id=account_id, bucket=bucket)
        .order_by("-posting_id")
    )
    if until is None:
        return lines
    lines = lines.filter(posting_id__lte=_find_last_posting(until, alias))
    return lines.filter(created_at__lte=until) if isinstance(until, datetime) else lines


def _find_last_posting(moment: Moment, alias: str) -> int:
    """Return an id that no posting recorded up to the moment exceeds, and few later ones fall short of."""
    postings = Posting.objects.using(alias)
    if isinstance(moment, datetime):
        recorded = postings.filter(created_at__lte=moment + CLOCK_SKEW).order_by("-created_at")
        return recorded.values_list("pk", flat=True).first() or 0
    last = postings.of_entries([moment]).aggregate(last=Max("pk"))["last"]
    return last or moment


def _derive_balance(account_id: int, as_of: Moment | None, alias: str) -> Decimal:
    """Return the balance of a system account: its checkpoint and what came after, or everything before a checkpoint."""
    last = None if as_of is None else _find_last_posting(as_of, alias)
    checkpoint = Checkpoint.objects.using(alias).filter(account_id=account_id).first()
    balance, first = ZERO, 0
    if (
        checkpoint is not None
        and not isinstance(as_of, datetime)
        and (last is None or last >= checkpoint.posting_id)
    ):
        balance, first = checkpoint.balance, checkpoint.posting_id
    for side, sign in (("source", -1), ("destination", 1)):
        postings = Posting.objects.using(alias).filter(
            **{
                f"{side}_account_id": account_id,
                f"{side}_bucket": Bucket.AVAILABLE,
                "pk__gt": first,
            }
        )
        if last is not None:
            postings = postings.filter(pk__lte=last)
        if isinstance(as_of, datetime):
            postings = postings.filter(created_at__lte=as_of)
        balance = EXACT.add(balance, EXACT.multiply(_sum(postings, alias), Decimal(sign)))
    return trim(balance)


def _sum(postings: QuerySet[Posting], alias: str) -> Decimal:
    if connections[alias].vendor == "sqlite":  # adds floats
        return _add(postings.values_list("amount", flat=True).iterator())
    total: Decimal | None = postings.aggregate(total=Sum("amount"))["total"]
    return total or ZERO


def _sum_by(
    rows: "QuerySet[Account] | QuerySet[Posting]", key: str, column: str, alias: str
) -> list[tuple]:  # type: ignore[type-arg]
    if connections[alias].vendor == "sqlite":
        totals: dict[object, Decimal] = {}
        for group, number in rows.values_list(key, column).iterator():
            totals[group] = EXACT.add(totals.get(group, ZERO), number)
        return list(totals.items())
    return list(rows.order_by().values_list(key).annotate(total=Sum(column)))


def _add(numbers: Iterator[Decimal]) -> Decimal:
    total = ZERO
    for number in numbers:
        total = EXACT.add(total, number)
    return total


def _find_settled_posting(alias: str) -> int | None:
    """Return an id up to which all postings are visible or will never be, or None if that is not known yet."""
    if (
        connections[alias].vendor != "postgresql"
    ):  # one writer at a time: what is visible is all there is
        last: int | None = Posting.objects.using(alias).aggregate(last=Max("pk"))["last"]
        return last
    with connections[alias].cursor() as cursor:
        # The sequence is read before the snapshot: whoever took a smaller id is finished or running in the snapshot.
        cursor.execute("SELECT last_value FROM dj_wallet_posting_id_seq")
        (newest,) = cursor.fetchone()
        cursor.execute(
            "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint,"
            " pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        )
        oldest_running, next_transaction = cursor.fetchone()
    horizons = CheckpointHorizon.objects.using(alias)
    horizon = horizons.select_for_update().order_by("pk").first()
    if horizon is not None and horizon.transaction_id > oldest_running:
        return None
    horizons.update_or_create(
        pk=1, defaults={"posting_id": newest, "transaction_id": next_transaction}
    )
    return None if horizon is None else horizon.posting_id
