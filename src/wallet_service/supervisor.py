"""Keeps a set of programs running in one data folder, and ends them all. What they are is written in stack.py.

Nothing outlives the supervisor: every child leads a group of its own, which is killed before the child is started
again; the kernel signals children whose supervisor was killed; and the watchdog ends their descendants.
Everything happens in the thread that calls `until`.
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import IO

from wallet_service import processes, watchdog
from wallet_service.embedded import (
    STOP_SECONDS,
    EmbeddedServer,
    ServerFailed,
    for_us_only,
    make_folder,
    tail,
)

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 10
# A watchdog may need both patiences of its own before it lets go of the folder.
CLEANUP_SECONDS = watchdog.POSTGRES_PATIENCE_SECONDS + watchdog.PATIENCE_SECONDS
# A child that lived this long was well: its next death is answered at once.
SETTLED_SECONDS = 10
LONGEST_BACK_OFF_SECONDS = 15
# Deaths in a row that are no accident any more.
HOPELESS = 5


class StartFailed(Exception):
    """Something that must run does not; the message carries the end of its log."""


class StopRequested(Exception):
    """A signal asked the supervisor to stop."""


class Tier(IntEnum):
    """Who is stopped after whom: programs first, then the servers they use."""

    WATCHDOG = 0
    SERVER = 1
    PROGRAM = 2


@dataclass
class Child:
    """Something that shall run, and how its latest process fared."""

    name: str
    tier: Tier
    launch: Callable[[], subprocess.Popen[bytes]]
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM
    patience_seconds: float = PATIENCE_SECONDS
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    deaths: int = 0

    def note_death(self, now: float) -> None:
        """Set when to start again: at once the first time, then ever later while it keeps dying young."""
        self.deaths = 1 if now - self.started > SETTLED_SECONDS else self.deaths + 1
        self.due = (
            now if self.deaths == 1 else now + min(LONGEST_BACK_OFF_SECONDS, 2 ** (self.deaths - 3))
        )


class Supervisor:
    """The children of one data folder. `say` takes lines for the user.

    :raises FolderBusy: if another supervisor runs on the folder
    """

    def __init__(self, data: Path, say: Callable[[str], None]) -> None:
        self.data = make_folder(data.absolute(), 0o711)
        self.logs = make_folder(self.data / "logs", 0o700)
        self.run = secrets.token_hex(16)
        self._say = say
        self._children: list[Child] = []
        self._step: subprocess.Popen[bytes] | None = None
        self._started = False
        self._stop_requests = 0
        self._lock = processes.hold(self.data / "lock")

    def start(self) -> None:
        """End what an earlier run left, then accept children.

        :raises FolderBusy: if the watchdog of a killed supervisor does not come to its end
        """
        signals = {signal.SIGINT, signal.SIGTERM}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            signals.add(signal.SIGHUP)
        for number in signals:
            signal.signal(number, self._request_stop)
        processes.adopt_orphans()
        self._cleanup = self._wait_for_earlier_watchdog()
        record = self.data / "run"
        if record.exists():
            watchdog.end_run(record.read_text())
        with open(record, "w", opener=for_us_only) as file:
            file.write(self.run)
        self._add(Child("watchdog", Tier.WATCHDOG, self._launch_watchdog, self.log("watchdog")))

    def add_server(self, name: str, server: EmbeddedServer) -> None:
        """Start a server and wait until it answers, however long it recovers from a crash."""
        self._add(
            Child(name, Tier.SERVER, server.launch, server.log, server.stop_signal, STOP_SECONDS)
        )
        self.until(server.is_ready)

    def add_program(
        self, name: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        """Start a program; it is not waited for."""
        self._add(
            Child(
                name, Tier.PROGRAM, lambda: self._popen(name, command, environment), self.log(name)
            )
        )

    def run_step(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: IO[bytes] | None = None,
    ) -> None:
        """Run a command to its end while the children are tended.

        :raises StartFailed: if it fails
        """
        process = self._step = self._popen(name, command, environment, output)
        try:
            self.until(lambda: processes.has_ended(process))
        finally:
            processes.end_group(process)
            self._step = None
        if process.returncode != 0:
            raise StartFailed(
                f"{name} failed; the end of {self.log(name)}:\n{tail(self.log(name))}"
            )

    def until(self, condition: Callable[[], bool]) -> None:
        """Tend the children until the condition holds.

        :raises StopRequested: when a signal came first
        :raises StartFailed: if a child keeps dying before `settle`
        """
        while not condition():
            if self._stop_requests:
                raise StopRequested
            self._tend()
            time.sleep(POLL_SECONDS)

    def settle(self) -> None:
        """Declare the start finished: from now on a child that keeps dying is retried for ever."""
        self._started = True

    def stop(self) -> None:
        """Stop everything and return when it is gone. A further signal ends the patience."""
        patient_until = self._stop_requests
        for tier in sorted(Tier, reverse=True):
            children = [
                child
                for child in self._children
                if child.tier is tier and child.process is not None
            ]
            for child in children:
                _ask_to_end(child)
            for child in children:
                self._await_end(child, patient_until)
            if tier is Tier.SERVER:  # whatever left its group
                watchdog.end_run(self.run)
        processes.reap_orphans(set())

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop_requests += 1

    def _wait_for_earlier_watchdog(self) -> int:
        """Take the lock that a watchdog keeps until the last process of its run is gone."""
        deadline = time.monotonic() + CLEANUP_SECONDS
        while True:
            try:
                return processes.hold(self.data / "cleanup.lock")
            except processes.FolderBusy:
                if self._stop_requests or time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)

    def _launch_watchdog(self) -> subprocess.Popen[bytes]:
        # Without the run's variable, or it would have to end itself.
        with open(self.log("watchdog"), "ab", opener=for_us_only) as log:
            return subprocess.Popen(
                [sys.executable, "-m", "wallet_service.watchdog", self.run],
                cwd=self.data,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(self._cleanup,),
            )

    def _popen(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: IO[bytes] | None = None,
    ) -> subprocess.Popen[bytes]:
        with open(self.log(name), "ab", opener=for_us_only) as log:
            return subprocess.Popen(
                command,
                cwd=self.data,
                env={**environment, processes.RUN_VARIABLE: self.run},
                stdin=subprocess.DEVNULL,
                stdout=output or log,
                stderr=log,
                start_new_session=True,
                preexec_fn=processes.ending_with_parent(signal.SIGTERM),
            )

    def _add(self, child: Child) -> None:
        self._children.append(child)
        self._launch(child)

    def _launch(self, child: Child) -> None:
        child.started = time.monotonic()
        try:
            child.process = child.launch()
        except (ServerFailed, OSError) as error:
            self._note_death(child, f"did not start ({error})")

    def _tend(self) -> None:
        """Notice deaths, kill what the dead left in their group, and start again what is due."""
        for child in self._children:
            if child.process is not None and processes.has_ended(child.process):
                processes.end_group(child.process)
                how = _describe_end(child.process.returncode)
                child.process = None
                self._note_death(child, how)
            if child.process is None and time.monotonic() >= child.due:
                self._launch(child)
        known = [child.process for child in self._children] + [self._step]
        processes.reap_orphans({process.pid for process in known if process is not None})

    def _note_death(self, child: Child, how: str) -> None:
        child.note_death(time.monotonic())
        self._say(f"{time.strftime('%H:%M:%S')} {child.name} {how}: restarting {child.name}")
        if child.deaths % HOPELESS == 0:
            message = f"{child.name} keeps ending; the end of {child.log}:\n{tail(child.log)}"
            if not self._started:
                raise StartFailed(message)
            self._say(message)

    def _await_end(self, child: Child, patient_until: int) -> None:
        deadline = time.monotonic() + child.patience_seconds
        process = child.process
        if process is None:
            return
        while not processes.has_ended(process) and time.monotonic() < deadline:
            if self._stop_requests > patient_until:
                break
            time.sleep(POLL_SECONDS / 5)
        processes.end_group(process)


def _ask_to_end(child: Child) -> None:
    # An unreaped process keeps its number, so this cannot reach a stranger.
    if child.process is not None and child.process.returncode is None:
        os.kill(child.process.pid, child.stop_signal)


def _describe_end(returncode: int) -> str:
    if returncode < 0:
        return f"was killed by signal {-returncode}"
    return f"ended with status {returncode}"
