"""PostgreSQL and Redis from wheels: closed to others, durable, startable whatever the last owner left."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from wallet_service import embedded, processes
from wallet_service.embedded import PostgresServer, RedisServer, free_port

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as another user")


@pytest.fixture
def postgres(open_folder):
    """A server that was started, and a new folder for each test."""
    folder = Path(tempfile.mkdtemp(dir=open_folder))
    folder.chmod(0o711)
    with PostgresServer(folder / "postgres", free_port(), embedded.UNSAFE_AND_FAST) as server:
        yield server


def execute(server, statement):
    with psycopg.connect(server.url("postgres")) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else None


def test_only_loopback_with_a_password_gets_in(postgres):
    assert execute(postgres, "SHOW listen_addresses") == [("127.0.0.1",)]
    assert execute(postgres, "SHOW unix_socket_directories") == [("",)]
    assert execute(postgres, "SELECT DISTINCT auth_method FROM pg_hba_file_rules") == [
        ("scram-sha-256",)
    ]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://wallet:guessed@127.0.0.1:{postgres.port}/postgres")


def test_text_sorts_alike_on_every_machine(postgres):
    postgres.create_database("sorted")
    locale = "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'sorted'"
    assert execute(postgres, locale) == [("b", "C.UTF-8")]


def test_creating_a_database_twice_is_harmless(postgres):
    for _ in range(2):
        postgres.create_database('odd "name"')
    with psycopg.connect(postgres.url('odd "name"')) as connection:
        assert connection.info.dbname == 'odd "name"'


def test_a_server_is_durable_unless_told_otherwise(open_folder):
    with PostgresServer(open_folder / "durable", free_port()) as server:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            assert execute(server, f"SHOW {name}") == [("on",)]
        execute(server, "CREATE TABLE kept AS SELECT 42 AS answer")
        server.process.kill()
        processes.end_group(server.process)
        server.start()
        assert execute(server, "SELECT answer FROM kept") == [(42,)]


def test_a_second_server_on_the_same_folder_is_refused(postgres):
    with pytest.raises(processes.FolderBusy):
        PostgresServer(postgres.data_dir, free_port()).start()
    assert execute(postgres, "SELECT 1") == [(1,)]


def test_an_earlier_server_without_an_owner_is_stopped_first(postgres):
    port = free_port()
    postgres.stop()
    orphan = f"""
import signal
from pathlib import Path
from wallet_service import processes
from wallet_service.embedded import PostgresServer
processes.ending_with_parent = lambda number: None  # the kernel was not told, as on macOS
server = PostgresServer(Path({str(postgres.data_dir)!r}), {port})
server.start()
print(server.process.pid, flush=True)
signal.raise_signal(signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", orphan], capture_output=True, text=True, check=False
    )
    earlier = psutil.Process(int(done.stdout))
    assert earlier.is_running()
    postgres.start()
    assert not earlier.is_running()
    assert execute(postgres, "SELECT 1") == [(1,)]


def test_a_number_in_a_stale_file_that_now_belongs_to_another_process_is_no_obstacle(postgres):
    postgres.stop()
    cluster = postgres.data_dir / "cluster"
    owner = {"user": cluster.stat().st_uid} if os.geteuid() == 0 else {}
    stranger = subprocess.Popen(["sleep", "3600"], cwd="/", **owner)
    (cluster / "postmaster.pid").write_text(
        f"{stranger.pid}\n{cluster}\n1\n{postgres.port}\n\n127.0.0.1\n"
    )
    try:
        postgres.start()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_start_cut_short_can_be_repeated(open_folder):
    folder = embedded.make_folder(open_folder / "cut-short", 0o711)
    (folder / "cluster.new").mkdir()
    (folder / "cluster.new" / "PG_VERSION").write_text("18\n")
    with PostgresServer(folder, free_port(), embedded.UNSAFE_AND_FAST) as server:
        assert execute(server, "SELECT 1") == [(1,)]


def test_a_server_that_cannot_start_says_why_and_frees_its_folder(postgres):
    postgres.stop()
    postgres.settings["shared_buffers"] = "nonsense"
    with pytest.raises(embedded.ServerFailed, match='invalid value for parameter "shared_buffers"'):
        postgres.start()
    postgres.settings.clear()
    postgres.start()


@ROOT_ONLY
def test_a_folder_the_servers_user_cannot_reach_holds_a_link_and_keeps_its_mode(tmp_path):
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with PostgresServer(private / "postgres", free_port(), embedded.UNSAFE_AND_FAST) as server:
        assert execute(server, "SELECT 1") == [(1,)]
        execute(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    place = (private / "postgres" / "cluster").resolve()
    try:
        assert place.is_relative_to(embedded.SHARED_HOME)
        assert private.stat().st_mode & 0o777 == 0o700
        with server:
            assert execute(server, "SELECT answer FROM kept") == [(42,)]
    finally:
        shutil.rmtree(place.parent)


def test_a_temporary_server_is_gone_afterwards():
    with embedded.temporary_postgres() as server:
        folder = server.data_dir.parent
        assert execute(server, "SHOW fsync") == [("off",)]
    assert not folder.exists()
    assert server.process.returncode is not None


def test_a_command_can_be_run_beside_a_throw_away_server():
    script = "import os, psycopg; print(psycopg.connect(os.environ['DATABASE_URL']).info.dbname); raise SystemExit(3)"
    command = [sys.executable, "-m", "wallet_service.embedded", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "wallet\n")


def test_redis_needs_its_password_and_finds_its_data_again(tmp_path):
    with RedisServer(tmp_path / "redis", free_port()) as server:
        with (
            redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        with redis.Redis.from_url(server.url()) as client:
            client.set("kept", "42")
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    with server, redis.Redis.from_url(server.url()) as client:
        assert client.get("kept") == b"42"


def test_a_killed_redis_starts_again(tmp_path):
    with RedisServer(tmp_path / "redis", free_port()) as server:
        server.process.send_signal(signal.SIGKILL)
        processes.end_group(server.process)
        server.start()
        with redis.Redis.from_url(server.url()) as client:
            assert client.ping()
