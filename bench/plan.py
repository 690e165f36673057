"""What is measured, on which database, and which figures are compared with which target."""

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Literal

from bench.measure import Sample
from bench.ours import http, http_client, tokens
from bench.peers import environment, pgbench
from bench.server import Server, System
from wallet_service.stack import WEB_THREADS, WEB_WORKERS

OUR_PYTHON = Path(sys.executable)
OUR_APPS = "dj_wallet,bench.holders"
WALLET_API = "bench.holders.wallet_api"

OUR_API = System("ours", OUR_PYTHON, OUR_APPS, WALLET_API)
OUR_LEDGER = System("ours", OUR_PYTHON, OUR_APPS, "bench.ours.ledger")
OUR_HOLDS = System("ours", OUR_PYTHON, OUR_APPS, "bench.ours.holds")
OUR_BULK = System("ours", OUR_PYTHON, OUR_APPS, "bench.ours.bulk")
OUR_READS = System("ours", OUR_PYTHON, OUR_APPS, "bench.ours.reads")
OUR_CHAIN = System("ours", OUR_PYTHON, OUR_APPS, "bench.ours.chain")
DJ_WALLET = System("dj-wallet 0.1.0", environment.PYTHON, OUR_APPS, WALLET_API)
HORDAK = System("hordak 2.0.0", environment.PYTHON, "mptt,hordak", "bench.peers.hordak")

SMALL_LEDGER = 10_000
LOADERS = 2

Metric = Callable[[Sample], float]
rate: Metric = attrgetter("rate")
p50_ms: Metric = attrgetter("p50_ms")
p99_ms: Metric = attrgetter("p99_ms")
cpu_us: Metric = attrgetter("cpu_us")
client_us: Metric = attrgetter("client_us")
server_us: Metric = attrgetter("server_us")
client_cpu_ms: Metric = attrgetter("client_cpu_ms")
cpu_ms: Metric = attrgetter("cpu_ms")
wal_per_op: Metric = attrgetter("wal_per_op")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One thing that is run in every round, and the fixture that it needs."""

    fixture: str
    run: Callable[[Server, float], Sample]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report. A target bounds the ratio, or our own figure if there is no peer."""

    name: str
    ours: str
    peer: str | None
    peer_name: str | None
    metric: Metric
    unit: str
    target: float | None
    better: Literal["high", "low"]
    conditions: str


def worker(system: System, database: str, scenario: str) -> Measurement:
    return Measurement(
        database, lambda server, seconds: server.run(system, database, scenario, seconds)
    )


def tpcb(clients: int) -> Measurement:
    return Measurement("tpcb", lambda server, seconds: pgbench.run(server, clients, seconds))


def small(system: System, scenario: str) -> Measurement:
    """Measure on a fresh copy of the small ledger, since the measurement itself makes it grow."""

    def run(server: Server, seconds: float) -> Sample:
        server.copy_database("growth_template", "growth_small")
        return server.run(system, "growth_small", scenario, seconds)

    return Measurement("growth", run)


def large(system: System, scenario: str) -> Measurement:
    def run(server: Server, seconds: float) -> Sample:
        return server.run(system, "growth_large", scenario, seconds)

    return Measurement("growth", run)


