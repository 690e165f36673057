"""Celery tasks. Thin, and safe to lose, double or delay: the rows are the queue."""

import logging
import time
from typing import Final

from celery import shared_task

from . import services
from .doorbell import EXECUTE_PAYOUT
from .models import Payout

logger = logging.getLogger(__name__)

SWEEP_SIZE: Final = 200
# Below the broker's visibility timeout: a longer sweep would be delivered a second time. The next one goes on.
SWEEP_SECONDS: Final = 30


@shared_task(name=EXECUTE_PAYOUT)
def execute_payout(payout_id: int) -> None:
    """Execute one payout that was just scheduled."""
    services.execute_payout(payout_id)


@shared_task(name="dj_wallet.payouts.execute_due_payouts")
def execute_due_payouts() -> None:
    """Execute what is due and take back what dead workers left; beat calls every 10 seconds."""
    services.recover_lapsed_payouts()
    deadline = time.monotonic() + SWEEP_SECONDS
    due = Payout.objects.get_due_pending_withdrawals().values_list("pk", flat=True)
    for payout_id in due[:SWEEP_SIZE]:
        if time.monotonic() > deadline:
            break
        _execute_alone(payout_id)


def _execute_alone(payout_id: int) -> None:
    """Execute one payout of a sweep; one that breaks must not stop the others."""
    try:
        services.execute_payout(payout_id)
    except Exception:
        logger.exception("Payout %d could not be executed", payout_id)
