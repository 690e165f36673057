"""What dj-wallet 0.1.0 has no counterpart for: 10,000 deposits in one call, and a cart of 50 items.

Runs on a database that `bench.holders.wallet_api` has filled.
"""

import random

from django.db import transaction

from bench.holders.models import Shop
from bench.holders.wallet_api import AMOUNT, load_holders
from bench.measure import Step
from bench.worker import Scenario
from dj_wallet.bulk import DepositItem, Status, deposit_many
from dj_wallet.cart import Cart

DEPOSIT_COUNT = 10_000
CART_SIZE = 50


def make_deposit_many() -> Step:
    holders = load_holders()

    def deposit_many_at_once() -> int:
        items = [DepositItem(random.choice(holders), AMOUNT) for _ in range(DEPOSIT_COUNT)]
        if {result.status for result in deposit_many(items)} != {Status.OK}:
            raise RuntimeError("A deposit was refused that had to succeed.")
        return DEPOSIT_COUNT

    return deposit_many_at_once


def make_cart() -> Step:
    holders = load_holders()
    shops = list(Shop.objects.all()[:CART_SIZE])

    def pay_cart() -> int:
        alice = random.choice(holders)
        with transaction.atomic():
            alice.pay_cart(Cart().with_items(shops))
        return 1

    return pay_cart


SCENARIOS = {"deposit_many": Scenario(make_deposit_many), "cart": Scenario(make_cart)}
