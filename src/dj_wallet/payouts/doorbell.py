"""Rings for a worker. The rows are the queue: a bell that nobody hears costs seconds, not money."""

import logging
import time
from typing import Final

from celery import current_app
from celery.exceptions import OperationalError

logger = logging.getLogger(__name__)

EXECUTE_PAYOUT: Final = "dj_wallet.payouts.execute_payout"
EXECUTE_DUE_PAYOUTS: Final = "dj_wallet.payouts.execute_due_payouts"
# So long a broker that was away is not rung at again: about as long as the sweep takes to find what is due.
QUIET_SECONDS: Final = 10

# When this process may ring at a broker again that was away, by its address.
_quiet_until: dict[str, float] = {}


def ring(payout_id: int) -> None:
    """Ask a worker to execute the payout now; without a broker the next sweep will."""
    _send(EXECUTE_PAYOUT, [payout_id])


def ring_for_sweep() -> None:
    """Ask a worker to look for what is due now."""
    _send(EXECUTE_DUE_PAYOUTS, [])


def _send(task: str, arguments: list[int]) -> None:
    """Ring once; whoever finds the broker away spares those after it the wait."""
    broker = str(current_app.conf.broker_write_url)
    if time.monotonic() < _quiet_until.get(broker, 0):
        return
    try:
        current_app.send_task(task, args=arguments, retry=False, ignore_result=True)
    except (OperationalError, OSError) as error:
        _quiet_until[broker] = time.monotonic() + QUIET_SECONDS
        logger.warning("No broker to ring for %s, none is rung at for a while: %s", task, error)
