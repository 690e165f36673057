"""What answers about payouts look like; amounts are decimal strings."""

from typing import Any

from dj_wallet.payouts.models import Payout, RecurringPayout
from dj_wallet.payouts.queries import Event, list_timeline
from dj_wallet.rest.bodies import show_amount, show_time


def show_payout(payout: Payout) -> dict[str, Any]:
    """Return a payout that was loaded with its transaction and wallet."""
    record = payout.transaction
    wallet = record.wallet
    return {
        "uuid": str(payout.uuid),
        "wallet": str(wallet.uuid),
        "transaction": str(record.uuid),
        "amount": show_amount(record.amount, wallet.decimal_places),
        "asset": wallet.asset_id,
        "status": payout.status.upper(),
        "bank": payout.bank,
        "destination": payout.destination,
        "scheduled_for": show_time(payout.scheduled_for or payout.created_at),
        "retry_count": max(0, payout.attempts - 1),
        "failure_code": payout.failure_code or None,
        "bank_reference": payout.bank_reference or None,
        "bank_response": payout.bank_response,
        "recurring": None if payout.recurring is None else str(payout.recurring.uuid),
        "meta": record.meta or {},
        "created_at": show_time(payout.created_at),
    }


def show_new_payout(payout: Payout) -> dict[str, Any]:
    """Return the payout as it was when it was scheduled: what the first call answered."""
    payout.status = Payout.Status.PENDING
    payout.attempts, payout.bank_response = 0, None
    payout.failure_code = payout.bank_reference = ""
    return show_payout(payout)


def show_payout_with_timeline(payout: Payout) -> dict[str, Any]:
    """Return a payout and what happened to it. One more query."""
    return {**show_payout(payout), "timeline": [_show_event(one) for one in list_timeline(payout)]}


def show_recurring_payout(plan: RecurringPayout) -> dict[str, Any]:
    """Return a plan that was loaded with its wallet."""
    wallet = plan.wallet
    return {
        "uuid": str(plan.uuid),
        "wallet": str(wallet.uuid),
        "amount": show_amount(plan.amount, wallet.decimal_places),
        "asset": wallet.asset_id,
        "status": plan.status.upper(),
        "frequency": str(plan.frequency),
        "first_date": plan.first_date.isoformat(),
        "last_date": None if plan.last_date is None else plan.last_date.isoformat(),
        "local_time": plan.local_time.isoformat(),
        "time_zone": plan.time_zone,
        "bank": plan.bank,
        "destination": plan.destination,
        "next_at": None if plan.next_at is None else show_time(plan.next_at),
        "made": plan.next_number,
        "created_at": show_time(plan.created_at),
    }


def _show_event(event: Event) -> dict[str, Any]:
    # Who of the operators did it is for the operators: the admin shows it.
    return {
        "event": event.kind,
        "at": show_time(event.at),
        "attempt": event.attempt,
        "detail": event.detail,
    }
