"""AWS EventBridge: up to ten events a call, each with an answer of its own.

https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings

from dj_wallet.events.models import Delivery, Destination

from . import Outcome, Result, build_message, to_json

MAX_ENTRIES: Final = 10
MAX_BYTES: Final = 256 * 1024
SOURCE: Final = "dj_wallet"
TIMEOUT_SECONDS: Final = 10
# Entries refused for what they are. All else (throttling, internal failures) may pass later.
NEVER: Final = frozenset({"MalformedDetail", "InvalidArgument"})


class EventBridge:
    """Puts events on the bus that the settings name. Credentials come as boto3 finds them."""

    batch_size = MAX_ENTRIES

    @cached_property
    def _client(self) -> Any:
        return boto3.client(
            "events",
            region_name=settings.EVENTBRIDGE_REGION,
            endpoint_url=settings.EVENTBRIDGE_URL or None,
            config=Config(
                connect_timeout=TIMEOUT_SECONDS,
                read_timeout=TIMEOUT_SECONDS,
                retries={"total_max_attempts": 1},
            ),
        )

    def send(self, destination: Destination, deliveries: Sequence[Delivery]) -> list[Result]:
        """Put the events on the bus; those that did not fit into the call are not tried."""
        entries = fit([_build_entry(delivery) for delivery in deliveries])
        if not entries:
            return [Result(Outcome.REJECTED, "EntryTooLarge")]
        try:
            answer = self._client.put_events(Entries=entries)
        except (BotoCoreError, ClientError) as error:
            return [Result(Outcome.UNREACHABLE, str(error))]
        return [_read(entry) for entry in answer["Entries"]]


def fit(entries: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return as many of the first entries as one call takes."""
    taken, size = [], 0
    for entry in entries[:MAX_ENTRIES]:
        size += sum(len(value.encode()) for value in entry.values())
        if size > MAX_BYTES:
            break
        taken.append(entry)
    return taken


def _build_entry(delivery: Delivery) -> dict[str, str]:
    message = build_message(delivery.event)
    detail = {**delivery.event.data, "event_id": message["id"], "sequence": message["position"]}
    return {
        "EventBusName": settings.EVENTBRIDGE_BUS,
        "Source": SOURCE,
        "DetailType": message["type"],
        "Detail": to_json({**detail, "subject": message["subject"], "time": message["timestamp"]}),
    }


def _read(entry: dict[str, str]) -> Result:
    code = entry.get("ErrorCode")
    if not code:
        return Result(Outcome.DELIVERED, entry.get("EventId", ""))
    answer = f"{code}: {entry.get('ErrorMessage', '')}"
    return Result(Outcome.REJECTED if code in NEVER else Outcome.RETRY, answer)
