"""Callers at the same time: threads of this process, and processes of their own."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from django.db import connection, connections

TIMEOUT_SECONDS = 600


def run_together(*calls: Callable[[], Any], seconds: float = TIMEOUT_SECONDS) -> list[Any]:
    """Run each call in a thread of its own, all starting together; return results, or exceptions, in order."""
    results: list[Any] = [None] * len(calls)
    barrier = threading.Barrier(len(calls), timeout=TIMEOUT_SECONDS)

    def run(position: int, call: Callable[[], Any]) -> None:
        try:
            barrier.wait()
            results[position] = call()
        except Exception as error:  # noqa: BLE001 - what happened is what the test wants to know
            results[position] = error
        finally:
            connections.close_all()

    threads = [
        threading.Thread(target=run, args=(position, call), daemon=True)
        for position, call in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    assert not any(thread.is_alive() for thread in threads), "a caller hangs"
    return results


def raise_errors(results: list[Any]) -> list[Any]:
    """Return the results if no caller saw an exception."""
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


class Background:
    """One call in a thread, to be waited for: its result, or the exception it ended with."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.result: Any = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._call()
        except Exception as error:  # noqa: BLE001 - what happened is what the test wants to know
            self.result = error
        finally:
            connections.close_all()

    def wait(self) -> Any:
        self._thread.join(TIMEOUT_SECONDS)
        assert not self._thread.is_alive(), "the caller hangs"
        return self.result


def database_url() -> str:
    """Return the address of the test database."""
    given = connection.settings_dict
    user, password = quote(given["USER"]), quote(given["PASSWORD"])
    return f"postgresql://{user}:{password}@{given['HOST']}:{given['PORT']}/{given['NAME']}"


@contextmanager
def writer(*arguments: str, url: str | None = None) -> Iterator["subprocess.Popen[str]"]:
    """Run `tests.ledger.writer` as a process; it is killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ledger.writer", *arguments],
        env={**os.environ, "DATABASE_URL": url or database_url()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        with process:
            try:
                yield process
            finally:
                process.kill()
    finally:
        process.wait()


def run_writer(*arguments: str, url: str | None = None) -> Any:
    """Run a command of `tests.ledger.writer` to its end and return the JSON it prints."""
    with writer(*arguments, url=url) as process:
        output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        assert process.returncode == 0, output
    return json.loads(output)


def read_lines(process, count):
    return [process.stdout.readline().strip() for _ in range(count)]
