"""Cold storage signs offline; what comes back is what was asked for, and a node takes it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from embit import bip32
from embit.psbt import PSBT

from dj_wallet.custody.chain.addresses import get_script
from dj_wallet.custody.chain.coins import Unspent, sweep
from dj_wallet.custody.chain.errors import TransactionInvalid
from dj_wallet.custody.chain.keys import AccountKey
from dj_wallet.custody.chain.networks import BASE_UNITS
from dj_wallet.custody.chain.node import Node
from dj_wallet.custody.chain.psbt import build_psbt, describe_psbt, finish_psbt
from dj_wallet.custody.chain.signer import SpentOutput
from dj_wallet.custody.chain.transactions import (
    Outpoint,
    Transaction,
    build_unsigned,
    from_node,
)
from tests.custody.litecoin import DOGECOIN_ON_LITECOIN as DOGE
from tests.custody.litecoin import LitecoinNode

SEED = b"the seed of cold storage".ljust(64, b".")
ROOT = bip32.HDKey.from_seed(SEED)
FINGERPRINT = ROOT.my_fingerprint
ACCOUNT = AccountKey.from_seed(SEED, DOGE).public

Work = tuple[Transaction, list[SpentOutput]]


@pytest.fixture
def node(shared_litecoin: LitecoinNode) -> Iterator[Node]:
    with shared_litecoin.connect(DOGE) as node:
        yield node


@pytest.fixture
def work(shared_litecoin: LitecoinNode, node: Node) -> Work:
    """A sweep of two outputs of cold storage to the outside, not signed."""
    paid = [(ACCOUNT.get_address(0, 4), 2 * BASE_UNITS), (ACCOUNT.get_address(1, 9), BASE_UNITS)]
    txid = shared_litecoin.pay(paid)
    (block,) = shared_litecoin.mine()
    (previous,) = [said for said in node.get_block(block)["tx"] if said["txid"] == txid]
    held = [Unspent(Outpoint(txid, at), amount) for at, (_, amount) in enumerate(paid)]
    outside = get_script(shared_litecoin.outside_address, DOGE)
    plan = sweep(held, outside, rate_per_kb=DOGE.fee_floor_per_kb, network=DOGE)
    raw = from_node(previous).serialize()
    keys = {0: (0, 4), 1: (1, 9)}
    inputs = [SpentOutput(one.outpoint, *keys[one.outpoint.vout], raw) for one in plan.inputs]
    return build_unsigned([one.outpoint for one in plan.inputs], plan.payments), inputs


def ask(work: Work) -> str:
    return build_psbt(*work, account=ACCOUNT, master_fingerprint=FINGERPRINT)


def sign_offline(text: str, root: bip32.HDKey = ROOT) -> str:
    psbt = PSBT.from_string(text)
    psbt.sign_with(root)
    return psbt.to_string()


def test_what_is_signed_offline_is_mined(shared_litecoin, node, work):
    signed = finish_psbt(sign_offline(ask(work)), *work, account=ACCOUNT)
    assert node.send_transaction(signed.raw) == signed.txid
    assert int(node.find_mempool_entry(signed.txid)["fee"] * BASE_UNITS) == signed.fee
    shared_litecoin.mine()
    assert node.find_output(signed.txid, 0)["confirmations"] == 1


def test_the_node_reads_the_same_in_it(shared_litecoin, work):
    text = ask(work)
    shown = shared_litecoin.rpc("decodepsbt", text)
    assert len(shown["inputs"]) == 2
    assert describe_psbt(text, DOGE) == {shared_litecoin.outside_address: work[0].outputs[0].amount}


def test_one_that_is_not_signed_is_refused(work):
    with pytest.raises(TransactionInvalid):
        finish_psbt(ask(work), *work, account=ACCOUNT)


def test_one_that_others_signed_is_refused(work):
    other = bip32.HDKey.from_seed(b"somebody else, just as long as it must be")
    with pytest.raises(TransactionInvalid):
        finish_psbt(sign_offline(ask(work), other), *work, account=ACCOUNT)


def test_one_that_pays_others_is_refused(work):
    unsigned, inputs = work
    stolen = replace(
        unsigned,
        outputs=(unsigned.outputs[0]._replace(script=get_script(ACCOUNT.get_address(0, 0), DOGE)),),
    )
    signed = sign_offline(ask((stolen, inputs)))
    with pytest.raises(TransactionInvalid):
        finish_psbt(signed, *work, account=ACCOUNT)


@pytest.mark.parametrize("text", ["", "cHNidP8=", "not base 64", "cHNidP8BAA=="])
def test_what_is_no_psbt_is_refused(work, text):
    with pytest.raises(TransactionInvalid):
        finish_psbt(text, *work, account=ACCOUNT)
    with pytest.raises(TransactionInvalid):
        describe_psbt(text, DOGE)


def test_inputs_that_are_not_what_they_say_are_refused(work):
    unsigned, inputs = work
    for wrong in (inputs[::-1], [replace(one, index=one.index + 1) for one in inputs]):
        with pytest.raises(TransactionInvalid):
            ask((unsigned, wrong))
