"""Rings for a worker. The rows are the queue: a bell that nobody hears costs seconds, not money."""

import logging
from typing import Final

from celery import current_app
from celery.exceptions import OperationalError

logger = logging.getLogger(__name__)

EXECUTE_PAYOUT: Final = "dj_wallet.payouts.execute_payout"
EXECUTE_DUE_PAYOUTS: Final = "dj_wallet.payouts.execute_due_payouts"


def ring(payout_id: int) -> None:
    """Ask a worker to execute the payout now; without a broker the next sweep will."""
    _send(EXECUTE_PAYOUT, [payout_id])


def ring_for_sweep() -> None:
    """Ask a worker to look for what is due now."""
    _send(EXECUTE_DUE_PAYOUTS, [])


def _send(task: str, arguments: list[int]) -> None:
    try:
        current_app.send_task(task, args=arguments, retry=False, ignore_result=True)
    except (OperationalError, OSError) as error:
        logger.warning("No broker to ring for %s: %s", task, error)
