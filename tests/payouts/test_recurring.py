"""Recurring payouts: dates, clock changes, and plans that make each payout once."""

from datetime import UTC, date, datetime, time, timedelta

import pytest
from django.db.models.functions import Now
from hypothesis import given
from hypothesis import strategies as st

from dj_wallet.events.models import Event
from dj_wallet.exceptions import IdempotencyConflict
from dj_wallet.models import Wallet
from dj_wallet.payouts import tasks
from dj_wallet.payouts.errors import RecurrenceInvalid
from dj_wallet.payouts.models import Payout, RecurringPayout
from dj_wallet.payouts.recurrence import find_date, to_instant
from dj_wallet.payouts.services import (
    cancel_recurring_payout,
    create_recurring_payout,
    schedule_occurrences,
)
from tests.payouts.conftest import at_once

pytestmark = pytest.mark.django_db

FIRST = date(2100, 1, 31)


def plan(wallet: Wallet, **changes: object) -> RecurringPayout:
    given = {
        "wallet": wallet,
        "amount": "5.00",
        "frequency": "monthly",
        "first_date": FIRST,
        "local_time": time(9, 0),
        "time_zone": "Europe/Berlin",
    }
    return create_recurring_payout(**given | changes)


def make_due(one: RecurringPayout, **ago: float) -> datetime:
    """Let the plan's first occurrence have fallen due that long ago, at midnight UTC of that day."""
    first = datetime.now(UTC).date() - timedelta(**ago)
    at = datetime.combine(first, time(), UTC)
    RecurringPayout.objects.filter(pk=one.pk).update(
        first_date=first, local_time=time(), time_zone="UTC", next_at=at
    )
    return at


def test_the_thirty_first_is_the_last_day_of_shorter_months():
    dates = [find_date("monthly", date(2027, 10, 31), number) for number in range(6)]
    assert [str(one) for one in dates] == [
        *("2027-10-31", "2027-11-30", "2027-12-31"),
        *("2028-01-31", "2028-02-29", "2028-03-31"),
    ]


def test_days_and_weeks_are_counted():
    assert find_date("daily", date(2026, 12, 31), 1) == date(2027, 1, 1)
    assert find_date("weekly", date(2026, 12, 31), 2) == date(2027, 1, 14)
    with pytest.raises(OverflowError):
        find_date("monthly", date(9999, 12, 1), 1)


def test_nine_in_the_morning_stays_nine_in_the_morning():
    moments = [to_instant(date(2026, month, 28), time(9), "Europe/Berlin") for month in (3, 4)]
    assert [moment.hour for moment in moments] == [8, 7]


@given(
    first=st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    frequency=st.sampled_from(["daily", "weekly", "monthly"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    at=st.times().map(lambda one: one.replace(second=0, microsecond=0)),
    number=st.integers(0, 500),
)
def test_each_occurrence_comes_after_the_one_before(first, frequency, zone, at, number):
    days = [find_date(frequency, first, one) for one in (number, number + 1)]
    moments = [to_instant(day, at, zone) for day in days]
    assert moments[0] < moments[1]


def test_a_plan_makes_its_payout_when_it_falls_due_and_only_once(wallet):
    made = plan(wallet, frequency="daily")
    assert schedule_occurrences() == 0
    at = make_due(made, days=0)
    assert schedule_occurrences() == 1
    assert schedule_occurrences() == 0
    payout = Payout.objects.get()
    assert (payout.recurring, payout.scheduled_for, payout.transaction.amount) == (made, at, 5)
    made.refresh_from_db()
    assert (made.next_number, made.next_at) == (1, at + timedelta(days=1))


def test_what_fell_due_while_nobody_looked_is_made_up(wallet):
    at = make_due(plan(wallet, frequency="daily"), days=3)
    assert schedule_occurrences() == 4
    times = Payout.objects.order_by("scheduled_for").values_list("scheduled_for", flat=True)
    assert list(times) == [at + timedelta(days=day) for day in range(4)]


@pytest.mark.django_db(transaction=True)
def test_sweeps_that_overlap_make_it_once(wallet, bank):
    made = plan(wallet, frequency="weekly")
    make_due(made, days=0)
    at_once([tasks.execute_due_payouts] * 3)
    assert Payout.objects.count() == 1
    assert len(bank.payments()) == 1


def test_a_plan_ends_with_its_last_date(wallet):
    made = plan(wallet, frequency="daily")
    make_due(made, days=1)
    RecurringPayout.objects.update(last_date=datetime.now(UTC).date())
    assert schedule_occurrences() == 2
    made.refresh_from_db()
    assert (made.status, made.next_at) == ("ended", None)


def test_a_cancelled_plan_makes_nothing_more(wallet):
    made = plan(wallet, frequency="daily")
    make_due(made, days=0)
    for _ in range(2):
        assert cancel_recurring_payout(plan=made).status == "cancelled"
    assert schedule_occurrences() == 0


def test_a_frozen_wallet_skips_the_occurrence_and_says_so(wallet):
    made = plan(wallet, frequency="daily")
    make_due(made, days=0)
    wallet.freeze()
    schedule_occurrences()
    assert Payout.objects.count() == 0
    assert Event.objects.get(type="payout.skipped").data["code"] == "wallet_frozen"
    made.refresh_from_db()
    assert made.next_number == 1


@pytest.mark.parametrize(
    "change",
    [
        {"frequency": "hourly"},
        {"time_zone": "Mars/Olympus"},
        {"time_zone": "../../etc/passwd"},
        {"last_date": FIRST - timedelta(days=1)},
        {"first_date": date(2020, 1, 1)},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(wallet, change):
    with pytest.raises(RecurrenceInvalid):
        plan(wallet, **change)
    assert RecurringPayout.objects.count() == 0


def test_the_same_key_is_the_same_plan(wallet):
    first = plan(wallet, idempotency_key="rent")
    again = plan(wallet, idempotency_key="rent")
    assert (again, again.replayed) == (first, True)
    with pytest.raises(IdempotencyConflict):
        plan(wallet, idempotency_key="rent", amount=6)
    RecurringPayout.objects.update(next_at=Now())
