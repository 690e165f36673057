"""What a wallet should hold according to its postings, and the repair of a balance that says otherwise.

`post` is the only place that moves money. This moves none: it writes a column that somebody altered back to what the
postings say, and keeps a record of it.
"""

from decimal import Decimal

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import F, Sum

from .engine import Bucket
from .models import BALANCE_COLUMNS, Account, BalanceRepair, LedgerEntry
from .money import EXACT, ZERO, trim
from .post import run_in_transaction, start_writing
from .watch import moving


def fold_balance(
    account_id: int, *, bucket: Bucket = Bucket.AVAILABLE, using: str | None = None
) -> Decimal:
    """Return the sum of all postings on a bucket of the account, whatever its balance says."""
    alias = using or DEFAULT_DB_ALIAS
    lines = LedgerEntry.objects.using(alias).filter(account_id=account_id, bucket=bucket)
    if connections[alias].vendor == "sqlite":  # adds floats
        total = ZERO
        for credit, debit in lines.values_list("credit", "debit").iterator():
            total = EXACT.add(total, EXACT.subtract(credit, debit))
        return trim(total)
    found: Decimal | None = lines.aggregate(total=Sum(F("credit") - F("debit")))["total"]
    return trim(found or ZERO)


def repair_balance(account_id: int, *, using: str | None = None) -> Decimal:
    """Set the available balance to what the postings say, record it if that changed it, and return it."""
    alias = using or DEFAULT_DB_ALIAS
    column = BALANCE_COLUMNS[Bucket.AVAILABLE]

    def repair() -> Decimal:
        start_writing(alias)
        accounts = Account.objects.using(alias).filter(pk=account_id)
        found: Decimal = accounts.select_for_update().values_list(column, flat=True).get()
        right = fold_balance(account_id, using=alias)
        if found != right:
            with moving([account_id], alias):
                accounts.update(**{column: right})
            BalanceRepair.objects.using(alias).create(
                account_id=account_id, found=found, restored=right
            )
        return right

    return run_in_transaction(repair, using=alias)
