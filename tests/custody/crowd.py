"""Many workers at one queue of withdrawals: each is paid once, and the books equal the chain."""

import os
import time
from collections import Counter
from typing import Any, Final

from dj_wallet.custody.chain.transactions import parse
from dj_wallet.custody.models import ChainTransaction, Output, WithdrawalRequest
from dj_wallet.custody.served import connect_node
from dj_wallet.custody.services.broadcast import broadcast_next
from dj_wallet.custody.services.spending import plan_next_withdrawal
from dj_wallet.models import Wallet
from tests.custody.conftest import get_address, look, withdraw
from tests.ledger.together import raise_errors, run_together

# `CUSTODY_CROWD=8x200` runs the large one by hand.
WORKERS, WITHDRAWALS = map(int, os.environ.get("CUSTODY_CROWD", "4x12").split("x"))
OUTPUTS_AT_ONCE: Final = 50
# Nothing is measured here: so long that only a worker that hangs takes longer.
PATIENCE_SECONDS: Final = 300 + 10 * WITHDRAWALS


def pay_a_crowd(world: Any, wallet: Wallet, *, output: str, amount: str) -> None:
    """Have the workers pay as many withdrawals of an amount as they can, and check that each was paid once."""
    address = get_address(wallet)
    for _ in range(-(-WITHDRAWALS // (OUTPUTS_AT_ONCE - 10))):
        world.pay(*[(address, output)] * OUTPUTS_AT_ONCE)
    world.mine(6)
    for _ in range(WITHDRAWALS):
        withdraw(wallet, world.outside, amount)
    is_done: list[bool] = []

    def work() -> None:
        with connect_node(world.name) as node:
            while not is_done:
                plan_next_withdrawal(world.name)
                broadcast_next(world.name, node)

    def sign() -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        waiting = [WithdrawalRequest.Status.PENDING, WithdrawalRequest.Status.PROCESSING]
        try:
            while WithdrawalRequest.objects.filter(status__in=waiting).exists():
                world.sign()
                assert time.monotonic() < deadline, "the workers do not finish"
                time.sleep(0.01)
        finally:
            is_done.append(True)

    raise_errors(run_together(*[work] * WORKERS, sign, seconds=2 * PATIENCE_SECONDS))
    world.send()
    _check_each_was_paid_once(world)
    world.mine(6)
    assert {one.status for one in WithdrawalRequest.objects.all()} == {"CONFIRMED"}
    assert look(wallet)[1] == 0
    assert not Output.objects.filter(spend__isnull=False, spent_height__isnull=True).exists()
    world.check_books()


def _check_each_was_paid_once(world: Any) -> None:
    sent = ChainTransaction.objects.all()
    assert sent.count() == len(world.chain.mempool) == WITHDRAWALS
    spent = Counter(spent.outpoint for one in sent for spent in parse(bytes(one.raw)).inputs)
    assert max(spent.values()) == 1
