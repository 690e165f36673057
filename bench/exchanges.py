"""`python -m bench.exchanges`: deposit addresses through CCXT from the sandbox exchanges, which answer after 100 ms.

The sandbox is a process of its own on the same cores, spoken to over TLS; Redis keeps the limits. No PostgreSQL takes part.
Prints a table and writes bench/out/exchanges.json.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from tests.exchanges.stand import Sandbox, account_of

from bench.server import OUT
from dj_wallet.exchanges import runtime
from dj_wallet.exchanges.venues import VENUES
from dj_wallet.exchanges.venues.contract import Credentials
from wallet_sandbox.exchanges.coins import NETWORKS_OF
from wallet_service.embedded import RedisServer, free_port

LATENCY_SECONDS = 0.1
FIFTY = [coin for coin in NETWORKS_OF if coin != "MINA"][:50]
KEYS = 100
THREADS = 100
WARM_CLIENTS = 200
PATIENT = {"timeout_seconds": 30}
# These allow few calls a second: what their limits make us wait is not measured here.
PAUSE_SECONDS = {"okx": 0.4, "bybit": 0.8}


@dataclass(frozen=True)
class Figure:
    """One line of the report; a target is a bound that the figure must keep."""

    name: str
    value: float
    unit: str
    target: str = ""
    is_kept: bool = True


@contextmanager
def stand() -> Iterator[Sandbox]:
    """A sandbox with latency, a Redis, and Django's settings that point to both."""
    folder = Path(tempfile.mkdtemp(prefix="wallet-exchanges-"))
    folder.chmod(0o711)
    sandbox = Sandbox(folder / "tls")
    try:
        with RedisServer(folder / "redis", free_port()) as redis:
            settings.configure(
                EXCHANGES_REDIS_URL=redis.url(),
                EXCHANGES_SANDBOX_ADDRESS=sandbox.address,
                EXCHANGES_SANDBOX_CA_FILE=str(sandbox.ca_file),
            )
            django.setup()
            sandbox.set("latency", seconds=LATENCY_SECONDS)
            runtime.preload()
            yield sandbox
            runtime.close()
    finally:
        sandbox.stop()
        shutil.rmtree(folder)


def fetch(account: runtime.Account, currency: str = "BTC", network: str = "bitcoin") -> None:
    runtime.fetch_deposit_address(account, currency=currency, network=network, **PATIENT)


