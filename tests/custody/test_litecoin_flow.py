"""The whole of custody against a real node: `litecoind -regtest`, through the eleven calls of Dogecoin 1.14."""

from decimal import Decimal
from typing import Any

import pytest

from dj_wallet.custody.chain.addresses import get_script
from dj_wallet.custody.chain.keys import AccountKey
from dj_wallet.custody.chain.networks import get_network
from dj_wallet.custody.chain.transactions import Outpoint, build_unsigned, sign
from dj_wallet.custody.chain.transactions import Output as PaidOutput
from dj_wallet.custody.models import Chain, ChainTransaction, Output
from dj_wallet.custody.services.broadcast import broadcast_next
from dj_wallet.custody.services.chains import ensure_chain
from dj_wallet.custody.services.scanner import scan_chain
from dj_wallet.custody.services.spending import bump_withdrawal, plan_next_withdrawal
from dj_wallet.models import Wallet
from tests.custody.conftest import (
    SECRET,
    SEED,
    World,
    get_address,
    get_status,
    list_events,
    look,
    open_wallet,
    system_balance,
    withdraw,
)
from tests.custody.crowd import pay_a_crowd
from tests.custody.litecoin import LitecoinNode

pytestmark = pytest.mark.django_db

LTC = "LTC:regtest"


class Litecoin:
    """The real node, with the words of the sandbox."""

    def __init__(self, real: LitecoinNode) -> None:
        self.real = real
        self.faucet_address = real.outside_address

    def pay_many(self, payments: list[tuple[str, int]], *, replaceable: bool = True) -> str:
        return self.real.pay(payments)

    def mine(self, blocks: int = 1) -> list[str]:
        return self.real.mine(blocks)

    @property
    def mempool(self) -> Any:
        return self.real.rpc("getrawmempool")


@pytest.fixture
def ltc_key() -> AccountKey:
    return AccountKey.from_seed(SEED, get_network(LTC))


@pytest.fixture
def world(settings, db, litecoin, journal, ltc_key):
    settings.CUSTODY_XPUBS = [f"{LTC}={ltc_key.public.export()}"]
    settings.CUSTODY_NODE_URLS = [f"{LTC}={litecoin.url}"]
    settings.CUSTODY_APPROVAL_SECRET = SECRET
    ensure_chain(LTC)
    world = World(Litecoin(litecoin), journal, ltc_key)
    world.scan()
    yield world
    world.node.close()


@pytest.fixture
def alice(world) -> Wallet:
    return open_wallet("alice", "LTC")


@pytest.fixture
def bob(world) -> Wallet:
    return open_wallet("bob", "LTC")


@pytest.fixture
def rich(world, alice) -> Wallet:
    """Alice with 20 LTC, confirmed."""
    world.pay((get_address(alice), "20"))
    world.mine(6)
    alice.refresh_from_db()
    return alice


def test_six_confirmations_credit_each_output_once(world, alice, bob):
    world.pay((get_address(alice), "3"), (get_address(alice), "1"), (get_address(bob), "2"))
    world.scan()
    world.mine(5)
    assert (look(alice), look(bob)) == ((0, 0), (0, 0))
    for _ in range(3):
        world.mine()
    assert (look(alice), look(bob)) == ((4, 0), (2, 0))
    world.check_books()


def test_a_shallow_reorganization_credits_once(world, litecoin, alice):
    world.pay((get_address(alice), "5"))
    world.mine(3)
    litecoin.reorganize(3)
    world.mine(5)
    assert look(alice) == (0, 0)
    world.mine(3)
    assert look(alice) == (5, 0)
    assert list_events("deposit.confirmed") == ["deposit.confirmed"]
    world.check_books()


def test_a_deposit_spent_twice_is_never_credited(world, litecoin, alice):
    coin = litecoin.take_coin()
    litecoin.send(litecoin.make_payment(coin, [(get_address(alice), 7 * 10**8)]))
    world.mine(2)
    litecoin.reorganize(2)
    litecoin.send(litecoin.make_payment(coin, [(world.outside, 7 * 10**8)], fee=500_000))
    world.mine(10)
    assert look(alice) == (0, 0)
    assert Output.objects.get().status == Output.Status.ORPHANED
    world.check_books()


def test_a_deep_reorganization_after_the_credit_takes_it_back(world, litecoin, alice):
    coin = litecoin.take_coin()
    litecoin.send(litecoin.make_payment(coin, [(get_address(alice), 9 * 10**8)]))
    world.mine(7)
    assert look(alice) == (9, 0)
    litecoin.reorganize(7)
    litecoin.send(litecoin.make_payment(coin, [(world.outside, 9 * 10**8)], fee=500_000))
    world.mine(9)
    assert look(alice) == (0, 0)
    assert Chain.objects.get().frozen_because
    assert list_events("deposit.reversed") == ["deposit.reversed"]
    world.check_books()


def test_a_restarted_node_behind_our_cursor_changes_nothing(world, litecoin, rich, rows):
    """A node that is killed has not written its newest blocks, and comes back without them."""
    world.node.close()
    litecoin.stop()
    litecoin.start()
    world.node = litecoin.connect()
    world.mine(20)
    before = rows()
    litecoin.kill()
    litecoin.start()
    with litecoin.connect() as node:
        scan_chain(LTC, node)
        behind = node.get_block_count()
    assert behind < Chain.objects.get().height
    assert Chain.objects.get().state == Chain.State.NODE_BEHIND
    assert rows() == before
    assert look(rich) == (20, 0)


