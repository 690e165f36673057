"""An address is paid only if it is certainly one of this network."""

import pytest
from embit import bech32
from hypothesis import assume, given
from hypothesis import strategies as st

from dj_wallet.custody.chain.addresses import (
    BECH32_LETTERS,
    find_address,
    get_script,
    p2sh_script,
    witness_script,
)
from dj_wallet.custody.chain.errors import AddressInvalid, AddressOfOtherNetwork
from dj_wallet.custody.chain.hashes import ALPHABET, encode_base58check
from dj_wallet.custody.chain.networks import NETWORKS, get_network
from dj_wallet.custody.chain.transactions import p2pkh_script

HASH = bytes(range(20))
LONG_HASH = bytes(range(32))

# Every one of these is the same hash of a key, of a script, or the same witness program.
GOOD = [
    ("DOGE:main", "D597kHXGdkwkryF9oGhz9Bp1ypTpD1u99Z", p2pkh_script(HASH)),
    ("DOGE:main", "9rSHsR8xxKEkKW8Tbv3SGBdiwnQGWZ4bdM", p2sh_script(HASH)),
    ("DOGE:test", "nUCBUJGBZjQUjwpLq6MSPbQKDgr7DPLQiL", p2pkh_script(HASH)),
    ("DOGE:regtest", "mfWyW5fc9NUj75YAnFgoRLrjxgLDn2MMth", p2pkh_script(HASH)),
    ("DOGE:regtest", "2MsFFCK16VhsCcvPXruztdzzcTZEQCbNKjJ", p2sh_script(HASH)),
    ("LTC:main", "LKDyUEtTR1HXamkiEphisSiBJu6o3ZPE34", p2pkh_script(HASH)),
    ("LTC:main", "M7uBSTV2qNDHDe2tHfNMqhFkZucgRMpJQk", p2sh_script(HASH)),
    ("LTC:main", "ltc1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysn3s44dy", witness_script(0, HASH)),
    (
        "LTC:main",
        "ltc1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0sts9tf8",
        witness_script(1, LONG_HASH),
    ),
    ("LTC:test", "tltc1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnxzku7w", witness_script(0, HASH)),
    ("LTC:regtest", "QLc1KKsLWovHm79aV22uihS3bwgECPid8z", p2sh_script(HASH)),
    ("LTC:regtest", "rltc1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnrwhxws", witness_script(0, HASH)),
    ("BTC:main", "112D2adLM3UKy4Z4giRbReR6gjWuvHUqB", p2pkh_script(HASH)),
    ("BTC:main", "31h38a54tFMrR8kzBnP2241MFD2EUHtGha", p2sh_script(HASH)),
    ("BTC:main", "BC1QQQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSN4V0345", witness_script(0, HASH)),
    (
        "BTC:main",
        "bc1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0szrtjt7",
        witness_script(0, LONG_HASH),
    ),
    ("BTC:test", "tb1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnl25zw8", witness_script(0, HASH)),
    ("BTC:regtest", "bcrt1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnard0ew", witness_script(0, HASH)),
]

OTHER_NETWORK = [
    ("DOGE:main", "112D2adLM3UKy4Z4giRbReR6gjWuvHUqB"),
    ("DOGE:main", "31h38a54tFMrR8kzBnP2241MFD2EUHtGha"),
    ("DOGE:main", "LKDyUEtTR1HXamkiEphisSiBJu6o3ZPE34"),
    ("DOGE:main", "M7uBSTV2qNDHDe2tHfNMqhFkZucgRMpJQk"),
    ("DOGE:main", "nUCBUJGBZjQUjwpLq6MSPbQKDgr7DPLQiL"),
    ("DOGE:main", "mfWyW5fc9NUj75YAnFgoRLrjxgLDn2MMth"),
    ("DOGE:main", "2MsFFCK16VhsCcvPXruztdzzcTZEQCbNKjJ"),
    ("DOGE:main", "QLc1KKsLWovHm79aV22uihS3bwgECPid8z"),
    ("DOGE:main", "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"),
    ("DOGE:main", "ltc1qjmxnz78nmc8nq77wuxh25n2es7rzm5c2rkk4wh"),
    ("DOGE:test", "D597kHXGdkwkryF9oGhz9Bp1ypTpD1u99Z"),
    ("DOGE:regtest", "DBus3bamQjgJULBJtYXpEzDWQRwF5iwxgC"),
    ("LTC:main", "31h38a54tFMrR8kzBnP2241MFD2EUHtGha"),
    ("LTC:main", "bc1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysn4v0345"),
    ("LTC:main", "tltc1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnxzku7w"),
    ("LTC:main", "rltc1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnrwhxws"),
    ("BTC:main", "D597kHXGdkwkryF9oGhz9Bp1ypTpD1u99Z"),
    ("BTC:main", "tb1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnl25zw8"),
    ("BTC:main", "bcrt1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnard0ew"),
    ("BTC:test", "bcrt1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnard0ew"),
]

