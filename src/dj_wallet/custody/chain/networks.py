"""The chains we know, as parameters. Nothing else in the code tells one coin from another.

Amounts are integers in base units (koinu, litoshi, satoshi). Sources: chainparams and policy of Dogecoin Core 1.14,
Litecoin Core 0.21 and Bitcoin Core; prefixes are compared with bip_utils in the tests, the genesis block of Litecoin's
regtest with a running node. Dogecoin's own nodes were read, not run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from .errors import ChainError

DECIMAL_PLACES: Final = 8
BASE_UNITS: Final = 10**DECIMAL_PLACES


@dataclass(frozen=True, slots=True)
class Network:
    """One chain: how its addresses look, what its nodes relay, how long we wait."""

    name: str
    """ "DOGE:regtest": what rows and settings call it."""
    asset: str
    chain: str
    """What `getblockchaininfo` calls it: main, test or regtest."""
    genesis: str
    """Hash of block 0: a node with another one is refused."""
    p2pkh_version: int
    p2sh_version: int
    wif_version: int
    bech32_prefix: str | None
    """None where the chain has no segregated witness."""
    xpub_versions: frozenset[bytes]
    xprv_versions: frozenset[bytes]
    coin_type: int
    """Of BIP 44: the account is m/44'/coin_type'/account'."""
    uri_scheme: str
    coinbase_maturity: int
    confirmations: int
    """How deep a deposit must be by default before it is credited."""
    min_output: int
    """A smaller output is not worth having: change below it goes to the fee, a payment below it is refused."""
    fee_floor_per_kb: int
    fee_cap_per_kb: int
    max_fee: int
    """Of one transaction, whatever its size."""
    max_money: int
    """No single amount is larger."""
    rpc_port: int

    def uri(self, address: str) -> str:
        """Return the address as wallets scan it."""
        return f"{self.uri_scheme}:{address}"


def _make_doge(chain: str, **differences: object) -> Network:
    return _make(
        "DOGE",
        chain,
        bech32_prefix=None,
        uri_scheme="dogecoin",
        min_output=1_000_000,
        fee_floor_per_kb=1_000_000,
        fee_cap_per_kb=100_000_000,
        max_fee=50 * BASE_UNITS,
        max_money=10**10 * BASE_UNITS,
        **differences,
    )


def _make_ltc(chain: str, **differences: object) -> Network:
    return _make(
        "LTC",
        chain,
        uri_scheme="litecoin",
        coinbase_maturity=100,
        min_output=5_460,
        fee_floor_per_kb=10_000,
        fee_cap_per_kb=1_000_000,
        max_fee=BASE_UNITS // 2,
        max_money=84_000_000 * BASE_UNITS,
        confirmations=6,
        **differences,
    )


def _make_btc(chain: str, **differences: object) -> Network:
    return _make(
        "BTC",
        chain,
        uri_scheme="bitcoin",
        coinbase_maturity=100,
        min_output=546,
        fee_floor_per_kb=1_000,
        fee_cap_per_kb=500_000,
        max_fee=BASE_UNITS // 20,
        max_money=21_000_000 * BASE_UNITS,
        **differences,
    )


def _make(asset: str, chain: str, **parameters: object) -> Network:
    return Network(name=f"{asset}:{chain}", asset=asset, chain=chain, **parameters)  # type: ignore[arg-type]


_MAIN_KEYS: Final = {
    "xpub_versions": frozenset({bytes.fromhex("0488b21e")}),
    "xprv_versions": frozenset({bytes.fromhex("0488ade4")}),
}
_TEST_KEYS: Final = {
    "xpub_versions": frozenset({bytes.fromhex("043587cf")}),
    "xprv_versions": frozenset({bytes.fromhex("04358394")}),
    "wif_version": 239,
    "coin_type": 1,
    "p2pkh_version": 111,
    "p2sh_version": 196,
}

