"""RabbitMQ: a durable topic exchange, the routing key is the event's type, every message confirmed by the broker."""

from collections.abc import Sequence
from typing import Final

from django.conf import settings
from kombu import Connection, Exchange, Producer
from kombu.exceptions import OperationalError

from dj_wallet.events.models import Delivery, Destination

from . import Outcome, Result, build_message, to_json

EXCHANGE: Final = Exchange("wallet.events", type="topic", durable=True)
TIMEOUT_SECONDS: Final = 10
BATCH_SIZE: Final = 100
PERSISTENT: Final = 2


class RabbitMQ:
    """Publishes to the exchange `wallet.events`. Nobody has to listen: queues are the listeners' own."""

    batch_size = BATCH_SIZE

    def send(self, destination: Destination, deliveries: Sequence[Delivery]) -> list[Result]:
        """Publish the events in order, each confirmed before the next, over one connection."""
        results: list[Result] = []
        try:
            with _connect() as connection, connection.channel() as channel:
                producer = Producer(channel, EXCHANGE)
                EXCHANGE(channel).declare()
                for delivery in deliveries:
                    _publish(producer, delivery)
                    results.append(Result(Outcome.DELIVERED))
        except _list_errors() as error:
            results.append(Result(Outcome.UNREACHABLE, f"{type(error).__name__}: {error}"))
        # The connection may fail while it is closed, after the last was confirmed.
        return results[: len(deliveries)]


def _connect() -> Connection:
    return Connection(
        settings.EVENTS_AMQP_URL,
        connect_timeout=TIMEOUT_SECONDS,
        transport_options={"confirm_publish": True, "max_retries": 1},
    )


def _list_errors() -> tuple[type[BaseException], ...]:
    """Return what is raised when the broker goes away or refuses."""
    connection = Connection(settings.EVENTS_AMQP_URL)
    own = (*connection.connection_errors, *connection.channel_errors)
    return (OperationalError, OSError, *own)


def _publish(producer: Producer, delivery: Delivery) -> None:
    message = build_message(delivery.event)
    producer.publish(
        to_json(message),
        routing_key=message["type"],
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=PERSISTENT,
        message_id=message["id"],
        type=message["type"],
        timeout=TIMEOUT_SECONDS,
    )
