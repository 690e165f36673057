"""Do holds and escrows agree with the locked parts of the wallets? Registered with `ledger.audit` when the app is ready."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import groupby

from django.db.models import Exists, F, OuterRef

from .hold_models import Escrow, Hold, HoldStep
from .ledger.audit import MAX_PROBLEMS, Problem
from .ledger.engine import Bucket
from .ledger.models import Account, Posting
from .ledger.money import EXACT, ZERO


def check_locked_money(alias: str) -> Iterator[Problem]:
    """The locked part of every wallet is what its open holds and escrows keep."""
    kept: dict[int, Decimal] = {}
    holds = Hold.objects.using(alias).open().values_list("wallet_id", "remaining")
    escrows = Escrow.objects.using(alias).filter(status__in=Escrow.KEEPING)
    for rows in (holds, escrows.values_list("buyer_wallet_id", "amount")):
        for account_id, amount in rows.iterator():
            kept[account_id] = EXACT.add(kept.get(account_id, ZERO), amount)
    locked = dict(
        Account.objects.using(alias)
        .exclude(locked_balance=0)
        .values_list("pk", "locked_balance")
        .iterator()
    )
    for account_id in sorted(kept.keys() | locked.keys()):
        expected, found = kept.get(account_id, ZERO), locked.get(account_id, ZERO)
        if expected != found:
            yield Problem("locked_money_mismatch", account_id, None, str(expected), str(found))


def check_hold_steps(alias: str) -> Iterator[Problem]:
    """A hold keeps what its steps left, and every step moved its amount into or out of the locked part."""
    columns = ("hold_id", "action", "amount", "hold__amount", "hold__remaining", "hold__wallet_id")
    rows = HoldStep.objects.using(alias).order_by("hold_id", "pk").values_list(*columns)
    for _, group in groupby(rows.iterator(), key=lambda row: row[0]):
        steps = list(group)
        placed = sum_amounts([row[2] for row in steps if row[1] == HoldStep.Action.PLACED])
        taken = sum_amounts([row[2] for row in steps if row[1] != HoldStep.Action.PLACED])
        amount, remaining, wallet_id = steps[0][3:]
        expected = EXACT.subtract(placed, taken)
        if (placed, expected) != (amount, remaining):
            yield Problem("hold_mismatch", wallet_id, None, str(expected), str(remaining))
    without = Hold.objects.using(alias).filter(
        ~Exists(HoldStep.objects.filter(hold=OuterRef("pk")))
    )
    for wallet_id, remaining in without.values_list("wallet_id", "remaining")[:MAX_PROBLEMS]:
        yield Problem("hold_mismatch", wallet_id, None, "a step", str(remaining))
    yield from _find_unmoved_steps(alias)


def _find_unmoved_steps(alias: str) -> Iterator[Problem]:
    moved = Posting.objects.filter(pk=OuterRef("entry_id"), amount=OuterRef("amount"))
    wallet = OuterRef("hold__wallet_id")
    into = moved.filter(destination_account_id=wallet, destination_bucket=Bucket.LOCKED)
    out_of = moved.filter(source_account_id=wallet, source_bucket=Bucket.LOCKED)
    steps = HoldStep.objects.using(alias).annotate(wallet_id=F("hold__wallet_id"))
    placed = steps.filter(action=HoldStep.Action.PLACED).filter(~Exists(into))
    taken = steps.exclude(action=HoldStep.Action.PLACED).filter(~Exists(out_of))
    for rows in (placed, taken):
        for pk, wallet_id, entry_id in rows.values_list("pk", "wallet_id", "entry_id")[
            :MAX_PROBLEMS
        ]:
            yield Problem(
                "hold_step_without_entry", wallet_id, entry_id, f"an entry of step {pk}", "none"
            )


def sum_amounts(amounts: list[Decimal]) -> Decimal:
    """Return the exact sum."""
    total = ZERO
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total
