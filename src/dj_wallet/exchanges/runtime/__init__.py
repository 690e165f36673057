"""Calls to venues from synchronous code: Django views, Celery tasks, commands.

Each function here may be called from any thread and blocks it; the work happens on one event loop thread of the process,
which starts with the first call and again in every forked child. No function here touches the database, and none may be
called inside a transaction.

    account = Account(
        id=str(row.pk), owner=str(row.user_id), venue=row.exchange_id, sandbox=row.sandbox_mode,
        credentials_version=row.credentials_version, load_credentials=lambda: open_sealed(row),
    )
    fetch_deposit_address(account, currency="USDT", network="tron")

`load_credentials` runs in the calling thread, and only if no client of this account and version is warm.
Without `timeout_seconds` the settings say how long a call may take. All raise the errors of `dj_wallet.exchanges.venues.errors`, whose texts are free of secrets.
"""

from .accounts import Account
from .calls import (
    check_connection,
    close,
    create_deposit_address,
    fetch_deposit_address,
    fetch_deposit_addresses,
    fetch_many,
    forget,
    list_networks,
    preload,
    watch,
)
from .questions import Fetched

__all__ = [
    "Account",
    "Fetched",
    "check_connection",
    "close",
    "create_deposit_address",
    "fetch_deposit_address",
    "fetch_deposit_addresses",
    "fetch_many",
    "forget",
    "list_networks",
    "preload",
    "watch",
]
