"""Does the ledger agree with itself? Every balance with the fold of its postings, every posting with its neighbours.

Trusts nothing that it can compute again: no checkpoint, no stored balance.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import islice
from typing import Any, Final, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Sum

from .engine import Bucket
from .models import BALANCE_COLUMNS, Account, Checkpoint, LedgerEntry, Posting
from .money import EXACT, ZERO
from .queries import list_trial_balances

MAX_PROBLEMS: Final = 1000


class Problem(NamedTuple):
    """Something that cannot be: what (`code`), where, and both figures."""

    code: str
    account_id: int | None
    entry_id: int | None
    expected: str
    found: str

    def __str__(self) -> str:
        place = f"account {self.account_id}" if self.account_id is not None else "books"
        entry = f", entry {self.entry_id}" if self.entry_id is not None else ""
        return f"{self.code}: {place}{entry}: expected {self.expected}, found {self.found}"


class Report(NamedTuple):
    """What an audit looked at and what it found; at most 1,000 problems are listed."""

    accounts: int
    postings: int
    problems: list[Problem]

    @property
    def is_clean(self) -> bool:
        return not self.problems


class Fold(NamedTuple):
    """What the postings say of one bucket of one account."""

    account_id: int
    bucket: int
    balance: Decimal
    sides: int


def audit_ledger(*, using: str | None = None) -> Report:
    """Check the whole ledger; reads only. Run it on a replica, or while nothing is being posted, for one moment's truth."""
    alias = using or DEFAULT_DB_ALIAS
    problems: list[Problem] = []
    for check in CHECKS:
        problems += islice(check(alias), MAX_PROBLEMS - len(problems))
    return Report(
        Account.objects.using(alias).count(), Posting.objects.using(alias).count(), problems
    )


def check_balances(alias: str) -> Iterator[Problem]:
    """Every balance of a wallet is the sum of its postings, and its version their number."""
    balances: dict[int, dict[int, Decimal]] = {}
    sides: dict[int, int] = {}
    for fold in _fold_postings(alias):
        balances.setdefault(fold.account_id, {})[fold.bucket] = fold.balance
        sides[fold.account_id] = sides.get(fold.account_id, 0) + fold.sides
    for account in Account.objects.using(alias).order_by("pk").iterator():
        is_system = account.kind == Account.Kind.SYSTEM
        for bucket, column in BALANCE_COLUMNS.items():
            expected = ZERO if is_system else balances.get(account.pk, {}).get(bucket, ZERO)
            if getattr(account, column) != expected:
                yield Problem(
                    f"{column}_mismatch",
                    account.pk,
                    None,
                    str(expected),
                    str(getattr(account, column)),
                )
        expected_version = 0 if is_system else sides.get(account.pk, 0)
        if account.version != expected_version:
            yield Problem(
                "version_mismatch", account.pk, None, str(expected_version), str(account.version)
            )


def check_chains(alias: str) -> Iterator[Problem]:
    """Each posting starts from the balance its predecessor left, and versions have no gap."""
    balances: dict[int, Decimal] = {}
    account_id, version = 0, 0
    lines = LedgerEntry.objects.using(alias).filter(account__kind=Account.Kind.WALLET)
    columns = ("account_id", "version", "bucket", "debit", "credit", "balance_after", "entry_id")
    if connections[alias].vendor == "postgresql":
        rows: Iterator[Any] = _find_broken_links(alias)
    else:
        rows = lines.order_by("account_id", "version").values_list(*columns).iterator()
    for row in rows:
        if connections[alias].vendor == "postgresql":
            yield Problem(*row)
            continue
        account, number, bucket, debit, credit, after, entry_id = row
        if account != account_id:
            account_id, version, balances = account, 0, {}
        version += 1
        if number != version:
            yield Problem("version_gap", account, entry_id, str(version), str(number))
            version = version if number is None else number
        expected = EXACT.add(balances.get(bucket, ZERO), EXACT.subtract(credit, debit))
        if after != expected:
            yield Problem("balance_after_mismatch", account, entry_id, str(expected), str(after))
        balances[bucket] = expected if after is None else after


def check_places(alias: str) -> Iterator[Problem]:
    """Both sides of a posting exist and count the same asset; derived sides carry no balance, kept ones do."""
    for side in ("source", "destination"):
        there = Account.objects.filter(pk=OuterRef(f"{side}_account_id"))
        orphans = Posting.objects.using(alias).filter(~Exists(there))
        for entry_id, account_id in orphans.values_list("entry_id", f"{side}_account_id")[
            :MAX_PROBLEMS
        ]:
            yield Problem("account_missing", account_id, entry_id, "an account", "none")
        kept = Q(**{f"{side}_account__kind": Account.Kind.WALLET})
        balance_is_null = {f"{side}_balance_after__isnull": True}
        wrong = Posting.objects.using(alias).filter(
            kept, **balance_is_null
        ) | Posting.objects.using(alias).filter(~kept, **{f"{side}_balance_after__isnull": False})
        for entry_id, account_id in wrong.values_list("entry_id", f"{side}_account_id")[
            :MAX_PROBLEMS
        ]:
            yield Problem(
                "side_mismatch", account_id, entry_id, "a balance on wallets only", "otherwise"
            )
    mixed = Posting.objects.using(alias).exclude(
        source_account__asset=F("destination_account__asset")
    )
    for entry_id, account_id in mixed.values_list("entry_id", "source_account_id")[:MAX_PROBLEMS]:
        yield Problem("asset_mismatch", account_id, entry_id, "one asset on both sides", "two")


