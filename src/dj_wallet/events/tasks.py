"""Celery tasks. Thin, and safe to lose, double or delay: the rows are the queue."""

import time
from typing import Final

from celery import shared_task

from . import services

# Below the broker's visibility timeout; what is left is found by the next round.
ROUND_SECONDS: Final = 20
DELIVER_EVENTS: Final = "dj_wallet.events.deliver_events"


@shared_task(name="dj_wallet.events.relay_events")
def relay_events() -> None:
    """Fan out what was committed and ring for each destination that has something due; beat calls every second."""
    while services.fan_out_events() == services.FAN_OUT_SIZE:
        pass
    for destination_id in services.list_due_destinations():
        deliver_events.delay(destination_id)


@shared_task(name=DELIVER_EVENTS)
def deliver_events(destination_id: int) -> None:
    """Send what is due for one destination, for a while."""
    deadline = time.monotonic() + ROUND_SECONDS
    while time.monotonic() < deadline and services.deliver_events(destination_id):
        pass
