"""`python -m bench.payouts`: scheduling, executing and sweeping payouts, each beside a baseline of the same run.

- scheduling: `schedule_payouts` in batches of 1,000, beside one `schedule_payout` at a time;
- executing: due payouts, two worker processes, the sandbox bank as it answers at once, beside the same two processes
  that only send such orders to the bank and write nothing;
- sweeping: the query for due payouts at 1,000, 100,000 and 1,000,000 payouts, with its plan.

PostgreSQL is durable. Everything runs on the same cores, the bank included.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from wallet_service.embedded import PostgresServer, free_port

ROOT = Path(__file__).resolve().parent.parent
MODULE = "bench.payouts"
BATCH = 1000
WORKERS = 2
AT_ONCE = 32
SIZES = (1_000, 100_000, 1_000_000)
SWEEPS = 200


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.payouts")
    parser.add_argument("--payouts", type=int, default=2000, help="executed, and scheduled x 5")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="of the sweep")
    parser.add_argument("--no-fsync", action="store_true", help="where the disk is throttled")
    options = parser.parse_args()
    settings = {"shared_buffers": "512MB"} | ({"fsync": "off"} if options.no_fsync else {})
    folder = Path(tempfile.mkdtemp(prefix="bench-payouts-"))
    folder.chmod(0o711)
    port = free_port()
    with PostgresServer(folder / "postgres", free_port(), settings) as postgres:
        postgres.create_database("wallet")
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "wallet_service.settings",
            "DATABASE_URL": postgres.url("wallet"),
            "BANK_URL": f"http://127.0.0.1:{port}/",
            "BANK_OPTIONS": json.dumps(
                {"LOOKUP_URL": f"http://127.0.0.1:{port}/payments?reference={{reference}}"}
            ),
            "BROKER_URL": "memory://",
            "LOG_LEVEL": "ERROR",
        }
        bank_command = [sys.executable, "-m", "wallet_sandbox.bank", "--port", str(port)]
        bank = subprocess.Popen(bank_command, env=environment)
        try:
            run(environment, "django", "migrate", "--no-input", "--verbosity", "0")
            assert postgres.process is not None
            servers = {"PostgreSQL": postgres.process.pid, "the bank": bank.pid}
            report(environment, options.payouts, options.largest, servers)
        finally:
            bank.kill()
            bank.wait()


def report(
    environment: dict[str, str], payouts: int, largest: int, servers: dict[str, int]
) -> None:
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} CPUs, load {load:.1f} at the start", flush=True)
    schedule = json.loads(run(environment, MODULE, "schedule", str(5 * payouts)))
    show(
        "scheduling, batches of 1,000", schedule["bulk"], "one at a time", schedule["single"], 1500
    )
    json.loads(run(environment, MODULE, "prepare", str(payouts)))
    send, _ = run_workers(environment, "send", payouts)
    before = {name: read_cpu(pid) for name, pid in servers.items()}
    pay, cpu = run_workers(environment, "execute", payouts)
    show("executing, 2 workers", pay, "only sending, 2 workers", send, 150)
    used = {"the workers": cpu} | {
        name: read_cpu(pid) - before[name] for name, pid in servers.items()
    }
    each = ", ".join(f"{name} {1000 * cpu / payouts:.1f} ms" for name, cpu in used.items())
    total = 1000 * sum(used.values()) / payouts
    print(
        f"    CPU for each payout: {each}; {total:.1f} ms in all, {WORKERS * 1000 / total:.0f}/s on two idle cores"
    )
    for size in SIZES:
        if size > largest:
            break
        swept = json.loads(run(environment, MODULE, "sweep", str(size)))
        print(f"sweep query among {swept['payouts']:>9,} payouts: {swept['ms']:.3f} ms")
        print("\n".join(f"    {line}" for line in swept["plan"]))


def show(name: str, ours: float, peer_name: str, peer: float, target: float) -> None:
    met = "met" if ours >= target else "NOT met"
    print(
        f"{name}: {ours:,.0f}/s; {peer_name}: {peer:,.0f}/s; ratio {ours / peer:.2f}; target {target:,.0f}/s {met}"
    )


def run(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "null"


def read_cpu(pid: int) -> float:
    """Return the seconds of CPU that a server and its processes have used."""
    root = psutil.Process(pid)
    times = [root.cpu_times(), *(one.cpu_times() for one in root.children(recursive=True))]
    return sum(one.user + one.system + one.children_user + one.children_system for one in times)


def run_workers(environment: dict[str, str], action: str, payouts: int) -> tuple[float, float]:
    """Run two processes at once; return how many payouts a second they did together, and the CPU they took."""
    command = [sys.executable, "-m", MODULE, action, str(payouts // WORKERS)]
    processes = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(WORKERS)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()  # it is ready
    begin = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]
    seconds = time.perf_counter() - begin
    done, cpu = (sum(column) for column in zip(*results, strict=True))
    return done / seconds, cpu


# In the processes of our code


def schedule(count: str) -> dict[str, float]:
    from django.utils import timezone

    from dj_wallet.payouts.services import PayoutRequest, schedule_payout, schedule_payouts

    wallets = open_wallets()
    later = timezone.now().replace(year=2100)

    def make(start: int, size: int) -> list[Any]:
        return [
            PayoutRequest(wallets[one % len(wallets)], "1.00", later, f"bench-{one}")
            for one in range(start, start + size)
        ]

    schedule_payouts(make(0, 100))
    begin = time.perf_counter()
    for start in range(BATCH, BATCH + int(count), BATCH):
        schedule_payouts(make(start, BATCH))
    bulk = int(count) / (time.perf_counter() - begin)
    begin = time.perf_counter()
    for one in range(200):
        schedule_payout(
            wallet=wallets[one % len(wallets)],
            amount="1.00",
            scheduled_for=later,
            idempotency_key=f"single-{one}",
        )
    return {"bulk": bulk, "single": 200 / (time.perf_counter() - begin)}


def prepare(count: str) -> int:
    from dj_wallet.payouts.services import PayoutRequest, schedule_payouts

    wallets = open_wallets()
    total = int(count) + WORKERS * AT_ONCE
    for start in range(0, total, BATCH):
        schedule_payouts(
            [
                PayoutRequest(wallets[one % len(wallets)], "1.00")
                for one in range(start, min(start + BATCH, total))
            ]
        )
    return total


def execute(count: str) -> tuple[int, float]:
    """Execute that many due payouts, as the sweep does; return how many, and the CPU they took."""
    from dj_wallet.payouts.services import execute_due_payouts_of

    execute_due_payouts_of("default", AT_ONCE)
    wait_for_go()
    begin = time.process_time()
    done = 0
    while done < int(count):
        done += (now := execute_due_payouts_of("default", AT_ONCE))
        if not now:
            break
    return done, time.process_time() - begin


def send(count: str) -> tuple[int, float]:
    """Send as many orders to the bank with as many at once, and write nothing."""
    from concurrent.futures import ThreadPoolExecutor
    from decimal import Decimal
    from uuid import uuid4

    from dj_wallet.payouts.bank import Order, get_bank

    bank = get_bank("default")
    orders = [Order(str(uuid4()), Decimal("1.00"), 100, "USD", {}) for _ in range(int(count))]
    bank.send(orders[0]._replace(reference="warm-up"))
    wait_for_go()
    begin = time.process_time()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = len(list(pool.map(bank.send, orders)))
    return done, time.process_time() - begin


def wait_for_go() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def sweep(size: str) -> dict[str, Any]:
    """Fill the table to the size, half of it settled and half scheduled for later, and time the query."""
    from django.db import connection

    from dj_wallet.payouts.models import Payout

    fill = """
        with made as (
            insert into dj_wallet_transaction (payable_type_id, payable_id, wallet_id, uuid, type, amount, refunded_amount,
                confirmed, status, counterpart, allow_overdraft, created_at, updated_at)
            select t.payable_type_id, t.payable_id, t.wallet_id, gen_random_uuid(), 'withdraw', 1, 0, false, 'pending',
                'external:bank', false, now(), now()
            from (select * from dj_wallet_transaction where type = 'withdraw' limit 1) t, generate_series(1, %s)
            returning id
        )
        insert into dj_wallet_payouts_payout (uuid, transaction_id, bank, destination, status, due_at, attempts, lookups,
            lapses, token, order_hash, bank_reference, failure_code, created_at, updated_at)
        select gen_random_uuid(), id, 'default', '{}', case when id %% 2 = 0 then 'settled' else 'pending' end,
            case when id %% 2 = 0 then null else now() + interval '1 year' end, 0, 0, 0, 0, '', '', '', now(), now()
        from made
    """
    with connection.cursor() as cursor:
        missing = int(size) - Payout.objects.count()
        if missing > 0:
            cursor.execute(fill, [missing])
            cursor.execute("analyze dj_wallet_payouts_payout")
        due = Payout.objects.filter(status="pending").order_by("-pk").values_list("pk", flat=True)
        Payout.objects.filter(pk__in=list(due[:500])).update(due_at="2020-01-01T00:00:00Z")
    query = Payout.objects.due().filter(bank="default").values_list("pk", flat=True)[:AT_ONCE]
    plan = query.explain(analyze=True, buffers=True).splitlines()
    times = []
    for _ in range(SWEEPS):
        begin = time.perf_counter()
        list(query.all())
        times.append(time.perf_counter() - begin)
    times.sort()
    return {"payouts": Payout.objects.count(), "ms": times[SWEEPS // 2] * 1000, "plan": plan}


def open_wallets() -> list[Any]:
    from dj_wallet.identity.models import User
    from dj_wallet.ledger.accounts import ensure_asset

    ensure_asset("USD", decimal_places=2)
    wallets = []
    for number in range(100):
        user, is_new = User.objects.get_or_create(username=f"holder-{number}")
        wallets.append(user.get_wallet())
        if is_new:
            wallets[-1].deposit(10_000_000)
    return wallets


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        import django

        django.setup()
        print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
    else:
        main()