def milliseconds(act: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    act()
    return (time.perf_counter() - begin) * 1000


def measure_one_address(rounds: int) -> Iterator[Figure]:
    for venue in VENUES:
        account = account_of(venue)
        cold = milliseconds(lambda account=account: fetch(account))
        # Kraken and Bitfinex allow few calls at once.
        tries = 3 if VENUES[venue].needs_ordered_nonces else rounds
        warm = []
        for _ in range(tries):
            time.sleep(PAUSE_SECONDS.get(venue, 0))
            warm.append(milliseconds(lambda account=account: fetch(account)))
        median = statistics.median(warm)
        yield Figure(f"{venue}: first address, cold", cold, "ms", "< 2000", cold < 2000)
        yield Figure(f"{venue}: one address, warm", median, "ms", "< 150", median < 150)


def measure_connection_test() -> Iterator[Figure]:
    for venue in VENUES:
        account = account_of(venue, "bob")
        took = milliseconds(lambda account=account: runtime.check_connection(account))
        yield Figure(f"{venue}: connection test, cold", took, "ms", "< 5000", took < 5000)


def measure_fifty() -> Iterator[Figure]:
    for venue in ("binance", "coinbase", "kucoin"):
        account = account_of(venue, "trader")
        fetch(account)
        began = time.perf_counter()
        done = list(runtime.fetch_many(account, FIFTY, budget_seconds=30))
        took = time.perf_counter() - began
        complete = sum(one.error is None for one in done) == len(FIFTY)
        yield Figure(f"{venue}: 50 currencies", took, "s", "< 1.5", took < 1.5 and complete)
    for venue in ("okx", "htx", "bybit"):
        account = account_of(venue, "trader")
        fetch(account)
        began = time.perf_counter()
        done = list(runtime.fetch_many(account, FIFTY, budget_seconds=25))
        took = time.perf_counter() - began
        yield Figure(f"{venue}: {len(done)} currencies, its limit sets the time", took, "s")
    for venue in ("kraken", "bitfinex"):
        account = account_of(venue, "trader")
        done = list(runtime.fetch_many(account, FIFTY, budget_seconds=25))
        yield Figure(f"{venue}: currencies in 25 s, its limit sets the number", len(done), "")


def register(sandbox: Sandbox, venue: str, number: int) -> runtime.Account:
    credentials = Credentials(f"bench-{venue}-{number}", f"secret-{number:08}", "words")
    sandbox.set("keys", venue=venue, key=credentials.api_key, secret=credentials.api_secret, passphrase="words", permissions=["read"])  # fmt: skip
    return account_of(
        venue, id=f"{venue}-{number}", owner=str(number), load_credentials=lambda: credentials
    )


def measure_throughput(sandbox: Sandbox, seconds: float) -> Iterator[Figure]:
    """KuCoin counts by key and allows each 26 a second: a hundred accounts are not kept waiting."""
    accounts = [register(sandbox, "kucoin", number) for number in range(KEYS)]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fetch, accounts))
        end = time.perf_counter() + seconds
        cpu = time.process_time()
        began = time.perf_counter()

        def work(account: runtime.Account) -> list[float]:
            times = []
            while time.perf_counter() < end:
                times.append(milliseconds(lambda: fetch(account)))
            return times

        times = sorted(one for many in pool.map(work, accounts) for one in many)
    rate = len(times) / (time.perf_counter() - began)
    cpu_ms = (time.process_time() - cpu) / len(times) * 1000
    yield Figure(f"addresses from one process, {KEYS} accounts", rate, "/s", ">= 300", rate >= 300)
    yield Figure("the same, p50", times[len(times) // 2], "ms")
    yield Figure("the same, p95", times[int(len(times) * 0.95)], "ms")
    yield Figure("the same, CPU of the process for each", cpu_ms, "ms")


def measure_memory(sandbox: Sandbox) -> Iterator[Figure]:
    sandbox.set("latency", seconds=0)
    sandbox.set("limits", kept=False)
    for venue in ("binance", "okx"):
        fetch(register(sandbox, venue, 10_000))
        before = resident_bytes()
        accounts = [register(sandbox, venue, 20_000 + number) for number in range(WARM_CLIENTS)]
        for account in accounts:
            fetch(account)
        each = (resident_bytes() - before) / WARM_CLIENTS / 1e6
        yield Figure(f"{venue}: memory of a warm client", each, "MB", "< 1", each < 1)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.exchanges", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="prove only that everything runs")
    quick = parser.parse_args().quick
    figures: list[Figure] = []
    with stand() as sandbox:
        parts = [
            measure_one_address(rounds=6 if quick else 20),
            measure_connection_test(),
            measure_throughput(sandbox, seconds=1 if quick else 5),
            *([] if quick else [measure_fifty()]),
            measure_memory(sandbox),
        ]
        for part in parts:
            for figure in part:
                mark = "" if not figure.target else "  kept" if figure.is_kept else "  NOT KEPT"
                print(f"{figure.name:60} {figure.value:10.2f} {figure.unit:4} {figure.target:8}{mark}", flush=True)  # fmt: skip
                figures.append(figure)
    OUT.mkdir(exist_ok=True)
    load = os.getloadavg()[0]
    report = {"load": load, "cpus": os.cpu_count(), "figures": [asdict(one) for one in figures]}
    (OUT / "exchanges.json").write_text(json.dumps(report, indent=2))
    print(f"{os.cpu_count()} CPUs, load {load:.1f}")


if __name__ == "__main__":
    main()
