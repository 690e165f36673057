"""Background work of the ledger. Needs Celery; without it call the functions from any scheduler."""

from typing import Final

from celery import shared_task

from .ledger.queries import checkpoint_system_balances as advance_checkpoints
from .services.holds import expire_due_holds
from .services.lots import expire_lots as expire_due_lots

# Below the broker's visibility timeout: a longer sweep would be delivered a second time. The next one goes on.
SWEEP_SECONDS: Final = 30


@shared_task(name="dj_wallet.checkpoint_system_balances")
def checkpoint_system_balances() -> None:
    """Keep the derived balances of system accounts cheap to read."""
    advance_checkpoints()


@shared_task(name="dj_wallet.expire_holds")
def expire_holds() -> None:
    """Give back what is held past its time; safe to lose, double or delay."""
    expire_due_holds()


@shared_task(name="dj_wallet.expire_lots")
def expire_lots() -> None:
    """Take back what is left of lots that have expired; safe to lose, double or delay."""
    expire_due_lots(seconds=SWEEP_SECONDS)
