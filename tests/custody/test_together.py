"""Many at once: addresses, scanners, planners, broadcasters. One output pays once, one address has one owner."""

import os
import time
from collections import Counter

import pytest

from dj_wallet.custody.models import Address, Chain, ChainTransaction, Output, WithdrawalRequest
from dj_wallet.custody.served import connect_node
from dj_wallet.custody.services.addresses import get_deposit_address
from dj_wallet.custody.services.broadcast import broadcast_next
from dj_wallet.custody.services.scanner import scan_chain
from dj_wallet.custody.services.spending import plan_next_withdrawal
from dj_wallet.ledger.errors import InsufficientFunds
from tests.custody.conftest import DOGE, get_address, list_events, look, open_wallet, withdraw
from tests.ledger.together import raise_errors, run_together

pytestmark = pytest.mark.django_db(transaction=True)

# `CUSTODY_CROWD=8x200` runs the large one by hand.
WORKERS, WITHDRAWALS = map(int, os.environ.get("CUSTODY_CROWD", "4x12").split("x"))


def test_first_questions_at_once_give_each_wallet_one_address(served):
    """Pitfall 12."""
    wallets = [open_wallet(f"user{number}") for number in range(8)]
    found = raise_errors(
        run_together(
            *(
                lambda wallet=wallet: get_deposit_address(wallet=wallet, network=DOGE).address
                for wallet in wallets * 3
            )
        )
    )
    assert found[:8] == found[8:16] == found[16:]
    assert len(set(found)) == 8
    assert sorted(Address.objects.values_list("derivation_index", flat=True)) == list(range(8))


def test_scanners_at_once_credit_once(world, alice):
    """Pitfall 8."""
    world.pay((get_address(alice), "3"))
    world.chain.mine(8)

    def scan() -> None:
        node = connect_node(DOGE)
        for _ in range(20):
            scan_chain(DOGE, node)
        node.close()

    raise_errors(run_together(*[scan] * 3))
    world.scan()
    assert look(alice) == (3, 0)
    assert list_events("deposit.confirmed") == ["deposit.confirmed"]
    assert Chain.objects.get().height == world.chain.height
    world.check_books()


def test_a_crowd_of_workers_pays_every_withdrawal_once(world, alice):
    """Pitfall 17."""
    address = get_address(alice)
    for _ in range(-(-WITHDRAWALS // 40)):
        world.pay(*[(address, "2.5")] * 50)
    world.mine(6)
    wanted = [withdraw(alice, world.outside, "2") for _ in range(WITHDRAWALS)]
    is_done = []

    def work() -> None:
        node = connect_node(DOGE)
        while not is_done:
            plan_next_withdrawal(DOGE)
            broadcast_next(DOGE, node)
        node.close()

    def sign() -> None:
        deadline = time.monotonic() + 600
        pending = [WithdrawalRequest.Status.PENDING, WithdrawalRequest.Status.PROCESSING]
        while WithdrawalRequest.objects.filter(status__in=pending).exists():
            world.sign()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        is_done.append(True)

    def stop_on_error() -> None:
        try:
            sign()
        finally:
            is_done.append(True)

    raise_errors(run_together(*[work] * WORKERS, stop_on_error))
    world.send()
    paid = Counter(spent.outpoint for sent in world.chain.mempool.values() for spent in sent.inputs)
    assert max(paid.values()) == 1
    assert ChainTransaction.objects.count() == WITHDRAWALS
    assert len(world.chain.mempool) == WITHDRAWALS
    world.mine(6)
    assert {one.status for one in WithdrawalRequest.objects.all()} == {"CONFIRMED"}
    assert sum(one.amount for one in wanted) == 2 * WITHDRAWALS
    assert look(alice)[1] == 0
    assert Output.objects.filter(spend__isnull=False, spent_height__isnull=True).count() == 0
    world.check_books()


def test_one_key_from_many_callers_is_one_withdrawal(world, rich):
    found = run_together(*[lambda: withdraw(rich, world.outside, "5", idempotency_key="k").pk] * 6)
    assert len(set(raise_errors(found))) == 1
    assert WithdrawalRequest.objects.count() == 1
    assert (
        look(rich)[1]
        == WithdrawalRequest.objects.get().amount + WithdrawalRequest.objects.get().fee
    )


def test_the_last_coins_are_withdrawn_once(world, rich):
    """100 DOGE, and eight who want 60 at the same time."""
    results = run_together(*[lambda: withdraw(rich, world.outside, "60")] * 8)
    refused = [one for one in results if isinstance(one, Exception)]
    assert {type(one) for one in refused} == {InsufficientFunds}
    assert (len(refused), WithdrawalRequest.objects.count()) == (7, 1)
    assert look(rich)[0] >= 0
