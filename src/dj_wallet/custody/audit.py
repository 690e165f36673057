"""Do the withdrawals and the chains agree with the ledger? Registered when the app is ready."""

from collections.abc import Iterator
from decimal import Decimal

from django.db import DEFAULT_DB_ALIAS

from dj_wallet.ledger.audit import Problem
from dj_wallet.ledger.engine import Bucket
from dj_wallet.ledger.models import LedgerEntry
from dj_wallet.ledger.money import EXACT, ZERO

from .models import Chain, WithdrawalRequest
from .services.reconciliation import compare


def check_withdrawals(alias: str) -> Iterator[Problem]:
    """What withdrawals brought into the pending part of a wallet and did not take out is held by its open ones."""
    expected, found = _sum_open(alias), _sum_postings(alias)
    for account_id in sorted(expected.keys() | found.keys()):
        held, posted = expected.get(account_id, ZERO), found.get(account_id, ZERO)
        if held != posted:
            yield Problem("withdrawal_hold_mismatch", account_id, None, str(held), str(posted))


def check_chains(alias: str) -> Iterator[Problem]:
    """What the ledger says is on a chain is what our outputs are worth, but for what is explained."""
    if alias != DEFAULT_DB_ALIAS:
        return
    for chain in Chain.objects.exclude(height=None):
        found = compare(chain)
        if found.unexplained:
            yield Problem(
                "chain_mismatch",
                None,
                None,
                f"{found.ledger} on {chain.pk}",
                f"{found.outputs}, unexplained {found.unexplained}",
            )


def _sum_open(alias: str) -> dict[int, Decimal]:
    """Return, by wallet, what its withdrawals hold that have not ended.

    One that a reorganization took back to BROADCAST has left the wallet all the same.
    """
    statuses = WithdrawalRequest.Status
    open_ones = WithdrawalRequest.objects.using(alias).exclude(
        status__in=[statuses.CONFIRMED, statuses.FAILED]
    )
    totals: dict[int, Decimal] = {}
    rows = open_ones.filter(spend__settled__isnull=True)
    for wallet_id, amount, fee in rows.values_list("wallet_id", "amount", "fee"):
        totals[wallet_id] = EXACT.add(totals.get(wallet_id, ZERO), EXACT.add(amount, fee))
    return totals


def _sum_postings(alias: str) -> dict[int, Decimal]:
    """Return, by wallet, what the postings of withdrawals left in the pending part."""
    lines = LedgerEntry.objects.using(alias).filter(
        reference_type="withdrawal", bucket=Bucket.PENDING
    )
    totals: dict[int, Decimal] = {}
    for account_id, debit, credit in lines.values_list("account_id", "debit", "credit").iterator():
        change = EXACT.subtract(credit, debit)
        totals[account_id] = EXACT.add(totals.get(account_id, ZERO), change)
    return totals
