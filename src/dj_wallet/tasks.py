"""Background work of the ledger. Needs Celery; without it call the functions from any scheduler."""

from celery import shared_task

from .ledger.queries import checkpoint_system_balances as advance_checkpoints
from .services.holds import expire_due_holds


@shared_task(name="dj_wallet.checkpoint_system_balances")
def checkpoint_system_balances() -> None:
    """Keep the derived balances of system accounts cheap to read."""
    advance_checkpoints()


@shared_task(name="dj_wallet.expire_holds")
def expire_holds() -> None:
    """Give back what is held past its time; safe to lose, double or delay."""
    expire_due_holds()
