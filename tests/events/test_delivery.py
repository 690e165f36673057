"""At least once, in the order of each subject, and what failures do to both."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from dj_wallet.events import services
from dj_wallet.events.errors import DeliveryInFlight
from dj_wallet.events.models import Delivery, DeliveryAttempt, Destination
from tests.events.conftest import Receiver, happen, make_due, relay

pytestmark = pytest.mark.django_db

LONG_AGO = timedelta(days=5, minutes=1)


def test_events_of_a_subject_arrive_in_order(wallet, webhook, receiver):
    happen(wallet, *range(50))
    relay()
    assert receiver.numbers == list(range(50))


def test_an_event_waits_for_the_one_before_it(wallet, other_wallet, receiver):
    services.create_webhook(user=None, url=receiver.url)
    receiver.answer = lambda _, message: 500 if message["data"]["number"] == 1 else 200
    happen(wallet, 1, 2)
    happen(other_wallet, 3)
    relay()
    relay()
    assert receiver.numbers == [3]
    receiver.answer = None
    make_due()
    relay()
    assert receiver.numbers == [3, 1, 2]


@pytest.mark.django_db(transaction=True)
def test_workers_at_once_keep_the_order_and_send_each_once(wallet, other_wallet, receiver):
    webhook, _ = services.create_webhook(user=None, url=receiver.url)
    for number in range(30):
        happen(wallet, number)
        happen(other_wallet, 100 + number)
    services.fan_out_events()

    def work() -> None:
        try:
            while Delivery.objects.filter(status="pending").exists():
                services.deliver_events(webhook.pk)
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [n for n in receiver.numbers if n < 100] == list(range(30))
    assert [n for n in receiver.numbers if n >= 100] == list(range(100, 130))


def test_a_refused_event_is_tried_again_on_the_schedule_and_then_given_up(
    wallet, webhook, receiver
):
    receiver.answer = lambda *_: 400
    happen(wallet, 1)
    for wait in services.RETRY_AFTER:
        before = timezone.now()
        relay()
        delivery = Delivery.objects.get()
        assert delivery.status == Delivery.Status.PENDING
        assert before + wait <= delivery.next_attempt_at <= timezone.now() + wait
        make_due()
    relay()
    assert Delivery.objects.get().status == Delivery.Status.DEAD
    assert DeliveryAttempt.objects.count() == len(services.RETRY_AFTER) + 1


def test_what_was_given_up_holds_nothing_back(wallet, webhook, receiver):
    happen(wallet, 1, 2)
    services.fan_out_events()
    Delivery.objects.filter(position=1).update(status=Delivery.Status.DEAD)
    relay()
    assert receiver.numbers == [2]


def test_an_unreachable_destination_is_left_alone_longer_each_time(wallet, webhook, receiver):
    receiver.answer = lambda *_: 503
    happen(wallet, 1)
    for failures, pause in enumerate(services.PAUSES, 1):
        before = timezone.now()
        relay()
        webhook.refresh_from_db()
        assert webhook.failures == failures
        assert before + pause <= webhook.retry_at <= timezone.now() + pause
        assert services.deliver_events(webhook.pk) == 0
        make_due()


def test_being_unreachable_is_not_counted_against_events(wallet, webhook, receiver):
    receiver.answer = lambda *_: 503
    happen(wallet, 1, 2)
    for _ in range(len(services.RETRY_AFTER) + 5):
        relay()
        make_due()
    receiver.answer = None
    relay()
    assert receiver.numbers == [1, 2]
    webhook.refresh_from_db()
    assert (webhook.failures, webhook.failing_since) == (0, None)


def test_a_webhook_is_disabled_after_five_days_of_failures(wallet, webhook, receiver):
    receiver.answer = lambda *_: 503
    happen(wallet, 1)
    relay()
    Destination.objects.update(failing_since=timezone.now() - LONG_AGO)
    make_due()
    relay()
    webhook.refresh_from_db()
    assert webhook.disabled_at is not None
    assert "five days" in webhook.disabled_reason


def test_a_disabled_webhook_hears_what_it_missed_when_it_asks(wallet, webhook, receiver):
    services.change_webhook(webhook, is_enabled=False)
    happen(wallet, 1, 2, 3)
    relay()
    assert receiver.received == []
    services.change_webhook(webhook, is_enabled=True)
    assert services.replay_events(webhook, after=1) == 2
    relay()
    assert receiver.numbers == [2, 3]


def test_a_replay_sends_the_same_ids_again(wallet, webhook, receiver: Receiver):
    happen(wallet, 1, 2)
    relay()
    assert services.replay_events(webhook, after=0) == 2
    relay()
    ids = [headers["webhook-id"] for headers, _ in receiver.received]
    assert ids[:2] == ids[2:]
    assert len(set(ids)) == 2


def test_a_replay_of_dead_letters_leaves_the_delivered_alone(wallet, webhook, receiver):
    happen(wallet, 1, 2)
    relay()
    Delivery.objects.filter(position=2).update(status=Delivery.Status.DEAD)
    assert services.replay_events(webhook, after=0, dead_only=True) == 1
    relay()
    assert receiver.numbers == [1, 2, 2]


def test_a_replay_of_one_that_is_waiting_is_refused(wallet, webhook):
    happen(wallet, 1)
    services.fan_out_events()
    delivery = Delivery.objects.get()
    with pytest.raises(DeliveryInFlight):
        services.replay_delivery(delivery)


def test_what_a_dead_worker_had_claimed_is_sent_when_its_lease_is_over(wallet, webhook, receiver):
    happen(wallet, 1, 2)
    services.fan_out_events()
    claimed = services._claim(webhook.pk)
    assert claimed is not None
    assert services.deliver_events(webhook.pk) == 0
    make_due()
    relay()
    assert receiver.numbers == [1, 2]


def test_a_worker_that_lost_its_lease_can_no_longer_write(wallet, webhook, receiver):
    happen(wallet, 1)
    services.fan_out_events()
    late = services._claim(webhook.pk)
    make_due()
    relay()
    assert late is not None
    destination, deliveries, token = late
    refusal = services.Result(services.Outcome.REJECTED, "late")
    services._record(destination, deliveries, [refusal], token)
    assert Delivery.objects.get().status == Delivery.Status.DELIVERED


def test_a_claim_costs_the_same_for_one_event_and_for_many(
    wallet, webhook, receiver, django_assert_num_queries
):
    happen(wallet, *range(20))
    services.fan_out_events()
    with django_assert_num_queries(10):
        services.deliver_events(webhook.pk)
    assert receiver.numbers == list(range(20))
