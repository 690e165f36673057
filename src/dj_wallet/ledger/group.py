"""Group commit: concurrent single requests of a process share one batch and one commit."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

MAX_BATCH: Final = 1000


class Seat(Generic[T, R]):
    """A waiting request and, later, its result."""

    __slots__ = ("error", "item", "result", "turnstile")

    def __init__(self, item: T) -> None:
        self.item = item
        self.result: R | None = None
        self.error: BaseException | None = None
        # A locked lock is the cheapest thing a thread can wait on; whoever serves or promotes the seat opens it.
        self.turnstile = threading.Lock()
        self.turnstile.acquire()


class GroupCommitter(Generic[T, R]):
    """Runs batches of what threads submit. No thread and no timer of its own.

    The first thread to arrive leads: it runs a batch of everything that waits, itself included, on its own database
    connection. Who arrives meanwhile waits, and the first of those leads the next batch. An idle process therefore
    commits a single request at once, a busy one many requests together.
    """

    def __init__(self, run: Callable[[Sequence[T]], Sequence[R]]) -> None:
        """:param run: commits a batch and returns a result for each item, in order"""
        self._run = run
        self._mutex = threading.Lock()
        self._waiting: deque[Seat[T, R]] = deque()
        self._is_led = False

    def submit(self, item: T) -> R:
        """Return the item's own result once the batch that carries it is committed.

        :raises BaseException: whatever `run` raised for the batch
        """
        seat: Seat[T, R] = Seat(item)
        with self._mutex:
            self._waiting.append(seat)
            leads = not self._is_led
            self._is_led = True
        if not leads:
            seat.turnstile.acquire()
            leads = seat.result is None and seat.error is None
        if leads:
            self._lead(seat)
        if seat.error is not None:
            raise seat.error
        return seat.result  # type: ignore[return-value] # set by the leader

    def _lead(self, own: Seat[T, R]) -> None:
        self._let_others_sit_down()
        with self._mutex:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_BATCH))]
        try:
            results = self._run([seat.item for seat in batch])
            for seat, result in zip(batch, results, strict=True):
                seat.result = result
        except BaseException as error:
            for seat in batch:
                seat.error = error
            if not isinstance(error, Exception):
                raise
        finally:
            for seat in batch:
                if seat is not own:
                    seat.turnstile.release()
            self._hand_over()

    def _let_others_sit_down(self) -> None:
        """Let threads that are about to submit do so, for as long as any does.

        Those the last batch released come back at once. Without this they miss the next batch: two cohorts alternate,
        at twice the commits.
        """
        present = 0
        while present < len(self._waiting):
            present = len(self._waiting)
            time.sleep(0)

    def _hand_over(self) -> None:
        with self._mutex:
            if self._waiting:
                self._waiting[0].turnstile.release()
            else:
                self._is_led = False
