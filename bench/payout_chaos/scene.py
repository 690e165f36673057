"""What runs during a round: PostgreSQL, Redis, the sandbox bank, workers and beats; and the means to harm them."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import redis

from wallet_service.embedded import (
    UNSAFE_AND_FAST,
    PostgresServer,
    RedisServer,
    ServerFailed,
    free_port,
)

ROOT = Path(__file__).resolve().parents[2]
DATABASE = "wallet"
FAKETIME = [
    Path(folder, "faketime", "libfaketimeMT.so.1")
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib")
]
# About as the seed's worst bank: 4 in 10 orders meet a fault, most of them paid all the same.
FAULTS = {
    "mix": {
        "refuse": 0.10,
        "failing_200": 0.05,
        "paid_503": 0.05,
        "paid_timeout": 0.15,
        "paid_cut": 0.04,
        "garbage": 0.03,
        "reject": 0.05,
    },
    "seconds": 2.5,
    "seed": 6,
}
BANK_TIMEOUT_SECONDS = 1


@dataclass
class Scene:
    """A round's processes. Programs are started anew when they are found dead."""

    folder: Path
    postgres: PostgresServer
    redis: RedisServer
    bank_url: str
    environment: dict[str, str]
    commands: dict[str, list[str]] = field(default_factory=dict)
    programs: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    extra: dict[str, dict[str, str]] = field(default_factory=dict)
    harms: dict[str, int] = field(default_factory=dict)

    def start(self, name: str, command: list[str], **environment: str) -> None:
        """Run a program in a group of its own."""
        self.commands[name] = command
        with (self.folder / f"{name}.log").open("ab") as log:
            self.programs[name] = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.extra.setdefault(name, environment)

    def revive(self) -> None:
        """Start again what has ended."""
        for server in (self.postgres, self.redis):
            if server.process is not None and server.process.poll() is not None:
                with contextlib.suppress(ServerFailed):
                    server.start()
        for name, process in list(self.programs.items()):
            if process.poll() is not None:
                self.start(name, self.commands[name], **self.extra[name])

    def kill_program(self, name: str) -> None:
        """Kill a program with all its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.programs[name].pid, signal.SIGKILL)
        self.programs[name].wait()
        self.note(f"kill {name.rstrip('0123456789')}")

    def kill_child(self) -> None:
        """Kill one process of a worker's pool."""
        workers = [name for name in self.programs if name.startswith("worker")]
        with contextlib.suppress(psutil.Error, IndexError):
            parent = psutil.Process(self.programs[random.choice(workers)].pid)
            random.choice(parent.children()).kill()
            self.note("kill pool child")

    def kill_server(self, server: PostgresServer | RedisServer) -> None:
        """Kill a server and start it again; it recovers from what it had written."""
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        server.start()
        self.note(f"kill {server.program}")

    def flush(self) -> None:
        """Lose every message."""
        with contextlib.suppress(redis.RedisError):
            redis.Redis.from_url(self.redis.url()).flushall()
            self.note("FLUSHALL")

    def note(self, harm: str) -> None:
        self.harms[harm] = self.harms.get(harm, 0) + 1

    def stop(self) -> None:
        for process in self.programs.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def ask_bank(self, method: str, path: str, **options: Any) -> Any:
        return httpx.request(method, f"{self.bank_url}{path}", trust_env=False, **options).json()

    def run(self, *arguments: str) -> str:
        """Run a Python module in the round's environment; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout


@contextmanager
def open_scene(folder: Path) -> Iterator[Scene]:
    """Start the servers and the bank; kill everything at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
    # Killed processes lose nothing that the kernel has; what they keep for later they would lose.
    settings = {**UNSAFE_AND_FAST, "synchronous_commit": "on"}
    postgres = PostgresServer(folder / "postgres", free_port(), settings)
    broker = RedisServer(folder / "redis", free_port())
    with postgres, broker:
        postgres.create_database(DATABASE)
        port = free_port()
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "DATABASE_URL": postgres.url(DATABASE),
            "BROKER_URL": broker.url(),
            "REDIS_URL": broker.url(),
            "DATABASE_POOL_SIZE": "4",
            "LOG_LEVEL": "WARNING",
        }
        scene = Scene(folder, postgres, broker, f"http://127.0.0.1:{port}", environment)
        try:
            bank = [sys.executable, "-m", "wallet_sandbox.bank", "--port", str(port)]
            scene.start("bank", bank)
            wait_for(lambda: scene.ask_bank("GET", "/healthz"), 300)
            yield scene
        finally:
            scene.stop()


def find_faketime() -> Path | None:
    """Return the library that moves a process's clock, if it is installed (Debian: faketime)."""
    return next((path for path in FAKETIME if path.exists()), None)


def an_hour_off() -> dict[str, str]:
    """Return the variables by which a process lives an hour in the future; none without libfaketime."""
    library = find_faketime()
    if library is None:
        return {}
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": "+1h",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }


def wait_for(condition: Callable[[], Any], seconds: float) -> bool:
    """Wait until the condition holds; tell whether it did in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError, OSError):
            if condition():
                return True
        time.sleep(0.2)
    return False


def list_harms(scene: Scene, dice: random.Random) -> list[Callable[[], None]]:
    """Return all the ways to break something, the likelier ones several times, in an order of the dice."""
    names = list(scene.programs)
    workers = [name for name in names if name.startswith("worker")]
    beats = [name for name in names if name.startswith("beat")]
    harms = [
        *[lambda: scene.kill_program(dice.choice(workers))] * 4,
        *[scene.kill_child] * 3,
        *[lambda: scene.kill_program(dice.choice(beats))] * 2,
        lambda: scene.kill_server(scene.redis),
        lambda: scene.kill_server(scene.postgres),
        scene.flush,
    ]
    dice.shuffle(harms)
    return harms
