"""The sandbox exchanges as a process, and what the tests do with them."""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from dj_wallet.exchanges.runtime import Account
from dj_wallet.exchanges.venues.contract import Credentials
from wallet_sandbox.exchanges.world import make_demo_key, make_world
from wallet_service.embedded import free_port

VENUES = ("binance", "coinbase", "kraken", "bitfinex", "htx", "kucoin", "bybit", "okx")
# All of them tell what the key may do, and none lets a stranger in.
WITH_PASSPHRASE = ("kucoin", "okx")


class Sandbox:
    """A running sandbox. Its panel is spoken to as a person would, its venues only by CCXT."""

    def __init__(self, folder: Path) -> None:
        self.port, panel = free_port(), free_port()
        self.ca_file = folder / "ca.pem"
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{panel}", trust_env=False, timeout=60
        )
        module = [sys.executable, "-m", "wallet_sandbox.exchanges", "--tls", str(folder)]
        self.process = subprocess.Popen(
            [*module, "--port", str(self.port), "--panel-port", str(panel)]
        )
        deadline = time.monotonic() + 300
        while True:
            try:
                assert self.client.get("/healthz").json() == {"status": "ok"}
                return
            except httpx.TransportError:
                assert self.process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()

    def set(self, what: str, **values: Any) -> dict[str, Any]:
        answer = self.client.post(f"/control/{what}", json=values)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def break_down(self, kind: str, venue: str = "*", **options: Any) -> None:
        self.set("faults", kind=kind, venue=venue, **options)

    def repair(self) -> None:
        self.set("clear")

    def calls(self, venue: str = "") -> list[str]:
        """Return the paths that a venue, or all, were asked for."""
        return [
            call["path"]
            for call in self.client.get("/control/calls").json()
            if venue in {"", call["venue"]}
        ]

    def rotate(self, venue: str, coin: str, network: str, person: str = "alice") -> None:
        key = make_demo_key(venue, person).key
        self.set("rotate", venue=venue, key=key, coin=coin, network=network)


def credentials_of(venue: str, person: str = "alice") -> Credentials:
    key = make_demo_key(venue, person)
    return Credentials(key.key, key.secret, key.passphrase)


def account_of(venue: str, person: str = "alice", **changes: Any) -> Account:
    account = Account(
        id=f"{venue}-{person}",
        owner=person,
        venue=venue,
        credentials_version=1,
        load_credentials=lambda: credentials_of(venue, person),
        sandbox=True,
    )
    return dataclasses.replace(account, **changes)


def given(venue: str, coin: str, network: str, person: str = "alice", rotations: int = 0):
    """Return the addresses that the venue gives, the current one first."""
    world, key = make_world(), make_demo_key(venue, person).key
    for _ in range(rotations):
        world.rotate(venue, key, coin, network)
    return world.list_addresses(venue, key, coin, network)
