"""`python -m bench.exchange_lists`: a page of 50 deposit addresses of one user, of a thousand and of a hundred thousand.

The whole way of a request through Django in this process, on a PostgreSQL of its own; no socket, no exchange. Prints a
table and writes bench/out/exchange_lists.json.
"""

import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import django

from bench.server import OUT
from wallet_service.embedded import temporary_postgres

FEW, MANY = 1_000, 100_000
REQUESTS = 200
PATH = "/api/v1/wallet/addresses?limit=50"
TARGET_MS = 50


def main() -> None:
    with temporary_postgres() as server:
        server.create_database("lists")
        os.environ |= {
            "DATABASE_URL": server.url("lists"),
            "DJANGO_SETTINGS_MODULE": "wallet_service.settings",
            "ALLOWED_HOSTS": "testserver",
            "LOG_LEVEL": "WARNING",
        }
        django.setup()
        report = measure()
    OUT.mkdir(exist_ok=True)
    Path(OUT / "exchange_lists.json").write_text(json.dumps(report, indent=2))
    for name, value in report.items():
        print(f"{name:45} {value:10.2f}")


def measure() -> dict[str, Any]:
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    report: dict[str, Any] = {}
    clients = {count: make_user(count) for count in (FEW, MANY)}
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    for count, read in clients.items():
        first = read(PATH)
        for name, path in (("first page", PATH), ("second page", first["next"])):
            cpu = time.process_time()
            times = sorted(take(read, path) for _ in range(REQUESTS))
            cpu_ms = (time.process_time() - cpu) / REQUESTS * 1000
            report[f"{count} addresses, {name}, CPU ms of Django"] = cpu_ms
            report[f"{count} addresses, {name}, p50 ms"] = statistics.median(times)
            report[f"{count} addresses, {name}, p95 ms"] = times[int(REQUESTS * 0.95)]
    p95 = [report[f"{count} addresses, first page, p95 ms"] for count in (FEW, MANY)]
    report["p95 with many / p95 with few"] = p95[1] / p95[0]
    report["requests/s of one thread, 100000 addresses"] = (
        1000 / report[f"{MANY} addresses, first page, p50 ms"]
    )
    report["target: p95 below ms"] = TARGET_MS
    report["load"] = os.getloadavg()[0]
    return report


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
        answer = client.get(path.removeprefix("http://testserver"))
        assert answer.status_code == 200, answer.content
        return answer.json()

    return read


def take(read: Any, path: str) -> float:
    begin = time.perf_counter()
    assert len(read(path)["results"]) == 50
    return (time.perf_counter() - begin) * 1000


if __name__ == "__main__":
    main()
