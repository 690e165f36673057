"""Limits, bans, the breaker and the order of nonces, in Redis: they hold for all processes that share it.

Before each request one script takes tokens from every bucket that the request counts against, or from none. All keys of a
venue share a hash tag, so that they live on one node of a cluster.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import LockError, LockNotOwnedError, RedisError

from dj_wallet.exchanges.venues import Venue
from dj_wallet.exchanges.venues.contract import Credentials
from dj_wallet.exchanges.venues.errors import (
    LimitsUnavailable,
    RateLimited,
    VenueError,
    VenueTimeout,
    VenueUnavailable,
)

logger = logging.getLogger(__name__)

# Outages within a window that open the breaker, and for how long it stays open before one request may try.
FAILURES_TO_OPEN: Final = 5
FAILURE_WINDOW_MS: Final = 30_000
OPEN_MS: Final = 15_000
PROBE_MS: Final = 10_000
MAX_BAN_SECONDS: Final = 3_600

# Longer than a request can take; a process that dies with the lock blocks the key no longer than this.
ORDER_LEASE_SECONDS: Final = 15
NONCE_LIFETIME_SECONDS: Final = 86_400
# What a request needs at least: nobody starts one that the deadline will cut off.
REQUEST_SECONDS: Final = 0.05

# The end of the call that is being answered, by the loop's clock.
DEADLINE: ContextVar[float | None] = ContextVar("deadline", default=None)

ALLOWED, PROBING, WAIT, BANNED, OPEN = range(5)

TAKE: Final = """
local open = redis.call('PTTL', KEYS[1])
if open > 0 then return {4, open} end
local failures = tonumber(redis.call('GET', KEYS[2]) or '0')
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local cost = tonumber(ARGV[1])
local worst, ban, levels = 0, 0, {}
for i = 4, #KEYS do
  local rate, burst = tonumber(ARGV[(i - 4) * 2 + 4]), tonumber(ARGV[(i - 4) * 2 + 5])
  local bucket = redis.call('HMGET', KEYS[i], 'level', 'at')
  local level, at = tonumber(bucket[1]) or burst, tonumber(bucket[2]) or now
  level = math.min(burst, level + math.max(0, now - at) * rate / 1000)
  local need = math.min(cost, burst)
  if level < need then worst = math.max(worst, math.ceil((need - level) * 1000 / rate)) end
  levels[i] = {level - need, rate, burst}
  ban = math.max(ban, redis.call('PTTL', KEYS[i] .. ':ban'))
end
if ban > 0 then return {3, ban} end
if worst > 0 then return {2, worst} end
local answer = 0
if failures >= tonumber(ARGV[2]) then
  if not redis.call('SET', KEYS[3], '1', 'NX', 'PX', ARGV[3]) then return {4, tonumber(ARGV[3])} end
  answer = 1
elseif failures > 0 then
  answer = 1
end
for i = 4, #KEYS do
  redis.call('HSET', KEYS[i], 'level', tostring(levels[i][1]), 'at', now)
  redis.call('PEXPIRE', KEYS[i], math.ceil(levels[i][3] * 1000 / levels[i][2]) + 1000)
end
return {answer, 0}
"""

FAIL: Final = """
local failures = redis.call('INCR', KEYS[2])
redis.call('PEXPIRE', KEYS[2], math.max(tonumber(ARGV[2]), tonumber(ARGV[3]) * 2))
if failures >= tonumber(ARGV[1]) then redis.call('SET', KEYS[1], '1', 'PX', ARGV[3]) end
redis.call('DEL', KEYS[3])
return failures
"""


class WaitTooLong(RateLimited):
    """Our own limits would let the request through only after the call's end."""


class CircuitOpen(VenueUnavailable):
    """The venue failed so often that nobody is asking it now."""


class Ticket(NamedTuple):
    """A request that was let through."""

    began: float
    has_failures: bool  # earlier ones failed: its success closes the breaker


class Watch:
    """Hears of every request: for metrics. A watcher must be quick and must not raise."""

    def __init__(self) -> None:
        self.watchers: list[Callable[[str, str, float], None]] = []

    def tell(self, venue: str, code: str, seconds: float) -> None:
        for watcher in self.watchers:
            watcher(venue, code, seconds)


WATCH: Final = Watch()


def seconds_left() -> float:
    """Return how long the call may still take."""
    deadline = DEADLINE.get()
    return float("inf") if deadline is None else deadline - asyncio.get_running_loop().time()


