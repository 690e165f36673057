"""Holds and escrows: lock, unlock, pay an order, release it; each inside atomic(), as the transfers are.

Runs on a database that `bench.holders.wallet_api` has filled.
"""

import random
from decimal import Decimal

from django.contrib.contenttypes.models import ContentType
from django.db import transaction

from bench.measure import Step
from bench.ours.ledger import make_key
from bench.worker import Scenario, pick_two
from dj_wallet.models import Escrow, Hold, Wallet
from dj_wallet.services.escrow import open_escrow, release_escrow
from dj_wallet.services.holds import place_hold, release_hold

AMOUNT = Decimal("1.25")
FEE = Decimal("0.05")
UNLOCKED = Decimal("0.01")
PREPARED_ESCROWS = 4_000


def load_wallets() -> list[Wallet]:
    ContentType.objects.get_for_model(Wallet)
    return list(Wallet.objects.order_by("pk"))


def lock(wallet: Wallet, amount: Decimal = AMOUNT) -> Hold:
    return place_hold(
        wallet=wallet,
        amount=amount,
        reference_type="auction",
        reference_id=make_key(),
        idempotency_key=make_key(),
    )


def pay(buyer: Wallet, seller: Wallet) -> Escrow:
    return open_escrow(
        buyer=buyer,
        seller=seller,
        order_id=make_key(),
        amount=AMOUNT,
        fee_amount=FEE,
        idempotency_key=make_key(),
    )


def make_lock() -> Step:
    wallets = load_wallets()

    def lock_one() -> int:
        with transaction.atomic():
            lock(random.choice(wallets))
        return 1

    return lock_one


def make_unlock() -> Step:
    """Release a cent at a time of one hold in each wallet."""
    holds = [lock(wallet, Decimal(1_000)) for wallet in load_wallets()]

    def unlock() -> int:
        with transaction.atomic():
            release_hold(random.choice(holds), amount=UNLOCKED, idempotency_key=make_key())
        return 1

    return unlock


def make_pay() -> Step:
    wallets = load_wallets()

    def pay_one() -> int:
        with transaction.atomic():
            pay(*pick_two(wallets))
        return 1

    return pay_one


def make_release() -> Step:
    """Release escrows that were opened before; one by one if they run out."""
    wallets = load_wallets()
    with transaction.atomic():
        escrows = [pay(*pick_two(wallets)) for _ in range(PREPARED_ESCROWS)]

    def release() -> int:
        if not escrows:
            escrows.append(pay(*pick_two(wallets)))
        with transaction.atomic():
            release_escrow(escrows.pop(), idempotency_key=make_key())
        return 1

    return release


SCENARIOS = {
    "lock": Scenario(make_lock),
    "unlock": Scenario(make_unlock),
    "pay": Scenario(make_pay),
    "release": Scenario(make_release),
}
