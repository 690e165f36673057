"""A deposit that the chain gave, took, and gave to somebody else: told from alice's side and from ours."""

from decimal import Decimal

import pytest

from dj_wallet.custody.errors import WithdrawalsFrozen
from dj_wallet.custody.models import Chain, Output
from dj_wallet.custody.services.chains import unfreeze
from tests.custody import conftest as custody
from tests.custody.conftest import get_address, list_events, look, system_balance, withdraw

pytestmark = pytest.mark.django_db

sandbox, served, key, journal = custody.sandbox, custody.served, custody.key, custody.journal
world, alice, bob = custody.world, custody.alice, custody.bob


def test_a_reorganization(world, alice, bob):
    # Mallory pays alice 50 DOGE. It is seen in the next block, and not yet hers.
    payment = world.pay((get_address(alice), "50"))
    world.mine()
    assert look(alice) == (0, 0)
    assert list_events() == ["deposit.detected"]

    # Two blocks later the chain changes its mind. The payment waits again, then is mined again: nothing is lost.
    world.mine(2)
    world.chain.reorganize(3)
    world.scan()
    assert list_events()[1:] == ["deposit.orphaned", "deposit.detected"]

    # At six confirmations it is hers, once. Bob sells her something for 30.
    world.mine(2)
    assert look(alice) == (50, 0)
    assert list_events()[3:] == ["deposit.confirmed"]
    alice.transfer(bob, 30)

    # Mallory had the power to mine a longer chain in secret, in which the 50 never went to alice.
    world.chain.reorganize(6, double_spend=[payment])
    world.scan()

    # At once nothing leaves any more.
    with pytest.raises(WithdrawalsFrozen):
        withdraw(bob, world.outside, "10")
    assert "deep reorganization" in Chain.objects.get().frozen_because

    # The new chain is as deep as we wait for, and no node knows the payment: what alice still has of it is taken back.
    # What bob got is his. The rest is our loss, and no balance is below zero.
    assert Output.objects.get().status == Output.Status.REVERSED
    assert (look(alice), look(bob)) == ((0, 0), (30, 0))
    assert system_balance("losses") == -30
    assert list_events()[4:] == ["reserve.mismatch", "deposit.reversed"]
    world.check_books()

    # Somebody has looked, and bob gets his coins: from what alice, or anybody, has paid in.
    unfreeze(Chain.objects.get())
    world.pay((get_address(alice), "40"))
    world.mine(6)
    withdrawal = withdraw(bob, world.outside, "10")
    world.work()
    world.mine(6)
    assert look(bob) == (20 - withdrawal.fee, 0)
    assert look(alice) == (40, 0)
    assert system_balance("losses") == Decimal(-30)
    world.check_books()
