"""Rings for a worker. The rows are the queue: a bell that nobody hears costs seconds."""

import logging
from typing import Final

from celery import current_app
from celery.exceptions import OperationalError

logger = logging.getLogger(__name__)

RUN_NEXT_SYNC: Final = "dj_wallet.exchanges.run_next_sync"


def ring() -> None:
    """Ask a worker to run the most urgent synchronization; without a broker the next sweep will."""
    try:
        current_app.send_task(RUN_NEXT_SYNC, retry=False, ignore_result=True)
    except (OperationalError, OSError) as error:
        logger.warning("No broker to announce a synchronization to: %s", error)
