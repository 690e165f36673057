"""Our payouts in a round: `python -m bench.payout_chaos.ours prepare N | ring N | judge`; prints JSON."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg

from bench.payout_chaos.scene import BANK_TIMEOUT_SECONDS, Scene, an_hour_off

AMOUNT = "1.00"
MODULE = "bench.payout_chaos.ours"
COUNT_OPEN = """
    select count(*) from dj_wallet_payouts_payout
    where status not in ('settled', 'failed', 'returned', 'cancelled')
"""


def set_up(scene: Scene, bank: str, payouts: int) -> None:
    """Migrate, schedule the payouts, start two workers (one an hour off) and three beats."""
    scene.environment |= {
        "DJANGO_SETTINGS_MODULE": "wallet_service.settings",
        "BANK_TIMEOUT_SECONDS": str(BANK_TIMEOUT_SECONDS),
        "PAYOUT_BACKOFF_SECONDS": "1",
        "PAYOUT_BACKOFF_MAX_SECONDS": "4",
        "PAYOUT_SWEEP_SECONDS": "2",
        "PAYOUT_CIRCUIT_SECONDS": "2",
        **describe_bank(scene.bank_url, bank),
    }
    scene.run("django", "migrate", "--no-input", "--verbosity", "0")
    scene.run(MODULE, "prepare", str(payouts))
    celery = [sys.executable, "-m", "celery", "--app", "wallet_service"]
    worker = ["worker", "--loglevel", "warning", "--concurrency", "2", "--without-gossip"]
    for number, clock in enumerate(({}, an_hour_off()), 1):
        name = f"worker{number}"
        scene.start(name, [*celery, *worker, "--without-mingle", "-n", f"{name}@%h"], **clock)
    for number in range(1, 4):
        schedule = str(scene.folder / f"schedule{number}")
        scene.start(f"beat{number}", [*celery, "beat", "--loglevel", "warning", "-s", schedule])


def describe_bank(url: str, bank: str) -> dict[str, str]:
    """Return the variables that set up the sandbox bank with keys, or without but with a look-up."""
    if bank == "keyed":
        return {
            "BANK_ADAPTER": "dj_wallet.payouts.banks.keyed.KeyedBank",
            "BANK_URL": f"{url}/v1",
        }
    lookup = {"LOOKUP_URL": f"{url}/payments?reference={{reference}}"}
    return {"BANK_URL": f"{url}/", "BANK_OPTIONS": json.dumps(lookup)}


def repeat_messages(scene: Scene) -> None:
    """Deliver a message for each payout five times."""
    with suppress(subprocess.SubprocessError):
        scene.run(MODULE, "ring", "5")
        scene.note("each message x5")


def count_open(scene: Scene) -> int:
    """Ask the database itself: a program of ours would start for seconds, beside what shall heal."""
    try:
        with psycopg.connect(scene.environment["DATABASE_URL"]) as connection:
            cursor = connection.execute(COUNT_OPEN)
            return int(cursor.fetchall()[0][0])
    except psycopg.Error:
        return -1


def judge(scene: Scene) -> dict[str, Any]:
    """Compare what the bank paid with what we say."""
    ours = json.loads(scene.run(MODULE, "judge"))
    books = scene.ask_bank("GET", "/books")["payments"]
    paid = Counter(one["reference"] for one in books if one.get("state", "paid") == "paid")
    states = ours["states"]
    gave_back = {"failed", "cancelled"}
    return {
        "paid twice": sum(count > 1 for count in paid.values()),
        "refunded though paid": sum(states[one] in gave_back for one in paid),
        "settled though not paid": sum(
            state == "settled" and one not in paid for one, state in states.items()
        ),
        "stuck": sum(state not in {"settled", *gave_back} for state in states.values()),
        "settled": sum(state == "settled" for state in states.values()),
        "open": ours["open"],
        "books": "balance" if ours["audit"] == [] else ours["audit"],
    }


def main(action: str, *arguments: str) -> None:
    import django

    django.setup()
    from dj_wallet.ledger.audit import audit_ledger
    from dj_wallet.payouts import doorbell
    from dj_wallet.payouts.models import Payout

    if action == "prepare":
        prepare(int(*arguments))
    elif action == "ring":
        for pk in Payout.objects.values_list("pk", flat=True):
            for _ in range(int(*arguments)):
                doorbell.ring(pk)
    else:
        states = {
            str(uuid): status for uuid, status in Payout.objects.values_list("uuid", "status")
        }
        problems = [str(one) for one in audit_ledger().problems]
        print(json.dumps({"states": states, "audit": problems, "open": list(describe_open())}))


def describe_open() -> Iterator[str]:
    """Say of each payout that has not ended how it came there."""
    from dj_wallet.payouts.models import Payout

    for payout in Payout.objects.exclude(status__in=Payout.ENDED):
        steps = " ".join(
            f"{one.kind}{one.detail.get('reason', '')}" for one in payout.steps.order_by("pk")
        )
        yield (
            f"{payout} due {payout.due_at} attempts {payout.attempts} lookups {payout.lookups} "
            f"lapses {payout.lapses} sent {payout.sent_at} held {payout.held_at}: {steps}"
        )


def prepare(payouts: int) -> None:
    """Give ten holders just enough, and schedule that many payouts of them."""
    from dj_wallet.identity.models import User
    from dj_wallet.ledger.accounts import ensure_asset
    from dj_wallet.payouts.services import PayoutRequest, schedule_payouts

    ensure_asset("USD", decimal_places=2)
    wallets = [User.objects.create(username=f"holder-{one}").get_wallet() for one in range(10)]
    for wallet in wallets:
        wallet.deposit(payouts)
    requests = [
        PayoutRequest(wallets[one % 10], AMOUNT, idempotency_key=f"chaos-{one}")
        for one in range(payouts)
    ]
    schedule_payouts(requests)


if __name__ == "__main__":
    main(*sys.argv[1:])