D = "D597kHXGdkwkryF9oGhz9Bp1ypTpD1u99Z"
BC = "bc1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysn4v0345"
NO_ADDRESS = {
    "nothing": ("DOGE:main", ""),
    "not text": ("DOGE:main", None),
    "bytes": ("DOGE:main", D.encode()),
    "a space before": ("DOGE:main", f" {D}"),
    "a space behind": ("DOGE:main", f"{D} "),
    "a line end": ("DOGE:main", f"{D}\n"),
    "a NUL": ("DOGE:main", f"{D}\0"),
    "a URI": ("DOGE:main", f"dogecoin:{D}"),
    "an invisible letter": ("DOGE:main", f"{D[:9]}\u200b{D[9:]}"),
    "a letter that looks the same": ("DOGE:main", f"{D[:-1]}\u0396"),
    "wide digits": ("DOGE:main", D.replace("9", "\uff19")),
    "a zero": ("DOGE:main", D.replace("9", "0", 1)),
    "an l": ("DOGE:main", f"l{D[1:]}"),
    "one letter less": ("DOGE:main", D[:-1]),
    "the first letter missing": ("DOGE:main", D[1:]),
    "one letter more": ("DOGE:main", f"{D}1"),
    "a leading one": ("DOGE:main", f"1{D}"),
    "one letter changed": ("DOGE:main", f"{D[:-1]}a"),
    "two letters swapped": ("DOGE:main", f"{D[:4]}{D[5]}{D[4]}{D[6:]}"),
    "small letters": ("DOGE:main", D.lower()),
    "capitals": ("DOGE:main", D.upper()),
    "twice": ("DOGE:main", f"{D}{D}"),
    "very long": ("DOGE:main", "D" * 100_000),
    "only ones": ("DOGE:main", "1" * 34),
    "a hash too short": ("DOGE:main", "3jdH2ejChVzGNk6vefuLHord26KKvjdBB"),
    "a hash too long": ("DOGE:main", "vHGpn3vc1ExgbZFTqEKuD8iXKnVMEybBRyu"),
    "a version of nobody": ("DOGE:main", "gqTjgn69dCvDHss8VDgybqbJQdEuKTPwCp"),
    "a private key": ("DOGE:main", "QNcdnF7GgqaEipVQ6hmP4Y1aAF4p6gMjig9164EhTyihjGEFjs61"),
    "a script in hexadecimal": ("DOGE:main", p2pkh_script(HASH).hex()),
    "an address of Ethereum": ("DOGE:main", "0x52908400098527886E0F7030069857D2E4169EE7"),
    "mixed letters": ("BTC:main", f"{BC[:-8]}{BC[-8:].upper()}"),
    "a capital prefix": ("BTC:main", f"BC{BC[2:]}"),
    "a checksum of bech32m for version 0": (
        "BTC:main",
        "bc1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnqslask",
    ),
    "a checksum of bech32 for version 1": (
        "BTC:main",
        "bc1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0sagmhkq",
    ),
    "a program of 16 bytes": ("BTC:main", "bc1qqqqsyqcyq5rqwzqfpg9scrgwpuk7nx3h"),
    "a version above 16": (
        "BTC:main",
        "bc13qqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0s5q3exw",
    ),
    "a version that nobody protects yet": (
        "BTC:main",
        "bc1zqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0sqfj5af",
    ),
    "version 1 with 20 bytes": ("BTC:main", "bc1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysntwgkaa"),
    "version 16 with 2 bytes": ("BTC:main", "bc1sqqqsrgxhjj"),
    "an unknown prefix": ("BTC:main", "xyz1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnqsgree"),
    "a prefix alone": ("BTC:main", "bc1"),
    "no data": ("BTC:main", "bc1gmk9yu"),
    "a letter bech32 does not have": ("BTC:main", f"{BC[:-1]}b"),
    "one letter of bech32 changed": ("BTC:main", f"{BC[:-1]}q"),
    "an inserted q before the last p": ("BTC:main", "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kqp"),
    "an address of Litecoin's extension blocks": ("LTC:main", f"ltcmweb1{'q' * 80}"),
    "a known bad checksum of BIP 350": (
        "BTC:main",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd",
    ),
}


