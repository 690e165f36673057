"""The process that ends a run whose supervisor was killed: nothing is left behind, however deep it was started.

Its standard input is a pipe the supervisor never writes to; the end of file is the supervisor's end. It knows no list
of children that could be out of date: everything that inherited the run's variable belongs to the run.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Iterable

import psutil

from wallet_service import processes

PATIENCE_SECONDS = 10
POSTGRES_PATIENCE_SECONDS = 60
POLL_SECONDS = 0.1


def end_run(run: str) -> None:
    """Stop every process of the run and return when the last is gone; the impatient way after a while."""
    started = time.monotonic()
    asked: set[psutil.Process] = set()
    while members := processes.members_of(run):
        waited = time.monotonic() - started
        for process in _to_ask(members, asked):
            asked.add(process)
            _send(process, signal.SIGINT if _is_postgres(process) else signal.SIGTERM)
        for process in members:
            if _is_postgres(process) and waited > POSTGRES_PATIENCE_SECONDS:
                _send(process, signal.SIGQUIT)  # ends at once and recovers at the next start
            elif not _is_postgres(process) and waited > PATIENCE_SECONDS:
                _send(process, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def _to_ask(members: Iterable[psutil.Process], asked: set[psutil.Process]) -> list[psutil.Process]:
    """Choose those nobody of the run is the parent of: a master stops its own workers, in order."""
    numbers = {process.pid for process in members}
    chosen = []
    for process in members:
        with contextlib.suppress(psutil.Error):
            if process not in asked and process.ppid() not in numbers:
                chosen.append(process)
    return chosen


def _is_postgres(process: psutil.Process) -> bool:
    try:
        return bool(process.name() == "postgres")
    except psutil.Error:
        return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)


def main() -> None:
    """Wait for the supervisor's end, then end the run named by the argument."""
    sys.stdin.buffer.read()
    end_run(sys.argv[1])


if __name__ == "__main__":
    main()
