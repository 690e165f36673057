"""Celery tasks. Thin, and safe to lose, double or delay: the rows are the queue."""

import logging
import time
from datetime import timedelta
from typing import Final

from celery import shared_task

from . import queries
from .doorbell import RUN_NEXT_SYNC
from .errors import VenueError
from .services import accounts, addresses, syncs

logger = logging.getLogger(__name__)

# Below the broker's visibility timeout: what is left waits for the next ring.
SWEEP_SECONDS: Final = 25
CHECK_EVERY: Final = timedelta(days=1)
CHECKS_AT_ONCE: Final = 50
ADDRESSES_AT_ONCE: Final = 1000


@shared_task(name=RUN_NEXT_SYNC)
def run_next_sync() -> None:
    """Run the most urgent synchronization that waits."""
    syncs.run_next_sync()


@shared_task(name="dj_wallet.exchanges.run_queued_syncs")
def run_queued_syncs() -> None:
    """Take back what dead workers left, queue what is due, and run what waits; beat calls every 10 seconds."""
    syncs.recover_lapsed_syncs()
    deadline = time.monotonic() + SWEEP_SECONDS
    for account in queries.list_due_accounts():
        syncs.request_sync(account, kind=queries.choose_kind(account), priority=syncs.BACKGROUND)
    while time.monotonic() < deadline and syncs.run_next_sync() is not None:
        pass


@shared_task(name="dj_wallet.exchanges.check_credentials")
def check_credentials() -> None:
    """Ask for the permissions of keys that were not looked at for a day, some at a time; beat calls every minute."""
    deadline = time.monotonic() + SWEEP_SECONDS
    for account in queries.list_unchecked_accounts(CHECK_EVERY)[:CHECKS_AT_ONCE]:
        if time.monotonic() > deadline:
            break
        try:
            accounts.check_account(account)
        except VenueError as error:
            logger.info("Exchange account %s: %s", account.pk, error.code)


@shared_task(name="dj_wallet.exchanges.check_seals")
def check_seals() -> None:
    """Look for stored addresses that were changed behind our back; beat calls every hour."""
    for address in queries.list_addresses_to_check().iterator(chunk_size=ADDRESSES_AT_ONCE):
        try:
            addresses.require_intact(address)
        except VenueError as error:
            logger.error("Deposit address %s: %s", address.pk, error.code)
