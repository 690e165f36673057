"""The public wallet API; the same lines run against dj-wallet 0.1.0 and against ours."""

import random
import time
from collections.abc import Callable
from decimal import Decimal

from django.core.management import call_command
from django.db import transaction

from bench.holders.models import Holder, Shop
from bench.measure import Step
from bench.worker import Scenario, pick_two
from dj_wallet.services.transfer import TransferService

HOLDER_COUNT = 1_000
OPENING_BALANCE = Decimal("1000000")
AMOUNT = Decimal("1.25")
SHOP_COUNT = 100
# Long enough to make more transfers than the same code gives back in the longest measurement.
PREPARING_SECONDS = 8


def setup() -> None:
    """Create the tables, 1,000 holders with a well filled wallet each, and 100 shops."""
    call_command("migrate", run_syncdb=True, verbosity=0)
    names = [f"holder {number}" for number in range(HOLDER_COUNT)]
    for holder in Holder.objects.bulk_create(Holder(name=name) for name in names):
        holder.deposit(OPENING_BALANCE)
    for shop in Shop.objects.bulk_create(Shop(name=f"shop {n}") for n in range(SHOP_COUNT)):
        shop.get_wallet()


def load_holders() -> list[Holder]:
    """Return all holders, each having looked at its wallet once."""
    holders = list(Holder.objects.all())
    for holder in holders:
        holder.get_wallet()
    return holders


def in_atomic(make_step: Callable[[], Step]) -> Callable[[], Step]:
    """Return what makes the same step inside a transaction of the caller's."""

    def make() -> Step:
        step = make_step()

        def run() -> int:
            with transaction.atomic():
                return step()

        return run

    return make


def make_transfer() -> Step:
    holders = load_holders()

    def transfer() -> int:
        alice, bob = pick_two(holders)
        alice.transfer(bob, AMOUNT)
        return 1

    return transfer


def make_first_transfer() -> Step:
    """Return a transfer between instances that know nothing yet, as at the start of a web request."""
    keys = list(Holder.objects.values_list("pk", flat=True))

    def first_transfer() -> int:
        alice, bob = (Holder(pk=key) for key in pick_two(keys))
        alice.transfer(bob, AMOUNT)
        return 1

    return first_transfer


def make_deposit() -> Step:
    holders = load_holders()

    def deposit() -> int:
        random.choice(holders).deposit(AMOUNT)
        return 1

    return deposit


def make_pay() -> Step:
    holders = load_holders()
    shops = list(Shop.objects.all())
    for shop in shops:
        shop.get_wallet()

    def pay() -> int:
        alice, shop = random.choice(holders), random.choice(shops)
        alice.pay(shop)
        return 1

    return pay


def make_refund() -> Step:
    """Return a refund of one of many transfers, which are made before anything is measured."""
    holders, transfers = load_holders(), []
    until = time.perf_counter() + PREPARING_SECONDS
    with transaction.atomic():
        while time.perf_counter() < until:
            one, other = pick_two(holders)
            transfers.append(one.transfer(other, AMOUNT))

    def refund() -> int:
        TransferService.refund(transfers.pop())
        return 1

    return refund


MAKERS = {
    "transfer": make_transfer,
    "first transfer": make_first_transfer,
    "deposit": make_deposit,
    "pay": make_pay,
    "refund": make_refund,
}
SCENARIOS = {
    **{name: Scenario(make) for name, make in MAKERS.items()},
    **{f"{name} in atomic": Scenario(in_atomic(make)) for name, make in MAKERS.items()},
}
