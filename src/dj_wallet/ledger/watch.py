"""Who wants to know which accounts are about to change: a cache of theirs, for one.

The list is empty unless the project has put somebody into it, and then watching costs nothing. A watcher hears of an
account before the statement that changes it, and again after it, or after its transaction has committed if there is one.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

from .engine import Entry


class Watcher(Protocol):
    """Somebody who wants to know. May not raise: money moves whether it is watched or not."""

    def begin(self, account_ids: Iterable[int], using: str) -> None:
        """Hear that the accounts may change from now on."""

    def end(self, using: str) -> None:
        """Hear that the statement is over; what it changed is visible, or will be when the transaction commits."""


watchers: Final[list[Watcher]] = []

_NOBODY: Final = nullcontext()


def moving(account_ids: Iterable[int], using: str) -> AbstractContextManager[None]:
    """Return the context in which a statement changes the accounts."""
    return _Watched(list(account_ids), using) if watchers else _NOBODY


def moving_entries(entries: Iterable[Entry], using: str) -> AbstractContextManager[None]:
    """Return the context in which a statement posts the entries. System accounts keep no balance: nobody watches them."""
    if not watchers:
        return _NOBODY
    sides = (
        side
        for entry in entries
        for movement in entry.movements
        for side in (movement.source, movement.destination)
    )
    return _Watched(sorted({side for side in sides if not isinstance(side, str)}), using)


class _Watched:
    def __init__(self, account_ids: list[int], using: str) -> None:
        self._account_ids = account_ids
        self._using = using

    def __enter__(self) -> None:
        for watcher in watchers:
            watcher.begin(self._account_ids, self._using)

    def __exit__(self, *_: Any) -> None:
        for watcher in watchers:
            watcher.end(self._using)