def test_a_withdrawal_is_taken_mined_and_booked_to_the_last_unit(world, litecoin, rich):
    withdrawal = withdraw(rich, world.outside, "4")
    world.work()
    assert get_status(withdrawal) == "BROADCAST"
    assert withdrawal.txid in world.chain.mempool
    world.mine(5)
    assert get_status(withdrawal) == "BROADCAST"
    world.mine()
    assert (get_status(withdrawal), look(rich)) == ("CONFIRMED", (16 - withdrawal.fee, 0))
    network_fee = ChainTransaction.objects.get().network_fee
    assert system_balance("external:chain:LTC", "LTC") == -(16 - network_fee)
    world.check_books()


def test_a_lost_reply_pays_once(world, rich, cut_off):
    """Pitfall 16: the node has the transaction, we have no answer: the same bytes are sent again."""
    withdrawal = withdraw(rich, world.outside, "4")
    plan_next_withdrawal(LTC)
    world.sign()
    with cut_off(world.node) as node:
        broadcast_next(LTC, node)
    withdrawal.refresh_from_db()
    assert withdrawal.status == "BROADCAST"
    assert ChainTransaction.objects.get().note.startswith("Not known")
    assert world.chain.mempool == [withdrawal.txid]
    ChainTransaction.objects.update(send_at=None)
    world.send()
    assert world.chain.mempool == [withdrawal.txid]
    assert ChainTransaction.objects.get().accepted_at is not None
    world.mine(6)
    assert get_status(withdrawal) == "CONFIRMED"
    world.check_books()


def test_a_replacement_is_mined_instead_and_pays_once(world, rich):
    withdrawal = withdraw(rich, world.outside, "4")
    world.work()
    first = ChainTransaction.objects.get()
    bump_withdrawal(withdrawal_id=withdrawal.pk, rate_per_kb=Decimal("0.002"))
    world.work()
    second = ChainTransaction.objects.order_by("pk").last()
    assert world.chain.mempool == [second.txid]
    world.mine(6)
    assert (get_status(withdrawal), withdrawal.txid) == ("CONFIRMED", second.txid)
    assert second.network_fee > first.network_fee
    assert system_balance("network_fees", "LTC") == -second.network_fee
    world.check_books()


def test_a_withdrawal_that_the_node_forgot_is_sent_again(world, litecoin, rich):
    """Pitfall 20: memory is not kept over a restart."""
    withdrawal = withdraw(rich, world.outside, "4")
    world.work()
    world.node.close()
    litecoin.stop()
    litecoin.options = ("-persistmempool=0",)
    litecoin.start()
    world.node = litecoin.connect()
    assert world.chain.mempool == []
    ChainTransaction.objects.update(send_at=None)
    world.send()
    assert world.chain.mempool == [get_status(withdrawal) and withdrawal.txid]
    world.mine(6)
    assert get_status(withdrawal) == "CONFIRMED"
    world.check_books()


def test_a_resent_transaction_whose_outputs_are_spent_is_no_failure(world, litecoin, rich):
    """Pitfall 19: the node says "inputs missing or spent" of what was mined, and spent again, long ago."""
    withdrawal = withdraw(rich, litecoin.outside_address, "20", subtract_fee=True)
    world.work()
    paid = Outpoint(ChainTransaction.objects.get().txid, 0)
    assert ChainTransaction.objects.get().change_amount == 0
    litecoin.mine()
    amount = litecoin.get_unspent_amount(paid)
    script = get_script(litecoin.outside_address, get_network(LTC))
    spending = build_unsigned([paid], [PaidOutput(amount - 100_000, script)])
    litecoin.send(sign(spending, [litecoin.outside]).serialize())
    litecoin.mine()
    ChainTransaction.objects.update(send_at=None)
    world.send()
    assert ChainTransaction.objects.get().note.startswith("-25")
    assert get_status(withdrawal) == "BROADCAST"
    world.scan()
    world.mine(4)
    assert get_status(withdrawal) == "CONFIRMED"
    world.check_books()


def test_a_withdrawal_whose_block_is_taken_back_is_booked_once(world, litecoin, rich):
    """Pitfall 29, six deep."""
    withdrawal = withdraw(rich, world.outside, "4")
    world.work()
    world.mine(6)
    available = look(rich)
    litecoin.reorganize(6)
    world.mine(12)
    assert (get_status(withdrawal), look(rich)) == ("CONFIRMED", available)
    assert list_events("withdrawal.confirmed") == ["withdrawal.confirmed"]
    world.check_books()


def test_spend_what_is_not_there_twice_is_refused_by_the_node_and_by_us(world, rich):
    """Pitfall 18: one output, two withdrawals."""
    first, second = withdraw(rich, world.outside, "4"), withdraw(rich, world.outside, "4")
    plan_next_withdrawal(LTC)
    assert plan_next_withdrawal(LTC) is None
    assert (get_status(first), get_status(second)) == ("PROCESSING", "PENDING")
    world.work()
    world.work()
    assert len(world.chain.mempool) == 2
    world.mine(6)
    assert (get_status(first), get_status(second)) == ("CONFIRMED", "CONFIRMED")
    world.check_books()


@pytest.mark.django_db(transaction=True)
def test_a_crowd_of_workers_pays_every_withdrawal_once(world, alice):
    """Pitfall 17, on a node that would refuse what is spent twice."""
    pay_a_crowd(world, alice, output="0.25", amount="0.2")
