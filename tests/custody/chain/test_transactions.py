"""Transactions are the same bytes, ids and signatures as everybody else's."""

import json
from decimal import Decimal

import pytest
from coincurve import PrivateKey
from embit import ec, script
from embit.transaction import SIGHASH, TransactionInput, TransactionOutput
from embit.transaction import Transaction as EmbitTransaction
from hypothesis import given
from hypothesis import strategies as st

from dj_wallet.custody.chain.errors import ChainError, TransactionInvalid
from dj_wallet.custody.chain.hashes import hash160
from dj_wallet.custody.chain.keys import ChildKey, is_signature_of
from dj_wallet.custody.chain.networks import to_base_units, to_coins
from dj_wallet.custody.chain.transactions import (
    SEQUENCE_REPLACEABLE,
    Input,
    Outpoint,
    Output,
    Transaction,
    build_unsigned,
    estimate_size,
    from_node,
    get_fee,
    hash_for_signature,
    hash_for_witness,
    p2pkh_script,
    parse,
    read_p2pkh_signature,
    sign,
)

# The first transaction between people, in block 170 of Bitcoin, and the first example of BIP 143.
BLOCK_170 = "0100000001c997a5e56e104102fa209c6a852dd90660a20b2d9c352423edce25857fcd3704000000004847304402204e45e16932b8af514961a1d3a1a25fdf3f4f7732e9d624c6c61548ab5fb8cd410220181522ec8eca07de4860a4acdd12909d831cc56cbbac4622082221a8768d1d0901ffffffff0200ca9a3b00000000434104ae1a62fe09c5f51b13905f07f06b99a2f7159b2225f374cd378d71302fa28414e7aab37397f554a7df5f142c21c1b7303b8a0626f1baded5c72a704f7e6cd84cac00286bee0000000043410411db93e1dcdb8a016b49840f8c53bc1eb68a382e97b1482ecad7b148a6909a5cb2e0eaddfb84ccf9744464f82e160bfa9b8b64f9d4c03f999b8643f656b412a3ac00000000"
BLOCK_170_ID = "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16"
BIP143_UNSIGNED = "0100000002fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f0000000000eeffffffef51e1b804cc89d182d279655c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff02202cb206000000001976a9148280b37df378db99f66f85c95a783a76ac7a6d5988ac9093510d000000001976a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac11000000"
BIP143_HASH = "c37af31116d1b27caf68aae9e3ac82f1477929014d5b917657d0eb49478cb670"

txids = st.binary(min_size=32, max_size=32).map(bytes.hex)
outpoints = st.builds(Outpoint, txids, st.integers(0, 2**32 - 1))
scripts = st.binary(max_size=300)
amounts = st.integers(0, 10**18)
numbers = st.integers(0, 2**32 - 1)
witnesses = st.lists(st.binary(max_size=80), max_size=3).map(tuple)
transactions = st.builds(
    Transaction,
    st.lists(st.builds(Input, outpoints, scripts, numbers, witnesses), min_size=1, max_size=4).map(
        tuple
    ),
    st.lists(st.builds(Output, amounts, scripts), min_size=1, max_size=4).map(tuple),
    st.sampled_from([1, 2]),
    numbers,
)
secrets = st.integers(1, 2**250).map(lambda number: number.to_bytes(32, "big"))


def to_embit(transaction: Transaction) -> EmbitTransaction:
    return EmbitTransaction(
        transaction.version,
        [
            TransactionInput(
                bytes.fromhex(spent.outpoint.txid),
                spent.outpoint.vout,
                script.Script(spent.script_sig),
                spent.sequence,
                script.Witness(list(spent.witness)),
            )
            for spent in transaction.inputs
        ],
        [
            TransactionOutput(output.amount, script.Script(output.script))
            for output in transaction.outputs
        ],
        transaction.lock_time,
    )


def test_the_transaction_of_block_170_is_read_whole():
    transaction = parse(bytes.fromhex(BLOCK_170))
    assert transaction.txid == BLOCK_170_ID
    assert [output.amount for output in transaction.outputs] == [10 * 10**8, 40 * 10**8]
    assert transaction.serialize().hex() == BLOCK_170


