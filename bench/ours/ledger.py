"""The doors of the ledger: one entry per transaction, group commit of 16 threads, batches of 1,000.

Runs on a database that `bench.holders.wallet_api` has filled. Every entry has an idempotency key.
"""

import random
import time
from decimal import Decimal

from bench.measure import Step
from bench.worker import Scenario, pick_two
from dj_wallet.ledger.accounts import system_account
from dj_wallet.ledger.engine import Entry, Kind, Movement, Posted
from dj_wallet.ledger.post import group_commit, post, post_one
from dj_wallet.models import Wallet

AMOUNT = Decimal("1.25")
BATCH_SIZE = 1_000
LOAD_BATCH_SIZE = 5_000
CALLERS = 16
HOT_ACCOUNT = "external:bank"


def setup(posting_count: str) -> None:
    """Post that many transfers between random wallets, in batches of 5,000."""
    accounts = list_accounts()
    remaining = int(posting_count)
    while remaining > 0:
        size = min(remaining, LOAD_BATCH_SIZE)
        post_all([make_entry(*pick_two(accounts)) for _ in range(size)])
        remaining -= size


def list_accounts() -> list[int]:
    """Return the wallets of the holders; those of the shops are empty."""
    wallets = Wallet.objects.filter(holder_type__model="holder")
    return list(wallets.order_by("pk").values_list("pk", flat=True))


def make_entry(source: int | str, destination: int) -> Entry:
    kind = Kind.DEPOSIT if isinstance(source, str) else Kind.TRANSFER
    return Entry(
        kind=kind,
        movements=(Movement(source, destination, AMOUNT, "USD"),),
        idempotency_key=make_key(),
    )


def make_key() -> str:
    """Return 32 hex digits of UUIDv7 shape: milliseconds first, so that keys arrive in order."""
    return f"{time.time_ns() // 1_000_000:012x}{random.getrandbits(80):020x}"


def post_all(entries: list[Entry]) -> int:
    outcomes = post(entries)
    if not all(type(outcome) is Posted for outcome in outcomes):
        raise RuntimeError("The ledger refused a transfer that had to succeed.")
    return len(outcomes)


def make_single() -> Step:
    accounts = list_accounts()

    def single() -> int:
        post_one(make_entry(*pick_two(accounts)))
        return 1

    return single


def make_batch() -> Step:
    accounts = list_accounts()

    def batch() -> int:
        return post_all([make_entry(*pick_two(accounts)) for _ in range(BATCH_SIZE)])

    return batch


def make_group_random() -> Step:
    accounts = list_accounts()

    def group_random() -> int:
        group_commit(make_entry(*pick_two(accounts)))
        return 1

    return group_random


def make_group_hot() -> Step:
    system_account(HOT_ACCOUNT, "USD")
    accounts = list_accounts()

    def group_hot() -> int:
        group_commit(make_entry(HOT_ACCOUNT, random.choice(accounts)))
        return 1

    return group_hot


SCENARIOS = {
    "single": Scenario(make_single),
    "batch": Scenario(make_batch),
    "group_random": Scenario(make_group_random, CALLERS),
    "group_hot": Scenario(make_group_hot, CALLERS),
}
