"""Scheduling a payout records it and moves nothing."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from dj_wallet.exceptions import AmountInvalid, IdempotencyConflict, MovementInvalid, WalletFrozen
from dj_wallet.models import Transaction
from dj_wallet.payouts.models import Payout
from dj_wallet.payouts.services import schedule_payout

LATER = datetime(2100, 1, 1, tzinfo=UTC)


def test_the_balance_is_neither_moved_nor_looked_at(wallet, snapshot):
    accounts, postings, *_ = snapshot()
    record = schedule_payout(wallet=wallet, amount="5000.00", scheduled_for=LATER)
    assert snapshot()[:2] == (accounts, postings)
    assert (record.type, record.status, record.entry_id) == ("withdraw", "pending", None)
    assert (record.payout.status, record.payout.scheduled_for) == ("pending", LATER)


@pytest.mark.parametrize("scheduled_for", [None, LATER])
def test_the_same_key_gives_the_same_record(wallet, scheduled_for):
    first = schedule_payout(
        wallet=wallet, amount=5, scheduled_for=scheduled_for, idempotency_key="k"
    )
    again = schedule_payout(
        wallet=wallet, amount="5.0", scheduled_for=scheduled_for, idempotency_key="k"
    )
    assert (first.replayed, again.replayed) == (False, True)
    assert again == first
    assert again.payout == first.payout
    assert Payout.objects.count() == 1


@pytest.mark.parametrize(
    "change",
    [{"amount": 6}, {"scheduled_for": None}, {"scheduled_for": LATER + timedelta(microseconds=1)}],
)
def test_the_same_key_for_something_else_is_a_conflict(wallet, change):
    asked = {"wallet": wallet, "amount": 5, "scheduled_for": LATER, "idempotency_key": "k"}
    schedule_payout(**asked)
    with pytest.raises(IdempotencyConflict):
        schedule_payout(**asked | change)
    assert Payout.objects.count() == 1


def test_the_key_of_another_kind_of_record_is_a_conflict(wallet):
    wallet.withdraw(5, idempotency_key="done")
    wallet.withdraw(5, confirmed=False, idempotency_key="waiting")
    for key in ("done", "waiting"):
        with pytest.raises(IdempotencyConflict):
            schedule_payout(wallet=wallet, amount=5, idempotency_key=key)
    assert Payout.objects.count() == 0


@pytest.mark.parametrize("amount", [0, -1, "x", "NaN", "0.001", None])
def test_an_amount_the_asset_cannot_hold_is_refused(wallet, amount):
    with pytest.raises(AmountInvalid):
        schedule_payout(wallet=wallet, amount=amount)
    assert Transaction.objects.count() == 1


def test_a_time_needs_a_time_zone(wallet):
    with pytest.raises(MovementInvalid):
        schedule_payout(wallet=wallet, amount=5, scheduled_for=datetime(2100, 1, 1))  # noqa: DTZ001


def test_a_frozen_wallet_schedules_nothing(wallet):
    wallet.freeze()
    with pytest.raises(WalletFrozen):
        schedule_payout(wallet=wallet, amount=5)
    assert Payout.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_a_rollback_of_the_caller_takes_it_back(wallet):
    with transaction.atomic():
        schedule_payout(wallet=wallet, amount=5)
        transaction.set_rollback(True)
    assert (Payout.objects.count(), Transaction.objects.count()) == (0, 1)


def test_due_are_those_that_wait_and_whose_time_has_come(wallet):
    now = timezone.now()
    times = [None, now - timedelta(days=300), now + timedelta(hours=1), now - timedelta(seconds=1)]
    made = [schedule_payout(wallet=wallet, amount=1, scheduled_for=at).payout.pk for at in times]
    Payout.objects.filter(pk=made[3]).update(status="unknown")
    due = Payout.objects.get_due_pending_withdrawals().values_list("pk", flat=True)
    assert list(due) == [made[1], made[0]]