# In the order of a round: what is compared stands side by side, so that it meets the same weather.
COMPARISONS = {
    "tpcb 1": tpcb(1),
    "ledger single": worker(OUR_LEDGER, "wallets", "single"),
    "tpcb 16": tpcb(16),
    "group random": worker(OUR_LEDGER, "wallets", "group_random"),
    "group hot": worker(OUR_LEDGER, "wallets", "group_hot"),
    "hordak transfer": worker(HORDAK, "hordak", "transfer"),
    **{
        f"{who} {scenario}": worker(system, database, scenario)
        for verb in ("transfer", "first transfer", "deposit", "pay", "refund")
        for scenario in (verb, f"{verb} in atomic")
        for who, system, database in (
            ("dj-wallet", DJ_WALLET, "djwallet"),
            ("public", OUR_API, "wallets"),
        )
    },
    "lock": worker(OUR_HOLDS, "wallets", "lock"),
    "unlock": worker(OUR_HOLDS, "wallets", "unlock"),
    "pay order": worker(OUR_HOLDS, "wallets", "pay"),
    "release escrow": worker(OUR_HOLDS, "wallets", "release"),
    "deposit many": worker(OUR_BULK, "wallets", "deposit_many"),
    "cart": worker(OUR_BULK, "wallets", "cart"),
    "ledger batch": worker(OUR_LEDGER, "wallets", "batch"),
    "http": Measurement("service", http.run),
    **{
        f"http {kind}": Measurement("service", partial(http.run, kind=kind))
        for kind in ("get", "list", "bare", "bare list", "bare transfer")
    },
    "derive": worker(OUR_CHAIN, "wallets", "derive"),
    "derive embit": worker(OUR_CHAIN, "wallets", "derive embit"),
    "token": Measurement("service", tokens.run),
}
GROWTH = {
    "single small": small(OUR_LEDGER, "single"),
    "single large": large(OUR_LEDGER, "single"),
    "batch small": small(OUR_LEDGER, "batch"),
    "batch large": large(OUR_LEDGER, "batch"),
    "balance small": small(OUR_READS, "balance"),
    "balance large": large(OUR_READS, "balance"),
    "as_of small": small(OUR_READS, "as_of"),
    "as_of large": large(OUR_READS, "as_of"),
    "statement small": small(OUR_READS, "statement"),
    "statement large": large(OUR_READS, "statement"),
}
# Growth comes last: its bulk load makes checkpoints, after which everybody writes full page images.
STAGES = (COMPARISONS, GROWTH)


def make_fixtures(growth: int) -> dict[str, Callable[[Server], None]]:
    """Return how to build each fixture; `growth` is the number of postings of the large ledger."""
    return {
        "tpcb": pgbench.setup,
        "djwallet": lambda server: server.setup(DJ_WALLET, "djwallet"),
        "hordak": lambda server: server.setup(HORDAK, "hordak"),
        "wallets": lambda server: server.setup(OUR_API, "wallets"),
        "service": http.setup,
        "growth": partial(build_ledgers, postings=growth),
    }


def audit(server: Server, fixtures: Iterable[str]) -> Iterator[str]:
    """Check that every balance of our databases still agrees with its postings; yield reports.

    :raises CalledProcessError: one does not
    """
    audited = {"wallets": "wallets", "growth": "growth_large"}
    for database in (audited[fixture] for fixture in fixtures if fixture in audited):
        yield f"{database}: " + server.run_module(OUR_LEDGER, database, "django", "wallet_audit")