def test_the_witness_hash_of_bip143_is_its_own():
    transaction = parse(bytes.fromhex(BIP143_UNSIGNED))
    key_hash = bytes.fromhex("1d0f172a0ecb48aee1be1f2687d2963ae33f71a1")
    assert hash_for_witness(transaction, 1, key_hash, 600_000_000).hex() == BIP143_HASH


@given(transactions)
def test_bytes_and_ids_are_those_of_embit(transaction):
    theirs = to_embit(transaction)
    assert transaction.serialize() == theirs.serialize()
    assert transaction.txid == theirs.txid().hex()


@given(transactions)
def test_what_is_written_is_read_back(transaction):
    assert parse(transaction.serialize()) == transaction


@given(transactions, st.data())
def test_a_transaction_that_is_cut_off_or_goes_on_is_refused(transaction, data):
    raw = transaction.serialize()
    cut = data.draw(st.integers(0, len(raw) - 1))
    for broken in (raw[:cut], raw + b"\0"):
        with pytest.raises(TransactionInvalid):
            parse(broken)


@given(st.binary(max_size=400))
def test_whatever_is_read_is_written_the_same(data):
    try:
        transaction = parse(data)
    except TransactionInvalid:
        return
    assert parse(transaction.serialize()) == transaction


@given(transactions, scripts, st.data())
def test_legacy_hashes_are_those_of_embit(transaction, spent_script, data):
    at = data.draw(st.integers(0, len(transaction.inputs) - 1))
    theirs = to_embit(transaction).sighash_legacy(at, script.Script(spent_script), SIGHASH.ALL)
    assert hash_for_signature(transaction, at, spent_script) == theirs


@given(transactions, st.binary(min_size=20, max_size=20), amounts, st.data())
def test_witness_hashes_are_those_of_embit(transaction, key_hash, amount, data):
    at = data.draw(st.integers(0, len(transaction.inputs) - 1))
    code = script.Script(p2pkh_script(key_hash))
    theirs = to_embit(transaction).sighash_segwit(at, code, amount, SIGHASH.ALL)
    assert hash_for_witness(transaction, at, key_hash, amount) == theirs


@given(st.lists(outpoints, min_size=1, max_size=4, unique=True), secrets, st.data())
def test_signatures_are_those_of_embit_and_hold(spent, secret, data):
    outputs = [Output(10**8, p2pkh_script(bytes(20)))]
    unsigned = build_unsigned(spent, outputs, replaceable=data.draw(st.booleans()))
    key = ChildKey(PrivateKey(secret))
    signed = sign(unsigned, [key] * len(spent))
    own_script = p2pkh_script(hash160(key.public_key))
    for at, item in enumerate(signed.inputs):
        signature, public_key = read_p2pkh_signature(item.script_sig)
        digest = hash_for_signature(unsigned, at, own_script)
        assert is_signature_of(public_key, signature, digest)
        # embit grinds for short signatures; what it signs without is the same.
        assert ec.PrivateKey(secret).sign(digest, grind=False).serialize() == signature
    assert 0 <= estimate_size(len(spent), [own_script]) - len(signed.serialize()) <= 3 * len(spent)


@given(
    st.integers(1, 300),
    st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=300),
)
def test_the_estimate_is_what_the_longest_signatures_give(count, output_scripts):
    longest = bytes(107)
    inputs = tuple(Input(Outpoint("00" * 32, number), longest) for number in range(count))
    outputs = tuple(Output(1, output_script) for output_script in output_scripts)
    assert estimate_size(count, output_scripts) == len(Transaction(inputs, outputs).serialize())


@pytest.mark.parametrize(
    ("size", "rate", "fee"), [(226, 1_000_000, 226_000), (1, 1, 1), (1000, 1, 1), (1001, 1, 2)]
)
def test_a_fee_is_rounded_up(size, rate, fee):
    assert get_fee(size, rate) == fee