_ALL: Final = (
    _make_doge(
        "main",
        genesis="1a91e3dace36e2be3bf030a65679fe821aa1d6ef92e7c9902eb318182c355691",
        p2pkh_version=30,
        p2sh_version=22,
        wif_version=158,
        coin_type=3,
        xpub_versions=frozenset({bytes.fromhex("02facafd")}),
        xprv_versions=frozenset({bytes.fromhex("02fac398")}),
        coinbase_maturity=240,
        confirmations=60,
        rpc_port=22555,
    ),
    _make_doge(
        "test",
        genesis="bb0a78264637406b6360aad926284d544d7049f45189db5664f3c4d07350559e",
        **(_TEST_KEYS | {"p2pkh_version": 113, "wif_version": 241}),
        coinbase_maturity=240,
        confirmations=6,
        rpc_port=44555,
    ),
    _make_doge(
        "regtest",
        genesis="3d2160a3b5dc4a9d62e7e66a295f70313ac808440ef7400d6c0772171ce973a5",
        **_TEST_KEYS,
        coinbase_maturity=60,
        confirmations=6,
        rpc_port=18332,
    ),
    _make_ltc(
        "main",
        genesis="12a765e31ffd4059bada1e25190f6e98c99d9714d334efa41a195a7e7e04bfe2",
        p2pkh_version=48,
        p2sh_version=50,
        wif_version=176,
        bech32_prefix="ltc",
        coin_type=2,
        xpub_versions=_MAIN_KEYS["xpub_versions"] | {bytes.fromhex("019da462")},
        xprv_versions=_MAIN_KEYS["xprv_versions"] | {bytes.fromhex("019d9cfe")},
        rpc_port=9332,
    ),
    _make_ltc(
        "test",
        genesis="4966625a4b2851d9fdee139e56211a0d88575f59ed816ff5e6a63deb4e3e29a0",
        **(_TEST_KEYS | {"p2sh_version": 58}),
        bech32_prefix="tltc",
        rpc_port=19332,
    ),
    _make_ltc(
        "regtest",
        genesis="530827f38f93b43ed12af0b3ad25a288dc02ed74d6d7857862df51fc56c416f9",
        **(_TEST_KEYS | {"p2sh_version": 58}),
        bech32_prefix="rltc",
        rpc_port=19443,
    ),
    _make_btc(
        "main",
        genesis="000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
        p2pkh_version=0,
        p2sh_version=5,
        wif_version=128,
        bech32_prefix="bc",
        coin_type=0,
        **_MAIN_KEYS,
        confirmations=3,
        rpc_port=8332,
    ),
    _make_btc(
        "test",
        genesis="000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943",
        **_TEST_KEYS,
        bech32_prefix="tb",
        confirmations=6,
        rpc_port=18332,
    ),
    _make_btc(
        "regtest",
        genesis="0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
        **_TEST_KEYS,
        bech32_prefix="bcrt",
        confirmations=6,
        rpc_port=18443,
    ),
)

NETWORKS: Final[Mapping[str, Network]] = MappingProxyType(
    {network.name: network for network in _ALL}
)


def get_network(name: str) -> Network:
    """Return the network called `name`, such as "DOGE:main".

    :raises ChainError: there is none
    """
    if name not in NETWORKS:
        raise ChainError(f"No network is called {name!r}; known are {', '.join(NETWORKS)}.")
    return NETWORKS[name]


def to_base_units(amount: Decimal) -> int:
    """Return an amount of coins in base units; exact or refused.

    :raises ChainError: not a finite amount, or more than eight decimal places
    """
    if not isinstance(amount, Decimal) or not amount.is_finite():
        raise ChainError("An amount of coins is a finite Decimal.")
    sign, digits, exponent = amount.as_tuple()
    number = int("".join(map(str, digits)))
    shift = int(exponent) + DECIMAL_PLACES
    if shift > 30:
        raise ChainError("The amount is larger than any money supply.")
    if shift < 0:
        number, rest = divmod(number, 10 ** min(-shift, 100)) if number else (0, 0)
        if rest or (shift < -100 and number):
            raise ChainError("The amount has more than eight decimal places.")
    else:
        number *= 10**shift
    return -number if sign else number


def to_coins(base_units: int) -> Decimal:
    """Return base units as an amount of coins with eight decimal places."""
    digits = tuple(map(int, str(abs(base_units))))
    return Decimal((int(base_units < 0), digits, -DECIMAL_PLACES))
