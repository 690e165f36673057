"""Blocks that are taken back: what was not counted is forgotten, what was counted is an alarm, nothing is counted twice."""

from decimal import Decimal

import pytest

from dj_wallet.custody.chain.addresses import get_script
from dj_wallet.custody.chain.node import Node
from dj_wallet.custody.chain.transactions import Outpoint, build_unsigned, sign
from dj_wallet.custody.chain.transactions import Output as PaidOutput
from dj_wallet.custody.errors import WithdrawalsFrozen
from dj_wallet.custody.models import Block, Chain, Output, WithdrawalRequest
from dj_wallet.custody.services import scanner
from dj_wallet.custody.services.chains import unfreeze
from dj_wallet.custody.services.reconciliation import compare, reconcile
from dj_wallet.custody.services.scanner import rewind_chain, scan_chain
from dj_wallet.custody.services.spending import plan_next_withdrawal
from dj_wallet.custody.services.withdrawals import request_withdrawal
from dj_wallet.ledger.audit import audit_ledger
from tests.custody.conftest import (
    DOGE,
    get_address,
    get_status,
    list_events,
    look,
    system_balance,
    withdraw,
)

pytestmark = pytest.mark.django_db


def test_a_shallow_reorganization_credits_once(world, alice):
    """Pitfall 2: the output is the same row again, wherever its transaction is mined."""
    world.pay((get_address(alice), "5"))
    world.mine(3)
    world.chain.reorganize(3)
    world.scan()
    assert look(alice) == (0, 0)
    world.mine(6)
    assert look(alice) == (5, 0)
    assert Output.objects.count() == 1
    assert list_events("deposit.orphaned", "deposit.confirmed") == [
        "deposit.orphaned",
        "deposit.confirmed",
    ]
    world.check_books()


def test_a_deposit_that_is_spent_twice_is_never_credited(world, alice, bob):
    """Pitfall 3: the replacement pays nobody of ours, so nothing but the missing output tells."""
    txid = world.pay((get_address(alice), "7"))
    world.mine(2)
    world.chain.reorganize(2, double_spend=[txid])
    world.mine(10)
    assert look(alice) == (0, 0)
    assert Output.objects.get().status == Output.Status.ORPHANED
    world.check_books()


def test_a_deep_reorganization_takes_the_credit_back(world, alice):
    """Pitfall 4: an alarm at once, and the money once it is certain."""
    txid = world.pay((get_address(alice), "9"))
    world.mine(7)
    assert look(alice) == (9, 0)
    world.chain.reorganize(7, double_spend=[txid])
    scan_chain(DOGE, world.node)
    assert Chain.objects.get().frozen_because
    assert look(alice) == (0, 0)
    assert system_balance("losses") == 0
    assert list_events("reserve.mismatch", "deposit.reversed") == [
        "reserve.mismatch",
        "deposit.reversed",
    ]
    world.mine(6)
    assert list_events("deposit.reversed") == ["deposit.reversed"]
    world.check_books()


def test_what_the_user_spent_meanwhile_is_our_loss(world, alice, bob):
    txid = world.pay((get_address(alice), "9"))
    world.mine(7)
    alice.transfer(bob, 6)
    world.chain.reorganize(7, double_spend=[txid])
    world.mine(8)
    assert (look(alice), look(bob)) == ((0, 0), (6, 0))
    assert system_balance("losses") == -6
    world.check_books()


def test_until_it_is_certain_the_credit_stays_and_is_explained(world, alice):
    world.pay((get_address(alice), "9"))
    world.mine(7)
    rewind_chain(DOGE, world.node, to_height=Chain.objects.get().height - 7)
    assert look(alice) == (9, 0)
    assert Chain.objects.get().frozen_because
    found = compare(Chain.objects.get())
    assert found.explained == {"counted_deposits_out_of_chain": "-9.00000000"}
    assert found.unexplained == 0
    world.scan()
    assert look(alice) == (9, 0)
    world.check_books()


def test_a_credited_deposit_that_is_mined_again_stays_credited(world, alice):
    world.pay((get_address(alice), "9"))
    world.mine(7)
    world.chain.reorganize(7)
    world.mine(12)
    assert look(alice) == (9, 0)
    assert list_events("deposit.confirmed", "deposit.reversed") == ["deposit.confirmed"]
    world.check_books()


def test_a_deposit_that_comes_back_after_it_was_taken_back_is_credited_again(world, alice):
    txid = world.pay((get_address(alice), "9"))
    world.mine(7)
    raw = world.chain.transactions[txid].serialize()
    world.chain.fall_behind(7)
    world.chain.mine(14)
    world.scan()
    world.mine()
    assert look(alice) == (0, 0)
    world.chain.send(raw)
    world.mine(6)
    assert look(alice) == (9, 0)
    world.check_books()


def test_dust_that_left_the_chain_leaves_our_books(world, alice):
    txid = world.pay((get_address(alice), "0.5"))
    world.mine(7)
    world.chain.reorganize(7, double_spend=[txid])
    world.mine(8)
    assert system_balance("unattributed") == 0
    world.check_books()


