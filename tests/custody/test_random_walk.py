"""Whatever happens in whatever order, every difference between chain and ledger is explained, and none is left at the end."""

import contextlib
import os
import random
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.db.models import QuerySet

from dj_wallet.custody.chain.errors import ChainError
from dj_wallet.custody.errors import ReplacementRefused, WithdrawalsFrozen
from dj_wallet.custody.models import Chain, ChainTransaction, WithdrawalRequest
from dj_wallet.custody.services.chains import unfreeze
from dj_wallet.custody.services.reconciliation import compare
from dj_wallet.custody.services.spending import bump_withdrawal, plan_next_withdrawal
from dj_wallet.custody.services.withdrawals import cancel_withdrawal
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.errors import TransactionAlreadyProcessed, WalletException
from dj_wallet.models import Wallet
from tests.custody.conftest import DOGE, World, get_address, system_balance, withdraw
from wallet_sandbox.chain import Rejected

pytestmark = pytest.mark.django_db

STEPS = 50


class Walk:
    """Deposits, withdrawals and reorganizations at random."""

    def __init__(self, world: World, wallets: list[Wallet], seed: int) -> None:
        self.world, self.wallets = world, wallets
        self.random = random.Random(seed)
        self.paid: list[str] = []

    def choose(self, found: QuerySet[WithdrawalRequest]) -> WithdrawalRequest | None:
        """Choose one, the same for the same seed."""
        rows = list(found.order_by("pk"))
        return self.random.choice(rows) if rows else None

    def pay(self) -> None:
        payments = [
            (get_address(self.random.choice(self.wallets)), f"{self.random.uniform(0.2, 40):.8f}")
            for _ in range(self.random.randint(1, 3))
        ]
        self.paid.append(self.world.pay(*payments))

    def mine(self) -> None:
        self.world.mine(self.random.randint(1, 3))

    def ask(self) -> None:
        with contextlib.suppress(WalletException):
            withdraw(
                self.random.choice(self.wallets),
                self.world.outside,
                f"{self.random.uniform(1, 20):.8f}",
                subtract_fee=self.random.random() < 0.5,
            )

    def plan(self) -> None:
        plan_next_withdrawal(DOGE)

    def sign(self) -> None:
        self.world.sign()

    def send(self) -> None:
        ChainTransaction.objects.update(send_at=None)
        self.world.send()

    def bump(self) -> None:
        if sent := self.choose(WithdrawalRequest.objects.filter(status="BROADCAST")):
            rate = Decimal(self.random.randint(2, 9)) / 100
            with contextlib.suppress(ReplacementRefused, WithdrawalsFrozen):
                bump_withdrawal(withdrawal_id=sent.pk, rate_per_kb=rate)

    def cancel(self) -> None:
        if one := self.choose(WithdrawalRequest.objects.all()):
            with contextlib.suppress(TransactionAlreadyProcessed):
                cancel_withdrawal(withdrawal_id=one.pk)

    def reorganize(self) -> None:
        depth = self.random.randint(1, 8)
        since = self.world.chain.height - depth
        mined = self.world.chain.mined_at
        gone = [
            one
            for one in self.paid
            if (one in self.world.chain.mempool or mined.get(one, 0) > since)
            and self.random.random() < 0.3
        ]
        try:
            self.world.chain.reorganize(depth, double_spend=gone)
        except (
            ChainError,
            Rejected,
        ):  # what conflicts depends on what is spent meanwhile: then plainly
            self.world.chain.reorganize(depth)
        self.world.scan()

    def lift(self) -> None:
        unfreeze(Chain.objects.get())

    def check(self) -> None:
        found = compare(Chain.objects.get())
        assert found.unexplained == 0, found.explained
        for wallet in self.wallets:
            wallet.refresh_from_db()
            assert wallet.balance >= 0
            assert wallet.pending_balance >= 0


# `CUSTODY_WALKS=100` walks longer by hand.
@pytest.mark.parametrize("seed", range(int(os.environ.get("CUSTODY_WALKS", "2"))))
def test_every_walk_ends_with_books_that_agree(world, alice, bob, seed):
    Chain.objects.update(confirmations=3)
    walk = Walk(world, [alice, bob], seed)
    steps: list[Callable[[], None]] = [
        *[walk.pay] * 3,
        *[walk.mine] * 4,
        *[walk.ask] * 3,
        *[walk.plan] * 2,
        *[walk.sign] * 2,
        *[walk.send] * 2,
        walk.bump,
        walk.cancel,
        walk.reorganize,
        walk.lift,
    ]
    for _ in range(STEPS):
        walk.random.choice(steps)()
        walk.check()
    # At last everything that was asked for is done, as far as the coins of the hot wallet reach.
    for _ in range(6):
        walk.lift()
        walk.send()
        world.work()
        world.mine(3)
    walk.check()
    assert audit_ledger().problems == []
    assert system_balance("losses") <= 0
    confirmed = WithdrawalRequest.objects.filter(status="CONFIRMED")
    txids = [one.txid for one in confirmed]
    assert len(set(txids)) == len(txids)
    assert set(txids) <= set(world.chain.mined_at)
    spent = [item.outpoint for txid in txids for item in world.chain.transactions[txid].inputs]
    assert len(set(spent)) == len(spent)
    world.check_books()
