"""What every venue can be asked and what it answers, in our words. No CCXT, no Django."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API key as the venue issued it. Its text never shows the secrets."""

    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)
    passphrase: str = field(default="", repr=False)

    @property
    def hint(self) -> str:
        """The end of the key, by which its owner knows it; nothing of a short one."""
        return self.api_key[-4:] if len(self.api_key) >= 12 else ""

    def __str__(self) -> str:
        return "Credentials()"


class NetworkSource(StrEnum):
    """Who says that an address belongs to its network."""

    VENUE = "venue"  # the answer named it
    REQUEST = "request"  # we asked for it by the venue's own id, and the answer names none


class AddressState(StrEnum):
    """What the venue does with deposits to an address."""

    CURRENT = "current"
    INACTIVE = "inactive"  # an earlier one that still credits, or credited until it expired


@dataclass(frozen=True, slots=True)
class NetworkOption:
    """A network on which a venue takes deposits of a currency, as the venue describes it."""

    currency: str
    network: str  # canonical, see networks.py; empty if the venue's network is not one that we know
    venue_network: str  # the venue's own id, or the name of its deposit method
    label: str
    deposits_enabled: bool = True
    tag_required: bool = False
    confirmations: int | None = None
    minimum_deposit: str | None = None
    contract: str = ""


@dataclass(frozen=True, slots=True)
class DepositAddress:
    """A deposit address whose network is certain and whose form that network allows."""

    venue: str
    currency: str
    network: str
    venue_network: str
    network_label: str
    address: str
    tag: str | None
    tag_required: bool
    network_source: NetworkSource
    state: AddressState = AddressState.CURRENT
    expires_at: datetime.datetime | None = None
    warnings: tuple[str, ...] = ()
    confirmations: int | None = None
    minimum_deposit: str | None = None
    contract: str = ""


@dataclass(frozen=True, slots=True)
class RefusedAddress:
    """An address that the venue gave and we do not hand on, and the code of the reason."""

    currency: str
    network: str
    venue_network: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Addresses:
    """The complete answer of a venue for one currency."""

    found: tuple[DepositAddress, ...]
    refused: tuple[RefusedAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a key may do, in the venue's words and in ours. None: the venue does not say."""

    can_withdraw: bool | None
    can_trade: bool | None
    can_read_addresses: bool | None = None
    is_ip_restricted: bool | None = None
    allowed_ips: tuple[str, ...] | None = None
    expires_at: datetime.datetime | None = None
    account_uid: str = ""
    named: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """The outcome of a connection test that the venue answered."""

    venue: str
    permissions: Permissions
    latency_ms: int
    clock_skew_ms: int | None = None


# How a venue tells them: in one list, currency by currency, or only with the addresses of an account.
Networks = Literal["listed", "per_currency", "in_addresses"]


class Client(Protocol):
    """A CCXT client: its implicit methods are called by name."""

    id: str
    currencies: Any
    currencies_by_id: Any

    def __getattr__(self, name: str) -> Any: ...


class Adapter(Protocol):
    """One venue over its CCXT client. Each method is one question; waiting, limits and retries are not its business.

    Methods raise VenueError for what the adapter itself finds, and let CCXT's errors through.
    """

    networks: Networks

    async def list_networks(self, client: Client, currency: str | None) -> list[NetworkOption]:
        """Return the venue's currencies and networks, without anything that belongs to the key's owner.

        Of all currencies, whatever is asked, if they are "listed"; else without a currency only the currencies.
        """
        ...

    async def fetch_addresses(
        self, client: Client, currency: str, options: Sequence[NetworkOption]
    ) -> Addresses:
        """Return every address of a currency on the given networks."""
        ...

    async def create_address(
        self, client: Client, currency: str, option: NetworkOption
    ) -> DepositAddress:
        """Make a new address, which may retire an old one. Never repeated by us."""
        ...

    async def fetch_permissions(self, client: Client) -> Permissions:
        """Return what the key may do."""
        ...
