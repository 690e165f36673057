"""Choices made before anything is started."""

import re
import socket
from pathlib import Path

import pytest

import wallet_service.settings
from wallet_service import stack
from wallet_service.supervisor import Child, Tier


@pytest.fixture
def somebody():
    """A server on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def said():
    return []


def choose(data, said, **wanted):
    return stack.choose_ports(data, "127.0.0.1", wanted, said.append)


def test_a_busy_default_port_is_left_and_said(tmp_path, said, somebody, monkeypatch):
    monkeypatch.setattr(stack, "DEFAULT_PORTS", {"web": somebody})
    chosen = choose(tmp_path, said)
    assert chosen["web"] > somebody
    assert said == [f"port {somebody} is busy: web takes {chosen['web']}"]


def test_the_ports_of_the_last_run_are_taken_again(tmp_path, said):
    first = choose(tmp_path, said)
    said.clear()
    assert choose(tmp_path, said) == first
    assert said == []


def test_a_wanted_port_is_never_moved(tmp_path, said, somebody):
    with pytest.raises(stack.PortBusy, match=rf"port {somebody} \(redis\) is busy"):
        choose(tmp_path, said, redis=somebody)


def test_no_two_servers_get_the_same_port(tmp_path, said):
    web = choose(tmp_path, said)["bank"]
    chosen = choose(tmp_path, said, web=web)
    assert chosen["web"] == web
    assert len(set(chosen.values())) == len(chosen)


def test_every_variable_the_settings_read_reaches_the_children(monkeypatch, tmp_path):
    source = Path(wallet_service.settings.__file__).read_text()
    read = set(re.findall(r'\benv\w*\(\s*"([A-Z_]+)"', source))
    assert "ALLOWED_HOSTS" in read
    plan = stack.Plan(host="127.0.0.1", ports=stack.DEFAULT_PORTS)
    for name in read:
        monkeypatch.setenv(name, "given")
    servers = {"DATABASE_URL", "REDIS_URL", "BROKER_URL", "BANK_URL"}
    environment = stack._environment(plan, tmp_path, {})
    assert read - set(environment) - servers == set()
    assert "PGHOST" not in environment


def test_a_program_that_keeps_dying_is_started_ever_later_and_one_that_was_well_at_once(tmp_path):
    child = Child("web", Tier.PROGRAM, launch=pytest.fail, log=tmp_path / "log")
    delays = []
    for _ in range(9):
        child.note_death(100.0)
        child.started = 100.0
        delays.append(child.due - 100.0)
    assert delays == [0, 0.5, 1, 2, 4, 8, 15, 15, 15]
    child.note_death(111.0)
    assert child.due == 111.0
