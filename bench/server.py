"""The one PostgreSQL server everybody is measured on, and the workers that are sent to it."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from bench.measure import Sample
from wallet_service.embedded import POSTGRES_TREE, POSTGRES_WHEEL, PostgresServer, free_port

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "out"
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "max_connections": "200",
}


@dataclass(frozen=True, slots=True)
class System:
    """Whose code a worker runs: an interpreter, Django apps, a module of scenarios."""

    name: str
    python: Path
    apps: str
    module: str


class Server:
    """A running PostgreSQL with the default settings but SETTINGS."""

    def __init__(self, postgres: PostgresServer) -> None:
        self.postgres = postgres
        self.postmaster_pid = postgres.process.pid

    def url(self, database: str) -> str:
        return self.postgres.url(database)

    def create_database(self, database: str) -> None:
        self.postgres.create_database(database)

    def copy_database(self, template: str, database: str) -> None:
        """Create `database` as a copy of `template`, in place of an earlier one."""
        self.execute("postgres", f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
        self.execute("postgres", f'CREATE DATABASE "{database}" TEMPLATE "{template}"')

    def execute(self, database: str, sql: str) -> list[tuple]:
        """Run one statement outside any transaction; return its rows, if it has any."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def libpq_environment(self, database: str) -> dict[str, str]:
        """Return the variables by which libpq programs find the server (no password in `ps`)."""
        parts = urlsplit(self.url(database))
        return {
            "PGHOST": parts.hostname or "",
            "PGPORT": str(parts.port),
            "PGUSER": parts.username or "",
            "PGPASSWORD": parts.password or "",
            "PGDATABASE": database,
        }

    def setup(self, system: System, database: str) -> None:
        """Create the database, let the system's worker fill it, and give the planner statistics."""
        self.create_database(database)
        self.work(system, database, "setup")
        self.execute(database, "VACUUM ANALYZE")

    def run(self, system: System, database: str, scenario: str, seconds: float) -> Sample:
        output = self.work(system, database, scenario, str(seconds))
        return Sample(**json.loads(output.splitlines()[-1]))

    def work(self, system: System, database: str, *arguments: str) -> str:
        return self.run_module(system, database, "bench.worker", system.module, *arguments)

    def run_module(self, system: System, database: str, module: str, *arguments: str) -> str:
        """Run a module with the system's Python, apps and database; return what it printed."""
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "bench.settings",
            "BENCH_DATABASE_URL": self.url(database),
            "BENCH_APPS": system.apps,
            "BENCH_POSTMASTER_PID": str(self.postmaster_pid),
        }
        if system.python != Path(sys.executable):
            # It may name our sources, whose dj_wallet would hide that of the peers' environment.
            environment.pop("PYTHONPATH", None)
        finished = subprocess.run(
            [system.python, "-m", module, *arguments],
            env=environment,
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return finished.stdout


def find_pgbench() -> Path:
    """Return the program of the wheel that the server comes from."""
    package = Path(importlib.util.find_spec(POSTGRES_WHEEL).origin).parent
    return package / POSTGRES_TREE / "bin" / "pgbench"


@contextmanager
def start() -> Iterator[Server]:
    """Run a fresh server for the time of the block; its data are deleted afterwards."""
    data_dir = OUT / "postgres"
    remove(data_dir)
    data_dir.mkdir(parents=True)
    os.environ["BENCH_PROBE"] = str(data_dir / "fsync.probe")
    try:
        with PostgresServer(data_dir, free_port(), SETTINGS) as postgres:
            yield Server(postgres)
    finally:
        remove(data_dir)


def remove(data_dir: Path) -> None:
    """Delete the folder, and the cluster where it had to be kept elsewhere (see PostgresServer)."""
    cluster = (data_dir / "cluster").resolve()
    for folder in (cluster, data_dir):
        shutil.rmtree(folder, ignore_errors=True)
