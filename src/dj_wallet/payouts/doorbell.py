"""Rings for a worker. The rows are the queue: a bell that nobody hears costs seconds, not money."""

import logging
from typing import Final

from celery import current_app
from celery.exceptions import OperationalError

logger = logging.getLogger(__name__)

EXECUTE_PAYOUT: Final = "dj_wallet.payouts.execute_payout"


def ring(payout_id: int) -> None:
    """Ask a worker to execute the payout now; without a broker the next sweep will."""
    try:
        current_app.send_task(EXECUTE_PAYOUT, args=[payout_id], retry=False, ignore_result=True)
    except (OperationalError, OSError) as error:
        logger.warning("No broker to announce payout %d to: %s", payout_id, error)
