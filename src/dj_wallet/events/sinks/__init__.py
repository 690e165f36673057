"""Where events go. A sink takes a batch in order and says what came of each."""

import json
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from typing import Any, Final, NamedTuple, Protocol

from dj_wallet.events.models import Delivery, Destination, Event

# A batch that takes longer is cut off: the claim on it does not last for ever.
SEND_SECONDS: Final = 45


class Outcome(StrEnum):
    """What is known of one attempt."""

    DELIVERED = "delivered"
    # This one failed; the next ones may do better.
    RETRY = "retry"
    # Nothing gets through: there is no point in trying the next.
    UNREACHABLE = "unreachable"
    # It can never be delivered as it is.
    REJECTED = "rejected"
    # The receiver wants no more events.
    GONE = "gone"


class Result(NamedTuple):
    """What came of one attempt, with what the receiver said."""

    outcome: Outcome
    answer: str = ""
    duration_ms: int | None = None


class Sink(Protocol):
    """One kind of destination."""

    # How many events one call takes.
    batch_size: int

    def send(self, destination: Destination, deliveries: Sequence[Delivery]) -> list[Result]:
        """Send the events in order; return what came of the first ones, at least of one.

        A shorter list than the batch means that the rest was not tried. Never raises for what the network does.
        """
        ...


def build_message(event: Event) -> dict[str, Any]:
    """Return the event as receivers see it."""
    return {
        "id": str(event.uuid),
        "type": event.type,
        "timestamp": event.created_at.isoformat().replace("+00:00", "Z"),
        "subject": event.subject,
        "position": event.position,
        "data": event.data,
    }


def to_json(value: Any) -> str:
    """Return the value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@cache
def get_sink(kind: str) -> Sink:
    """Return the sink of this kind. What it needs is imported when it is first used."""
    if kind == Destination.Kind.EVENTBRIDGE:
        from .eventbridge import EventBridge

        return EventBridge()
    if kind == Destination.Kind.RABBITMQ:
        from .rabbitmq import RabbitMQ

        return RabbitMQ()
    from .webhook import Webhook

    return Webhook()
