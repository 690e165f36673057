"""Demo accounts at the sandbox's exchanges, connected with its demo keys as a user would."""

import logging
import time
from typing import Any, Final

import httpx

from dj_wallet.exchanges.errors import VenueError
from dj_wallet.exchanges.models import ExchangeAccount
from dj_wallet.exchanges.services.accounts import connect_account
from dj_wallet.exchanges.services.syncs import request_sync
from dj_wallet.exchanges.venues.contract import Credentials
from dj_wallet.identity.models import User

logger = logging.getLogger(__name__)

NAME: Final = "demo"
VENUES: Final = ("binance", "kraken")
CURRENCIES: Final = ("BTC", "ETH", "USDT", "XRP")
PATIENCE_SECONDS: Final = 20


def connect_exchanges(user: User, panel: str) -> None:
    """Connect the user's demo accounts that are not connected yet; without the sandbox the demo goes without."""
    connected = ExchangeAccount.objects.present().filter(user=user, account_name=NAME)
    missing = set(VENUES) - set(connected.values_list("exchange_id", flat=True))
    if not missing:
        return
    try:
        keys = _read_keys(panel, user.username)
        for venue in sorted(missing):
            account = connect_account(
                user=user,
                exchange_id=venue,
                account_name=NAME,
                credentials=keys[venue],
                sandbox_mode=True,
                metadata={"currencies": list(CURRENCIES)},
            )
            request_sync(account, currencies=CURRENCIES)
    except (VenueError, httpx.HTTPError) as error:
        logger.warning("There are no demo exchange accounts: %s", error)


def _read_keys(panel: str, person: str) -> dict[str, Credentials]:
    """Return the person's demo key of each exchange, once the sandbox answers."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            state: dict[str, Any] = httpx.get(f"{panel}/control/state", trust_env=False).json()
            break
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    return {
        key["venue"]: Credentials(key["key"], key["secret"], key["passphrase"])
        for key in state["keys"]
        if key["key"].endswith((f"-{person}", f"/{person}"))
    }
