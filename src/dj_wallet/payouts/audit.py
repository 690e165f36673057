"""Does the pending part of each wallet agree with its payouts? Registered when the app is ready."""

from collections.abc import Iterator
from decimal import Decimal

from dj_wallet.ledger.audit import Problem
from dj_wallet.ledger.models import Account, Posting
from dj_wallet.ledger.money import EXACT, ZERO

from .models import Payout


def check_pending_balances(alias: str) -> Iterator[Problem]:
    """What a wallet has pending is what its open payouts hold."""
    ended = [Payout.Status.SETTLED, Payout.Status.FAILED]
    payouts = Payout.objects.using(alias).exclude(status__in=ended).select_related("transaction")
    open_payouts = {f"payout:{payout.uuid}:hold": payout.transaction for payout in payouts}
    held: dict[int, Decimal] = {}
    holds = Posting.objects.using(alias).filter(idempotency_key__in=list(open_payouts))
    for key in holds.values_list("idempotency_key", flat=True):
        record = open_payouts[str(key)]
        held[record.wallet_id] = EXACT.add(held.get(record.wallet_id, ZERO), record.amount)
    accounts = Account.objects.using(alias).exclude(pending_balance=0)
    pending = dict(accounts.values_list("pk", "pending_balance"))
    for account_id in sorted(held.keys() | pending.keys()):
        expected, found = held.get(account_id, ZERO), pending.get(account_id, ZERO)
        if expected != found:
            yield Problem("pending_without_payout", account_id, None, str(expected), str(found))
