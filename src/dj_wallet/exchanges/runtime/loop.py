"""One event loop for each process, on a thread of its own, with the connections and clients that live on it."""

import asyncio
import atexit
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import certifi
from aiohttp.abc import AbstractResolver, ResolveResult

from dj_wallet.exchanges.venues import Venue, get_venue, wire
from dj_wallet.exchanges.venues.contract import Credentials
from dj_wallet.exchanges.venues.errors import SandboxNotAvailable, VenueTimeout

from .accounts import Account
from .catalog import Catalog
from .clients import Clients, Cold
from .configuration import Configuration, from_settings
from .limits import DEADLINE, RedisGate, connect
from .questions import Questions

logger = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 300
MAX_CONNECTIONS_PER_HOST: Final = 150
SWEEP_SECONDS: Final = 60
# What the caller's thread waits longer than the loop: the loop's own answer is the better one.
GRACE_SECONDS: Final = 1.0

Result = TypeVar("Result")
Ask = Callable[[Questions], Coroutine[Any, Any, Result]]


class RedirectRefused(aiohttp.ClientError):
    """The venue sent us to another place, where signed headers have no business."""


class SandboxResolver(AbstractResolver):
    """Finds every host at the sandbox: a sandbox account can reach nothing else."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=self._host,
                port=self._port,
                family=socket.AF_INET,
                proto=0,
                flags=0,
            )
        ]

    async def close(self) -> None:
        """Nothing is open."""


class Runtime:
    """The loop and everything on it. Made by the first call in a process, and again after a fork."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.pid = os.getpid()
        self.clients = Clients(configuration.max_clients, configuration.idle_seconds)
        self.catalog = Catalog()
        self._clocks: dict[tuple[str, bool], int] = {}
        self._sessions: dict[bool, tuple[aiohttp.ClientSession, ssl.SSLContext]] = {}
        self._redis: Any = None
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="exchanges", daemon=True
        )
        self._thread.start()
        started.wait()

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._sweep)
        self._loop.call_soon(started.set)
        self._loop.run_forever()
        self._loop.close()

    def _sweep(self) -> None:
        self.clients.retire_idle()
        self._loop.call_later(SWEEP_SECONDS, self._sweep)

    # From any thread

    def ask(self, account: Account, ask: Ask[Result], timeout_seconds: float) -> Result:
        """Run a question on the loop and wait for its answer.

        :raises VenueTimeout: there was none in time
        """
        while True:
            credentials = None if self.clients.is_warm(account) else account.load_credentials()
            future = self.begin(account, credentials, ask, timeout_seconds)
            try:
                return future.result(timeout_seconds + GRACE_SECONDS)
            except Cold:
                continue  # the client went meanwhile; the next round brings the credentials
            except TimeoutError:
                future.cancel()
            raise VenueTimeout("The exchange did not answer in time.", venue=account.venue)

    def begin(
        self,
        account: Account,
        credentials: Credentials | None,
        ask: Ask[Result],
        timeout_seconds: float,
    ) -> "Future[Result]":
        """Start a question on the loop."""
        venue = get_venue(account.venue)
        return self.submit(self._answer(account, venue, credentials, ask, timeout_seconds))

    def submit(self, coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def forget(self, account_id: str) -> None:
        async def forget() -> None:
            self.clients.forget(account_id)

        self.submit(forget()).result(GRACE_SECONDS)

    def close(self) -> None:
        """Close everything and stop the loop."""
        if self._loop.is_closed():
            return
        with suppress(TimeoutError):
            self.submit(self._close()).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    # On the loop

    async def _answer(
        self,
        account: Account,
        venue: Venue,
        credentials: Credentials | None,
        ask: Ask[Result],
        timeout_seconds: float,
    ) -> Result:
        DEADLINE.set(self._loop.time() + timeout_seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                return await self._with_client(account, venue, credentials, ask)
        raise VenueTimeout("The exchange did not answer in time.", venue=venue.id, retry_after=2)

    async def _with_client(
        self,
        account: Account,
        venue: Venue,
        credentials: Credentials | None,
        ask: Ask[Result],
    ) -> Result:
        make = None if credentials is None else lambda: self._make(account, venue, credentials)
        async with self.clients.use(account, make) as client:
            place = (venue.id, account.sandbox)

            def set_clock(offset: int) -> None:
                self._clocks[place] = offset

            return await ask(Questions(venue, client, self.catalog, account.sandbox, set_clock))

    def _make(self, account: Account, venue: Venue, credentials: Credentials) -> Any:
        session, context = self._get_session(sandbox=account.sandbox)
        if self._redis is None:
            self._redis = connect(self.configuration.redis_url)
        gate = RedisGate(
            self._redis,
            venue,
            credentials,
            realm="sandbox" if account.sandbox else "live",
            egress=self.configuration.egress,
        )
        return wire.make_client(
            venue,
            credentials,
            gate,
            session=session,
            ssl_context=context,
            clock_offset_ms=self._clocks.get((venue.id, account.sandbox), 0),
        )

    def _get_session(self, *, sandbox: bool) -> tuple[aiohttp.ClientSession, ssl.SSLContext]:
        """Return the session of the real venues, or the one that reaches nothing but the sandbox.

        :raises SandboxNotAvailable: none is configured
        """
        if sandbox not in self._sessions:
            self._sessions[sandbox] = self._open_session(sandbox=sandbox)
        return self._sessions[sandbox]

    def _open_session(self, *, sandbox: bool) -> tuple[aiohttp.ClientSession, ssl.SSLContext]:
        resolver, ca_file = None, certifi.where()
        if sandbox:
            address, ca_file = (
                self.configuration.sandbox_address,
                self.configuration.sandbox_ca_file,
            )
            if not address or not Path(ca_file).is_file():
                raise SandboxNotAvailable("No sandbox of exchanges runs here.")
            resolver = SandboxResolver(address)
        context = ssl.create_default_context(cafile=ca_file)
        connector = aiohttp.TCPConnector(
            ssl=context,
            resolver=resolver,
            limit=MAX_CONNECTIONS,
            limit_per_host=MAX_CONNECTIONS_PER_HOST,
            ttl_dns_cache=60,
        )
        trace = aiohttp.TraceConfig()
        trace.on_request_redirect.append(_refuse_redirect)
        session = aiohttp.ClientSession(
            connector=connector,
            # One user's cookies are none of another's business.
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[trace],
            trust_env=False,
        )
        return session, context

    async def _close(self) -> None:
        await self.clients.close()
        for session, _ in self._sessions.values():
            await session.close()
        if self._redis is not None:
            await self._redis.aclose()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def _refuse_redirect(session: Any, context: Any, params: Any) -> None:
    raise RedirectRefused("redirects are not followed")


class _Process:
    """The runtime of this process. After a fork the child lets go of its parent's without touching it: the sockets
    are shared, and closing one would say goodbye in the parent's name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None
        self._parents: list[Runtime | None] = []
        os.register_at_fork(after_in_child=self._after_fork)
        atexit.register(self.close)

    def _after_fork(self) -> None:
        self._parents.append(self._runtime)
        self._runtime, self._lock = None, threading.Lock()

    def get(self) -> Runtime:
        with self._lock:
            if self._runtime is None:
                wire.preload()
                self._runtime = Runtime(from_settings())
            return self._runtime

    def close(self) -> None:
        with self._lock:
            runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.close()


PROCESS: Final = _Process()
