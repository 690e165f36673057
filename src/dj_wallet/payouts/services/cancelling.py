"""Calling a payout off, as long as the bank knows nothing of it."""

from django.db import transaction

from dj_wallet.payouts.errors import PayoutInFlight
from dj_wallet.payouts.models import Payout

from . import outcomes
from .outcomes import Status


def cancel_payout(*, payout: Payout, actor: str = "") -> Payout:
    """Cancel a payout that waits, and give back what it holds; return it fresh.

    The row lock decides a race with a worker: whoever comes second finds it taken. Idempotent.

    :raises PayoutInFlight: it has ended, or the bank may know of it
    """
    with transaction.atomic():
        locked = outcomes.lock_payout(payout.pk)
        if locked.status == Status.CANCELLED:
            return locked
        is_waiting = locked.status in {Status.PENDING, Status.RETRYING}
        if not is_waiting or locked.sent_at is not None:
            raise PayoutInFlight(
                f"Payout {locked.uuid} is {locked.status}: it cannot be cancelled."
            )
        outcomes.cancel(locked, actor)
        return locked
