"""What the simulated venues list, and addresses that have the checksums of their networks."""

import binascii
import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Final

from dj_wallet.exchanges.venues.addresses import eip55
from dj_wallet.exchanges.venues.encodings import (
    XRP_ALPHABET,
    base32_encode,
    base58_encode,
    base58check_encode,
    bech32_encode,
    cashaddr_encode,
    crc16,
    to_groups,
)

# Coins on their own chain, in the order of a full list.
NATIVE: Final = {
    "BTC": "bitcoin", "ETH": "ethereum", "XRP": "xrp", "XLM": "stellar", "SOL": "solana", "TRX": "tron", "ADA": "cardano",
    "DOT": "polkadot", "LTC": "litecoin", "BCH": "bitcoin-cash", "DOGE": "dogecoin", "ATOM": "cosmos", "AVAX": "avalanche",
    "NEAR": "near", "ALGO": "algorand", "FIL": "filecoin", "XTZ": "tezos", "EOS": "eos", "APT": "aptos", "SUI": "sui",
    "TIA": "celestia", "INJ": "injective", "SEI": "sei", "TON": "ton", "HBAR": "hedera", "ICP": "icp", "KAS": "kaspa",
}  # fmt: skip
TOKENS: Final = [
    "LINK",
    "UNI",
    "AAVE",
    "MKR",
    "COMP",
    "SNX",
    "CRV",
    "SUSHI",
    "YFI",
    "BAT",
    "ZRX",
    "MANA",
    "SAND",
    "AXS",
    "ENJ",
    "CHZ",
    "GRT",
    "LDO",
    "ENS",
    "IMX",
    "DYDX",
    "FET",
    "PEPE",
    "SHIB",
]
SEVERAL: Final = {
    "USDT": ("ethereum", "tron", "solana"),
    "USDC": ("ethereum", "solana", "arbitrum", "base"),
}
NETWORKS_OF: Final[dict[str, tuple[str, ...]]] = {
    "BTC": ("bitcoin",),
    **SEVERAL,
    **{coin: (network,) for coin, network in NATIVE.items()},
    **dict.fromkeys(TOKENS, ("ethereum",)),
    "ETH": ("ethereum", "arbitrum", "base"),
    # Its chain is one that we cannot verify.
    "MINA": ("mina",),
}
TAGGED: Final = frozenset({"xrp", "stellar", "eos", "cosmos", "ton", "hedera"})
EVM: Final = frozenset({"ethereum", "arbitrum", "base", "avalanche"})

Draw = Callable[[int], bytes]


def make_address(network: str, seed: str) -> str:
    """Return the address of a network that belongs to a seed."""

    def draw(length: int) -> bytes:
        return hashlib.shake_256(seed.encode()).digest(length)

    if network in EVM:
        return "0x" + eip55(draw(20).hex())
    return MAKERS[network](draw)


def make_tag(network: str, seed: str) -> str | None:
    if network not in TAGGED:
        return None
    return str(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big") or 1)


def damage(address: str) -> str:
    """Return the address with one letter changed, as a typing error or a forger would."""
    middle = len(address) // 2
    other = "3" if address[middle] != "3" else "4"
    return address[:middle] + other + address[middle + 1 :]


def _bech32(prefix: str, payload: bytes, before: tuple[int, ...] = ()) -> str:
    return bech32_encode(prefix, [*before, *(to_groups(payload, 8, 5, pad=True) or [])])


def _stellar(draw: Draw) -> str:
    body = bytes([6 << 3]) + draw(32)
    return base32_encode(body + crc16(body).to_bytes(2, "little"))


def _polkadot(draw: Draw) -> str:
    body = b"\0" + draw(32)
    return base58_encode(body + hashlib.blake2b(b"SS58PRE" + body).digest()[:2])


def _algorand(draw: Draw) -> str:
    return base32_encode(draw(32) + hashlib.new("sha512_256", draw(32)).digest()[-4:])


def _filecoin(draw: Draw) -> str:
    checksum = hashlib.blake2b(b"\x01" + draw(20), digest_size=4).digest()
    return "f1" + base32_encode(draw(20) + checksum).lower()


def _ton(draw: Draw) -> str:
    body = b"\x11\0" + draw(32)
    return urlsafe_b64encode(body + crc16(body).to_bytes(2, "big")).decode()


def _icp(draw: Draw) -> str:
    return (binascii.crc32(draw(28)).to_bytes(4, "big") + draw(28)).hex()


MAKERS: Final[dict[str, Callable[[Draw], str]]] = {
    "bitcoin": lambda draw: _bech32("bc", draw(20), (0,)),
    "litecoin": lambda draw: _bech32("ltc", draw(20), (0,)),
    "dogecoin": lambda draw: base58check_encode(b"\x1e" + draw(20)),
    "bitcoin-cash": lambda draw: cashaddr_encode("bitcoincash", b"\0" + draw(20)),
    "tron": lambda draw: base58check_encode(b"\x41" + draw(20)),
    "xrp": lambda draw: base58check_encode(b"\0" + draw(20), XRP_ALPHABET),
    "stellar": _stellar,
    "solana": lambda draw: base58_encode(draw(32)),
    "cardano": lambda draw: _bech32("addr", b"\x61" + draw(28)),
    "polkadot": _polkadot,
    "cosmos": lambda draw: _bech32("cosmos", draw(20)),
    "celestia": lambda draw: _bech32("celestia", draw(20)),
    "injective": lambda draw: _bech32("inj", draw(20)),
    "sei": lambda draw: _bech32("sei", draw(20)),
    "near": lambda draw: draw(32).hex(),
    "algorand": _algorand,
    "filecoin": _filecoin,
    "tezos": lambda draw: base58check_encode(b"\x06\xa1\x9f" + draw(20)),
    "eos": lambda draw: "".join("abcdefghijklmnopqrstuvwxyz12345"[byte % 31] for byte in draw(12)),
    "aptos": lambda draw: "0x" + draw(32).hex(),
    "sui": lambda draw: "0x" + draw(32).hex(),
    "ton": _ton,
    "hedera": lambda draw: f"0.0.{int.from_bytes(draw(4), 'big') + 1}",
    "icp": _icp,
    "kaspa": lambda draw: cashaddr_encode("kaspa", b"\0" + draw(32)),
    "mina": lambda draw: "B62" + base58_encode(draw(38)),
}
