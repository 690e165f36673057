"""Do the holder-facing records and the lots agree with the ledger? Registered with `ledger.audit` when the app is ready."""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from django.db.models import Exists, OuterRef, Q

from .adoption.audit import without_adopted
from .ledger.audit import MAX_PROBLEMS, Problem
from .ledger.engine import Bucket
from .ledger.models import BALANCE_COLUMNS, IS_NOT_FIRST, Account, Posting
from .ledger.money import EXACT, ZERO
from .ledger.rule_models import Lot, LotUse, WalletLimits
from .utils import get_transaction_model


def check_transactions(alias: str) -> Iterator[Problem]:
    """A completed transaction points at an entry that moved its amount into, or out of, its wallet, or release 0.1.0 recorded it."""
    model = get_transaction_model()
    completed = model._default_manager.using(alias).filter(status=model.STATUS_COMPLETED)
    completed = without_adopted(completed)
    for type_, side in ((model.TYPE_DEPOSIT, "destination"), (model.TYPE_WITHDRAW, "source")):
        wallet = Q(**{f"{side}_account_id": OuterRef("wallet_id")})
        moved = Posting.objects.filter(wallet, amount=OuterRef("amount"))
        first = moved.filter(pk=OuterRef("entry_id"))
        later = moved.filter(IS_NOT_FIRST, entry_id=OuterRef("entry_id"))
        unexplained = completed.filter(type=type_).filter(~Exists(first)).filter(~Exists(later))
        for pk, wallet_id, entry_id in unexplained.values_list("pk", "wallet_id", "entry_id")[
            :MAX_PROBLEMS
        ]:
            yield Problem(
                "transaction_without_entry",
                wallet_id,
                entry_id,
                f"an entry of transaction {pk}",
                "none",
            )


def check_lots(alias: str) -> Iterator[Problem]:
    """Lots hold what was not taken out of them, and no more than their wallet does; the account says that it has rules."""
    taken: dict[int, Decimal] = {}
    held: dict[tuple[int, str], Decimal] = {}
    uses = LotUse.objects.using(alias).values_list(
        "lot_id", "account_id", "bucket", "amount", "returned", "held"
    )
    for lot_id, account_id, bucket, amount, returned, in_bucket in uses.iterator():
        out = EXACT.subtract(amount, returned)
        taken[lot_id] = EXACT.add(taken.get(lot_id, ZERO), out)
        place = account_id, BALANCE_COLUMNS[Bucket(bucket)]
        held[place] = EXACT.add(held.get(place, ZERO), in_bucket)
    for lot in Lot.objects.using(alias).order_by("pk").iterator():
        expected = EXACT.subtract(lot.amount, taken.get(lot.pk, ZERO))
        if lot.remaining != expected:
            yield Problem(
                "lot_mismatch", lot.account_id, lot.entry_id, str(expected), str(lot.remaining)
            )
        place = lot.account_id, BALANCE_COLUMNS[Bucket.AVAILABLE]
        held[place] = EXACT.add(held.get(place, ZERO), lot.remaining)
    yield from _check_cover(held, alias)
    yield from _check_flags(alias)


def _check_cover(held: Mapping[tuple[int, str], Decimal], alias: str) -> Iterator[Problem]:
    """The units of lots in a bucket are at most what the bucket holds."""
    accounts = Account.objects.using(alias).in_bulk({account_id for account_id, _ in held})
    for (account_id, column), units in held.items():
        balance = max(ZERO, getattr(accounts[account_id], column))
        if units > balance:
            yield Problem("lots_exceed_balance", account_id, None, f"at most {balance}", str(units))


def _check_flags(alias: str) -> Iterator[Problem]:
    """The posting statement asks for limits and lots only where the account says that there are some."""
    for model in (Lot, WalletLimits):
        unasked = model._default_manager.using(alias).filter(account__has_rules=False)
        for account_id in unasked.values_list("account_id", flat=True).distinct()[:MAX_PROBLEMS]:
            yield Problem("rules_not_asked", account_id, None, "has_rules", "not has_rules")
