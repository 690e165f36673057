"""The public wallet API; the same lines run against dj-wallet 0.1.0 and against ours."""

import random
from decimal import Decimal

from django.core.management import call_command
from django.db import transaction

from bench.holders.models import Holder
from bench.measure import Step
from bench.worker import Scenario, pick_two

HOLDER_COUNT = 1_000
OPENING_BALANCE = Decimal("1000000")
AMOUNT = Decimal("1.25")


def setup() -> None:
    """Create the tables and 1,000 holders with a well filled wallet each."""
    call_command("migrate", run_syncdb=True, verbosity=0)
    names = [f"holder {number}" for number in range(HOLDER_COUNT)]
    for holder in Holder.objects.bulk_create(Holder(name=name) for name in names):
        holder.deposit(OPENING_BALANCE)


def load_holders() -> list[Holder]:
    """Return all holders, each having looked at its wallet once."""
    holders = list(Holder.objects.all())
    for holder in holders:
        holder.get_wallet()
    return holders


def make_transfer() -> Step:
    holders = load_holders()

    def transfer() -> int:
        alice, bob = pick_two(holders)
        with transaction.atomic():
            alice.transfer(bob, AMOUNT)
        return 1

    return transfer


def make_first_transfer() -> Step:
    """Return a transfer between instances that know nothing yet, as at the start of a web request."""
    keys = list(Holder.objects.values_list("pk", flat=True))

    def first_transfer() -> int:
        alice, bob = (Holder(pk=key) for key in pick_two(keys))
        with transaction.atomic():
            alice.transfer(bob, AMOUNT)
        return 1

    return first_transfer


def make_deposit() -> Step:
    holders = load_holders()

    def deposit() -> int:
        alice = random.choice(holders)
        with transaction.atomic():
            alice.deposit(AMOUNT)
        return 1

    return deposit


SCENARIOS = {
    "transfer": Scenario(make_transfer),
    "first_transfer": Scenario(make_first_transfer),
    "deposit": Scenario(make_deposit),
}
