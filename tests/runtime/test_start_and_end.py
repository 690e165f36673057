"""A start finds what was there; an end leaves nothing, however it comes."""

import signal
import socket

import psutil
import psycopg
import pytest

from tests.runtime.wallet_up import eventually
from wallet_service.embedded import free_port


def assert_nothing_is_left(wallet_up):
    eventually(lambda: wallet_up.members() == [])
    for port in wallet_up.ports.values():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


def is_alive(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def database_of(wallet_up):
    password = (wallet_up.data / "postgres" / "password").read_text()
    return psycopg.connect(
        f"postgresql://wallet:{password}@127.0.0.1:{wallet_up.ports['postgres']}/wallet"
    )


def test_ctrl_c_stops_everything_in_order(running):
    assert running.signal(signal.SIGINT) == 0
    assert_nothing_is_left(running)
    log = (running.data / "logs" / "postgres.log").read_text()
    assert log.splitlines()[-1].endswith("database system is shut down")


def test_a_killed_supervisor_leaves_no_process_behind(running):
    running.signal(signal.SIGKILL)
    assert_nothing_is_left(running)


def test_a_supervisor_killed_together_with_its_watchdog_leaves_no_process_behind(running):
    [watchdog] = running.masters("watchdog")
    watchdog.suspend()  # or it might be quick enough
    running.signal(signal.SIGKILL)
    watchdog.kill()
    assert_nothing_is_left(running)


def test_a_start_straight_after_a_kill_waits_for_the_earlier_end_and_finds_everything_again(
    stopped,
):
    printed = stopped.start()
    secret = (stopped.data / "secret_key").read_text()
    with database_of(stopped) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS answer")
    earlier = stopped.members()
    stopped.signal(signal.SIGKILL)
    stopped.launch()  # without the ports: they are remembered
    eventually(lambda: "Ready in" in stopped.printed())
    assert [process for process in earlier if is_alive(process)] == []
    assert stopped.printed().splitlines()[2:] == printed.splitlines()[2:]
    assert (stopped.data / "secret_key").read_text() == secret
    with database_of(stopped) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    assert stopped.signal(signal.SIGTERM) == 0
    assert_nothing_is_left(stopped)


@pytest.mark.parametrize(
    "option", ["--port", "--postgres-port", "--redis-port", "--bank-port", "--panel-port"]
)
def test_a_busy_port_that_was_asked_for_is_refused(stopped, option):
    name = option.removeprefix("--").removesuffix("port").rstrip("-") or "web"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, printed = stopped.run(option, str(port))
    assert status == 1
    assert (
        f"wallet: port {port} ({name}) is busy: choose another, or leave the choice to us\n"
        in printed
    )
    assert_nothing_is_left(stopped)


def test_a_port_may_be_asked_for_by_environment(stopped):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, printed = stopped.run(WALLET_PORT=str(port))
    assert (status, f"port {port} (web) is busy" in printed) == (1, True)


def test_a_start_that_cannot_succeed_says_why_and_leaves_nothing(stopped):
    stopped.ports = {name: free_port() for name in stopped.ports}
    status, printed = stopped.run(DJANGO_SETTINGS_MODULE="no_such_settings")
    assert status == 1
    assert "wallet: migrate failed; the end of" in printed
    assert "No module named 'no_such_settings'" in printed
    assert_nothing_is_left(stopped)
