"""The ledger service as operators start it: a process of its own on a database of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import dj_wallet
from wallet_service.embedded import free_port, temporary_postgres

ROOT = Path(__file__).parents[2]
START = ROOT / "services" / "ledger" / "start"
MAX_WAIT_SECONDS = 300


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """What services/ledger/env.example names, for a new database."""
    with temporary_postgres() as server:
        server.create_database("ledger")
        yield {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(Path(dj_wallet.__file__).parents[1]),
            "DATABASE_URL": server.url("ledger"),
            "API_REQUESTS_PER_MINUTE": "0",
            "PORT": str(free_port()),
            "WORKERS": "1",
        }


@pytest.fixture(scope="module")
def address(environment: dict[str, str]) -> Iterator[str]:
    """Where the service answers."""
    process = subprocess.Popen([START], env=environment, cwd="/", start_new_session=True)
    url = f"http://127.0.0.1:{environment['PORT']}"
    try:
        wait_until_ready(process, url)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=MAX_WAIT_SECONDS) == 0


def wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the service ended"
        try:
            if httpx.get(f"{url}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"not ready after {MAX_WAIT_SECONDS} s")


def make_key(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "django", "create_service_key", *arguments]
    return subprocess.run(
        command,
        env={**environment, "DJANGO_SETTINGS_MODULE": "wallet_service.settings"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def shop(address: str, environment: dict[str, str]) -> Iterator[httpx.Client]:
    """Another service, with the key that an operator made for it."""
    made = make_key(environment, "--name", "shop", "--scope", "internal:ledger")
    assert made.returncode == 0, made.stderr
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
        yield client


def move(shop: httpx.Client, verb: str, key: str, **body: Any) -> httpx.Response:
    return shop.post(
        f"/v1/transactions/{verb}",
        json={"reference_id": "order-1", **body},
        headers={"Idempotency-Key": key},
    )


def test_money_moves_with_a_service_key(shop):
    mine, theirs = (
        shop.post("/v1/accounts", json={"external_owner_id": owner}).json()["account_id"]
        for owner in ("customer-1", "customer-2")
    )
    assert move(shop, "deposit", "d", account_id=mine, amount="100.00").status_code == 201
    sent = {"from_account_id": mine, "to_account_id": theirs, "amount": "30.00"}
    first, again = move(shop, "transfer", "t", **sent), move(shop, "transfer", "t", **sent)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert move(shop, "withdraw", "w", account_id=theirs, amount="5.00").status_code == 201
    balances = [shop.get(f"/v1/accounts/{one}").json()["balance"] for one in (mine, theirs)]
    assert balances == ["70.00000000", "25.00000000"]


def test_nobody_else_gets_in_and_nothing_else_is_there(shop, address):
    assert httpx.get(f"{address}/v1/accounts").status_code == 401
    assert shop.get("/api/wallets/").status_code == 404


def test_a_key_is_not_made_in_the_name_of_a_person(environment, address):
    person = (
        "from dj_wallet.identity.models import User; User.objects.create_user('ada', password='x')"
    )
    subprocess.run(
        [sys.executable, "-m", "django", "shell", "-c", person],
        env={**environment, "DJANGO_SETTINGS_MODULE": "wallet_service.settings"},
        check=True,
    )
    refused = make_key(environment, "--name", "ada", "--scope", "internal:ledger")
    assert refused.returncode == 1
    assert "that is a person" in refused.stderr
