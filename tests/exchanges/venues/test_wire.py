"""What stands around each request of a CCXT client."""

import asyncio
from contextlib import asynccontextmanager
from contextvars import ContextVar

import aiohttp
import pytest

from dj_wallet.exchanges.venues import get_venue
from dj_wallet.exchanges.venues.errors import VenueUnreachable
from dj_wallet.exchanges.venues.wire import make_client
from tests.exchanges.stand import credentials_of

MILLISECONDS_LEFT: ContextVar[int] = ContextVar("milliseconds_left")


class Gate:
    """Lets requests pass once all of them have come, and gives each the time of its own call."""

    def __init__(self, requests: int) -> None:
        self.barrier, self.turn = asyncio.Barrier(requests), asyncio.Lock()

    async def wait(self, cost):
        return None

    @asynccontextmanager
    async def in_order(self, client):
        await self.barrier.wait()
        async with self.turn:
            yield

    def milliseconds_left(self):
        return MILLISECONDS_LEFT.get()

    async def report(self, ticket, failure):
        return None


class Session:
    """Takes note of what it is asked to send, and sends nothing."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.seconds: dict[str, float] = {}

    async def close(self):
        return None

    def post(self, url, *, data, timeout, **options):
        coin = data.decode().rpartition("asset=")[2]
        self.seconds[coin] = timeout.total
        raise aiohttp.ClientConnectionError


def test_parallel_requests_of_one_client_have_each_the_time_of_its_own_call():
    calls = {"BTC": 7_000, "XRP": 300, "LTC": 4_000, "ADA": 3_600_000}
    session = Session()

    async def ask(client, coin):
        MILLISECONDS_LEFT.set(calls[coin])
        with pytest.raises(VenueUnreachable):
            await client.privatePostDepositMethods({"asset": coin})

    async def main():
        client = make_client(
            get_venue("kraken"),
            credentials_of("kraken"),
            Gate(len(calls)),
            session=session,
            ssl_context=None,
        )
        await asyncio.gather(*(asyncio.create_task(ask(client, coin)) for coin in calls))
        await client.close()

    asyncio.run(main())
    assert session.seconds == {"BTC": 7, "XRP": 0.3, "LTC": 4, "ADA": 8}
