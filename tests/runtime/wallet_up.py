"""A real `wallet up` under test: started, watched through the kernel, signalled."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from wallet_service import stack
from wallet_service.embedded import free_port
from wallet_service.processes import RUN_VARIABLE

# Nothing of the test run's own environment: not its settings module, not its servers.
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
PROGRAMS = {
    "web": "-m granian",
    "worker": "wallet_service worker",
    "beat": "wallet_service beat",
    "bank": "-m wallet_sandbox.bank",
    "node": "-m wallet_sandbox.node",
    "scanner": "django custody_scan",
    "sender": "django custody_send",
    "signer": "-m dj_wallet.custody.signer",
    "exchanges": "-m wallet_sandbox.exchanges",
    "redis": "bin/redis-server",
    "postgres": "bin/postgres",
    "watchdog": "-m wallet_service.watchdog",
}


PATIENCE_SECONDS = 300
"""How long something may take that must happen: on a machine with other work to do, long."""


class WalletUp:
    """`wallet up` on one data folder; each start is a new process."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.output = data.with_name("output")
        self.ports = {name: free_port() for name in stack.DEFAULT_PORTS}
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start it and return at once. Ports are asked for as defaults, so that they may move."""
        command = [
            sys.executable,
            "-m",
            "wallet_service.cli",
            "up",
            "--data",
            str(self.data),
            *arguments,
        ]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                env=ENVIRONMENT | environment,
                cwd="/",
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self.process

    def start(self) -> str:
        """Start it and return what it printed once it was ready."""
        ports = [
            f"--{'' if name == 'web' else name + '-'}port={port}"
            for name, port in self.ports.items()
        ]
        process = self.launch(*ports)
        eventually(lambda: "Ready in" in self.printed() or process.poll() is not None)
        assert process.poll() is None, self.printed()
        return self.printed()

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Start it, wait for its end, return its exit status and what it printed."""
        process = self.launch(*arguments, **environment)
        return process.wait(PATIENCE_SECONDS), self.printed()

    def printed(self) -> str:
        return self.output.read_text()

    def signal(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self.is_running:
            self.signal(signal.SIGTERM)

    def get(self, path: str = "/healthz", port: str = "web") -> int:
        """Return the status of the answer, or 0 if there is none."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.ports[port]}{path}", timeout=2).status_code
        except httpx.TransportError:
            return 0

    def members(self) -> list[psutil.Process]:
        """List everything alive that the current or last run started, found by what it inherited or was told."""
        run = (self.data / "run").read_text()
        return [process for process in psutil.process_iter() if _belongs(process, run, self.data)]

    def masters(self, program: str) -> list[psutil.Process]:
        """List the processes of a program that it did not start itself."""
        processes = [
            process for process in self.members() if PROGRAMS[program] in _command(process)
        ]
        numbers = {process.pid for process in processes}
        return [process for process in processes if _parent(process) not in numbers]


def eventually(condition: Callable[[], Any]) -> Any:
    """Wait for the condition and return its first true result."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (result := condition()):
        assert time.monotonic() < deadline, "this did not happen in time"
        time.sleep(0.05)
    return result


def _belongs(process: psutil.Process, run: str, data: Path) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        inherited = process.environ().get(RUN_VARIABLE) == run
        return (
            inherited
            or run in _command(process)
            or str(data) in f"{_command(process)} {process.cwd()}"
        )
    except (psutil.Error, OSError):
        return False


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return 0
