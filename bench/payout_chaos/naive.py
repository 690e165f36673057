"""THE COUNTER-EXAMPLE. Not used by anything: the shape that most services have, so that our zero means something.

A status guard, a row lock, three retries with exponential backoff, a refund when they are used up; sweeping every two
seconds. It reads well, its tests are green, and a hostile bank and a few kills make it pay twice, refund what was paid
and lose what was under way. `celery --app bench.payout_chaos.naive worker`.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from celery import Celery

from bench.payout_chaos.scene import BANK_TIMEOUT_SECONDS, Scene, an_hour_off

MODULE = "bench.payout_chaos.naive"
MAX_RETRIES = 3

app = Celery("naive", broker=os.environ.get("BROKER_URL", "memory://"))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "visibility_timeout": 60,
        "unacked_restore_interval": 2,
        "unacked_restore_throttle": 1,
    },
    beat_schedule={"sweep": {"task": "naive.sweep", "schedule": 2.0}},
)


def connect() -> psycopg.Connection[Any]:
    return psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)


@app.task(name="naive.sweep")
def sweep() -> None:
    with connect() as database:
        rows = database.execute("select id from naive_payout where state = 'pending'").fetchall()
    for (reference,) in rows:
        pay.delay(str(reference))


@app.task(name="naive.pay", bind=True, max_retries=MAX_RETRIES)
def pay(self: Any, reference: str) -> None:
    with connect() as database:
        with database.transaction():
            query = "select amount, state from naive_payout where id = %s for update"
            row = database.execute(query, [reference]).fetchone()
            if row is None or row[1] not in {"pending", "retry"}:
                return
            set_state(database, reference, "processing")
        if call_bank(reference, row[0]):
            set_state(database, reference, "settled")
        elif self.request.retries < MAX_RETRIES:
            set_state(database, reference, "retry")
            raise self.retry(countdown=0.5 * 2**self.request.retries)
        else:
            set_state(database, reference, "refunded")


def set_state(database: psycopg.Connection[Any], reference: str, state: str) -> None:
    database.execute("update naive_payout set state = %s where id = %s", [state, reference])


def call_bank(reference: str, amount: int) -> bool:
    """Tell whether the bank says that it paid."""
    order: dict[str, Any] = {"reference": reference, "amount": amount}
    headers = {}
    if os.environ["NAIVE_BANK"] == "keyed":
        order |= {"amount": f"{amount / 100:.2f}", "currency": "USD"}
        headers["Idempotency-Key"] = reference
    try:
        answer = httpx.post(
            os.environ["NAIVE_URL"], json=order, headers=headers, timeout=BANK_TIMEOUT_SECONDS
        )
        said = answer.json()
    except (httpx.HTTPError, ValueError):
        return False
    return said.get("status") == 200 or said.get("state") == "paid"


def set_up(scene: Scene, bank: str, payouts: int) -> None:
    scene.environment |= {
        "NAIVE_BANK": bank,
        "NAIVE_URL": f"{scene.bank_url}/v1/transfers" if bank == "keyed" else f"{scene.bank_url}/",
    }
    scene.run(MODULE, "prepare", str(payouts))
    celery = [sys.executable, "-m", "celery", "--app", MODULE]
    worker = ["worker", "--loglevel", "warning", "--concurrency", "2", "--without-gossip"]
    for number, clock in enumerate(({}, an_hour_off()), 1):
        name = f"worker{number}"
        scene.start(name, [*celery, *worker, "--without-mingle", "-n", f"{name}@%h"], **clock)
    for number in range(1, 4):
        schedule = str(scene.folder / f"schedule{number}")
        scene.start(f"beat{number}", [*celery, "beat", "--loglevel", "warning", "-s", schedule])


def repeat_messages(scene: Scene) -> None:
    try:
        scene.run(MODULE, "ring", "5")
        scene.note("each message x5")
    except subprocess.SubprocessError:
        return


def count_open(scene: Scene) -> int:
    try:
        return int(scene.run(MODULE, "count"))
    except subprocess.SubprocessError:
        return -1


def judge(scene: Scene) -> dict[str, Any]:
    states = json.loads(scene.run(MODULE, "states"))
    books = scene.ask_bank("GET", "/books")["payments"]
    paid = Counter(one["reference"] for one in books if one.get("state", "paid") == "paid")
    return {
        "paid twice": sum(count > 1 for count in paid.values()),
        "refunded though paid": sum(states[one] == "refunded" for one in paid),
        "settled though not paid": sum(
            state == "settled" and one not in paid for one, state in states.items()
        ),
        "stuck": sum(state not in {"settled", "refunded"} for state in states.values()),
        "settled": sum(state == "settled" for state in states.values()),
        "books": "-",
    }


def main(action: str, *arguments: str) -> None:
    with connect() as database:
        if action == "prepare":
            database.execute(
                "create table naive_payout (id uuid primary key, amount int, state text)"
            )
            for _ in range(int(*arguments)):
                database.execute("insert into naive_payout values (%s, 100, 'pending')", [uuid4()])
        elif action == "ring":
            for (reference,) in database.execute("select id from naive_payout").fetchall():
                for _ in range(int(*arguments)):
                    pay.delay(str(reference))
        elif action == "count":
            query = "select count(*) from naive_payout where state not in ('settled', 'refunded')"
            print(database.execute(query).fetchone()[0])
        else:
            rows = database.execute("select id::text, state from naive_payout").fetchall()
            print(json.dumps(dict(rows)))


if __name__ == "__main__":
    main(*sys.argv[1:])
