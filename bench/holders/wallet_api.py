"""The public wallet API; the same lines run against dj-wallet 0.1.0 and against ours."""

import random
from collections.abc import Iterator
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
# More than anybody gives back in the longest measurement.
TRANSFER_COUNT = 1_500


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


def make_deposit_alone() -> Step:
    """Return a deposit that commits by itself, as in a plain loop."""
    holders = load_holders()

    def deposit_alone() -> int:
        random.choice(holders).deposit(AMOUNT)
        return 1

    return deposit_alone


def make_pay() -> Step:
    holders = load_holders()
    shops = list(Shop.objects.all())
    for shop in shops:
        shop.get_wallet()

    def pay() -> int:
        alice, shop = random.choice(holders), random.choice(shops)
        with transaction.atomic():
            alice.pay(shop)
        return 1

    return pay


def make_refund() -> Step:
    """Return a refund of one of many transfers, which are made before anything is measured."""
    holders = load_holders()
    with transaction.atomic():
        transfers = [one.transfer(other, AMOUNT) for one, other in pick_pairs(holders)]

    def refund() -> int:
        transfer = transfers.pop()
        with transaction.atomic():
            TransferService.refund(transfer)
        return 1

    return refund


def pick_pairs(holders: list[Holder]) -> Iterator[tuple[Holder, Holder]]:
    return (pick_two(holders) for _ in range(TRANSFER_COUNT))


SCENARIOS = {
    "transfer": Scenario(make_transfer),
    "first_transfer": Scenario(make_first_transfer),
    "deposit": Scenario(make_deposit),
    "deposit_alone": Scenario(make_deposit_alone),
    "pay": Scenario(make_pay),
    "refund": Scenario(make_refund),
}
