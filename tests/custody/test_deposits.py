"""Deposits: credited when deep enough, once for each outpoint, to whom the address was given."""

from decimal import Decimal

import pytest

from dj_wallet.custody.models import Address, Chain, DepositAddress, Output
from dj_wallet.custody.served import connect_node
from dj_wallet.custody.services.addresses import get_deposit_address, rotate_deposit_address
from dj_wallet.custody.services.scanner import rescan_blocks, scan_chain
from dj_wallet.custody.services.users import generate_deposit_address, get_or_create_wallet
from dj_wallet.identity.models import User
from dj_wallet.ledger.models import Posting
from dj_wallet.models import Transaction
from tests.custody.conftest import (
    DOGE,
    get_address,
    list_events,
    look,
    system_balance,
    withdraw,
)

pytestmark = pytest.mark.django_db


def test_a_deposit_is_credited_at_six_confirmations_and_not_before(world, alice):
    world.pay((get_address(alice), "25"))
    for depth in range(1, 6):
        world.mine()
        assert look(alice) == (0, 0), depth
    world.mine()
    assert look(alice) == (25, 0)
    assert list_events("deposit.detected", "deposit.confirmed") == [
        "deposit.detected",
        "deposit.confirmed",
    ]
    record = Transaction.objects.get()
    assert (record.type, record.status, record.amount) == ("deposit", "completed", 25)
    world.check_books()


def test_two_outputs_of_one_transaction_are_two_deposits(world, alice, bob):
    """Pitfall 1: a key made of the transaction alone loses the second output."""
    address = get_address(alice)
    world.pay((address, "3"), (address, "1"), (get_address(bob), "2"))
    world.mine(6)
    for _ in range(4):
        world.scan()
    assert (look(alice), look(bob)) == ((4, 0), (2, 0))
    assert Posting.objects.filter(kind="DEPOSIT").count() == 3
    world.check_books()


def test_a_rotated_address_is_credited_for_ever(world, alice):
    old = get_address(alice)
    new = rotate_deposit_address(wallet=alice, network=DOGE).address
    assert old != new == get_address(alice)
    world.pay((old, "5"), (new, "6"))
    world.mine(6)
    assert look(alice) == (11, 0)


def test_dust_is_kept_and_not_credited(world, alice):
    world.pay((get_address(alice), "0.5"))
    world.mine(6)
    assert look(alice) == (0, 0)
    assert system_balance("unattributed") == Decimal("0.5")
    assert Output.objects.get().status == Output.Status.KEPT
    world.check_books()


def test_what_strangers_send_to_our_change_is_nobodys(world, rich):
    withdraw(rich, world.outside)
    world.work()
    change = Address.objects.get(purpose="change")
    before = look(rich)
    world.pay((change.address, "7"))
    world.mine(6)
    assert system_balance("unattributed") == 7
    assert look(rich)[0] == before[0]
    world.check_books()


def test_a_mined_reward_waits_for_its_maturity(world, alice):
    world.chain.mine(address=get_address(alice))
    world.mine(58)
    assert look(alice) == (0, 0)
    world.mine()
    assert look(alice) == (10_000, 0)
    world.check_books()


def test_a_deposit_to_a_frozen_wallet_arrives(world, alice):
    world.pay((get_address(alice), "5"))
    alice.freeze()
    world.mine(6)
    assert look(alice) == (5, 0)


def test_a_deposit_mined_at_the_height_at_which_its_address_was_made_counts(world, alice):
    """Pitfall 9."""
    txid = world.pay((get_address(alice), "5"))
    world.mine()
    assert Output.objects.get().txid == txid
    world.mine(5)
    assert look(alice) == (5, 0)


def test_the_first_look_begins_at_the_newest_block(sandbox, served, alice):
    with connect_node(DOGE) as node:
        scan_chain(DOGE, node)
    assert Chain.objects.get().height == sandbox.height


def test_rows_that_were_lost_are_found_again_by_reading_again(world, alice, bob):
    """Pitfall 10: the indexes in the database, not a gap limit, say what is ours."""
    world.pay((get_address(alice), "5"), (get_address(bob), "6"))
    world.mine(6)
    before = list(Output.objects.order_by("vout").values_list("txid", "vout", "amount", "height"))
    Output.objects.all().delete()
    rescan_blocks(DOGE, world.node, from_height=world.chain.height - 10)
    after = list(Output.objects.order_by("vout").values_list("txid", "vout", "amount", "height"))
    assert after == before
    assert (look(alice), look(bob)) == ((5, 0), (6, 0))
    world.check_books()


def test_an_address_belongs_to_one_wallet(world, alice, bob):
    first, second = (get_deposit_address(wallet=one, network=DOGE) for one in (alice, bob))
    assert first.address != second.address
    assert (first.derivation_index, second.derivation_index) == (0, 1)


def test_a_user_has_one_wallet_and_one_address_of_a_coin(served, db):
    user = User.objects.create(username="dora")
    address = generate_deposit_address(user.pk)
    assert address == generate_deposit_address(user.pk, asset="DOGE")
    assert get_or_create_wallet(user.pk) == address.wallet
    assert DepositAddress.objects.get().user_id == user.pk
