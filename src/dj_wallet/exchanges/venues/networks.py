"""The networks that we can verify, under ids of our own: CCXT's names differ from venue to venue.

A network is here only if `addresses.py` knows the form of its addresses. What a venue calls it is translated by the venue's
adapter, by exact names; what nobody can translate is refused, never guessed.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .errors import CurrencyNotSupported, NetworkNotSupported


class TagKind(StrEnum):
    """What a deposit carries beside the address, in the network's word for it."""

    NONE = ""
    DESTINATION_TAG = "destination tag"
    MEMO = "memo"


@dataclass(frozen=True, slots=True)
class Network:
    """One chain. `form` names the form of its addresses in addresses.py."""

    id: str
    name: str
    form: str
    caip2: str = ""
    aliases: tuple[str, ...] = ()
    tag: TagKind = TagKind.NONE
    # Venues share one address between customers here: without the tag the deposit is nobody's.
    tag_required: bool = False


def _evm(id: str, name: str, chain: int, *aliases: str) -> Network:
    return Network(id, name, "evm", f"eip155:{chain}", aliases)


_NETWORKS: Final = (
    Network("bitcoin", "Bitcoin", "bitcoin", "bip122:000000000019d6689c085ae165831e93", ("btc", "xbt")),
    Network("litecoin", "Litecoin", "litecoin", "bip122:12a765e31ffd4059bada1e25190f6e98", ("ltc",)),
    Network("dogecoin", "Dogecoin", "dogecoin", "bip122:1a91e3dace36e2be3bf030a65679fe82", ("doge", "xdg")),
    Network("bitcoin-cash", "Bitcoin Cash", "bitcoin-cash", "bip122:000000000000000000651ef99cb9fcbe", ("bch", "bchn")),
    Network("dash", "Dash", "dash", "bip122:00000ffd590b1485b3caadc19b22e637"),
    Network("zcash", "Zcash", "zcash", "bip122:00040fe8ec8471911baa1db1266ea15d", ("zec",)),
    _evm("ethereum", "Ethereum (ERC20)", 1, "eth", "erc20", "erc-20", "ether"),
    _evm("ethereum-classic", "Ethereum Classic", 61, "etc"),
    _evm("bsc", "BNB Smart Chain (BEP20)", 56, "bep20", "bnb smart chain"),
    _evm("polygon", "Polygon", 137, "matic", "pol", "plasma-matic"),
    _evm("arbitrum", "Arbitrum One", 42161, "arb", "arbitrum one", "arbone", "arbitrumone"),
    _evm("optimism", "OP Mainnet", 10, "op", "op mainnet", "opeth"),
    _evm("base", "Base", 8453, "base mainnet"),
    _evm("avalanche", "Avalanche C-Chain", 43114, "avaxc", "avax", "avalanche c-chain", "avax c-chain", "cchain", "avaxc-chain"),
    _evm("zksync", "ZKsync Era", 324, "zksync era", "zksyncera"),
    _evm("linea", "Linea", 59144),
    _evm("scroll", "Scroll", 534352),
    _evm("mantle", "Mantle", 5000),
    _evm("fantom", "Fantom", 250, "ftm"),
    _evm("cronos", "Cronos", 25),
    _evm("gnosis", "Gnosis", 100),
    _evm("celo", "Celo", 42220),
    Network("vechain", "VeChain", "evm", "", ("vet",)),
    Network("tron", "Tron (TRC20)", "tron", "tron:0x2b6653dc", ("trx", "trc20", "trc-20")),
    Network("xrp", "XRP Ledger", "xrp", "xrpl:0", ("ripple", "xrpl"), TagKind.DESTINATION_TAG, tag_required=True),
    Network("stellar", "Stellar", "stellar", "stellar:pubnet", ("xlm",), TagKind.MEMO, tag_required=True),
    Network("solana", "Solana", "solana", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", ("sol", "spl")),
    Network("cardano", "Cardano", "cardano", "cip34:1-764824073", ("ada",)),
    Network("polkadot", "Polkadot", "polkadot", "polkadot:91b171bb158e2d3848fa23a9f1c25182", ("dot",)),
    Network("kusama", "Kusama", "kusama", "polkadot:b0a8d493285c2df73290dfb7e61f870f", ("ksm",)),
    Network("cosmos", "Cosmos Hub", "cosmos", "cosmos:cosmoshub-4", ("atom", "atom1"), TagKind.MEMO, tag_required=True),
    Network("celestia", "Celestia", "celestia", "cosmos:celestia", ("tia",), TagKind.MEMO),
    Network("injective", "Injective", "injective", "cosmos:injective-1", ("inj",), TagKind.MEMO),
    Network("sei", "Sei", "sei", "cosmos:pacific-1", (), TagKind.MEMO),
    Network("near", "NEAR", "near", "near:mainnet"),
    Network("algorand", "Algorand", "algorand", "algorand:wGHE2Pwdvd7S12BL5FaOP20EGYesN73k", ("algo",)),
    Network("filecoin", "Filecoin", "filecoin", "fil:f", ("fil",)),
    Network("tezos", "Tezos", "tezos", "tezos:NetXdQprcVkpaWU", ("xtz",)),
    Network("eos", "EOS", "eos", "antelope:aca376f206b8fc25a6ed44dbdc66547c", (), TagKind.MEMO, tag_required=True),
    Network("aptos", "Aptos", "aptos", "aptos:1", ("apt",)),
    Network("sui", "Sui", "sui", "sui:mainnet"),
    Network("ton", "TON", "ton", "tvm:-239", ("toncoin",), TagKind.MEMO, tag_required=True),
    Network("hedera", "Hedera", "hedera", "hedera:mainnet", ("hbar",), TagKind.MEMO, tag_required=True),
    Network("icp", "Internet Computer", "icp", "", ("internet computer", "dfinity"), TagKind.MEMO),
    Network("kaspa", "Kaspa", "kaspa", "", ("kas",)),
)  # fmt: skip

NETWORKS: Final = {network.id: network for network in _NETWORKS}
_BY_NAME: Final = {
    name.lower(): network
    for network in _NETWORKS
    for name in (network.id, network.name, *network.aliases)
}


def find_network(name: str) -> Network | None:
    """Return the network of this id, name or alias, whatever its capitals."""
    return _BY_NAME.get(name.strip().lower())


def get_network(name: str) -> Network:
    """Return the network of this id, name or alias.

    :raises NetworkNotSupported: we know none of this name
    """
    network = find_network(name)
    if network is None:
        raise NetworkNotSupported(f"There is no network {name[:50]!r}.", network=name[:50])
    return network


# Ids that mean the same chain wherever a venue uses them. Each adapter adds its own, and takes back what means something
# else there. What is in neither table is refused.
COMMON_IDS: Final = {
    "BTC": "bitcoin", "LTC": "litecoin", "DOGE": "dogecoin", "BCH": "bitcoin-cash", "DASH": "dash", "ZEC": "zcash",
    "ETH": "ethereum", "ERC20": "ethereum", "ETC": "ethereum-classic", "BSC": "bsc", "BEP20": "bsc", "MATIC": "polygon",
    "ARBITRUM": "arbitrum", "OPTIMISM": "optimism", "BASE": "base", "AVAXC": "avalanche", "LINEA": "linea", "VET": "vechain",
    "TRX": "tron", "TRC20": "tron", "XRP": "xrp", "XLM": "stellar", "SOL": "solana", "ADA": "cardano", "DOT": "polkadot",
    "KSM": "kusama", "ATOM": "cosmos", "TIA": "celestia", "INJ": "injective", "SEI": "sei", "NEAR": "near", "ALGO": "algorand",
    "FIL": "filecoin", "XTZ": "tezos", "EOS": "eos", "APT": "aptos", "SUI": "sui", "TON": "ton", "HBAR": "hedera", "ICP": "icp",
    "KAS": "kaspa",
}  # fmt: skip

# Old codes of coins that mean one coin only.
_CURRENCIES: Final = {"XBT": "BTC", "XXBT": "BTC", "XDG": "DOGE", "XXDG": "DOGE", "BCHN": "BCH"}
CURRENCY_FORM: Final = re.compile(r"[A-Z0-9][A-Z0-9$._-]{0,39}")


def read_currency(code: str) -> str:
    """Return our code of a currency that a user named.

    :raises CurrencyNotSupported: no currency is written like that
    """
    code = code.strip().upper()
    if not CURRENCY_FORM.fullmatch(code):
        raise CurrencyNotSupported(f"There is no currency {code[:50]!r}.", currency=code[:50])
    return _CURRENCIES.get(code, code)
