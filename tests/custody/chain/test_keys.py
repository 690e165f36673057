"""Keys and addresses are those that every other wallet derives; and no key is ever shown."""

import copy
import json
import logging
import pickle
import traceback

import pytest
from bip_utils import (
    Bip44,
    Bip44Changes,
    Bip44Coins,
    CoinsConf,
)
from embit import bip32, bip39, script
from hypothesis import given
from hypothesis import strategies as st

from dj_wallet.custody.chain.addresses import find_address, p2sh_script, witness_address
from dj_wallet.custody.chain.errors import KeyInvalid
from dj_wallet.custody.chain.hashes import (
    _ripemd160_in_python,
    _ripemd160_of_openssl,
    encode_base58check,
    hash160,
)
from dj_wallet.custody.chain.key_store import load_key
from dj_wallet.custody.chain.keys import AccountKey, AccountPublicKey
from dj_wallet.custody.chain.networks import NETWORKS, get_network
from tests.custody.leaks import list_secrets, relabel

DOGE = get_network("DOGE:main")
SEED = bip39.mnemonic_to_seed("abandon " * 11 + "about")
ACCOUNT_XPUB = "dgub8rUhDtD3YFGZTUphBfpBbzvFxSMKQXYLzg87Me2ta78r2SdVLmypBUkkxrrn9RTnchsyiJSkHZyLWxD13ibBiXtuFWktBoDaGaZjQUBLNLs"
FIRST_ADDRESSES = {
    "DOGE:main": "DBus3bamQjgJULBJtYXpEzDWQRwF5iwxgC",
    "BTC:main": "1LqBGSKuX5yYUonjxT5qGfpUsXKYYWeabA",
    "LTC:main": "LUWPbpM43E2p7ZSh8cyTBEkvpHmr3cB8Ez",
}
BIP44_COINS = {
    "DOGE:main": Bip44Coins.DOGECOIN,
    "LTC:main": Bip44Coins.LITECOIN,
    "BTC:main": Bip44Coins.BITCOIN,
    "BTC:test": Bip44Coins.BITCOIN_TESTNET,
    "LTC:test": Bip44Coins.LITECOIN_TESTNET,
    "DOGE:test": Bip44Coins.DOGECOIN_TESTNET,
}


def derive_hash(path: str) -> bytes:
    return hash160(bip32.HDKey.from_seed(SEED).derive(path).to_public().key.sec())


def test_the_account_of_the_known_mnemonic_is_the_known_one():
    assert AccountKey.from_seed(SEED, DOGE).public.export() == ACCOUNT_XPUB


@pytest.mark.parametrize("network", FIRST_ADDRESSES)
def test_the_first_address_of_the_known_mnemonic_is_the_known_one(network):
    key = AccountKey.from_seed(SEED, get_network(network))
    assert key.public.get_address(0, 0) == FIRST_ADDRESSES[network]


def test_the_public_half_alone_gives_the_known_address():
    assert AccountPublicKey(ACCOUNT_XPUB, DOGE).get_address(0, 0) == FIRST_ADDRESSES["DOGE:main"]


@pytest.mark.parametrize(
    ("prefix", "path", "address"),
    [
        ("bc", "m/84h/0h/0h/0/0", "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"),
        ("ltc", "m/84h/2h/0h/0/0", "ltc1qjmxnz78nmc8nq77wuxh25n2es7rzm5c2rkk4wh"),
    ],
)
def test_witness_addresses_of_the_known_mnemonic_are_the_known_ones(prefix, path, address):
    assert witness_address(0, derive_hash(path), prefix) == address


@pytest.mark.parametrize(
    ("network", "path", "address"),
    [
        ("BTC:main", "m/49h/0h/0h/0/0", "37VucYSaXLCAsxYyAPfbSi9eh4iEcbShgf"),
        ("LTC:main", "m/49h/2h/0h/0/0", "M7wtsL7wSHDBJVMWWhtQfTMSYYkyooAAXM"),
    ],
)
def test_nested_addresses_of_the_known_mnemonic_are_the_known_ones(network, path, address):
    redeem = b"\x00\x14" + derive_hash(path)
    assert find_address(p2sh_script(hash160(redeem)), get_network(network)) == address


