"""A cache in Redis that never holds what is no longer true, by leases.

Who misses gets a lease and may fill the cache only as long as the lease stands. Who is going to change something says so
before its first statement: that ends leases and values, and readers pass the cache by until the change is over. After
the commit values and leases are ended once more. Several changes may be open at a time: each has a token of its own.

If Redis cannot be reached nothing is cached and everything goes on; what such changes left in the cache is ended as soon
as this process reaches Redis again, and after `WALLET_CACHE_SECONDS` in any case.
"""

import logging
import secrets
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, Final, NamedTuple, Protocol

import redis
from django.conf import settings
from django.core.signals import request_finished
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .redis_line import RedisLine, Script

logger = logging.getLogger(__name__)

PREFIX: Final = "dj_wallet:cache:"
# After a failure Redis is left alone for a moment, so that each request does not wait for it.
PAUSE_SECONDS: Final = 5
# How long a reader may take from its miss to its fill.
LEASE_SECONDS: Final = 10
# How long readers pass by what a process was changing that has not been heard of since.
CHANGE_SECONDS: Final = 600
# An open transaction says again what it changes when it does so after this time.
REPEAT_SECONDS: Final = CHANGE_SECONDS / 2

# An entry is a hash: a field for each form that the same thing is cached in ("facet"), and `lease`. Beside it stands a
# sorted set of the changes that are open, by the time at which they are forgotten.

# Adds to `answer` the value of a facet or false, and the lease to fill it in or false; returns the value.
READ_ENTRY: Final = """
local clock = redis.call('TIME')
local function read(answer, key, facet, fresh, milliseconds)
  local value, lease, open = false, false, key .. ':open'
  local is_open = redis.call('EXISTS', open) == 1
  if is_open then
    redis.call('ZREMRANGEBYSCORE', open, '-inf', tonumber(clock[1]))
    is_open = redis.call('EXISTS', open) == 1
  end
  if not is_open then
    value = redis.call('HGET', key, facet)
    if not value then
      lease = redis.call('HGET', key, 'lease')
      if not lease then
        lease = fresh
        redis.call('HSET', key, 'lease', lease)
        if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, milliseconds) end
      end
    end
  end
  answer[#answer + 1], answer[#answer + 2] = value, lease
  return value
end
local function read_listed(answer, pointer, start, facet, fresh, milliseconds)
  local listed = read(answer, pointer, 'listed', fresh, milliseconds)
  for id in string.gmatch(listed or '', '%d+') do
    read(answer, start .. id, facet, fresh, milliseconds)
  end
end
"""
# Reads a facet of each entry. With ARGV[4], KEYS[1] is a pointer: an entry whose value lists others, read with it.
READ: Final = Script(f"""{READ_ENTRY}
local answer = {{}}
if ARGV[4] then
  read_listed(answer, KEYS[1], ARGV[4], ARGV[1], ARGV[2], ARGV[3])
else
  for _, key in ipairs(KEYS) do read(answer, key, ARGV[1], ARGV[2], ARGV[3]) end
end
return answer
""")
# The first facet of an entry starts its life; those that follow share it.
FILL: Final = Script("""
for at, key in ipairs(KEYS) do
  local lease, value = ARGV[at * 2 + 1], ARGV[at * 2 + 2]
  if redis.call('HGET', key, 'lease') == lease and redis.call('EXISTS', key .. ':open') == 0 then
    if redis.call('HLEN', key) == 1 then redis.call('PEXPIRE', key, ARGV[2]) end
    redis.call('HSET', key, ARGV[1], value)
  end
end
""")
OPEN: Final = Script("""
local ends = redis.call('TIME')[1] + ARGV[2]
for _, key in ipairs(KEYS) do
  redis.call('ZADD', key .. ':open', ends, ARGV[1])
  redis.call('EXPIRE', key .. ':open', ARGV[2])
  redis.call('DEL', key)
end
""")
CLOSE: Final = Script("""
for _, key in ipairs(KEYS) do
  redis.call('ZREM', key .. ':open', ARGV[1])
  redis.call('DEL', key)
end
""")


class Found(NamedTuple):
    """A value, or the lease to fill it in; neither while somebody is changing it."""

    value: bytes | None
    lease: bytes | None


NOTHING: Final = Found(None, None)


class Listed(NamedTuple):
    """What a pointer lists, with each of the entries that it names."""

    pointer: Found
    ids: list[int]
    entries: list[Found]


class Cache(Protocol):
    """Entries that are read, and filled by who was given the lease."""

    def read(self, names: Sequence[str], facet: str) -> list[Found]:
        """Return a facet of each entry, or the leases to fill them in."""

    def read_listed(self, pointer: str, kind: str, facet: str) -> Listed:
        """Return what the pointer lists, and a facet of each entry of the kind that it names, in order."""

    def fill(self, facet: str, values: Iterable[tuple[str, Found, bytes]]) -> None:
        """Keep values of entries, each of which was read before the value was looked up."""


