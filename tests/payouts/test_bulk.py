"""Scheduling many payouts at once: what one call does for one payout, each on its own."""

from datetime import UTC, datetime

import pytest
from django.db import transaction

from dj_wallet.events.models import Event
from dj_wallet.exceptions import IdempotencyConflict
from dj_wallet.identity.models import User
from dj_wallet.models import Transaction
from dj_wallet.payouts.models import Payout
from dj_wallet.payouts.services import PayoutRequest, schedule_payout, schedule_payouts

pytestmark = pytest.mark.django_db

LATER = datetime(2100, 1, 1, tzinfo=UTC)


def test_each_request_gets_its_record_in_order(wallet, snapshot):
    accounts, postings, *_ = snapshot()
    requests = [PayoutRequest(wallet, amount, LATER, f"k-{amount}") for amount in (3, 1, 2)]
    records = schedule_payouts(requests)
    assert [record.amount for record in records] == [3, 1, 2]
    assert [record.payout.due_at for record in records] == [LATER] * 3
    assert {record.status for record in records} == {"pending"}
    assert snapshot()[:2] == (accounts, postings)
    assert Event.objects.filter(type="payout.requested").count() == 3


def test_one_refusal_stops_nobody(wallet, db):
    frozen = User.objects.create(username="bob").get_wallet()
    frozen.freeze()
    outcomes = schedule_payouts(
        [
            PayoutRequest(wallet, "0.001"),
            PayoutRequest(wallet, 1),
            PayoutRequest(frozen, 1),
            PayoutRequest(wallet, 1, datetime(2100, 1, 1)),  # noqa: DTZ001
            PayoutRequest(wallet, 1, bank="nobody"),
        ]
    )
    assert [getattr(one, "code", "made") for one in outcomes] == [
        "amount_invalid",
        "made",
        "wallet_frozen",
        "movement_invalid",
        "bank_not_found",
    ]
    assert Payout.objects.count() == 1


def test_keys_are_those_of_single_calls(wallet):
    first = schedule_payout(wallet=wallet, amount=5, scheduled_for=LATER, idempotency_key="k")
    wallet.withdraw(5, idempotency_key="moved")
    again, other, moved, new, twice, differs = schedule_payouts(
        [
            PayoutRequest(wallet, 5, LATER, "k"),
            PayoutRequest(wallet, 6, LATER, "k"),
            PayoutRequest(wallet, 5, LATER, "moved"),
            PayoutRequest(wallet, 5, LATER, "n"),
            PayoutRequest(wallet, 5, LATER, "n"),
            PayoutRequest(wallet, 5, None, "n"),
        ]
    )
    assert (again, again.replayed) == (first, True)
    assert all(isinstance(one, IdempotencyConflict) for one in (other, moved, differs))
    assert new is twice
    assert Payout.objects.count() == 2
    replay = schedule_payout(wallet=wallet, amount=5, scheduled_for=LATER, idempotency_key="n")
    assert (replay, replay.replayed) == (new, True)


def test_a_request_that_says_something_else_under_a_key_of_the_same_call_is_a_conflict(wallet):
    outcomes = schedule_payouts(
        [PayoutRequest(wallet, 5, LATER, "n"), PayoutRequest(wallet, 6, LATER, "n")]
    )
    assert isinstance(outcomes[1], IdempotencyConflict)
    assert Payout.objects.count() == 1


def test_the_statements_do_not_grow_with_the_requests(wallet, django_assert_num_queries):
    for size in (2, 40):
        requests = [PayoutRequest(wallet, 1, LATER, f"{size}-{one}") for one in range(size)]
        with django_assert_num_queries(10):
            schedule_payouts(requests)
    assert Payout.objects.count() == 42


@pytest.mark.django_db(transaction=True)
def test_a_rollback_of_the_caller_takes_them_back(wallet):
    with transaction.atomic():
        schedule_payouts([PayoutRequest(wallet, 1)] * 2)
        transaction.set_rollback(True)
    assert (Payout.objects.count(), Transaction.objects.count()) == (0, 1)
