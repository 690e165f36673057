"""Recurring payouts: plans, and the payouts that they make when they fall due."""

import logging
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from dj_wallet.events.services import publish_event
from dj_wallet.ledger.errors import WalletException, WalletFrozen
from dj_wallet.models import Wallet
from dj_wallet.payouts.errors import RecurrenceInvalid
from dj_wallet.payouts.models import DEFAULT_BANK, RecurringPayout
from dj_wallet.payouts.recurrence import find_date, to_instant
from dj_wallet.services.movements import make_frozen_error, refuse_other_use

from .scheduling import PayoutRequest, check_request, schedule_payout

logger = logging.getLogger(__name__)

Status = RecurringPayout.Status
PLANS_AT_ONCE: Final = 100


def create_recurring_payout(
    *,
    wallet: Wallet,
    amount: Any,
    frequency: str,
    first_date: date,
    local_time: time,
    time_zone: str,
    last_date: date | None = None,
    bank: str = DEFAULT_BANK,
    destination: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> RecurringPayout:
    """Record a plan. Each occurrence becomes a payout when it falls due; its balance is checked then. Idempotent by key.

    :raises RecurrenceInvalid: unknown frequency or time zone, or it ends before it begins, or begins in the past
    :raises IdempotencyConflict: the key was used for another plan
    :raises WalletException: as `schedule_payout`
    """
    checked = check_request(
        PayoutRequest(wallet, amount, None, idempotency_key, None, bank, destination)
    )
    plan = RecurringPayout(
        wallet=wallet,
        amount=checked.amount,
        bank=bank,
        destination=checked.destination,
        frequency=frequency,
        first_date=first_date,
        last_date=last_date,
        local_time=local_time.replace(tzinfo=None),
        time_zone=time_zone,
        idempotency_key=idempotency_key,
    )
    if found := _find_same(plan):
        return found
    _check_plan(plan)
    if Wallet.objects.filter(pk=wallet.pk, is_frozen=True).exists():
        raise make_frozen_error(wallet)
    plan.next_at = to_instant(first_date, plan.local_time, time_zone)
    try:
        with transaction.atomic():
            plan.save(force_insert=True)
    except IntegrityError:
        if found := _find_same(plan):
            return found
        raise
    return plan


def cancel_recurring_payout(*, plan: RecurringPayout) -> RecurringPayout:
    """Let no further occurrence fall due; payouts that were made stay. Idempotent; return the plan fresh."""
    with transaction.atomic():
        locked = RecurringPayout.objects.select_for_update().get(pk=plan.pk)
        if locked.status == Status.ACTIVE:
            locked.status, locked.next_at = Status.CANCELLED, None
            locked.save(update_fields=["status", "next_at", "updated_at"])
        return locked


def schedule_occurrences() -> int:
    """Make the payouts that fell due, also those that fell due while nobody looked; return how many."""
    made = 0
    while plans := _schedule_next(PLANS_AT_ONCE):
        made += plans
    return made


def _schedule_next(limit: int) -> int:
    """Make the next payout of each due plan."""
    with transaction.atomic():
        due = RecurringPayout.objects.filter(next_at__lte=Now()).order_by("next_at", "pk")
        plans = list(
            due.select_for_update(skip_locked=True, of=("self",)).select_related("wallet")[:limit]
        )
        for plan in plans:
            _schedule_one(plan)
            _advance(plan)
        return len(plans)


def _schedule_one(plan: RecurringPayout) -> None:
    try:
        with transaction.atomic():
            schedule_payout(
                wallet=plan.wallet,
                amount=plan.amount,
                scheduled_for=plan.next_at,
                idempotency_key=f"recurring:{plan.uuid}:{plan.next_number}",
                bank=plan.bank,
                destination=plan.destination,
                recurring=plan,
            )
    except WalletException as refusal:
        # A frozen wallet, or a bank that is no longer set up: the plan goes on, this occurrence does not happen.
        if not isinstance(refusal, WalletFrozen):
            logger.exception("Occurrence %d of plan %s", plan.next_number, plan.uuid)
        publish_event(
            event_type="payout.skipped",
            subject=f"wallet:{plan.wallet.uuid}",
            data={"recurring": str(plan.uuid), "number": plan.next_number, "code": refusal.code},
        )


def _advance(plan: RecurringPayout) -> None:
    plan.next_number += 1
    plan.next_at = _find_next(plan)
    if plan.next_at is None:
        plan.status = Status.ENDED
    plan.save(update_fields=["next_number", "next_at", "status", "updated_at"])


def _find_next(plan: RecurringPayout) -> datetime | None:
    try:
        day = find_date(plan.frequency, plan.first_date, plan.next_number)
    except OverflowError:
        return None
    if plan.last_date is not None and day > plan.last_date:
        return None
    return to_instant(day, plan.local_time, plan.time_zone)


def _check_plan(plan: RecurringPayout) -> None:
    if plan.frequency not in RecurringPayout.Frequency.values:
        raise RecurrenceInvalid(f"There is no frequency {plan.frequency!r}.")
    if plan.time_zone not in available_timezones():
        raise RecurrenceInvalid(f"There is no time zone {plan.time_zone!r}.")
    if plan.last_date is not None and plan.last_date < plan.first_date:
        raise RecurrenceInvalid("A plan cannot end before it begins.")
    if plan.first_date < timezone.now().astimezone(ZoneInfo(plan.time_zone)).date():
        raise RecurrenceInvalid("A plan cannot begin in the past.")


def _find_same(plan: RecurringPayout) -> RecurringPayout | None:
    """:raises IdempotencyConflict: the key was used for another plan"""
    if plan.idempotency_key is None:
        return None
    found = RecurringPayout.objects.filter(idempotency_key=plan.idempotency_key).first()
    if found is None:
        return None
    names = (
        *("wallet_id", "amount", "bank", "destination", "frequency"),
        *("first_date", "last_date", "local_time", "time_zone"),
    )
    if any(getattr(found, name) != getattr(plan, name) for name in names):
        raise refuse_other_use(plan.idempotency_key)
    found.replayed = True
    return found
