"""The warm clients of this process: few, each for one version of one account's credentials, closed when they go."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from .accounts import Account

Key = tuple[str, str, str, bool, int]


@dataclass(slots=True)
class _Entry:
    client: Any
    used_at: float
    users: int = 0
    is_retired: bool = False


class Cold(Exception):
    """There is no warm client, and no credentials came along to make one."""


@dataclass
class Clients:
    """Least recently used first. Belongs to the loop; only `is_warm` may be asked from other threads."""

    limit: int
    idle_seconds: float
    _entries: OrderedDict[Key, _Entry] = field(default_factory=OrderedDict)
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    def is_warm(self, account: Account) -> bool:
        return account.key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @asynccontextmanager
    async def use(self, account: Account, make: Callable[[], Any] | None) -> AsyncIterator[Any]:
        """Lend the client of an account; nobody closes it meanwhile.

        :raises Cold: there is none, and `make` is None
        """
        entry = self._entries.get(account.key)
        if entry is None:
            if make is None:
                raise Cold
            entry = self._add(account, make())
        self._entries.move_to_end(account.key)
        entry.users += 1
        try:
            yield entry.client
        finally:
            entry.users -= 1
            entry.used_at = asyncio.get_running_loop().time()
            if entry.is_retired and not entry.users:
                await entry.client.close()

    def _add(self, account: Account, client: Any) -> _Entry:
        self.forget(account.id)
        entry = _Entry(client, asyncio.get_running_loop().time())
        self._entries[account.key] = entry
        while len(self._entries) > self.limit:
            self._retire(next(iter(self._entries)))
        return entry

    def forget(self, account_id: str) -> None:
        """Retire every client of an account, whatever the version of its credentials."""
        for key in [key for key in self._entries if key[1] == account_id]:
            self._retire(key)

    def retire_idle(self) -> None:
        """Retire what was not used for long: secrets stay in memory no longer than they are needed."""
        oldest = asyncio.get_running_loop().time() - self.idle_seconds
        for key, entry in list(self._entries.items()):
            if not entry.users and entry.used_at < oldest:
                self._retire(key)

    def _retire(self, key: Key) -> None:
        entry = self._entries.pop(key)
        entry.is_retired = True
        if not entry.users:
            task = asyncio.get_running_loop().create_task(entry.client.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        for key in list(self._entries):
            self._retire(key)
        await asyncio.gather(*self._closing, return_exceptions=True)
