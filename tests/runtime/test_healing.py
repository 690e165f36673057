"""Whatever is killed comes back, and with it the service."""

import signal
from pathlib import Path

import psutil
import pytest

from tests.runtime.wallet_up import PROGRAMS, WalletUp, eventually


def kill_and_wait(wallet_up: WalletUp, program: str, victim: psutil.Process) -> None:
    """Kill a process of a program and wait until one other master of it runs, with as many workers as before."""
    [master] = wallet_up.masters(program)
    workers = len(master.children())
    victim.kill()

    def healed() -> bool:
        masters = wallet_up.masters(program)
        if victim.is_running() or len(masters) != 1:
            return False
        return program == "postgres" or len(masters[0].children()) == workers

    eventually(healed)


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
    [master] = running.masters(program)
    kill_and_wait(running, program, master)
    eventually(lambda: running.get() == 200 and running.get(port="bank") == 200)
    assert f"{program} was killed by signal 9: restarting {program}" in running.printed()


@pytest.mark.parametrize("program", ["web", "worker"])
def test_a_killed_worker_process_is_replaced(running, program):
    [master] = running.masters(program)
    victim = eventually(lambda: master.children() or running.masters(program)[0].children())[0]
    kill_and_wait(running, program, victim)
    eventually(lambda: running.get() == 200)


def test_a_killed_master_leaves_no_worker_with_the_port(running):
    [master] = running.masters("web")
    workers = master.children()
    master.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []
    eventually(lambda: running.get() == 200)


def test_a_second_supervisor_on_the_same_folder_is_refused(running, tmp_path):
    second = WalletUp(running.data)
    second.output = tmp_path / "output"
    before = {process.pid for process in running.members()}
    status, printed = second.run()
    assert status == 1
    assert (
        printed
        == f"wallet: another `wallet up` is running on {running.data}; stop it or choose another --data\n"
    )
    assert before <= {process.pid for process in running.members()}


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
