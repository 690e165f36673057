"""Writes to the outbox."""

from collections.abc import Mapping
from typing import Any

from .models import Event


def publish_event(*, event_type: str, subject: str, data: Mapping[str, Any]) -> Event:
    """Record the event in the caller's transaction: it leaves if that commits, and only then.

    :param event_type: what happened, such as `deposit.confirmed`
    :param subject: what it happened to, such as `wallet:<uuid>`; events of one subject keep their order
    :param data: JSON values; amounts are strings
    """
    return Event.objects.create(type=event_type, subject=subject, data=dict(data))
