"""What is asked of a venue, on the loop: with deadline, retries and the right clock."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import Any, Final, TypeVar

from dj_wallet.exchanges.venues import Venue, load_adapter
from dj_wallet.exchanges.venues.contract import (
    Addresses,
    AddressState,
    ConnectionReport,
    DepositAddress,
    NetworkOption,
)
from dj_wallet.exchanges.venues.errors import (
    AccountSuspended,
    AddressInvalid,
    AddressNotAvailable,
    AddressPending,
    ClockSkew,
    CredentialsIncomplete,
    CurrencyNotSupported,
    DepositsDisabled,
    InvalidCredentials,
    IPNotAllowed,
    NetworkMismatch,
    NetworkNotSupported,
    NetworkRequired,
    OutcomeUnknown,
    PermissionMissing,
    RateLimited,
    RestrictedLocation,
    TagInvalid,
    TagMissing,
    TLSInvalid,
    VenueBadResponse,
    VenueBlocked,
    VenueError,
    VenueMaintenance,
    VenueTimeout,
    VenueUnavailable,
    VenueUnreachable,
)
from dj_wallet.exchanges.venues.networks import get_network, read_currency
from dj_wallet.exchanges.venues.wire import ccxt_errors, translate

from .catalog import Catalog
from .limits import CircuitOpen, WaitTooLong, seconds_left

logger = logging.getLogger(__name__)

TRIES: Final = 3
FIRST_BACKOFF_SECONDS: Final = 0.2
SKEW_WORTH_A_WARNING_MS: Final = 1_000
# Of many currencies, none is begun with less time than that: the breaker would take our own end for the venue's silence.
SHORTEST_SECONDS: Final = 0.8

# What the venue's or our own word says when to try again; everything else is tried again soon.
TIMED: Final = (RateLimited, VenueMaintenance, AddressPending)
# After these a created address may exist.
UNCLEAR: Final = (VenueTimeout, VenueUnreachable, VenueUnavailable, VenueBadResponse)
# What one currency meets, the others will meet too.
FATAL: Final = (
    InvalidCredentials, CredentialsIncomplete, PermissionMissing, IPNotAllowed, AccountSuspended, RestrictedLocation,
    TLSInvalid, VenueBlocked, VenueMaintenance, CircuitOpen,
)  # fmt: skip

REASONS: Final = {
    kind.code: kind
    for kind in (AddressInvalid, AddressNotAvailable, NetworkNotSupported, TagInvalid, TagMissing)
}

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Fetched:
    """The outcome for one currency of many: its addresses, or why there are none."""

    currency: str
    addresses: Addresses | None = None
    error: VenueError | None = None


@dataclass(frozen=True)
class Questions:
    """The questions to one venue with one client."""

    venue: Venue
    client: Any
    catalog: Catalog
    sandbox: bool
    set_clock: Callable[[int], None]

    async def fetch_address(self, currency: str, network: str | None) -> DepositAddress:
        """Return the current address on the network, or on the only one there is.

        :raises VenueError: there is none that we can vouch for
        """
        currency = read_currency(currency)
        wanted = get_network(network).id if network else None
        options = await self._choose(currency, wanted)
        addresses = await self._fetch(currency, options)
        return self._pick(currency, wanted, addresses)

    async def fetch_addresses(self, currency: str) -> Addresses:
        """Return all addresses of a currency."""
        currency = read_currency(currency)
        return await self._fetch(currency, await self._choose(currency, None, several=True))

    async def _fetch(self, currency: str, options: Sequence[NetworkOption]) -> Addresses:
        return await self._persist(
            lambda: self._adapter.fetch_addresses(self.client, currency, options)
        )

    async def fetch_many(self, currencies: Sequence[str], workers: int) -> AsyncIterator[Fetched]:
        """Yield outcomes as they come, begun in the order given, until the deadline."""
        waiting = iter(dict.fromkeys(currencies))
        done: asyncio.Queue[Fetched | None] = asyncio.Queue()
        fatal: list[VenueError] = []

        async def work() -> None:
            try:
                for currency in waiting:
                    if seconds_left() < SHORTEST_SECONDS:
                        raise TimeoutError
                    done.put_nowait(await self._fetch_one(currency, fatal))
            except (WaitTooLong, TimeoutError):
                for _ in waiting:
                    pass  # no time for the rest
            finally:
                done.put_nowait(None)

        tasks = [asyncio.create_task(work()) for _ in range(workers)]
        try:
            for _ in tasks:
                while (outcome := await done.get()) is not None:
                    yield outcome
            await asyncio.gather(*tasks)  # raises what nobody expected
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch_one(self, currency: str, fatal: list[VenueError]) -> Fetched:
        """:raises WaitTooLong: there is no time for it"""
        if fatal:
            return Fetched(currency, error=fatal[0])
        try:
            return Fetched(currency, await self.fetch_addresses(currency))
        except WaitTooLong:
            raise
        except VenueError as error:
            if isinstance(error, FATAL):
                fatal.append(error)
            return Fetched(currency, error=error)

    async def create_address(self, currency: str, network: str) -> DepositAddress:
        """Make an address; asked once.

        :raises OutcomeUnknown: one may have been made
        """
        currency, wanted = read_currency(currency), get_network(network).id
        option = (await self._choose(currency, wanted, create=True))[0]
        if not option.deposits_enabled:
            raise DepositsDisabled(
                "The exchange takes no deposits on this network now.",
                venue=self.venue.id,
                currency=currency,
                network=wanted,
            )
        failure = None
        try:
            address: DepositAddress = await self._translated(
                lambda: self._adapter.create_address(self.client, currency, option)
            )
        except UNCLEAR as error:
            if isinstance(error, CircuitOpen):
                raise
            failure = error
        except asyncio.CancelledError:
            # The call's end came first; `ask` would say timeout, which invites another try.
            failure = VenueTimeout("The exchange did not answer in time.")
        if failure is not None:
            raise OutcomeUnknown(
                "An address may have been made. Fetch the addresses before asking again.",
                venue=self.venue.id,
                currency=currency,
                network=wanted,
                venue_message=failure.venue_message,
            )
        return address

    async def check_connection(self) -> ConnectionReport:
        begin = monotonic()
        permissions = await self._persist(lambda: self._adapter.fetch_permissions(self.client))
        return ConnectionReport(
            venue=self.venue.id,
            permissions=permissions,
            latency_ms=round((monotonic() - begin) * 1000),
            clock_skew_ms=self.client.options.get("timeDifference"),
        )

    async def list_networks(self, currency: str | None) -> list[NetworkOption]:
        if currency is not None:
            currency = read_currency(currency)
            return list(await self._options(currency))
        place = (self.venue.id, self.sandbox, None)
        kept = await self.catalog.get(place, lambda: self._ask_networks(None))
        return [option for options in kept.values() for option in options]

    # Networks

    async def _choose(
        self, currency: str, wanted: str | None, *, several: bool = False, create: bool = False
    ) -> Sequence[NetworkOption]:
        """Return the networks to ask for.

        :raises CurrencyNotSupported: the venue does not list the currency
        :raises NetworkNotSupported: it does not have the currency on the network
        :raises NetworkRequired: there are several, and one address is wanted
        """
        if self._adapter.networks == "in_addresses" and not create:
            return ()
        options = await self._options(currency)
        about: dict[str, Any] = {"venue": self.venue.id, "currency": currency}
        if not options:
            raise CurrencyNotSupported(
                f"{self.venue.name} takes no deposits of {currency}.", **about
            )
        if several:
            return options
        choices = tuple(dict.fromkeys(option.network for option in options if option.network))
        if wanted is None and len(options) > 1:
            raise _network_required(self.venue, currency, choices)
        chosen = [option for option in options if wanted in {None, option.network}]
        if not chosen:
            raise NetworkNotSupported(
                f"{self.venue.name} takes no deposits of {currency} on {wanted}.",
                venue=self.venue.id,
                currency=currency,
                network=wanted or "",
                choices=choices,
            )
        return chosen

    async def _options(self, currency: str) -> Sequence[NetworkOption]:
        if self._adapter.networks == "in_addresses":
            return await self._ask_networks(currency)
        asked = currency if self._adapter.networks == "per_currency" else None
        place = (self.venue.id, self.sandbox, asked)
        kept = await self.catalog.get(place, lambda: self._ask_networks(asked))
        return kept.get(currency, ())

    async def _ask_networks(self, currency: str | None) -> list[NetworkOption]:
        return await self._persist(lambda: self._adapter.list_networks(self.client, currency))

    def _pick(self, currency: str, wanted: str | None, addresses: Addresses) -> DepositAddress:
        """Return the one current address, or say why there is none."""
        current = [one for one in addresses.found if one.state is AddressState.CURRENT]
        choices = tuple(dict.fromkeys(one.network for one in current))
        if wanted is None and len(choices) > 1:
            raise _network_required(self.venue, currency, choices)
        found = [one for one in current if wanted in {None, one.network}]
        if len(found) == 1:
            return found[0]
        about: dict[str, Any] = {
            "venue": self.venue.id,
            "currency": currency,
            "network": wanted or "",
        }
        if found:
            raise NetworkMismatch("The exchange gave several current addresses.", **about)
        for refused in addresses.refused:
            if wanted in {None, refused.network}:
                raise REASONS[refused.code](refused.reason, **about)
        if wanted and addresses.found:
            raise NetworkNotSupported(
                f"{self.venue.name} gave no address on {wanted}.", **about, choices=choices
            )
        raise AddressNotAvailable("The exchange has no address for this currency yet.", **about)

    # Asking

    @property
    def _adapter(self) -> Any:
        return load_adapter(self.venue)

    async def _persist(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        """Ask, and ask again where that can help and the deadline allows."""
        for attempt in count(1):
            try:
                return await self._translated(ask)
            except VenueError as error:
                if not error.retryable or attempt == TRIES or isinstance(error, CircuitOpen):
                    raise
                wait = self._backoff(error, attempt)
                if wait > seconds_left():
                    raise
                if isinstance(error, ClockSkew):
                    await self._learn_clock()
            await asyncio.sleep(wait)
        raise AssertionError

    async def _translated(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        """Ask; what CCXT raises outside of a request becomes ours, with nothing of the original attached."""
        try:
            return await ask()
        except ccxt_errors() as error:
            failure = translate(self.client, error)
        raise failure

    def _backoff(self, error: VenueError, attempt: int) -> float:
        if isinstance(error, TIMED):
            return error.retry_after or 1
        jitter = random.uniform(0.5, 1.5)  # noqa: S311
        return FIRST_BACKOFF_SECONDS * float(2 ** (attempt - 1)) * jitter

    async def _learn_clock(self) -> None:
        """Take the difference to the venue's clock, for this client and those to come."""
        offset = int(await self._translated(self.client.load_time_difference) or 0)
        self.set_clock(offset)
        if abs(offset) > SKEW_WORTH_A_WARNING_MS:
            logger.warning("Our clock is %d ms ahead of that of %s.", offset, self.venue.id)


def _network_required(venue: Venue, currency: str, choices: tuple[str, ...]) -> NetworkRequired:
    return NetworkRequired(
        f"{venue.name} takes deposits of {currency} on several networks: name one.",
        venue=venue.id,
        currency=currency,
        choices=choices,
    )
