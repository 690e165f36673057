"""Reads of the ledger: balances now and then, statements, trial balance. Nothing here writes but the checkpoints."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import Max, Q, QuerySet, Sum

from .engine import Bucket
from .errors import AccountNotFound
from .models import BALANCE_COLUMNS, Account, Checkpoint, CheckpointHorizon, LedgerEntry, Posting
from .money import EXACT, ZERO, trim

# created_at and id are taken in the same statement, so they can disagree between two sessions by microseconds only.
CLOCK_SKEW: Final = timedelta(seconds=1)
# How far the ids of postings that are recorded at the same time, or of one entry, lie apart: sessions take turns.
MAX_SPREAD: Final = 10_000

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

    A few more where the last entry has several. The next page is `until` the entry before the last line's.

    :raises AccountNotFound: there is no such account
    """
    alias = using or DEFAULT_DB_ALIAS
    lines = _list_lines(account_id, bucket, alias, until)
    if since is not None:
        lines = lines.filter(created_at__gte=since)
    page = _take_page(lines, limit)
    newest = max(page, key=lambda line: line.posting_id, default=None)
    if newest is not None and newest.balance_after is not None:
        closing = newest.balance_after
    else:
        closing = get_balance(account_id, bucket=bucket, as_of=until, using=alias)
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

    Must not run inside a transaction: it needs a transaction id newer than those that took a posting id.
    """
    alias = using or DEFAULT_DB_ALIAS
    with transaction.atomic(using=alias, durable=True):
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
            start = known.get(account_id)
            first, balance = (start.posting_id, start.balance) if start else (0, ZERO)
            moved = _sum_movements(account_id, Q(pk__gt=first, pk__lte=limit), alias)
            Checkpoint.objects.using(alias).update_or_create(
                account_id=account_id,
                defaults={"posting_id": limit, "balance": EXACT.add(balance, moved)},
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
    return lines if until is None else lines.filter(_recorded_until(until, "posting_id", alias))


def _take_page(lines: QuerySet[LedgerEntry], limit: int) -> list[LedgerEntry]:
    """Return the first `limit` lines, and the rest of the entries among them."""
    found = list(lines[: limit + 1])
    page, following = found[:limit], found[limit:]
    while page and following:
        oldest = min(line.entry_id for line in page)
        if following[0].posting_id < oldest:
            break
        beyond = lines.filter(posting_id__lt=page[-1].posting_id)
        page += beyond.filter(posting_id__gte=oldest)
        following = list(lines.filter(posting_id__lt=page[-1].posting_id)[:1])
    return sorted(page, key=lambda line: (line.entry_id, line.posting_id), reverse=True)


def _recorded_until(moment: Moment, column: str, alias: str) -> Q:
    """Return the condition that a posting was recorded up to a time, or belongs to an entry up to one.

    :param column: where the id of the posting is; its bound only saves looking at all later ones
    """
    last = _find_last_posting(moment, alias) + MAX_SPREAD
    if isinstance(moment, datetime):
        return Q(**{f"{column}__lte": last}, created_at__lte=moment)
    return Q(**{f"{column}__lte": last}, entry_id__lte=moment)


def _find_last_posting(moment: Moment, alias: str) -> int:
    """Return an id that postings recorded up to the moment exceed by MAX_SPREAD at most."""
    postings = Posting.objects.using(alias)
    if isinstance(moment, datetime):
        recorded = postings.filter(created_at__lte=moment + CLOCK_SKEW).order_by("-created_at")
        return recorded.values_list("pk", flat=True).first() or 0
    last = postings.of_entries([moment]).aggregate(last=Max("pk"))["last"]
    return max(last or 0, moment)


def _derive_balance(account_id: int, as_of: Moment | None, alias: str) -> Decimal:
    """Return the balance of a system account: its checkpoint and what came after, or everything before a checkpoint."""
    checkpoint = Checkpoint.objects.using(alias).filter(account_id=account_id).first()
    recorded = Q() if as_of is None else _recorded_until(as_of, "pk", alias)
    if (
        checkpoint is None
        or isinstance(as_of, datetime)
        or (as_of is not None and as_of < checkpoint.posting_id)
    ):
        return trim(_sum_movements(account_id, recorded, alias))
    later = recorded & Q(pk__gt=checkpoint.posting_id)
    return trim(EXACT.add(checkpoint.balance, _sum_movements(account_id, later, alias)))


def _sum_movements(account_id: int, condition: Q, alias: str) -> Decimal:
    """Return what the postings that meet the condition brought to a system account."""
    balance = ZERO
    for side, sign in (("source", -1), ("destination", 1)):
        postings = Posting.objects.using(alias).filter(
            condition, **{f"{side}_account_id": account_id, f"{side}_bucket": Bucket.AVAILABLE}
        )
        balance = EXACT.add(balance, EXACT.multiply(_sum(postings, alias), Decimal(sign)))
    return balance


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
        # The sequence is read before we take a transaction id: whoever took a smaller posting id had an older one.
        cursor.execute(
            "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM dj_wallet_posting_id_seq"
        )
        (newest,) = cursor.fetchone()
        cursor.execute(
            "SELECT pg_current_xact_id()::text::bigint,"
            " pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        )
        own_transaction, oldest_running = cursor.fetchone()
    horizons = CheckpointHorizon.objects.using(alias)
    horizon = horizons.select_for_update().order_by("pk").first()
    if horizon is not None and horizon.transaction_id > oldest_running:
        return None
    horizons.update_or_create(
        pk=1, defaults={"posting_id": newest, "transaction_id": own_transaction}
    )
    return None if horizon is None else horizon.posting_id