def check_entries(alias: str) -> Iterator[Problem]:
    """Every posting belongs to an entry that begins with its first posting."""
    head = Posting.objects.filter(
        pk=OuterRef("entry_id"), entry_id=OuterRef("entry_id"), kind=OuterRef("kind")
    )
    tails = Posting.objects.using(alias).filter(~Q(entry_id=F("pk")))
    for entry_id in tails.filter(~Exists(head)).values_list("entry_id", flat=True)[:MAX_PROBLEMS]:
        yield Problem(
            "entry_without_head", None, entry_id, "a first posting of the same kind", "none"
        )


def check_trial_balance(alias: str) -> Iterator[Problem]:
    """What the wallets of an asset hold is what our side owes for it."""
    for row in list_trial_balances(using=alias):
        if row.difference != 0:
            yield Problem(
                "trial_balance", None, None, f"0 {row.asset}", f"{row.difference} {row.asset}"
            )


def check_checkpoints(alias: str) -> Iterator[Problem]:
    """A checkpoint is the sum of the postings up to it."""
    for checkpoint in Checkpoint.objects.using(alias).iterator():
        total = ZERO
        for side, sign in (("source", -1), ("destination", 1)):
            amounts = Posting.objects.using(alias).filter(
                **{f"{side}_account_id": checkpoint.account_id, "pk__lte": checkpoint.posting_id}
            )
            for amount in amounts.values_list("amount", flat=True).iterator():
                total = EXACT.add(total, EXACT.multiply(amount, Decimal(sign)))
        if total != checkpoint.balance:
            yield Problem(
                "checkpoint_mismatch",
                checkpoint.account_id,
                None,
                str(total),
                str(checkpoint.balance),
            )


def audit_account(account_id: int, *, using: str | None = None) -> list[Problem]:
    """Check one wallet: every balance is the sum of its postings and what the last of them left, the version their number.

    The links between its postings are left to `audit_ledger`.
    """
    alias = using or DEFAULT_DB_ALIAS
    account = Account.objects.using(alias).get(pk=account_id)
    lines = LedgerEntry.objects.using(alias).filter(account_id=account_id)
    problems = []
    sides = 0
    for bucket, column in BALANCE_COLUMNS.items():
        of_bucket = lines.filter(bucket=bucket)
        expected, count = _sum_lines(of_bucket, alias)
        sides += count
        last = of_bucket.order_by("-posting_id", "-version").values_list("balance_after", flat=True)
        found = getattr(account, column)
        if found != expected:
            problems.append(
                Problem(f"{column}_mismatch", account_id, None, str(expected), str(found))
            )
        elif count and last[0] != found:
            problems.append(
                Problem("balance_after_mismatch", account_id, None, str(found), str(last[0]))
            )
    if account.version != sides:
        problems.append(
            Problem("version_mismatch", account_id, None, str(sides), str(account.version))
        )
    return problems


def _sum_lines(lines: QuerySet[LedgerEntry], alias: str) -> tuple[Decimal, int]:
    if connections[alias].vendor == "sqlite":  # adds floats
        total, count = ZERO, 0
        for debit, credit in lines.values_list("debit", "credit").iterator():
            total, count = EXACT.add(total, EXACT.subtract(credit, debit)), count + 1
        return total, count
    row = lines.aggregate(credit=Sum("credit"), debit=Sum("debit"), count=Count("id"))
    return EXACT.subtract(row["credit"] or ZERO, row["debit"] or ZERO), row["count"]


Check = Callable[[str], Iterator[Problem]]

# Apps add a check that their rows explain what they keep in the ledger (transactions, holds, payouts, ...).
CHECKS: list[Check] = [
    check_balances,
    check_chains,
    check_places,
    check_entries,
    check_trial_balance,
    check_checkpoints,
]


def _fold_postings(alias: str) -> Iterator[Fold]:
    if connections[alias].vendor == "postgresql":
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "SELECT account_id, bucket, sum(credit - debit), count(*) FROM dj_wallet_ledgerentry"
                " GROUP BY account_id, bucket"
            )
            for row in cursor.fetchall():
                yield Fold(*row)
        return
    folds: dict[tuple[int, int], tuple[Decimal, int]] = {}
    rows = LedgerEntry.objects.using(alias).values_list("account_id", "bucket", "debit", "credit")
    for account_id, bucket, debit, credit in rows.iterator():
        balance, sides = folds.get((account_id, bucket), (ZERO, 0))
        folds[account_id, bucket] = EXACT.add(balance, EXACT.subtract(credit, debit)), sides + 1
    for (account_id, bucket), (balance, sides) in folds.items():
        yield Fold(account_id, Bucket(bucket), balance, sides)


def _find_broken_links(alias: str) -> Iterator[tuple[str, int, int, str, str]]:
    """Let PostgreSQL compare each line with its predecessors; return the arguments of problems."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            """
            WITH lines AS (
                SELECT e.account_id, e.entry_id, e.version, e.balance_after,
                    lag(e.version, 1, 0::bigint) OVER account + 1 AS expected_version,
                    lag(e.balance_after, 1, 0) OVER bucket + e.credit - e.debit AS expected_balance
                FROM dj_wallet_ledgerentry e
                JOIN dj_wallet_account a ON a.id = e.account_id AND a.kind = 'wallet'
                WINDOW account AS (PARTITION BY e.account_id ORDER BY e.version),
                       bucket AS (PARTITION BY e.account_id, e.bucket ORDER BY e.version)
            )
            SELECT 'version_gap', account_id, entry_id, expected_version::text, version::text
            FROM lines WHERE version IS DISTINCT FROM expected_version
            UNION ALL
            SELECT 'balance_after_mismatch', account_id, entry_id, expected_balance::text, balance_after::text
            FROM lines WHERE balance_after IS DISTINCT FROM expected_balance
            LIMIT %s
            """,
            [MAX_PROBLEMS],
        )
        yield from cursor.fetchall()
