"""Whatever is killed comes back, and with it the service."""

import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.runtime.wallet_up import PATIENCE_SECONDS, PROGRAMS, WalletUp, eventually
from wallet_service import stack

WORKERS = {"web": stack.WEB_WORKERS, "worker": stack.TASK_PROCESSES}


def master_of(wallet_up: WalletUp, program: str) -> psutil.Process | None:
    """Return the one master of a program, once it has all its workers."""
    masters = wallet_up.masters(program)
    if len(masters) != 1 or len(masters[0].children()) < WORKERS.get(program, 0):
        return None
    return masters[0]


def list_masters(wallet_up: WalletUp) -> list[int]:
    """Return the process numbers of all masters, once each has all its workers."""
    return [eventually(lambda name=name: master_of(wallet_up, name)).pid for name in PROGRAMS]


def list_settled_masters(wallet_up: WalletUp) -> list[int] | None:
    """Return the masters if none was replaced within seconds; None while what an earlier test killed still has effects."""
    before = list_masters(wallet_up)
    time.sleep(5)
    return before if before == list_masters(wallet_up) else None


def kill_and_wait(wallet_up: WalletUp, program: str, victim: psutil.Process) -> None:
    victim.kill()
    eventually(lambda: not victim.is_running() and master_of(wallet_up, program))


def test_the_start_prints_where_everything_is(running):
    url = f"http://127.0.0.1:{running.ports['web']}"
    printed, _, curl_lines = running.printed().partition("Try:\n")
    for line in (
        f"API            {url}/\n",
        f"Documentation  {url}/api/docs/\n",
        "Demo login     ",
        "API key        ",
    ):
        assert line in printed
    assert curl_lines.startswith("  curl ")
    assert url in curl_lines


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_killed_program_is_started_again_and_the_service_answers(running, program):
    master = eventually(lambda: master_of(running, program))
    kill_and_wait(running, program, master)
    eventually(lambda: running.get() == 200 and running.get(port="bank") == 200)
    assert f"{program} was killed by signal 9: restarting {program}" in running.printed()


@pytest.mark.parametrize("program", ["web", "worker"])
def test_a_killed_worker_process_is_replaced(running, program):
    master = eventually(lambda: master_of(running, program))
    kill_and_wait(running, program, master.children()[0])
    eventually(lambda: running.get() == 200)


def test_a_killed_master_leaves_no_worker_with_the_port(running):
    master = eventually(lambda: master_of(running, "web"))
    workers = master.children()
    master.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE_SECONDS)
    assert alive == []
    eventually(lambda: running.get() == 200)


def test_a_second_supervisor_on_the_same_folder_is_refused(running, tmp_path):
    second = WalletUp(running.data)
    second.output = tmp_path / "output"
    before = eventually(lambda: list_settled_masters(running))
    status, printed = second.run()
    assert status == 1
    assert (
        printed
        == f"wallet: another `wallet up` is running on {running.data}; stop it or choose another --data\n"
    )
    assert before == list_masters(running)


def test_what_is_kept_in_the_folder_is_ours_alone(running):
    secrets = [
        "secret_key",
        "run",
        "postgres/password",
        "redis/password",
        *(f"logs/{name}.log" for name in PROGRAMS),
    ]
    modes = {name: oct((running.data / name).stat().st_mode & 0o777) for name in secrets}
    assert modes == dict.fromkeys(secrets, "0o600")
    assert oct((running.data / "postgres" / "cluster").stat().st_mode & 0o777) == "0o700"


def test_no_secret_is_on_a_command_line_or_printed_with_its_address(running):
    passwords = [
        Path(running.data / server / "password").read_text() for server in ("postgres", "redis")
    ]
    passwords.append((running.data / "secret_key").read_text())
    commands = " ".join(" ".join(process.cmdline()) for process in running.members())
    assert [secret for secret in passwords if secret in commands + running.printed()] == []