def test_vector_1_of_bip32_reaches_the_same_key():
    # The last of the chain m/0'/1/2'/2/1000000000, whose parents we do not walk but embit does.
    root = bip32.HDKey.from_seed(bytes(range(16)))
    assert root.derive("m/0h/1/2h/2/1000000000").to_public().to_base58() == (
        "xpub6H1LXWLaKsWFhvm6RVpEL9P4KfRZSW7abD2ttkWP3SSQvnyA8FSVqNTEcYFgJS2UaFcxupHiYkro49S8yGasTvXEYBVPamhGW6cFJodrTHy"
    )
    # Ours starts at depth 3, which is where this vector has its last hardened step.
    account = root.derive("m/0h/1/2h").to_public()
    ours = AccountPublicKey(account.to_base58(), get_network("BTC:main"))
    assert ours.get_public_key(0, 1_000_000_000) == account.derive([0, 1_000_000_000]).key.sec()


@pytest.mark.parametrize("network", BIP44_COINS)
def test_two_hundred_addresses_are_those_of_bip_utils(network):
    ours = AccountKey.from_seed(SEED, get_network(network), 7).public
    theirs = Bip44.FromSeed(SEED, BIP44_COINS[network]).Purpose().Coin().Account(7)
    for chain, changes in enumerate((Bip44Changes.CHAIN_EXT, Bip44Changes.CHAIN_INT)):
        parent = theirs.Change(changes)
        for index in range(100):
            expected = parent.AddressIndex(index).PublicKey().ToAddress()
            assert ours.get_address(chain, index) == expected


@given(
    seed=st.binary(min_size=16, max_size=64),
    network=st.sampled_from(sorted(NETWORKS)),
    account=st.integers(0, 2**31 - 1),
    chain=st.integers(0, 1),
    index=st.integers(0, 2**31 - 1),
)
def test_every_key_is_that_of_embit(seed, network, account, chain, index):
    ours = AccountKey.from_seed(seed, get_network(network), account)
    root = bip32.HDKey.from_seed(seed)
    theirs = root.derive(f"m/44h/{ours.network.coin_type}h/{account}h/{chain}/{index}")
    public = theirs.to_public().key.sec()
    assert ours.public.get_public_key(chain, index) == public
    assert ours.get_child(chain, index).public_key == public
    assert ours.public.account == account
    known = {"p2pkh": bytes([ours.network.p2pkh_version])}
    assert ours.public.get_address(chain, index) == script.p2pkh(theirs.key).address(known)


def test_version_bytes_are_those_of_bip_utils():
    conf = {
        "DOGE:main": CoinsConf.DogecoinMainNet,
        "DOGE:test": CoinsConf.DogecoinTestNet,
        "LTC:main": CoinsConf.LitecoinMainNet,
        "LTC:test": CoinsConf.LitecoinTestNet,
        "BTC:main": CoinsConf.BitcoinMainNet,
        "BTC:test": CoinsConf.BitcoinTestNet,
        "BTC:regtest": CoinsConf.BitcoinRegTest,
    }
    for name, coin in conf.items():
        network = get_network(name)
        theirs = {
            "p2pkh": coin.ParamByKey(
                "p2pkh_std_net_ver" if name.startswith("LTC") else "p2pkh_net_ver"
            ),
            "wif": coin.ParamByKey("wif_net_ver"),
        }
        assert bytes([network.p2pkh_version]) == theirs["p2pkh"], name
        assert bytes([network.wif_version]) == theirs["wif"], name


@given(st.binary(max_size=300))
def test_ripemd160_without_openssl_is_ripemd160(data):
    assert _ripemd160_in_python(data) == _ripemd160_of_openssl(data)


def corrupt(xpub: str) -> list[str]:
    """Return what is nearly an account's extended public key."""
    root = bip32.HDKey.from_seed(SEED)
    no_point = b"\x03" + bytes(4) + b"\x80" + bytes(3) + bytes(32) + b"\x02" + b"\xff" * 32
    other_depths = ("m", "m/44h/3h", "m/44h/3h/0h/0", "m/44h/3h/0")
    return [
        "",
        xpub[:-1],
        f"{xpub}1",
        xpub.replace("8", "9", 1),
        xpub.swapcase(),
        relabel(root.derive("m/44h/3h/0h").to_base58(), "02fac398"),
        root.derive("m/44h/3h/0h").to_public().to_base58(),
        encode_base58check(bytes.fromhex("02facafd") + no_point),
        *(relabel(root.derive(path).to_public().to_base58(), "02facafd") for path in other_depths),
    ]


