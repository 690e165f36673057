"""The questions that the rest of the application asks, each one blocking call."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from dj_wallet.exchanges.venues.contract import (
    Addresses,
    ConnectionReport,
    Credentials,
    DepositAddress,
    NetworkOption,
)
from dj_wallet.exchanges.venues.errors import VenueError

INTERACTIVE_SECONDS: Final = 2.0
CONNECTION_TEST_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Account:
    """Whose key is used. A client is shared by calls whose account is equal in all fields, and by no others."""

    id: str
    owner: str
    venue: str
    credentials_version: int
    load_credentials: Callable[[], Credentials] = field(repr=False, compare=False)
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """The outcome for one currency of many: its addresses, or why there are none."""

    currency: str
    addresses: Addresses | None = None
    error: VenueError | None = None


def fetch_deposit_address(
    account: Account,
    *,
    currency: str,
    network: str | None = None,
    timeout_seconds: float = INTERACTIVE_SECONDS,
) -> DepositAddress:
    """Return the current address of a currency on a network; without one, on the only network there is.

    :raises NetworkRequired: there are several; `choices` lists them
    :raises VenueError: any other reason
    """
    raise NotImplementedError


def fetch_deposit_addresses(
    account: Account, *, currency: str, timeout_seconds: float = INTERACTIVE_SECONDS
) -> Addresses:
    """Return all addresses of a currency on all networks, earlier ones included. What it leaves out is gone there."""
    raise NotImplementedError


def fetch_many(
    account: Account, currencies: Sequence[str], *, budget_seconds: float
) -> Iterator[Fetched]:
    """Yield the outcome of each currency as it comes, in any order; those the budget leaves out are not yielded."""
    raise NotImplementedError


def create_deposit_address(
    account: Account, *, currency: str, network: str, timeout_seconds: float = INTERACTIVE_SECONDS
) -> DepositAddress:
    """Have the venue make a new address. Asked once, whatever happens.

    :raises OutcomeUnknown: it may have been made; fetch before asking again
    """
    raise NotImplementedError


def check_connection(
    account: Account, *, timeout_seconds: float = CONNECTION_TEST_SECONDS
) -> ConnectionReport:
    """Ask the venue what the key may do. Nothing is cached."""
    raise NotImplementedError


def list_networks(
    account: Account, *, currency: str | None = None, timeout_seconds: float = INTERACTIVE_SECONDS
) -> list[NetworkOption]:
    """Return the networks of a currency, or of all; the venue's list is kept for a while and shared between users."""
    raise NotImplementedError


def forget(account_id: str) -> None:
    """Close the clients of an account in this process: its credentials changed or went."""
    raise NotImplementedError


def close() -> None:
    """Close all clients and connections and stop the loop. The next call starts a new one."""
    raise NotImplementedError
