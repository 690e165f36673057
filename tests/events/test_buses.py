"""EventBridge and RabbitMQ."""

import json
from typing import Any

import pytest
from kombu import Connection, Queue

from dj_wallet.events import services
from dj_wallet.events.models import Delivery, DeliveryAttempt, Destination, Event
from dj_wallet.events.sinks.eventbridge import MAX_BYTES, fit
from dj_wallet.events.sinks.rabbitmq import EXCHANGE
from tests.events.conftest import Broker, happen, make_due, relay

pytestmark = pytest.mark.django_db


def test_a_rule_of_the_bus_gets_our_events(wallet, bus):
    (event,) = happen(wallet, 7)
    relay()
    (heard,) = bus.hear()
    assert (heard["source"], heard["detail-type"]) == ("dj_wallet", "deposit.confirmed")
    detail = heard["detail"]
    assert (detail["number"], detail["event_id"], detail["sequence"]) == (7, str(event.uuid), 1)
    assert detail["subject"] == f"wallet:{wallet.uuid}"


def test_more_than_one_call_takes_go_in_order(wallet, bus):
    happen(wallet, *range(25))
    relay()
    assert sorted(heard["detail"]["sequence"] for heard in bus.hear()) == list(range(1, 26))
    assert not Delivery.objects.exclude(status="delivered").exists()


def test_an_event_too_large_for_any_call_becomes_a_dead_letter(wallet, bus):
    services.publish_event(
        event_type="test", subject=f"wallet:{wallet.uuid}", data={"text": "x" * MAX_BYTES}
    )
    happen(wallet, 2)
    relay()
    assert list(Delivery.objects.order_by("position").values_list("status", flat=True)) == [
        "dead",
        "delivered",
    ]
    assert DeliveryAttempt.objects.order_by("pk")[0].answer == "EntryTooLarge"


def test_one_call_takes_ten_events_and_no_more_than_its_bytes():
    small = {"Detail": "x"}
    assert len(fit([small] * 15)) == 10
    assert len(fit([{"Detail": "x" * (MAX_BYTES // 2)}, small, {"Detail": "é" * (MAX_BYTES // 4)}])) == 2  # fmt: skip


def test_a_missing_bus_loses_nothing(wallet, bus, settings):
    settings.EVENTBRIDGE_BUS = "elsewhere"
    happen(wallet, 1)
    relay()
    assert Delivery.objects.get().status == "pending"
    settings.EVENTBRIDGE_BUS = "wallet"
    make_due()
    relay()
    assert [heard["detail"]["number"] for heard in bus.hear()] == [1]


def test_each_entry_that_failed_is_judged_on_its_own(wallet, other_wallet, bus):
    happen(wallet, 1)
    happen(other_wallet, 2)
    Event.objects.filter(data__number=1).update(type="")
    relay()
    statuses = list(Delivery.objects.order_by("position").values_list("status", flat=True))
    assert statuses[1] == "delivered"
    assert statuses[0] != "delivered"


def test_a_bus_that_left_the_settings_hears_nothing(wallet, bus, settings):
    happen(wallet, 1)
    relay()
    settings.EVENT_SINKS = []
    happen(wallet, 2)
    relay()
    assert Delivery.objects.count() == 1
    assert Destination.objects.get().disabled_at is not None


def listen(broker: Broker, routing_key: str) -> tuple[Connection, Any]:
    connection = Connection(broker.url)
    queue = Queue("", EXCHANGE, routing_key=routing_key, exclusive=True)(connection)
    queue.declare()
    return connection, queue


def hear(queue: Any) -> list[Any]:
    heard = []
    while message := queue.get(no_ack=True):
        heard.append(message)
    return heard


def test_a_listener_gets_the_types_it_bound(wallet, broker):
    connection, queue = listen(broker, "deposit.#")
    (event,) = happen(wallet, 7)
    happen(wallet, 8, event_type="withdrawal.requested")
    relay()
    (message,) = hear(queue)
    connection.release()
    body = json.loads(message.body)
    assert (body["type"], body["data"]) == ("deposit.confirmed", {"number": 7})
    assert message.properties["message_id"] == body["id"] == str(event.uuid)
    assert message.properties["delivery_mode"] == 2


def test_messages_keep_their_order(wallet, broker):
    connection, queue = listen(broker, "#")
    happen(wallet, *range(250))
    relay()
    heard = [json.loads(message.body)["data"]["number"] for message in hear(queue)]
    connection.release()
    assert heard == list(range(250))


def test_a_broker_that_was_away_gets_everything_when_it_is_back(wallet, broker):
    broker.stop()
    happen(wallet, 1, 2)
    relay()
    assert set(Delivery.objects.values_list("status", flat=True)) == {"pending"}
    assert DeliveryAttempt.objects.get().outcome == "unreachable"
    broker.start()
    connection, queue = listen(broker, "#")
    make_due()
    relay()
    heard = [json.loads(message.body)["data"]["number"] for message in hear(queue)]
    connection.release()
    assert heard == [1, 2]