def test_a_replaceable_transaction_says_so_and_others_do_not():
    spent, outputs = [Outpoint("ab" * 32, 0)], [Output(10**8, p2pkh_script(bytes(20)))]
    assert build_unsigned(spent, outputs).inputs[0].sequence == 0xFFFFFFFE
    replaceable = build_unsigned(spent, outputs, replaceable=True)
    assert replaceable.inputs[0].sequence == SEQUENCE_REPLACEABLE


@pytest.mark.parametrize(
    ("spent", "outputs"),
    [
        ([], [Output(1, b"")]),
        ([Outpoint("ab" * 32, 0)], []),
        ([Outpoint("ab" * 32, 0)] * 2, [Output(1, b"")]),
        ([Outpoint("ab" * 32, 0)], [Output(0, b"")]),
        ([Outpoint("ab" * 32, 0)], [Output(-1, b"")]),
    ],
)
def test_what_is_no_transaction_is_not_built(spent, outputs):
    with pytest.raises(TransactionInvalid):
        build_unsigned(spent, outputs)


@pytest.mark.parametrize("txid", ["", "ab", "zz" * 32, "ab" * 33])
def test_an_id_that_is_none_is_not_written(txid):
    with pytest.raises(TransactionInvalid):
        build_unsigned([Outpoint(txid, 0)], [Output(1, b"")]).serialize()


def test_a_transaction_wants_one_signer_per_input():
    unsigned = build_unsigned([Outpoint("ab" * 32, 0)], [Output(1, b"")])
    with pytest.raises(TransactionInvalid):
        sign(unsigned, [])


def test_the_flag_of_litecoins_hogex_is_read_over():
    raw = bytes.fromhex(BLOCK_170)
    with_flag = raw[:4] + b"\x00\x08" + raw[4:-4] + b"\x00" + raw[-4:]
    assert parse(with_flag).txid == BLOCK_170_ID


SAID = {
    "txid": BLOCK_170_ID,
    "version": 1,
    "locktime": 0,
    "vin": [
        {
            "txid": "0437cd7f8525ceed2324359c2d0ba26006d92d856a9c20fa0241106ee5a597c9",
            "vout": 0,
            "scriptSig": {"hex": BLOCK_170[84:228]},
            "sequence": 4294967295,
        }
    ],
    "vout": [
        {"value": Decimal("10.00000000"), "n": 0, "scriptPubKey": {"hex": BLOCK_170[256:390]}},
        {"value": Decimal("40.00000000"), "n": 1, "scriptPubKey": {"hex": BLOCK_170[408:542]}},
    ],
}


def test_a_transaction_is_put_together_from_what_a_node_says():
    assert from_node(SAID).serialize().hex() == BLOCK_170


def test_what_a_node_says_must_hash_to_its_id():
    lie = json.loads(json.dumps(SAID, default=str))
    lie["vout"][0]["value"] = "10.00000001"
    with pytest.raises(TransactionInvalid):
        from_node(lie)


@pytest.mark.parametrize("field", ["txid", "version", "locktime", "vin", "vout"])
def test_what_a_node_leaves_out_is_refused(field):
    with pytest.raises(TransactionInvalid):
        from_node({name: value for name, value in SAID.items() if name != field})


@given(st.integers(-(10**20), 10**20))
def test_base_units_and_coins_go_back_and_forth(number):
    assert to_base_units(to_coins(number)) == number
    assert to_coins(number) * 10**8 == number


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "0.000000001", "1e-9", "1e40", "1e999999"]
)
def test_amounts_that_are_not_exact_coins_are_refused(text):
    with pytest.raises(ChainError):
        to_base_units(Decimal(text))


def test_floats_are_no_amounts():
    with pytest.raises(ChainError):
        to_base_units(0.1)


@pytest.mark.parametrize(
    ("text", "number"),
    [("0.10", 10**7), ("1e3", 10**11), ("0E-20", 0), ("1.000000000000", 10**8), ("-2", -2 * 10**8)],
)
def test_amounts_are_read_exactly_however_they_are_written(text, number):
    assert to_base_units(Decimal(text)) == number
