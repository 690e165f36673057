"""One request to a venue, and what every venue needs to answer it."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl

from .coins import NETWORKS_OF, damage
from .world import Fault, Given, Key, World


class Answer(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str] = {}


@dataclass(frozen=True)
class Call:
    """A request as it came: signatures are made over its raw parts."""

    venue: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: str
    ip: str
    world: World
    fault: Fault | None = None

    @property
    def params(self) -> dict[str, str]:
        return dict(parse_qsl(self.query, keep_blank_values=True))

    @property
    def full_path(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    def find_key(self, key: str | None) -> Key | None:
        """Return the key of this name, if it is still valid."""
        found = self.world.keys.get((self.venue, key or ""))
        if found is None or 0 < found.valid_until < self.world.now_ms() / 1000:
            return None
        return found

    def may_come_from(self, key: Key) -> bool:
        return key.allowed_ip in {"", self.ip}

    def is_late(self, sent_ms: float, window_ms: float) -> bool:
        return abs(self.world.now_ms() - sent_ms) > window_ms

    def is_replayed(self, key: Key, nonce: str) -> bool:
        """Tell whether the nonce is not above the last one of the key; remember it if it is."""
        last = self.world.nonces.get((self.venue, key.key), 0)
        if not nonce.isdigit() or int(nonce) <= last:
            return True
        self.world.nonces[self.venue, key.key] = int(nonce)
        return False

    def give(self, key: Key, coin: str, network: str) -> list[Given]:
        """Return the addresses of a key on a network, the current first, as the fault of the moment has them."""
        kind = self.fault.kind if self.fault else ""
        if kind == "pending":
            return []
        asked = self.other_network(coin, network) if kind == "wrong_network" else network
        given = self.world.list_addresses(self.venue, key.key, coin, asked)
        if kind == "wrong_checksum":
            given[0] = replace(given[0], address=damage(given[0].address))
        if kind == "blocked_text":
            given[0] = replace(given[0], address="Deposit temporarily blocked")
        if kind == "without_tag":
            given = [replace(one, tag=None) for one in given]
        return given

    def other_network(self, coin: str, network: str) -> str:
        others = [one for one in NETWORKS_OF[coin] if one != network]
        return others[0] if others else "tron" if network != "tron" else "ethereum"

    @property
    def deposits_are_open(self) -> bool:
        return not (self.fault and self.fault.kind == "deposits_disabled")


class Venue(Protocol):
    """A simulated venue: its hosts, its words for refusals, its paths."""

    @property
    def name(self) -> str: ...

    @property
    def hosts(self) -> frozenset[str]: ...

    @property
    def refusals(self) -> Mapping[str, Answer]: ...

    def limit(self, call: Call) -> tuple[str, float, float, float] | None:
        """Return who pays for a call, its cost, the allowance and its window in seconds."""
        ...

    def answer(self, call: Call) -> Answer: ...


def sign_hex(secret: str, text: str, digest: str = "sha256") -> str:
    return hmac.new(secret.encode(), text.encode(), digest).hexdigest()


def sign_base64(secret: str, text: str) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), text.encode(), hashlib.sha256)).decode()


def same(one: str | None, other: str) -> bool:
    return one is not None and hmac.compare_digest(one.encode(), other.encode())


def read_json(body: str) -> dict[str, Any]:
    try:
        found = json.loads(body or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
