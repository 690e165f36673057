"""Celery tasks. Thin, and safe to lose, double or delay: the rows are the queue."""

import time
from typing import Final

from celery import shared_task

from . import doorbell, services
from .bank import list_banks
from .conf import get_setting

# Below the broker's visibility timeout: a longer sweep would be delivered a second time. The next one goes on.
SWEEP_SECONDS: Final = 30
HANDED_OVER_AT_ONCE: Final = 100


@shared_task(name=doorbell.EXECUTE_PAYOUT)
def execute_payout(payout_id: int) -> None:
    """Execute one payout that was just scheduled."""
    services.execute_payout(payout_id)


@shared_task(name=doorbell.EXECUTE_DUE_PAYOUTS)
def execute_due_payouts() -> None:
    """Make the payouts of plans that fell due, and execute what is due; beat calls every 10 seconds."""
    services.schedule_occurrences()
    services.hand_over_payouts_without_bank(HANDED_OVER_AT_ONCE)
    deadline = time.monotonic() + SWEEP_SECONDS
    has_rung = False
    for bank in list_banks():
        while time.monotonic() < deadline:
            size = get_setting("BATCH_SIZE")
            if services.execute_due_payouts_of(bank, size) < size:
                break
            if not has_rung:
                # There may be more than one worker can do: each one that joins rings for the next.
                doorbell.ring_for_sweep()
                has_rung = True