class RedisGate:
    """The gate of one key at one venue."""

    def __init__(
        self, redis: Any, venue: Venue, credentials: Credentials, *, realm: str, egress: str
    ) -> None:
        self._redis, self._venue = redis, venue
        start = f"exchanges:{{{realm}:{venue.id}}}"
        # The key itself stays out of Redis.
        digest = hashlib.sha256(f"{start}|{credentials.api_key}".encode()).hexdigest()[:32]
        scopes = {"key": f"{start}:key:{digest}", "egress": f"{start}:egress:{egress}"}
        self._buckets = [scopes[limit.scope] for limit in venue.limits]
        breaker = f"{start}:breaker:{egress}"
        self._breaker = [f"{breaker}:open", f"{breaker}:failures", f"{breaker}:probe"]
        self._order, self._nonce = f"{scopes['key']}:order", f"{scopes['key']}:nonce"
        self._rates = [
            part for limit in venue.limits for part in (limit.tokens_per_second, limit.burst)
        ]
        self._take = redis.register_script(TAKE)
        self._fail = redis.register_script(FAIL)
        self._turn = asyncio.Lock()

    async def wait(self, cost: float) -> Ticket:
        """Take the tokens of a request, waiting for them as long as the call's deadline allows.

        :raises WaitTooLong: the deadline comes first
        :raises RateLimited: the venue has told us to stay away for longer than that
        :raises CircuitOpen: the venue is known to be down
        :raises LimitsUnavailable: Redis does not answer
        """
        while True:
            verdict, milliseconds = await self._ask_for(cost)
            if verdict in {ALLOWED, PROBING}:
                return Ticket(time.monotonic(), verdict == PROBING)
            seconds = milliseconds / 1000
            if verdict == OPEN:
                raise CircuitOpen(
                    "The exchange is not available.", venue=self._venue.id, retry_after=seconds
                )
            if seconds + REQUEST_SECONDS > seconds_left():
                kind = RateLimited if verdict == BANNED else WaitTooLong
                raise kind(
                    "The exchange's rate limit is reached.",
                    venue=self._venue.id,
                    retry_after=seconds,
                )
            await asyncio.sleep(seconds)

    async def _ask_for(self, cost: float) -> tuple[int, int]:
        arguments = [cost, FAILURES_TO_OPEN, PROBE_MS, *self._rates]
        try:
            verdict, wait = await self._take(keys=[*self._breaker, *self._buckets], args=arguments)
        except RedisError:
            verdict = None
        if verdict is None:
            raise self._unavailable()
        return verdict, wait

    @asynccontextmanager
    async def in_order(self, client: Any) -> AsyncIterator[None]:
        """Hold the key's turn, in this process and in all others, with a nonce above every one used before.

        :raises VenueTimeout: others hold it for too long
        :raises LimitsUnavailable: Redis does not answer
        """
        patience = max(0.0, min(seconds_left(), ORDER_LEASE_SECONDS))
        lock = self._redis.lock(
            self._order, timeout=ORDER_LEASE_SECONDS, sleep=0.02, blocking_timeout=patience
        )
        async with self._turn:
            last = await self._take_turn(lock)
            client.options["lastNonce"] = max(last, client.options.get("lastNonce") or 0)
            try:
                yield
            finally:
                await self._release(lock, client.options["lastNonce"])

    async def _take_turn(self, lock: Any) -> int:
        """Return the last nonce of the key once its turn is ours."""
        try:
            if await lock.acquire():
                return int(await self._redis.get(self._nonce) or 0)
            is_answered = True
        except RedisError:
            is_answered = False
        if is_answered:
            raise VenueTimeout("Other requests with this key took too long.", venue=self._venue.id)
        raise self._unavailable()

    def _unavailable(self) -> LimitsUnavailable:
        return LimitsUnavailable(
            "The rate limits cannot be read, so the exchange is not asked.",
            venue=self._venue.id,
            retry_after=1,
        )

    async def _release(self, lock: Any, nonce: int) -> None:
        try:
            await self._redis.set(self._nonce, nonce, ex=NONCE_LIFETIME_SECONDS)
            await lock.release()
        except (LockError, LockNotOwnedError, RedisError):
            logger.warning("The turn of a key at %s was lost while it was held.", self._venue.id)

    def milliseconds_left(self) -> int:
        """Return the rest of the call's time, less what its end needs: the venue's silence is noticed before it."""
        left = seconds_left() - REQUEST_SECONDS
        return 3_600_000 if left > 3600 else max(1, int(left * 1000))

    async def report(self, ticket: Ticket, failure: VenueError | None) -> None:
        """Remember an outage for the breaker and a ban for the buckets; forget both when the venue answers again."""
        WATCH.tell(
            self._venue.id, failure.code if failure else "OK", time.monotonic() - ticket.began
        )
        try:
            if isinstance(failure, RateLimited):
                await self._ban(failure.retry_after or 1)
            elif failure is not None and failure.is_outage:
                await self._fail(
                    keys=self._breaker, args=[FAILURES_TO_OPEN, FAILURE_WINDOW_MS, OPEN_MS]
                )
            elif ticket.has_failures:
                await self._redis.delete(*self._breaker[1:])
        except RedisError:
            logger.warning("What %s answered could not be noted in Redis.", self._venue.id)

    async def _ban(self, seconds: float) -> None:
        """Stay away for as long as the venue says: with this key, or from this address where that is what it counts."""
        milliseconds = int(min(max(seconds, 0.001), MAX_BAN_SECONDS) * 1000)
        await self._redis.set(f"{self._buckets[0]}:ban", 1, px=milliseconds)


def connect(url: str) -> Any:
    """Return a client for the running loop."""
    return Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2, health_check_interval=30)
