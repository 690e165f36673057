"""Background work of the ledger. Needs Celery; without it call the functions from any scheduler."""

from celery import shared_task

from .ledger.queries import checkpoint_system_balances as advance_checkpoints


@shared_task(name="dj_wallet.checkpoint_system_balances")
def checkpoint_system_balances() -> None:
    """Keep the derived balances of system accounts cheap to read."""
    advance_checkpoints()