@pytest.mark.parametrize(("network", "address", "script"), GOOD, ids=[row[1] for row in GOOD])
def test_an_address_is_the_script_that_it_pays(network, address, script):
    assert get_script(address, get_network(network)) == script
    if address == address.upper() and address.startswith("BC1"):
        address = address.lower()
    assert find_address(script, get_network(network)) == address


@pytest.mark.parametrize(("network", "address"), OTHER_NETWORK)
def test_an_address_of_another_network_is_refused_as_such(network, address):
    with pytest.raises(AddressOfOtherNetwork):
        get_script(address, get_network(network))


@pytest.mark.parametrize(("network", "text"), NO_ADDRESS.values(), ids=NO_ADDRESS)
def test_what_is_no_address_is_refused(network, text):
    with pytest.raises(AddressInvalid) as refusal:
        get_script(text, get_network(network))
    assert type(refusal.value) is AddressInvalid


def test_a_refusal_is_one_short_sentence_that_does_not_repeat_the_text():
    for network, text in NO_ADDRESS.values():
        with pytest.raises(AddressInvalid) as refusal:
            get_script(text, get_network(network))
        said = str(refusal.value)
        assert said.endswith(".")
        assert len(said) < 100
        assert not text or str(text) not in said


def test_scripts_that_no_address_says_have_none():
    network = get_network("BTC:main")
    scripts = [
        b"",
        b"\x6a\x04data",
        p2pkh_script(HASH)[:-1],
        b"\x51\x14" + HASH,
        b"\x52\x20" + LONG_HASH,
        bytes([33, 2]) + LONG_HASH + b"\xac",
    ]
    assert [find_address(script, network) for script in scripts] == [None] * len(scripts)
    assert find_address(witness_script(0, HASH), get_network("DOGE:main")) is None


@given(st.sampled_from(sorted(NETWORKS)), st.binary(min_size=20, max_size=20), st.booleans())
def test_scripts_and_addresses_go_back_and_forth(name, hashed, is_key):
    network = get_network(name)
    script = p2pkh_script(hashed) if is_key else p2sh_script(hashed)
    assert get_script(find_address(script, network), network) == script


@given(
    st.sampled_from([network for network in NETWORKS.values() if network.bech32_prefix]),
    st.sampled_from([(0, 20), (0, 32), (1, 32)]),
    st.data(),
)
def test_witness_addresses_are_those_of_embit(network, kind, data):
    version, length = kind
    program = data.draw(st.binary(min_size=length, max_size=length))
    address = bech32.encode(network.bech32_prefix, version, program)
    assert get_script(address, network) == witness_script(version, program)
    assert find_address(witness_script(version, program), network) == address


@given(st.text(alphabet=f"{BECH32_LETTERS}bio1BQ", max_size=92))
def test_what_looks_like_bech32_is_refused_whenever_embit_refuses_it(letters):
    address = f"bc1{letters}"
    version, program = bech32.decode("bc", address)
    if version is None:
        with pytest.raises(AddressInvalid):
            get_script(address, get_network("BTC:main"))
    else:
        assert get_script(address, get_network("BTC:main")) == witness_script(
            version, bytes(program)
        )


@given(st.sampled_from(GOOD), st.data())
def test_a_single_changed_letter_is_always_refused(good, data):
    network, address, _ = good
    place = data.draw(st.integers(0, len(address) - 1))
    letter = data.draw(st.sampled_from(ALPHABET + "0OIl"))
    assume(letter.lower() != address[place].lower())
    with pytest.raises(AddressInvalid):
        get_script(address[:place] + letter + address[place + 1 :], get_network(network))


@given(st.binary(max_size=60))
def test_other_payloads_with_a_right_checksum_are_refused(payload):
    network = get_network("DOGE:main")
    assume(len(payload) != 21 or payload[0] not in (30, 22))
    with pytest.raises(AddressInvalid):
        get_script(encode_base58check(payload), network)