def build_ledgers(server: Server, postings: int) -> None:
    """Fill a small ledger and a large one through our batch door, by two processes."""
    server.setup(OUR_API, "growth_template")
    server.work(OUR_LEDGER, "growth_template", "setup", str(SMALL_LEDGER))
    server.execute("growth_template", "VACUUM ANALYZE")
    server.copy_database("growth_template", "growth_large")
    share = str((postings - SMALL_LEDGER) // LOADERS)
    load = partial(server.work, OUR_LEDGER, "growth_large", "setup")
    with ThreadPoolExecutor(LOADERS) as pool:
        list(pool.map(load, [share] * LOADERS))
    server.execute("growth_large", "VACUUM ANALYZE")
    server.execute("growth_large", "CHECKPOINT")


def make_rows(growth: int) -> list[Row]:
    return [
        *_speed_rows(),
        *_chain_rows(),
        *_hold_rows(),
        *_growth_rows(growth),
        *_http_rows(),
        *_read_rows(),
        *_identity_rows(),
        *_cost_rows(),
    ]


def _speed_rows() -> Iterator[Row]:
    keyed = "1,000 wallets, random pairs, UUIDv7-like idempotency keys"
    scale = f"TPC-B scale {pgbench.SCALE}, -M prepared"
    yield from _library_rows()
    yield Row(
        name="single transfer, 1 caller",
        ours="ledger single",
        peer="tpcb 1",
        peer_name="TPC-B, 1 client",
        metric=rate,
        unit="transfers/s",
        target=1.2,
        better="high",
        conditions=f"post_one, autocommit, {keyed}; {scale}",
    )
    yield Row(
        name="group commit, 16 callers, random accounts",
        ours="group random",
        peer="tpcb 16",
        peer_name="TPC-B, 16 clients",
        metric=rate,
        unit="transfers/s",
        target=2,
        better="high",
        conditions=f"group_commit from 16 threads of 1 process, {keyed}; {scale}",
    )
    yield Row(
        name="group commit, 16 callers, one hot account",
        ours="group hot",
        peer="group random",
        peer_name="ours, random accounts",
        metric=rate,
        unit="entries/s",
        target=0.8,
        better="high",
        conditions="external:bank to a random wallet, 16 threads of 1 process",
    )
    yield Row(
        name="batch of 1,000: PostgreSQL + Python CPU",
        ours="ledger batch",
        peer=None,
        peer_name=None,
        metric=cpu_us,
        unit="µs/posting",
        target=32,
        better="low",
        conditions=f"post() of 1,000 entries per transaction, 1 process, {keyed}",
    )


def _chain_rows() -> Iterator[Row]:
    conditions = "P2PKH addresses of Dogecoin from an account's public key, 1 process, no database"
    for name, peer, peer_name, target in (
        ("deposit addresses derived", None, None, 5_000),
        ("deposit addresses derived vs embit", "derive embit", "embit 0.8", None),
    ):
        yield Row(
            name=name,
            ours="derive",
            peer=peer,
            peer_name=peer_name,
            metric=rate,
            unit="addresses/s",
            target=target,
            better="high",
            conditions=conditions,
        )


def _hold_rows() -> Iterator[Row]:
    conditions = "service function inside atomic(), 1 process, 1,000 wallets, idempotency keys; peer: a transfer inside atomic()"
    for name, ours in (
        ("lock funds", "lock"),
        ("unlock funds", "unlock"),
        ("pay an order into escrow", "pay order"),
        ("release an escrow, with fee", "release escrow"),
    ):
        yield Row(
            name=f"{name} vs a transfer of dj-wallet",
            ours=ours,
            peer="dj-wallet transfer",
            peer_name=DJ_WALLET.name,
            metric=rate,
            unit="calls/s",
            target=5,
            better="high",
            conditions=conditions,
        )


def _library_rows() -> Iterator[Row]:
    for verb, target, what in (
        ("transfer", 12, "random pairs"),
        ("first transfer", None, "both holders are new Python objects in every transfer"),
        ("deposit", 5, "random holders"),
        ("pay", 8, "one unit of a product with a wallet of its own, 100 of them"),
        ("refund", 10, "a whole transfer, made before"),
    ):
        for scenario, where in (
            (verb, "the call by itself"),
            (f"{verb} in atomic", "inside the caller's atomic()"),
        ):
            yield Row(
                name=f"{scenario} vs dj-wallet",
                ours=f"public {scenario}",
                peer=f"dj-wallet {scenario}",
                peer_name=DJ_WALLET.name,
                metric=rate,
                unit="calls/s",
                target=target,
                better="high",
                conditions=f"public API, {where}, 1 process, 1,000 holders loaded once, wallets seen before; {what}",
            )
    yield Row(
        name="transfer in atomic vs hordak",
        ours="public transfer in atomic",
        peer="hordak transfer",
        peer_name=HORDAK.name,
        metric=rate,
        unit="transfers/s",
        target=3,
        better="high",
        conditions="both inside atomic(), 1 process, random pairs; hordak: Account.transfer_to, 1,000 accounts",
    )
    yield from _bulk_rows()


def _bulk_rows() -> Iterator[Row]:
    yield Row(
        name="10,000 deposits in bulk vs a loop",
        ours="deposit many",
        peer="dj-wallet deposit",
        peer_name=f"{DJ_WALLET.name}, one by one",
        metric=rate,
        unit="deposits/s",
        target=100,
        better="high",
        conditions="deposit_many of 10,000 items, checks and records included; the peer: deposit() in a loop",
    )
    yield Row(
        name="cart of 50 items, p50",
        ours="cart",
        peer=None,
        peer_name=None,
        metric=p50_ms,
        unit="ms",
        target=10,
        better="low",
        conditions="pay_cart inside atomic(), 50 products with wallets of their own",
    )


def _http_rows() -> Iterator[Row]:
    conditions = (
        f"POST /api/v1/transfers, {http_client.CONNECTIONS} connections kept alive, granian with "
        f"{WEB_WORKERS} workers of {WEB_THREADS} threads, random pairs of 1,000 wallets; "
        "the client (http.client) runs on the same cores"
    )
    for name, metric, unit, better in (
        ("transfer over HTTP", rate, "requests/s", "high"),
        ("transfer over HTTP, p50", p50_ms, "ms", "low"),
        ("transfer over HTTP, p99", p99_ms, "ms", "low"),
        ("CPU of the web server: transfer over HTTP", client_cpu_ms, "ms", "low"),
        ("PostgreSQL CPU: transfer over HTTP", server_us, "µs", "low"),
    ):
        yield Row(
            name=name,
            ours="http",
            peer=None,
            peer_name=None,
            metric=metric,
            unit=unit,
            target=None,
            better=better,
            conditions=conditions,
        )
    for name, metric in (
        ("CPU of the web server: transfer over HTTP beside view and posting alone", client_cpu_ms),
        ("CPU of web server and PostgreSQL: transfer over HTTP beside them", cpu_ms),
    ):
        yield Row(
            name=name,
            ours="http",
            peer="http bare transfer",
            peer_name="bare view, posting",
            metric=metric,
            unit="ms",
            target=2.5,
            better="low",
            conditions=f"{conditions}; peer: a view without authentication, limits and checks that posts the same",
        )


def _read_rows() -> Iterator[Row]:
    conditions = (
        f"API key, limits and cache in Redis, warm, {http_client.CONNECTIONS} connections kept alive, granian with "
        f"{WEB_WORKERS} workers of {WEB_THREADS} threads; peer: a view of the framework without authentication that "
        "answers the same, on the same server"
    )
    for name, ours, peer in (
        ("GET one wallet over HTTP", "http get", "http bare"),
        ("GET a page of 50 wallets over HTTP", "http list", "http bare list"),
    ):
        for what, metric, unit, target, better in (
            (name, rate, "requests/s", 0.4, "high"),
            (f"CPU of the web server: {name}", client_cpu_ms, "ms", 2.5, "low"),
        ):
            yield Row(
                name=what,
                ours=ours,
                peer=peer,
                peer_name="bare view",
                metric=metric,
                unit=unit,
                target=target,
                better=better,
                conditions=conditions,
            )


def _identity_rows() -> Iterator[Row]:
    yield Row(
        name="check an access token, p50",
        ours="token",
        peer=None,
        peer_name=None,
        metric=p50_ms,
        unit="ms",
        target=0.3,
        better="low",
        conditions="verify_token of a token of our own issuer, RS256 with 2048 bits, no database, 1 thread",
    )


def _growth_rows(growth: int) -> Iterator[Row]:
    small_name = f"{SMALL_LEDGER:,} postings"
    conditions = f"{growth:,} postings (ours) against {small_name} (peer), 1,000 wallets"
    for name, key, metric, unit, target, better in (
        ("single transfer", "single", rate, "transfers/s", 0.8, "high"),
        ("batch of 1,000", "batch", rate, "postings/s", 0.85, "high"),
        ("current balance, p50", "balance", p50_ms, "ms", 1.5, "low"),
        ("balance as of a random time, p50", "as_of", p50_ms, "ms", 1.5, "low"),
        ("statement of 50 lines, p50", "statement", p50_ms, "ms", 1.5, "low"),
    ):
        yield Row(
            name=f"growth: {name}",
            ours=f"{key} large",
            peer=f"{key} small",
            peer_name=small_name,
            metric=metric,
            unit=unit,
            target=target,
            better=better,
            conditions=conditions,
        )


def _cost_rows() -> Iterator[Row]:
    """Yield rows for information: CPU of both sides and WAL, steadier than anything per second."""
    for name, ours, peer, peer_name in (
        ("transfer vs dj-wallet", "public transfer", "dj-wallet transfer", DJ_WALLET.name),
        ("transfer vs hordak", "public transfer in atomic", "hordak transfer", HORDAK.name),
        ("deposit", "public deposit", "dj-wallet deposit", DJ_WALLET.name),
        ("pay", "public pay", "dj-wallet pay", DJ_WALLET.name),
        ("refund", "public refund", "dj-wallet refund", DJ_WALLET.name),
        ("single transfer", "ledger single", "tpcb 1", "TPC-B, 1 client"),
        ("group commit, random", "group random", "tpcb 16", "TPC-B, 16 clients"),
        ("group commit, hot", "group hot", "tpcb 16", "TPC-B, 16 clients"),
        ("batch of 1,000", "ledger batch", None, None),
    ):
        for label, metric, unit in (
            ("PostgreSQL CPU", server_us, "µs"),
            ("client CPU", client_us, "µs"),
            ("WAL", wal_per_op, "bytes"),
        ):
            yield Row(
                name=f"{label}: {name}",
                ours=ours,
                peer=peer,
                peer_name=peer_name,
                metric=metric,
                unit=unit,
                target=None,
                better="low",
                conditions="per operation; WAL includes full page images after checkpoints",
            )
