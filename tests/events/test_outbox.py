"""From the transaction in which something happens to its position."""

import threading
from contextlib import suppress

import pytest
from django.db import connection, transaction

from dj_wallet.events import services
from dj_wallet.events.models import Delivery, Destination, Event
from dj_wallet.models import Wallet
from tests.events.conftest import Receiver, happen, relay

pytestmark = pytest.mark.django_db


class Undone(Exception):
    """Rolls back."""


def test_an_event_of_a_rolled_back_transaction_never_happened(wallet, webhook, receiver):
    with suppress(Undone), transaction.atomic():
        happen(wallet, 1)
        raise Undone
    relay()
    assert receiver.received == []
    assert not Event.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_event_is_not_told_before_its_transaction_commits(wallet, webhook, receiver):
    with transaction.atomic():
        happen(wallet, 1)
        other = threading.Thread(target=relay_elsewhere)
        other.start()
        other.join()
        assert receiver.received == []
    relay()
    assert receiver.numbers == [1]


def relay_elsewhere() -> None:
    try:
        relay()
    finally:
        connection.close()


def test_positions_count_up_without_gaps(wallet, other_wallet):
    with suppress(Undone), transaction.atomic():
        happen(wallet, 1)
        raise Undone
    happen(wallet, 2)
    happen(other_wallet, 3)
    services.fan_out_events()
    happen(wallet, 4)
    services.fan_out_events()
    positions = Event.objects.order_by("id").values_list("data__number", "position")
    assert list(positions) == [(2, 1), (3, 2), (4, 3)]


@pytest.mark.django_db(transaction=True)
def test_an_event_committed_late_comes_after_what_was_told_before(wallet, other_wallet):
    begun, told = threading.Event(), threading.Event()

    def commit_late() -> None:
        try:
            with transaction.atomic():
                happen(wallet, 1)
                begun.set()
                told.wait(120)
        finally:
            connection.close()

    late = threading.Thread(target=commit_late)
    late.start()
    begun.wait(120)
    happen(other_wallet, 2)
    services.fan_out_events()
    told.set()
    late.join()
    services.fan_out_events()
    positions = Event.objects.order_by("position").values_list("data__number", flat=True)
    assert list(positions) == [2, 1]


@pytest.mark.django_db(transaction=True)
def test_many_that_fan_out_at_once_make_one_delivery_each(wallet, webhook):
    happen(wallet, *range(40))
    threads = [threading.Thread(target=fan_out_elsewhere) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    services.fan_out_events()
    assert Delivery.objects.count() == 40
    positions = sorted(Event.objects.values_list("position", flat=True))
    assert positions == list(range(1, 41))


def fan_out_elsewhere() -> None:
    try:
        services.fan_out_events()
    finally:
        connection.close()


def test_an_event_belongs_to_the_holder_of_its_wallet(wallet, user):
    happen(wallet, 1)
    services.fan_out_events()
    assert Event.objects.get().user_id == user.pk


@pytest.mark.parametrize(
    "subject", ["payout:1", "wallet:", "wallet:nonsense", f"wallet:{'0' * 32}"]
)
def test_an_event_about_no_wallet_belongs_to_nobody(db, subject):
    services.publish_event(event_type="test", subject=subject, data={})
    services.fan_out_events()
    assert Event.objects.get().user_id is None


def test_a_user_hears_nothing_of_others(wallet, other_wallet, webhook, receiver: Receiver):
    happen(other_wallet, 1)
    services.publish_event(event_type="test", subject="nobody", data={"number": 2})
    happen(wallet, 3)
    relay()
    assert receiver.numbers == [3]


def test_the_operator_hears_all(wallet, other_wallet, receiver: Receiver):
    services.create_webhook(user=None, url=receiver.url)
    happen(other_wallet, 1)
    happen(wallet, 2)
    relay()
    assert receiver.numbers == [1, 2]


@pytest.mark.parametrize(
    ("asked", "heard"),
    [
        ([], [1, 2, 3]),
        (["deposit.confirmed"], [1]),
        (["deposit.*"], [1, 2]),
        (["withdrawal.requested", "deposit.detected"], [2, 3]),
        (["deposit"], []),
    ],
)
def test_a_destination_hears_the_types_it_asked_for(wallet, user, receiver, asked, heard):
    services.create_webhook(user=user, url=receiver.url, event_types=asked)
    happen(wallet, 1, event_type="deposit.confirmed")
    happen(wallet, 2, event_type="deposit.detected")
    happen(wallet, 3, event_type="withdrawal.requested")
    relay()
    assert receiver.numbers == heard


def test_fanning_out_costs_the_same_for_one_event_and_for_many(
    wallet: Wallet, webhook: Destination, django_assert_max_num_queries
):
    happen(wallet, *range(100))
    with django_assert_max_num_queries(14):
        services.fan_out_events()
    assert Delivery.objects.count() == 100
