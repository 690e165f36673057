"""What the simulated venues remember: keys, addresses, nonces, faults and the calls they were sent."""

import hashlib
import time
from base64 import b64encode
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .coins import NETWORKS_OF, make_address, make_tag

VENUES: Final = ("binance", "coinbase", "kraken", "bitfinex", "htx", "kucoin", "bybit", "okx")
DEMO_PEOPLE: Final = {
    "alice": frozenset({"read"}),
    "bob": frozenset({"read"}),
    "trader": frozenset({"read", "trade"}),
    "careless": frozenset({"read", "trade", "withdraw"}),
    "nobody": frozenset(),
}
# Every fault, and what it does.
FAULTS: Final = {
    "down": "closes the connection without an answer",
    "hang": "answers after a minute",
    "slow": "answers after `seconds`",
    "unavailable": "502 with a page of HTML",
    "maintenance": "says that it is being maintained, in the venue's words",
    "rate_limited": "429 in the venue's words, with Retry-After: `seconds`",
    "banned": "418 with Retry-After: `seconds`",
    "blocked": "403 with a firewall's page of HTML",
    "restricted": "451, not served here",
    "garbage": "200 with a page of HTML",
    "empty": "200 with nothing",
    "truncated": "200 with half an answer",
    "misshapen": "200 with JSON of another shape",
    "huge": "502 with a megabyte",
    "redirect": "302 to another host",
    "permission": "says that the key may not do this",
    "suspended": "says that the account is suspended",
    "unknown_key": "says once that the key is unknown, as after a hiccup",
    "pending": "has no address yet",
    "blocked_text": "puts a sentence where the address belongs",
    "wrong_network": "gives the address of another network",
    "wrong_checksum": "gives an address with one letter changed",
    "without_tag": "leaves the tag out",
    "without_url": "leaves out what would name the network (binance)",
    "deposits_disabled": "lists every network as closed for deposits",
}


@dataclass(frozen=True)
class Key:
    """An API key and what it may do."""

    venue: str
    key: str
    secret: str
    passphrase: str = ""
    permissions: frozenset[str] = frozenset({"read"})
    allowed_ip: str = ""
    valid_until: int = 0  # seconds since 1970; 0: for ever


@dataclass
class Fault:
    """A fault of one venue, or of all (`*`), for calls whose path contains a text, so many times."""

    kind: str
    venue: str = "*"
    path: str = ""
    method: str = ""
    times: int | None = None
    seconds: float = 1


@dataclass
class Given:
    """One address that a venue gives, or gave."""

    coin: str
    network: str
    address: str
    tag: str | None
    is_current: bool = True
    expires_at: int = 0


@dataclass
class World:
    """Everything that changes."""

    keys: dict[tuple[str, str], Key] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    nonces: dict[tuple[str, str], int] = field(default_factory=dict)
    generations: dict[tuple[str, str, str, str], int] = field(
        default_factory=lambda: defaultdict(int)
    )
    calls: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=20_000))
    spent: dict[tuple[str, str], deque[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(deque)
    )
    latency_seconds: float = 0
    clock_offset_ms: int = 0
    limits_are_kept: bool = True
    # Coinbase: further wallets, so that its lists have pages.
    extra_wallets: int = 0

    def now_ms(self) -> int:
        return int(time.time() * 1000) + self.clock_offset_ms

    def add_key(self, key: Key) -> None:
        self.keys[key.venue, key.key] = key

    def change_key(self, venue: str, key: str, **changes: Any) -> None:
        self.keys[venue, key] = replace(self.keys[venue, key], **changes)

    def rotate(self, venue: str, key: str, coin: str, network: str) -> None:
        """Give a new address from now on; the old ones stay known."""
        self.generations[venue, key, coin, network] += 1

    def list_addresses(self, venue: str, key: str, coin: str, network: str) -> list[Given]:
        """Return the addresses of a key, the current one first."""
        generation = self.generations[venue, key, coin, network]
        given = []
        for age in range(generation + 1):
            seed = (
                f"{venue}/{key}/{coin if network not in EVM_SHARED else 'evm'}/{generation - age}"
            )
            tag_seed = f"{venue}/{key}/{coin}/{generation - age}"
            given.append(
                Given(
                    coin,
                    network,
                    make_address(network, seed),
                    make_tag(network, tag_seed),
                    is_current=age == 0,
                    expires_at=int(time.time()) + 7 * 86_400 if age else 0,
                )
            )
        return given

    def take_fault(self, venue: str, path: str, method: str) -> Fault | None:
        """Return the fault that this call meets, and count it."""
        for fault in self.faults:
            meets = fault.venue in {"*", venue} and fault.path in path
            if meets and fault.method in {"", method}:
                if fault.times is None:
                    return fault
                if fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def may_spend(self, venue: str, who: str, cost: float, allowed: float, seconds: float) -> float:
        """Count a cost against an allowance per window; return for how long the caller must wait, 0 if it counts."""
        spent = self.spent[venue, who]
        now = time.monotonic()
        while spent and spent[0][0] <= now - seconds:
            spent.popleft()
        if sum(one for _, one in spent) + cost > allowed:
            return spent[0][0] + seconds - now
        spent.append((now, cost))
        return 0

    def reset(self) -> None:
        """Forget everything but the demo keys."""
        fresh = make_world()
        self.__dict__.update(fresh.__dict__)


# A venue gives one address for all chains of the Ethereum family.
EVM_SHARED: Final = frozenset({"ethereum", "arbitrum", "base", "avalanche"})


def make_world() -> World:
    """Return a world with a demo key of each venue for each of DEMO_PEOPLE."""
    world = World()
    for venue in VENUES:
        for person, permissions in DEMO_PEOPLE.items():
            world.add_key(make_demo_key(venue, person, permissions))
    return world


def make_demo_key(
    venue: str, person: str, permissions: frozenset[str] = frozenset({"read"})
) -> Key:
    """Return the key of a demo person: the same in every run, and in the form of the venue."""
    seed = hashlib.sha512(f"sandbox {venue} {person}".encode()).digest()
    key, secret, passphrase = f"demo-{venue}-{person}", seed.hex()[:64], ""
    if venue == "kraken":
        secret = b64encode(seed).decode()
    elif venue == "coinbase":
        key = f"organizations/sandbox/apiKeys/{person}"
        secret = make_pem(seed)
    if venue in {"kucoin", "okx"}:
        passphrase = f"words of {person}"
    return Key(venue, key, secret, passphrase, permissions)


def make_pem(seed: bytes) -> str:
    """Return a P-256 private key made from a seed, as Coinbase hands them out."""
    number = int.from_bytes(hashlib.sha256(seed).digest(), "big") % (2**255) + 1
    return (
        ec.derive_private_key(number, ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        .decode()
    )


def list_coins() -> Mapping[str, tuple[str, ...]]:
    return NETWORKS_OF
