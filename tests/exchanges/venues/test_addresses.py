"""The forms of addresses: published examples, and those that another library makes; one letter changed is refused."""

import hashlib

import pytest
from bip_utils import (
    AdaShelleyAddrEncoder,
    AlgoAddrEncoder,
    AptosAddrEncoder,
    AtomAddrEncoder,
    BchP2PKHAddrEncoder,
    Ed25519PrivateKey,
    EthAddrEncoder,
    FilSecp256k1AddrEncoder,
    NearAddrEncoder,
    P2PKHAddrEncoder,
    P2SHAddrEncoder,
    P2TRAddrEncoder,
    P2WPKHAddrEncoder,
    Secp256k1PrivateKey,
    SolAddrEncoder,
    SubstrateEd25519AddrEncoder,
    SuiAddrEncoder,
    TrxAddrEncoder,
    XlmAddrEncoder,
    XlmAddrTypes,
    XrpAddrEncoder,
    XtzAddrEncoder,
    XtzAddrPrefixes,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from dj_wallet.exchanges.venues.addresses import FORMS, find_address_fault, find_tag_fault
from dj_wallet.exchanges.venues.networks import COMMON_IDS, NETWORKS, find_network
from wallet_sandbox.exchanges.coins import NETWORKS_OF, damage, make_address

PUBLISHED = [
    ("bitcoin", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
    ("bitcoin", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy"),
    ("bitcoin", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
    ("bitcoin", "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4"),
    ("bitcoin", "bc1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qccfmv3"),
    ("bitcoin", "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"),
    ("bitcoin-cash", "bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a"),
    ("bitcoin-cash", "qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a"),
    ("dogecoin", "DBXu2kgc3xtvCUWFcxFE3r9hEYgmuaaCyD"),
    ("ethereum", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
    ("ethereum", "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"),
    ("arbitrum", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"),
    ("tron", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"),
    ("xrp", "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh"),
    ("stellar", "GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGZ"),
    ("solana", "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"),
    ("cardano", "addr1qx2fxv2umyhttkxyxp8x0dlpdt3k6cwng5pxj3jhsydzer3n0d3vllmyqwsx5wktcd8cc3sq835lu7drv2xwl2wywfgse35a3x"),
    ("cardano", "addr1vx2fxv2umyhttkxyxp8x0dlpdt3k6cwng5pxj3jhsydzers66hrl8"),
    ("cardano", "Ae2tdPwUPEZCanmBz5g2GEwFqKTKpNJcGYPKfDxoNeKZ8bRHr8366kseiK2"),
    ("polkadot", "15oF4uVJwmo4TdGW7VfQxNLavjCXviqxT9S1MgbjMNHr6Sp5"),
    ("kusama", "HNZata7iMYWmk5RvZRTiAsSDhV8366zq2YGb3tLH5Upf74F"),
    ("ton", "EQCD39VS5jcptHL8vMjEXrzGaRcCVYto7HUn4bpAOg8xqB2N"),
    ("hedera", "0.0.98"),
    ("eos", "binancecleos"),
    ("near", "relay.aurora.near"),
]  # fmt: skip

WRONG = [
    ("bitcoin", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", "last letter"),
    ("bitcoin", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kV8f3t4", "mixed capitals"),
    ("bitcoin", "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", "test network"),
    ("bitcoin", "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", "test network"),
    ("bitcoin", "bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4", "bip-350: bad letter"),
    ("bitcoin", "BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL", "bip-350: wrong checksum"),
    ("bitcoin", "DBXu2kgc3xtvCUWFcxFE3r9hEYgmuaaCyD", "of another network"),
    ("bitcoin-cash", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "also bitcoin's"),
    ("litecoin", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", "also bitcoin's"),
    ("ethereum", "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "capitals"),
    ("ethereum", "0x0000000000000000000000000000000000000000", "nobody's"),
    ("ethereum", "5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", "no prefix"),
    ("tron", "0xa614f803b6fd780986a42c78ec9c7f77e6ded13c", "hexadecimal"),
    ("xrp", "XVLhHMPHU98es4dbozjVtdWzVrDjtV18pX8yuPT7y4xaEHi", "hides a tag"),
    ("stellar", "MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAACJUQ", "hides an id"),
    ("stellar", "SBCVMMCBEDB64TVJZFYJOJAERZC4YVVUOE6SYR2Y76CBTENGUSGWRRVO", "a secret"),
    ("solana", "11111111111111111111111111111111", "the system program"),
    ("solana", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", "of another network"),
    ("polkadot", "HNZata7iMYWmk5RvZRTiAsSDhV8366zq2YGb3tLH5Upf74F", "kusama's"),
    ("cardano", "addr_test1vz2fxv2umyhttkxyxp8x0dlpdt3k6cwng5pxj3jhsydzerspjrlsz", "test network"),
    ("cosmos", "osmo1p5qfmxyzr0d7hj6n3m5h5xn9g9vxrg8s0nqyhm", "of another network"),
    ("ton", "kQCD39VS5jcptHL8vMjEXrzGaRcCVYto7HUn4bpAOg8xqKaH", "test network"),
    ("hedera", "0.0.0", "nobody's"),
    ("eos", "TooLongAName1", "capitals"),
    ("near", "UPPER.near", "capitals"),
    ("bitcoin", "Deposit temporarily blocked", "a sentence"),
    ("bitcoin", "", "nothing"),
    ("bitcoin", "1" * 300, "too long"),
    ("bitcoin", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa\n", "a line end"),
    ("bitcoin", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfN\u0430", "a letter of another alphabet"),
    ("mina", "B62qre3erTHfzQckNuibViWQGyyKwZseztqrjPZBv6SQF384Rg6ESAy", "a network we cannot verify"),
]  # fmt: skip


@pytest.mark.parametrize(("network", "address"), PUBLISHED)
def test_a_published_address_has_its_form(network, address):
    assert find_address_fault(network, address) is None


@pytest.mark.parametrize(("network", "address", "why"), WRONG)
def test_what_is_not_of_the_network_is_refused(network, address, why):
    assert find_address_fault(network, address) is not None, why


def make_by_another_library(seed: bytes) -> dict[str, list[str]]:
    ed25519 = Ed25519PrivateKey.FromBytes(seed).PublicKey()
    secp256k1 = Secp256k1PrivateKey.FromBytes(seed).PublicKey()
    return {
        "bitcoin": [
            P2PKHAddrEncoder.EncodeKey(secp256k1, net_ver=b"\x00"),
            P2SHAddrEncoder.EncodeKey(secp256k1, net_ver=b"\x05"),
            P2WPKHAddrEncoder.EncodeKey(secp256k1, hrp="bc"),
            P2TRAddrEncoder.EncodeKey(secp256k1, hrp="bc"),
        ],
        "litecoin": [
            P2PKHAddrEncoder.EncodeKey(secp256k1, net_ver=b"\x30"),
            P2WPKHAddrEncoder.EncodeKey(secp256k1, hrp="ltc"),
        ],
        "dogecoin": [P2PKHAddrEncoder.EncodeKey(secp256k1, net_ver=b"\x1e")],
        "bitcoin-cash": [
            BchP2PKHAddrEncoder.EncodeKey(secp256k1, hrp="bitcoincash", net_ver=b"\x00")
        ],
        "ethereum": [EthAddrEncoder.EncodeKey(secp256k1)],
        "tron": [TrxAddrEncoder.EncodeKey(secp256k1)],
        "xrp": [XrpAddrEncoder.EncodeKey(secp256k1)],
        "stellar": [XlmAddrEncoder.EncodeKey(ed25519, addr_type=XlmAddrTypes.PUB_KEY)],
        "solana": [SolAddrEncoder.EncodeKey(ed25519)],
        "cardano": [AdaShelleyAddrEncoder.EncodeKey(ed25519, pub_skey=ed25519)],
        "polkadot": [SubstrateEd25519AddrEncoder.EncodeKey(ed25519, ss58_format=0)],
        "kusama": [SubstrateEd25519AddrEncoder.EncodeKey(ed25519, ss58_format=2)],
        "cosmos": [AtomAddrEncoder.EncodeKey(secp256k1, hrp="cosmos")],
        "algorand": [AlgoAddrEncoder.EncodeKey(ed25519)],
        "aptos": [AptosAddrEncoder.EncodeKey(ed25519, trim_zeroes=False)],
        "sui": [SuiAddrEncoder.EncodeKey(ed25519)],
        "near": [NearAddrEncoder.EncodeKey(ed25519)],
        "filecoin": [FilSecp256k1AddrEncoder.EncodeKey(secp256k1)],
        "tezos": [XtzAddrEncoder.EncodeKey(ed25519, prefix=XtzAddrPrefixes.TZ1)],
    }


@settings(max_examples=15, deadline=None)
@given(st.binary(min_size=4, max_size=4))
def test_addresses_of_another_library_have_their_forms(draw):
    for network, addresses in make_by_another_library(hashlib.sha256(draw).digest()).items():
        for address in addresses:
            assert find_address_fault(network, address) is None, (network, address)


WITHOUT_CHECKSUM = {"solana", "aptos", "sui", "near", "eos", "hedera", "mina"}


@pytest.mark.parametrize("network", sorted(set(sum(NETWORKS_OF.values(), ())) - WITHOUT_CHECKSUM))
def test_a_changed_letter_is_noticed(network):
    for seed in "abcdefgh":
        address = make_address(network, seed)
        assert find_address_fault(network, address) is None
        assert find_address_fault(network, damage(address)) is not None


def test_no_address_of_one_form_has_another_one():
    """But for the family of Ethereum, and for bare hexadecimal digits, no two networks share a form."""
    shared = {"aptos": {"sui"}, "sui": {"aptos"}, "icp": {"near"}}
    for network in sorted(set(sum(NETWORKS_OF.values(), ())) - {"mina"}):
        address = make_address(network, "seed")
        form = NETWORKS[network].form
        also = {
            other.id
            for other in NETWORKS.values()
            if other.form != form and find_address_fault(other.id, address) is None
        }
        assert also <= shared.get(network, set()), network


@settings(max_examples=200, deadline=None)
@given(network=st.sampled_from(sorted(NETWORKS)), address=st.text(max_size=120))
def test_no_text_breaks_the_check(network, address):
    assert isinstance(find_address_fault(network, address), str | None)


@pytest.mark.parametrize(
    ("network", "tag"),
    [
        ("xrp", "0"),
        ("xrp", "4294967295"),
        ("stellar", "1054"),
        ("ton", "ab-12"),
        ("eos", "memo text"),
    ],
)
def test_a_tag_of_the_network_is_taken(network, tag):
    assert find_tag_fault(network, tag) is None


@pytest.mark.parametrize(
    ("network", "tag"),
    [
        ("xrp", "4294967296"), ("xrp", "-1"), ("xrp", "12a"), ("xrp", "007"), ("xrp", "\u0661"), ("stellar", " 1"),
        ("stellar", "x" * 101), ("ton", "two\nlines"), ("bitcoin", "1"),
    ],
)  # fmt: skip
def test_a_tag_of_another_form_is_refused(network, tag):
    assert find_tag_fault(network, tag) is not None


def test_every_network_has_a_form():
    assert {network.form for network in NETWORKS.values()} == set(FORMS)
    assert set(COMMON_IDS.values()) <= set(NETWORKS)


def test_no_two_networks_share_a_name():
    names = [
        name.lower()
        for network in NETWORKS.values()
        for name in {network.id, network.name.lower(), *network.aliases}
    ]
    assert sorted(names) == sorted(set(names))
    assert find_network(" ERC20 ") is NETWORKS["ethereum"]
    assert find_network("lightning") is None
