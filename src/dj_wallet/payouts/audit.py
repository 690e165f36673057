"""Does the money that payouts hold agree with the payouts? Registered when the app is ready."""

from collections.abc import Iterator
from decimal import Decimal

from dj_wallet.ledger.audit import Problem
from dj_wallet.ledger.engine import Bucket
from dj_wallet.ledger.models import LedgerEntry
from dj_wallet.ledger.money import EXACT, ZERO

from .models import Payout


def check_held_money(alias: str) -> Iterator[Problem]:
    """What payouts brought into the pending part of a wallet and did not take out is held by its open payouts."""
    expected, found = _sum_open_payouts(alias), _sum_postings(alias)
    for account_id in sorted(expected.keys() | found.keys()):
        held, posted = expected.get(account_id, ZERO), found.get(account_id, ZERO)
        if held != posted:
            yield Problem("payout_hold_mismatch", account_id, None, str(held), str(posted))


def _sum_open_payouts(alias: str) -> dict[int, Decimal]:
    """Return, by wallet, the amounts of payouts that hold money and have not ended."""
    open_ones = Payout.objects.using(alias).filter(held_at__isnull=False)
    open_ones = open_ones.exclude(status__in=Payout.ENDED)
    totals: dict[int, Decimal] = {}
    amounts = open_ones.values_list("transaction__wallet_id", "transaction__amount")
    for account_id, amount in amounts.iterator():
        totals[account_id] = EXACT.add(totals.get(account_id, ZERO), amount)
    return totals


def _sum_postings(alias: str) -> dict[int, Decimal]:
    """Return, by wallet, what the postings of payouts left in the pending part."""
    lines = LedgerEntry.objects.using(alias).filter(reference_type="payout", bucket=Bucket.PENDING)
    totals: dict[int, Decimal] = {}
    for account_id, debit, credit in lines.values_list("account_id", "debit", "credit").iterator():
        change = EXACT.subtract(credit, debit)
        totals[account_id] = EXACT.add(totals.get(account_id, ZERO), change)
    return totals