def test_a_confirmed_withdrawal_that_lost_its_block_is_sent_again_and_booked_once(world, rich):
    """Pitfall 29."""
    withdrawal = withdraw(rich, world.outside)
    world.work()
    world.mine(6)
    assert get_status(withdrawal) == "CONFIRMED"
    available = look(rich)
    world.chain.fall_behind(6)
    world.chain.mine(7)
    world.scan()
    assert get_status(withdrawal) == "BROADCAST"
    assert look(rich) == available
    world.check_books()
    world.send()
    world.mine(6)
    assert (get_status(withdrawal), look(rich)) == ("CONFIRMED", available)
    assert list_events("withdrawal.confirmed") == ["withdrawal.confirmed"]
    world.check_books()


# Nodes that cannot be followed


def test_a_node_that_is_behind_changes_nothing(world, rich, rows):
    """Pitfall 5: a node that was killed comes back with an old chain."""
    world.mine(20)
    world.chain.fall_behind(20)
    before = rows()
    world.scan()
    assert Chain.objects.get().state == Chain.State.NODE_BEHIND
    assert rows() == before
    world.chain.catch_up()
    world.mine()
    assert Chain.objects.get().state == Chain.State.READY
    world.check_books()


def test_a_node_of_another_chain_changes_nothing(world, rich, rows, litecoin):
    """Pitfall 6."""
    before = rows()
    with litecoin.connect(world.node.network) as node:
        scan_chain(DOGE, node)
    assert Chain.objects.get().state == Chain.State.WRONG_CHAIN
    assert rows() == before


def test_a_node_that_is_away_changes_nothing(world, rich, rows, settings):
    before = rows()
    with Node("http://127.0.0.1:1/", network=world.node.network) as nobody:
        scan_chain(DOGE, nobody)
    assert Chain.objects.get().state == Chain.State.NODE_DOWN
    assert rows() == before
    world.scan()
    assert Chain.objects.get().state == Chain.State.READY


def test_a_reorganization_deeper_than_we_follow_stops_everything(world, rich, monkeypatch):
    Block.objects.filter(height__lt=Chain.objects.get().height - 3).delete()
    world.chain.reorganize(6)
    world.scan()
    assert Chain.objects.get().state == Chain.State.HALTED
    assert Chain.objects.get().frozen_because
    height = Chain.objects.get().height
    world.mine(3)
    assert Chain.objects.get().height == height
    rewind_chain(DOGE, world.node, to_height=height - 10)
    world.mine(8)
    assert Chain.objects.get().state == Chain.State.READY
    assert look(rich) == (100, 0)
    world.check_books()


def test_a_block_that_does_not_follow_our_last_one_is_not_read(world, rich):
    """Pitfall 7: the chain changed between two questions."""
    chain = Chain.objects.get()
    world.chain.mine(2)
    Chain.objects.update(block_hash="ff" * 32)
    chain.refresh_from_db()
    with pytest.raises(scanner.CursorMoved):
        scanner._connect_next(chain, world.node)
    assert Chain.objects.get().height == chain.height


# The freeze


def test_an_output_spent_by_strangers_stops_everything(world, rich, key):
    """Whoever spends it has our key."""
    output = Output.objects.get()
    stolen = build_unsigned(
        [Outpoint(output.txid, output.vout)],
        [PaidOutput(99 * 10**8, get_script(world.outside, key.network))],
    )
    world.chain.send(sign(stolen, [key.get_child(0, 0)]).serialize())
    world.mine()
    assert reconcile(DOGE, world.node).unexplained == -100
    assert "not ours" in Chain.objects.get().frozen_because
    with pytest.raises(WithdrawalsFrozen):
        request_withdrawal(wallet=rich, network=DOGE, amount=1, address=world.outside)
    assert list_events("reserve.mismatch")[0] == "reserve.mismatch"


def test_an_output_that_the_node_does_not_have_stops_everything(world, rich):
    Output.objects.update(vout=9)
    assert len(reconcile(DOGE, world.node, full=True).node_problems) == 1
    assert Chain.objects.get().frozen_because


def test_a_balance_that_nothing_explains_stops_everything(world, rich):
    Output.objects.update(amount=Decimal("100.00000001"))
    assert reconcile(DOGE, world.node).unexplained == Decimal("0.00000001")
    assert Chain.objects.get().frozen_because
    assert "chain_mismatch" in [problem.code for problem in audit_ledger().problems]


def test_in_a_frozen_network_nothing_is_planned_signed_or_sent_for_the_first_time(world, rich):
    withdrawal = withdraw(rich, world.outside)
    Chain.objects.update(frozen_because="a test")
    world.work()
    assert get_status(withdrawal) == "PENDING"
    unfreeze(Chain.objects.get())
    plan_next_withdrawal(DOGE)
    Chain.objects.update(frozen_because="a test")
    assert world.sign() == 0
    unfreeze(Chain.objects.get())
    world.sign()
    Chain.objects.update(frozen_because="a test")
    world.send()
    assert get_status(withdrawal) == "PROCESSING"
    assert WithdrawalRequest.objects.get().txid is None
    unfreeze(Chain.objects.get())
    world.send()
    assert get_status(withdrawal) == "BROADCAST"
