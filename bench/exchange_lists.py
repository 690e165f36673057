"""`python -m bench.exchange_lists`: a page of 50 deposit addresses of one user, of a thousand and of a hundred thousand.

The whole way of a request through Django in this process, on a PostgreSQL and a Redis of its own; no socket, no exchange,
and no limit of requests. Prints a table and writes bench/out/exchange_lists.json.
"""

import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import django

from bench.server import OUT
from wallet_service.embedded import RedisServer, free_port, temporary_postgres

FEW, MANY = 1_000, 100_000
REQUESTS = 200
PATH = "/api/v1/wallet/addresses?limit=50"
TARGET_MS = 50
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    folder = tempfile.TemporaryDirectory(prefix="wallet-lists-")
    with folder, temporary_postgres() as server:
        Path(folder.name).chmod(0o711)  # Redis runs as another user where root runs this
        server.create_database("lists")
        with RedisServer(Path(folder.name) / "redis", free_port()) as redis:
            os.environ |= {
                "DATABASE_URL": server.url("lists"),
                "REDIS_URL": redis.url(),
                "DJANGO_SETTINGS_MODULE": "wallet_service.settings",
                "ALLOWED_HOSTS": "testserver",
                "API_REQUESTS_PER_MINUTE": "0",
                "LOG_LEVEL": "WARNING",
            }
            django.setup()
            report = measure()
    OUT.mkdir(exist_ok=True)
    Path(OUT / "exchange_lists.json").write_text(json.dumps(report, indent=2))
    for name, value in report.items():
        print(f"{name:55} {value:10.2f}")


def measure() -> dict[str, Any]:
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    report: dict[str, Any] = {}
    clients = {count: make_user(count) for count in (FEW, MANY)}
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    for count, read in clients.items():
        second = read(PATH).json()["next"].removeprefix("http://testserver")
        for name, path in (("first page", PATH), ("second page", second)):
            about = f"{count} addresses, {name}"
            own, servers = time.process_time(), database_seconds()
            times = sorted(take(read, path) for _ in range(REQUESTS))
            own, servers = time.process_time() - own, database_seconds() - servers
            report[f"{about}, CPU ms of Django"] = own / REQUESTS * 1000
            report[f"{about}, CPU ms of PostgreSQL"] = servers / REQUESTS * 1000
            report[f"{about}, p50 ms"] = statistics.median(times)
            report[f"{about}, p95 ms"] = times[int(REQUESTS * 0.95)]
    for figure in ("p95 ms", "CPU ms of PostgreSQL"):
        few, many = (report[f"{count} addresses, first page, {figure}"] for count in (FEW, MANY))
        report[f"{figure}, with many / with few"] = many / max(few, 1 / TICKS)
    slowest = f"{MANY} addresses, first page"
    report["requests/s of one thread, 100000 addresses"] = 1000 / report[f"{slowest}, p50 ms"]
    report["the same by CPU of Django"] = 1000 / report[f"{slowest}, CPU ms of Django"]
    report["target: p95 below ms"] = TARGET_MS
    report["load"] = os.getloadavg()[0]
    return report


def database_seconds() -> float:
    """Return the CPU time of the PostgreSQL process that serves this connection."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def make_user(count: int) -> Any:
    """Make a user with so many addresses; return a function that reads a path with the user's key."""
    from django.db import connection
    from django.test import Client

    from dj_wallet.exchanges.models import DepositAddress, ExchangeAccount
    from dj_wallet.exchanges.services.addresses import make_seal
    from dj_wallet.identity.models import User
    from dj_wallet.identity.services import create_api_key

    user = User.objects.create(username=f"user of {count}")
    account = ExchangeAccount.objects.create(user=user, exchange_id="binance", account_name="main")
    one = DepositAddress(exchange_account=account, user=user, exchange_id="binance")
    one.currency, one.network, one.network_source = "BTC", "bitcoin", "request"
    one.address = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
    one.seal = make_seal(one)
    one.save()
    table = DepositAddress._meta.db_table
    columns = [field.column for field in DepositAddress._meta.concrete_fields]
    values = {"id": "gen_random_uuid()", "network": "'n' || n"}
    chosen = ", ".join(values.get(column, column) for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} FROM {table}, "
            "generate_series(2, %s) n WHERE id = %s",
            [count, one.pk],
        )
    key = create_api_key(user=user, name="bench")[1]
    client = Client(headers={"Authorization": f"Bearer {key}"})

    def read(path: str) -> Any:
        answer = client.get(path)
        assert answer.status_code == 200, answer.content
        return answer

    return read


def take(read: Any, path: str) -> float:
    begin = time.perf_counter()
    answer = read(path)
    took = (time.perf_counter() - begin) * 1000
    assert answer.content.count(b'"payment_uri"') == 50
    return took


if __name__ == "__main__":
    main()