class LeaseCache:
    """The cache of this service, from any number of threads."""

    def __init__(self, url: str, seconds: int) -> None:
        self._line = RedisLine(url)
        self._milliseconds = seconds * 1000
        self._pause_until = 0.0
        # What was changed while Redis was away, and is to be ended before anything is read.
        self._missed: set[str] = set()
        self._lock = threading.Lock()

    def read(self, names: Sequence[str], facet: str) -> list[Found]:
        """Return a facet of each entry, or the leases to fill them in."""
        answer = self._run(READ, names, [facet, *make_lease()])
        return pair(answer) if answer else [NOTHING] * len(names)

    def read_listed(self, pointer: str, kind: str, facet: str) -> Listed:
        """Return what the pointer lists, and a facet of each entry of the kind that it names, in order."""
        answer = self._run(READ, [pointer], [facet, *make_lease(), name_start(kind)])
        return make_listed(pair(answer) if answer else [NOTHING])

    def fill(self, facet: str, values: Iterable[tuple[str, Found, bytes]]) -> None:
        """Keep values of entries, each of which was read before the value was looked up."""
        leased = [(name, found.lease, value) for name, found, value in values if found.lease]
        if not leased:
            return
        arguments: list[Any] = [facet, self._milliseconds]
        for _, lease, value in leased:
            arguments += [lease, value]
        self._run(FILL, [name for name, _, _ in leased], arguments)

    def open(self, names: Collection[str], token: str) -> None:
        """Let everybody pass these entries by, until `close` with the same token."""
        if self._run(OPEN, names, [token, CHANGE_SECONDS]) is None:
            self._note_missed(names)

    def close(self, names: Collection[str], token: str) -> None:
        """End what is kept of these entries, and let it be kept again unless another change is open."""
        if self._run(CLOSE, names, [token]) is None:
            self._note_missed(names)

    def _note_missed(self, names: Collection[str]) -> None:
        with self._lock:
            self._missed.update(names)

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Return the script's answer, an empty list for none; None if Redis does not answer.

        :param keys: as Redis has them, with their prefix
        """
        if time.monotonic() < self._pause_until:
            return None
        try:
            if self._missed:
                self._catch_up()
            return self._line.run(script, keys, arguments) or []
        except redis.RedisError as error:
            logger.warning("Nothing is cached: %s", error)
            self._pause_until = time.monotonic() + PAUSE_SECONDS
            return None

    def _run(self, script: Script, names: Collection[str], arguments: Sequence[Any]) -> Any:
        return self.run(script, [PREFIX + name for name in names], arguments)

    def _catch_up(self) -> None:
        with self._lock:
            missed = set(self._missed)
        self._line.run(CLOSE, [PREFIX + name for name in missed], [""])
        with self._lock:
            self._missed -= missed


def make_lease() -> tuple[str, int]:
    """Return a new lease and how many milliseconds it is good for."""
    return secrets.token_hex(8), LEASE_SECONDS * 1000


def name_start(kind: str) -> str:
    """Return how the names of all entries of a kind begin in Redis."""
    return f"{PREFIX}{kind}:"


def pair(answer: Sequence[bytes | None]) -> list[Found]:
    """Return what a script answered for each entry that it read."""
    return list(map(Found, answer[::2], answer[1::2]))


def make_listed(founds: Sequence[Found]) -> Listed:
    """Return a pointer with its entries, as they were read behind it."""
    first, *entries = founds
    listed = (first.value or b"").decode()
    return Listed(first, [int(one) for one in listed.split(",") if one.isdecimal()], entries)


def get_cache() -> LeaseCache | None:
    """Return the cache, or None if the project has none."""
    seconds = getattr(settings, "WALLET_CACHE_SECONDS", 0)
    return _make_cache(settings.REDIS_URL, seconds) if seconds else None


@cache
def _make_cache(url: str, seconds: int) -> LeaseCache:
    return LeaseCache(url, seconds)


class Change:
    """What is being changed on one database connection: by an open transaction, or by a statement alone."""

    def __init__(self, raw: Any) -> None:
        self.token = secrets.token_hex(8)
        self.names: set[str] = set()
        self.told_at = time.monotonic()
        # The connection proper. If it is lost we do not know how the change ended.
        self.raw = raw

    @property
    def is_in_doubt(self) -> bool:
        return bool(getattr(self.raw, "closed", False))


_CHANGE: Final = "dj_wallet_change"


def begin_change(names: Iterable[str], using: str) -> None:
    """Let nobody read these entries from the cache until the change is over."""
    cache = get_cache()
    if cache is None:
        return
    connection: Any = connections[using]
    change = getattr(connection, _CHANGE, None)
    if change is None or change.is_in_doubt:
        connection.ensure_connection()
        change = Change(connection.connection)
        setattr(connection, _CHANGE, change)
    elif time.monotonic() - change.told_at > REPEAT_SECONDS:
        change.told_at = time.monotonic()
        cache.open(change.names, change.token)
    new = set(names) - change.names
    if new:
        change.names |= new
        cache.open(new, change.token)


def end_change(using: str) -> None:
    """Let what was changed be read again, after the transaction has committed if there is one."""
    connection = connections[using]
    if getattr(connection, _CHANGE, None) is None:
        return
    if connection.in_atomic_block:
        transaction.on_commit(partial(_finish, connection), using=using)
    else:
        _finish(connection)


@contextmanager
def changing(names: Iterable[str], using: str) -> Iterator[None]:
    """Change what these entries are made of."""
    begin_change(names, using)
    try:
        yield
    finally:
        end_change(using)


def forget_rolled_back(**_: Any) -> None:
    """End the changes of transactions that were rolled back: nobody is told of those."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            _finish(connection)


def _finish(connection: BaseDatabaseWrapper) -> None:
    change: Change | None = getattr(connection, _CHANGE, None)
    if change is None:
        return
    setattr(connection, _CHANGE, None)
    cache = get_cache()
    if cache is not None and not change.is_in_doubt:
        cache.close(change.names, change.token)


request_finished.connect(forget_rolled_back)
