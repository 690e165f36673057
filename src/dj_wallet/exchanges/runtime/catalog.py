"""Which currencies and networks a venue has: asked with some user's key, kept for a while, the same for everybody.

Adapters keep what belongs to the key's owner out of it. A venue that is down does not make us forget what it had.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Final

from dj_wallet.exchanges.venues.contract import NetworkOption
from dj_wallet.exchanges.venues.errors import VenueError

FRESH_SECONDS: Final = 3_600
USABLE_SECONDS: Final = 86_400

Options = tuple[NetworkOption, ...]
Place = tuple[str, bool, str | None]


class Catalog:
    """The lists of all venues, by venue, sandbox or not, and currency where the venue is asked by currency."""

    def __init__(self) -> None:
        self._kept: dict[Place, tuple[float, dict[str, Options]]] = {}
        self._locks: defaultdict[Place, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def get(
        self, place: Place, ask: Callable[[], Awaitable[list[NetworkOption]]]
    ) -> dict[str, Options]:
        """Return the options by currency; one caller asks while the others wait for its answer."""
        async with self._locks[place]:
            now = asyncio.get_running_loop().time()
            at, kept = self._kept.get(place, (-USABLE_SECONDS - now, {}))
            if kept and now - at < FRESH_SECONDS:
                return kept
            try:
                options = await ask()
            except VenueError as error:
                if kept and error.is_outage and now - at < USABLE_SECONDS:
                    return kept
                raise
            fresh: dict[str, Options] = {}
            for option in options:
                fresh[option.currency] = (*fresh.get(option.currency, ()), option)
            self._kept[place] = (now, fresh)
            return fresh
