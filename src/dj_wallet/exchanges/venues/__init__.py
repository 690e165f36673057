"""The venues: what each is called, what its keys look like, what it limits, and where its adapter is.

Nothing here imports CCXT before a client is made: it costs half a second and a hundred megabytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Final, Literal, cast

from .errors import VenueNotSupported

if TYPE_CHECKING:
    from .contract import Adapter


@dataclass(frozen=True, slots=True)
class Limit:
    """A token bucket that keeps us below a limit of the venue: burst + rate * window never exceeds what it allows.

    Tokens are CCXT's costs, which follow the venue's weights.
    """

    scope: Literal["key", "egress"]
    tokens_per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class Venue:
    """One venue, as the rest of the application and its users see it."""

    id: str
    name: str
    ccxt_id: str
    website: str
    api_docs: str
    adapter: str
    limits: tuple[Limit, ...]
    requires_passphrase: bool = False
    can_create_address: bool = False
    is_verified: bool = (
        True  # an adapter of its own; False: the generic one, which refuses what it cannot verify
    )
    needs_ordered_nonces: bool = False
    parallel_requests: int = 10
    addresses_per_minute: int = 60


# burst + rate * window = the documented allowance. The windows: a minute (binance, bitfinex), a second (okx, bybit per
# key), five seconds (bybit per address), thirty seconds (kucoin), two seconds (htx), an hour (coinbase). Kraken counts
# down by itself: 15 calls at once, then one in three seconds, at the lowest tier.
VENUES: Final = {
    venue.id: venue
    for venue in (
        Venue(
            id="binance",
            name="Binance",
            ccxt_id="binance",
            website="https://www.binance.com",
            api_docs="https://developers.binance.com/docs/wallet",
            adapter="binance",
            limits=(Limit("egress", 13.3, 400),),
            addresses_per_minute=1200,
        ),
        Venue(
            id="coinbase",
            name="Coinbase",
            ccxt_id="coinbase",
            website="https://www.coinbase.com",
            api_docs="https://docs.cdp.coinbase.com/coinbase-app",
            adapter="coinbase",
            limits=(Limit("key", 20.6, 31_800),),
            can_create_address=True,
            addresses_per_minute=166,
        ),
        Venue(
            id="kraken",
            name="Kraken",
            ccxt_id="kraken",
            website="https://www.kraken.com",
            api_docs="https://docs.kraken.com/api",
            adapter="kraken",
            limits=(Limit("key", 0.99, 42),),
            can_create_address=True,
            needs_ordered_nonces=True,
            parallel_requests=1,
            addresses_per_minute=20,
        ),
        Venue(
            id="bitfinex",
            name="Bitfinex",
            ccxt_id="bitfinex",
            website="https://www.bitfinex.com",
            api_docs="https://docs.bitfinex.com",
            adapter="bitfinex",
            limits=(Limit("egress", 2, 120),),
            can_create_address=True,
            needs_ordered_nonces=True,
            parallel_requests=1,
            addresses_per_minute=10,
        ),
        Venue(
            id="htx",
            name="HTX (Huobi)",
            ccxt_id="htx",
            website="https://www.htx.com",
            api_docs="https://huobiapi.github.io/docs/spot/v1/en/",
            adapter="htx",
            limits=(Limit("key", 7.5, 5),),
            addresses_per_minute=600,
        ),
        Venue(
            id="kucoin",
            name="KuCoin",
            ccxt_id="kucoin",
            website="https://www.kucoin.com",
            api_docs="https://www.kucoin.com/docs-new",
            adapter="kucoin",
            limits=(Limit("key", 33, 1000),),
            requires_passphrase=True,
            can_create_address=True,
            addresses_per_minute=800,
        ),
        Venue(
            id="bybit",
            name="Bybit",
            ccxt_id="bybit",
            website="https://www.bybit.com",
            api_docs="https://bybit-exchange.github.io/docs/v5/intro",
            adapter="bybit",
            limits=(Limit("key", 30, 20), Limit("egress", 1000, 1000)),
            addresses_per_minute=300,
        ),
        Venue(
            id="okx",
            name="OKX",
            ccxt_id="okx",
            website="https://www.okx.com",
            api_docs="https://www.okx.com/docs-v5/en/",
            adapter="okx",
            limits=(Limit("key", 6.6, 3.4),),
            requires_passphrase=True,
            addresses_per_minute=360,
        ),
    )
}

# Coinbase Pro was closed in favour of Coinbase's Advanced Trade; Huobi took the name HTX. Old clients ask by old names.
ALIASES: Final = {
    "coinbasepro": "coinbase",
    "coinbase pro": "coinbase",
    "huobi": "htx",
    "bitfinex2": "bitfinex",
    "okex": "okx",
}

# What a venue without an adapter of ours is allowed: slow enough for any.
GENERIC_LIMITS: Final = (Limit("key", 1, 5), Limit("egress", 5, 20))


def get_venue(name: str) -> Venue:
    """Return the venue of this id or one of its old names; else any exchange that CCXT has, by the generic adapter.

    :raises VenueNotSupported: CCXT has none of this id
    """
    wanted = name.strip().lower()
    wanted = ALIASES.get(wanted, wanted)
    if wanted in VENUES:
        return VENUES[wanted]
    from .wire import list_ccxt_ids

    if wanted not in list_ccxt_ids():
        raise VenueNotSupported(f"There is no exchange {name[:50]!r}.", venue=name[:50])
    return Venue(
        id=wanted,
        name=wanted,
        ccxt_id=wanted,
        website="",
        api_docs="",
        adapter="generic",
        limits=GENERIC_LIMITS,
        is_verified=False,
        needs_ordered_nonces=True,
        parallel_requests=1,
    )


def list_venues() -> Iterator[Venue]:
    """Yield the venues that have an adapter of their own."""
    yield from VENUES.values()


@cache
def load_adapter(venue: Venue) -> "Adapter":
    """Return the adapter of a venue."""
    return cast("Adapter", import_module(f"{__name__}.{venue.adapter}").ADAPTER)
