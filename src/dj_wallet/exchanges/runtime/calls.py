"""The questions that the rest of the application asks, each one blocking call."""

import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from dj_wallet.exchanges.venues import get_venue, wire
from dj_wallet.exchanges.venues.contract import (
    Addresses,
    ConnectionReport,
    DepositAddress,
    NetworkOption,
)
from dj_wallet.exchanges.venues.errors import VenueTimeout

from .accounts import Account
from .configuration import get_fetch_seconds, get_test_seconds
from .limits import WATCH
from .loop import GRACE_SECONDS, PROCESS
from .questions import Fetched, Questions


def fetch_deposit_address(
    account: Account,
    *,
    currency: str,
    network: str | None = None,
    timeout_seconds: float | None = None,
) -> DepositAddress:
    """Return the current address of a currency on a network; without one, on the only network there is.

    :raises NetworkRequired: there are several; `choices` lists them
    :raises VenueError: any other reason
    """
    return PROCESS.get().ask(
        account,
        lambda questions: questions.fetch_address(currency, network),
        timeout_seconds or get_fetch_seconds(),
    )


def fetch_deposit_addresses(
    account: Account, *, currency: str, timeout_seconds: float | None = None
) -> Addresses:
    """Return all addresses of a currency on all networks, earlier ones included: the venue's complete answer."""
    return PROCESS.get().ask(
        account,
        lambda questions: questions.fetch_addresses(currency),
        timeout_seconds or get_fetch_seconds(),
    )


def fetch_many(
    account: Account, currencies: Sequence[str], *, budget_seconds: float
) -> Iterator[Fetched]:
    """Yield the outcome of each currency as it comes. They are begun in the order given; those for which the budget
    leaves no time are not yielded. After a refusal that all will meet, the rest is yielded with it, unasked."""
    outcomes: queue.SimpleQueue[Fetched | None] = queue.SimpleQueue()
    workers = get_venue(account.venue).parallel_requests

    async def ask(questions: Questions) -> None:
        async for outcome in questions.fetch_many(currencies, workers):
            outcomes.put(outcome)

    future = PROCESS.get().begin(account, account.load_credentials(), ask, budget_seconds)
    future.add_done_callback(lambda _: outcomes.put(None))
    try:
        while (outcome := outcomes.get(timeout=budget_seconds + GRACE_SECONDS)) is not None:
            yield outcome
        with suppress(VenueTimeout):  # the end of the budget
            future.result()
    finally:
        future.cancel()


def create_deposit_address(
    account: Account, *, currency: str, network: str, timeout_seconds: float | None = None
) -> DepositAddress:
    """Have the venue make a new address, which may retire an old one. Asked once, whatever happens.

    :raises OutcomeUnknown: it may have been made; fetch before asking again
    """
    return PROCESS.get().ask(
        account,
        lambda questions: questions.create_address(currency, network),
        timeout_seconds or get_fetch_seconds(),
    )


def check_connection(account: Account, *, timeout_seconds: float | None = None) -> ConnectionReport:
    """Ask the venue what the key may do. Nothing is cached."""
    return PROCESS.get().ask(
        account,
        lambda questions: questions.check_connection(),
        timeout_seconds or get_test_seconds(),
    )


def list_networks(
    account: Account, *, currency: str | None = None, timeout_seconds: float | None = None
) -> list[NetworkOption]:
    """Return the networks of a currency, or of all; the venue's list is kept for an hour and shared between users.

    Kraken and Coinbase tell networks only currency by currency: of all, they return the currencies alone.
    """
    return PROCESS.get().ask(
        account,
        lambda questions: questions.list_networks(currency),
        timeout_seconds or get_fetch_seconds(),
    )


def forget(account_id: str) -> None:
    """Close the clients of an account in this process: its credentials changed or went."""
    PROCESS.get().forget(account_id)


def watch(watcher: Callable[[str, str, float], None]) -> None:
    """Have every request told to a function: venue, code ("OK" or that of the error), seconds. On the loop's thread."""
    WATCH.watchers.append(watcher)


def preload() -> None:
    """Import CCXT now: in the parent of workers, which then share its memory."""
    wire.preload()


def close() -> None:
    """Close all clients and connections and stop the loop. The next call starts a new one."""
    PROCESS.close()