@pytest.mark.parametrize("text", corrupt(ACCOUNT_XPUB), ids=range(12))
def test_what_is_no_account_key_is_refused_without_being_repeated(text):
    with pytest.raises(KeyInvalid) as refusal:
        AccountPublicKey(text, DOGE)
    assert not text or text[:20] not in str(refusal.value)


@pytest.mark.parametrize("index", [-1, 2**31, 2**32, 1.0, "0", None])
def test_hardened_indices_and_no_indices_are_refused(index):
    with pytest.raises(KeyInvalid):
        AccountPublicKey(ACCOUNT_XPUB, DOGE).get_address(0, index)


@pytest.mark.parametrize("chain", [-1, 2, 2**31])
def test_other_chains_than_deposits_and_change_are_refused(chain):
    key = AccountKey.from_seed(SEED, DOGE)
    with pytest.raises(KeyInvalid):
        key.public.get_address(chain, 0)
    with pytest.raises(KeyInvalid):
        key.get_child(chain, 0)


def test_signatures_are_deterministic_and_low():
    child = AccountKey.from_seed(SEED, DOGE).get_child(0, 0)
    half = 0x7FFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_5D576E73_57A4501D_DFE92F46_681B20A0
    for number in range(50):
        digest = hash160(b"%d" % number).ljust(32, b"\0")
        signature = child.sign(digest)
        assert signature == child.sign(digest)
        place = 4 + signature[3]
        assert (
            int.from_bytes(signature[place + 2 : place + 2 + signature[place + 1]], "big") <= half
        )


# What must never be seen


def show_everything(thing: object) -> str:
    """Return all that logs, templates, debuggers and serializers could make of a value."""
    shown = [repr(thing), str(thing), f"{thing}", f"{thing!r:>50}", ascii(thing)]
    shown += [repr([thing]), repr({"key": thing}), json.dumps(thing, default=str)]
    for fail in (copy.copy, copy.deepcopy, pickle.dumps, vars, dict, list, json.dumps):
        try:
            shown.append(repr(fail(thing)))
        except Exception:  # noqa: BLE001  (whatever it raises must not show the key either)
            shown.append(traceback.format_exc())
    return "\n".join(shown)


@pytest.mark.parametrize("network", ["DOGE:main", "LTC:regtest"])
def test_no_key_shows_itself(network, caplog):
    key = AccountKey.from_seed(SEED, get_network(network))
    secrets = list_secrets(key, SEED)
    assert key.export() in secrets
    assert key.public.export() in secrets
    things = [key, key.public, key.get_child(0, 5), key.public._node, key.public._chains[0]]
    with caplog.at_level(logging.DEBUG):
        for thing in things:
            logging.getLogger("custody").warning("look: %s %r", thing, thing)
    shown = caplog.text + "\n".join(show_everything(thing) for thing in things)
    assert not [secret for secret in secrets if secret in shown]


def test_no_refusal_shows_a_key(tmp_path, monkeypatch):
    key = AccountKey.from_seed(SEED, DOGE)
    secrets = list_secrets(key, SEED)
    other = AccountKey.from_seed(b"other seed, at least", DOGE).public.export()
    broken = [
        {"network": "DOGE:main", "xprv": key.export(), "xpub": other},
        {"network": "LTC:main", "xprv": key.export(), "xpub": key.public.export()},
        {"network": "DOGE:main", "xprv": key.public.export(), "xpub": key.export()},
        {"network": "DOGE:main", "xprv": key.export()[:-1], "xpub": key.public.export()},
        {"network": key.export(), "xprv": key.export(), "xpub": key.public.export()},
    ]
    for number, secret in enumerate(broken):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(secret))
        try:
            load_key(f"file:{file}")
        except KeyInvalid:
            shown = traceback.format_exc()
        assert not [secret for secret in secrets if secret in shown]
    monkeypatch.setenv("BROKEN", key.export())
    with pytest.raises(KeyInvalid) as refusal:
        load_key("env:BROKEN")
    assert not [secret for secret in secrets if secret in str(refusal.value)]
