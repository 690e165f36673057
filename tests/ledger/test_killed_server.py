"""Servers of our own that die, or whose standby does not answer: what was confirmed is there, the rest is in doubt."""

import json
import shutil
import signal
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from tests.ledger.together import read_lines, run_writer, writer
from wallet_service.embedded import PostgresServer, free_port

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def durable_server():
    """A PostgreSQL that writes to the disk, with our tables."""
    folder = Path(tempfile.mkdtemp(prefix="wallet-durable-"))
    folder.chmod(0o711)
    try:
        with PostgresServer(folder / "data", free_port()) as server:
            server.create_database("wallet")
            run_writer("migrate", url=server.url("wallet"))
            run_writer("wallets", "6", "1000", url=server.url("wallet"))
            yield server
    finally:
        shutil.rmtree(folder)


def test_what_a_killed_server_had_confirmed_is_there_once(durable_server):
    url = durable_server.url("wallet")
    before = run_writer("check", url=url)
    with (
        writer("transfer", "a", "1", url=url) as one,
        writer("transfer", "b", "2", url=url) as other,
    ):
        told = read_lines(one, 60) + read_lines(other, 60)
        durable_server.process.send_signal(signal.SIGKILL)
        durable_server.process.wait()
        durable_server.start()
        for process in (one, other):
            told += read_lines(process, 60)
            process.send_signal(signal.SIGTERM)
        for process in (one, other):
            told += process.stdout.read().split()
            assert process.wait() == 0
    after = run_writer("check", url=url)
    assert after["problems"] == []
    assert after["total"] == before["total"]
    assert Decimal(after["lowest"]) >= 0
    assert len(after["keys"]) == len(set(after["keys"]))
    new = set(after["keys"]) - set(before["keys"])
    assert {key for key in new if not key.endswith("-back")} == set(told)
    assert len(told) == len(set(told)) >= 240


@pytest.fixture
def missing_standby(durable_server):
    """A server whose commits wait for a standby that is not there; the function cancels the wait of one."""
    with psycopg.connect(durable_server.url("wallet"), autocommit=True) as admin:

        def set_standby(name):
            admin.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
            admin.execute("SELECT pg_reload_conf()")
            wait_for(lambda: admin.execute("SHOW synchronous_standby_names").fetchone()[0] == name)

        def cancel_the_wait():
            wait_for(
                lambda: admin.execute(
                    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                ).fetchall()
            )

        set_standby("missing")
        cancel_the_wait.end = lambda: set_standby("")
        try:
            yield cancel_the_wait
        finally:
            set_standby("")


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_commit_that_no_standby_confirmed_is_an_unknown_outcome(durable_server, missing_standby):
    url = durable_server.url("wallet")
    with writer("one", "sync-1", url=url) as process:
        missing_standby()
        assert json.loads(process.stdout.readline()) == "outcome_unknown"
    missing_standby.end()
    assert run_writer("one", "sync-1", url=url) == "replayed"
    assert run_writer("check", url=url)["problems"] == []


def test_the_doubt_about_a_commit_of_the_callers_own_does_not_spread(
    durable_server, missing_standby
):
    url = durable_server.url("wallet")
    with writer("own-commit", "sync-2", url=url) as process:
        missing_standby()
        assert process.stdout.readline() == "committed\n"
        missing_standby.end()
        process.stdin.write("\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == "posted"
