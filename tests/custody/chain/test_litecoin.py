"""What we build is taken by a real node: addresses and signatures of Dogecoin's regtest, on litecoind."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from dj_wallet.custody.chain.addresses import get_script
from dj_wallet.custody.chain.coins import Plan, Unspent, bump, select, sweep
from dj_wallet.custody.chain.errors import NodeOfOtherChain, NodeRefused
from dj_wallet.custody.chain.keys import AccountKey
from dj_wallet.custody.chain.networks import BASE_UNITS, get_network
from dj_wallet.custody.chain.node import (
    RPC_ALREADY_MINED,
    RPC_INPUTS_MISSING_OR_SPENT,
    RPC_REFUSED_BY_POLICY,
    Node,
)
from dj_wallet.custody.chain.transactions import (
    Outpoint,
    Output,
    Transaction,
    build_unsigned,
    from_node,
    sign,
)
from tests.custody.litecoin import DOGECOIN_ON_LITECOIN as DOGE
from tests.custody.litecoin import LITECOIN, LitecoinNode

SEED = b"the seed of a test on a real node".ljust(64, b".")
RATE = 100_000


class World(NamedTuple):
    """A node, our client of it and our keys."""

    litecoin: LitecoinNode
    node: Node
    key: AccountKey

    def get_address(self, index: int, chain: int = 0) -> str:
        return self.key.public.get_address(chain, index)

    def receive(self, amounts: list[int]) -> list[Unspent]:
        """Be paid to the keys 0, 1, ..., one output each, six blocks deep."""
        txid = self.litecoin.pay((self.get_address(at), each) for at, each in enumerate(amounts))
        self.litecoin.mine(6)
        return [Unspent(Outpoint(txid, at), each) for at, each in enumerate(amounts)]

    def sign(self, plan: Plan, indices: list[int], *, replaceable: bool = False) -> Transaction:
        change = [Output(plan.change, get_script(self.get_address(0, 1), DOGE))]
        outputs = [*plan.payments, *(change if plan.change else [])]
        inputs = [unspent.outpoint for unspent in plan.inputs]
        unsigned = build_unsigned(inputs, outputs, replaceable=replaceable)
        return sign(unsigned, [self.key.get_child(0, index) for index in indices])

    def pay_outside(self, amount: int) -> list[Output]:
        return [Output(amount, get_script(self.litecoin.outside_address, DOGE))]


@pytest.fixture
def world(shared_litecoin: LitecoinNode) -> Iterator[World]:
    with shared_litecoin.connect(DOGE) as node:
        yield World(shared_litecoin, node, AccountKey.from_seed(SEED, DOGE))


def test_a_payment_with_change_is_mined_as_it_was_built(world: World):
    mine = world.receive([7 * BASE_UNITS, 3 * BASE_UNITS])
    plan = select(mine, world.pay_outside(4 * BASE_UNITS), rate_per_kb=RATE, network=DOGE)
    signed = world.sign(plan, [0])
    assert world.node.send_transaction(signed.serialize()) == signed.txid
    entry = world.node.find_mempool_entry(signed.txid)
    assert int(entry["fee"] * BASE_UNITS) == plan.fee
    assert plan.size - 2 <= len(signed.serialize()) <= plan.size
    (block,) = world.litecoin.mine()
    mined = world.node.get_block(block)["tx"][1]
    assert from_node(mined).serialize() == signed.serialize()
    assert mined["vout"][1]["scriptPubKey"]["addresses"] == [world.get_address(0, 1)]
    assert plan.spent == 4 * BASE_UNITS + plan.change + plan.fee


def test_many_inputs_of_many_keys_are_swept_into_one_output(world: World):
    mine = world.receive([BASE_UNITS // 10 * (at + 1) for at in range(20)])
    script = get_script(world.litecoin.outside_address, DOGE)
    plan = sweep(mine, script, rate_per_kb=RATE, network=DOGE)
    signed = world.sign(plan, [unspent.outpoint.vout for unspent in plan.inputs])
    txid = world.node.send_transaction(signed.serialize())
    world.litecoin.mine()
    assert world.litecoin.get_unspent_amount(Outpoint(txid, 0)) == plan.payments[0].amount


def test_a_replaceable_payment_is_replaced_by_its_bump(world: World):
    mine = world.receive([7 * BASE_UNITS])
    plan = select(mine, world.pay_outside(4 * BASE_UNITS), rate_per_kb=RATE, network=DOGE)
    first = world.sign(plan, [0], replaceable=True)
    world.node.send_transaction(first.serialize())
    bumped = bump(plan, [], rate_per_kb=5 * DOGE.fee_floor_per_kb, network=DOGE)
    second = world.sign(bumped, [0], replaceable=True)
    world.node.send_transaction(second.serialize())
    assert world.node.list_mempool() == [second.txid]
    with pytest.raises(NodeRefused) as refusal:
        world.node.send_transaction(first.serialize())
    assert refusal.value.rpc_code == RPC_REFUSED_BY_POLICY


def test_a_final_payment_is_not_replaced(world: World):
    mine = world.receive([7 * BASE_UNITS])
    plan = select(mine, world.pay_outside(4 * BASE_UNITS), rate_per_kb=RATE, network=DOGE)
    first = world.sign(plan, [0])
    world.node.send_transaction(first.serialize())
    bumped = bump(plan, [], rate_per_kb=5 * DOGE.fee_floor_per_kb, network=DOGE)
    with pytest.raises(NodeRefused) as refusal:
        world.node.send_transaction(world.sign(bumped, [0]).serialize())
    assert refusal.value.rpc_code == RPC_REFUSED_BY_POLICY
    assert world.node.list_mempool() == [first.txid]


def test_what_a_node_says_to_bytes_it_has_seen(world: World):
    mine = world.receive([7 * BASE_UNITS])
    plan = select(mine, world.pay_outside(4 * BASE_UNITS), rate_per_kb=RATE, network=DOGE)
    signed = world.sign(plan, [0])
    for _ in range(2):
        assert world.node.send_transaction(signed.serialize()) == signed.txid
    world.litecoin.mine()
    with pytest.raises(NodeRefused) as mined:
        world.node.send_transaction(signed.serialize())
    assert mined.value.rpc_code == RPC_ALREADY_MINED


def test_a_signature_of_another_key_is_refused(world: World):
    mine = world.receive([7 * BASE_UNITS])
    plan = select(mine, world.pay_outside(4 * BASE_UNITS), rate_per_kb=RATE, network=DOGE)
    with pytest.raises(NodeRefused) as refusal:
        world.node.send_transaction(world.sign(plan, [1]).serialize())
    assert refusal.value.rpc_code == RPC_REFUSED_BY_POLICY
    assert world.node.list_mempool() == []


def test_an_output_that_never_was_cannot_be_spent(world: World):
    ghost = [Unspent(Outpoint("ab" * 32, 0), 7 * BASE_UNITS)]
    plan = select(ghost, world.pay_outside(BASE_UNITS), rate_per_kb=RATE, network=DOGE)
    with pytest.raises(NodeRefused) as refusal:
        world.node.send_transaction(world.sign(plan, [0]).serialize())
    assert refusal.value.rpc_code == RPC_INPUTS_MISSING_OR_SPENT


def test_the_whole_client_understands_a_real_node(world: World):
    info = world.node.check_identity()
    tip = world.node.find_block_hash(info["blocks"])
    header = world.node.find_block_header(tip)
    assert (header["confirmations"], header["chainwork"]) == (1, info["chainwork"])
    assert world.node.get_block_count() == info["blocks"]
    assert world.node.find_block_hash(info["blocks"] + 1) is None
    assert world.node.find_block_header("00" * 32) is None
    assert world.node.find_mempool_entry("00" * 32) is None
    assert world.node.find_output("00" * 32, 0) is None
    assert world.node.estimate_fee_per_kb(6) is None
    assert world.node.get_network_info()["subversion"].startswith("/LitecoinCore:")


def test_a_node_of_another_chain_is_refused(shared_litecoin: LitecoinNode):
    with shared_litecoin.connect(LITECOIN) as right:
        assert right.check_identity()["chain"] == "regtest"
    wrong = shared_litecoin.connect(get_network("DOGE:regtest"))
    with wrong, pytest.raises(NodeOfOtherChain):
        wrong.check_identity()
