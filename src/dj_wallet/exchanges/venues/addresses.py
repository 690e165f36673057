"""The form of addresses and tags, network by network. Pure: an address of the right form may still belong to anybody.

Checksums are checked wherever the network has one. Where it has none (Solana, Aptos, Sui, NEAR, EOS, Hedera), length and
alphabet are all there is. CCXT's own check looks for a single character, spaces and one repeated letter.
"""

import binascii
import hashlib
import re
import string
from base64 import urlsafe_b64decode
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from .encodings import (
    BECH32,
    BECH32M,
    XRP_ALPHABET,
    base32_decode,
    base58_decode,
    base58check_decode,
    bech32_decode,
    cashaddr_decode,
    crc16,
    keccak256,
    to_groups,
)
from .networks import NETWORKS, Network, TagKind

MAX_ADDRESS_CHARACTERS: Final = 256
MAX_MEMO_BYTES: Final = 100

Check = Callable[[str], bool]


def _base58check(*versions: bytes, length: int = 20) -> Check:
    def check(address: str) -> bool:
        payload = base58check_decode(address)
        return payload is not None and any(
            payload.startswith(version) and len(payload) == len(version) + length
            for version in versions
        )

    return check


def _segwit(prefix: str) -> Check:
    """BIP-173 for version 0, BIP-350 for the later ones."""

    def check(address: str) -> bool:
        decoded = bech32_decode(address) if len(address) <= 90 else None
        if decoded is None or decoded[0] != prefix or not decoded[1]:
            return False
        version, constant = decoded[1][0], decoded[2]
        program = to_groups(decoded[1][1:], 5, 8, pad=False)
        if program is None or not 2 <= len(program) <= 40 or version > 16:
            return False
        if version == 0:
            return constant == BECH32 and len(program) in {20, 32}
        return constant == BECH32M

    return check


def _bech32(prefix: str, *lengths: int) -> Check:
    def check(address: str) -> bool:
        decoded = bech32_decode(address)
        if decoded is None or decoded[0] != prefix or decoded[2] != BECH32:
            return False
        data = to_groups(decoded[1], 5, 8, pad=False)
        return data is not None and len(data) in lengths

    return check


def _any_of(*checks: Check) -> Check:
    return lambda address: any(check(address) for check in checks)


def _matches(pattern: str) -> Check:
    compiled = re.compile(pattern)
    return lambda address: compiled.fullmatch(address) is not None


def _is_evm(address: str) -> bool:
    """Forty hexadecimal digits; mixed capitals are a checksum (EIP-55)."""
    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", address) or int(address, 16) == 0:
        return False
    digits = address[2:]
    return digits in {digits.lower(), digits.upper()} or digits == eip55(digits)


def eip55(digits: str) -> str:
    """Return forty hexadecimal digits with the capitals of their checksum."""
    low = digits.lower()
    nibbles = keccak256(low.encode()).hex()
    return "".join(
        digit.upper() if int(nibble, 16) > 7 else digit
        for digit, nibble in zip(low, nibbles, strict=False)
    )


def _is_cashaddr(address: str) -> bool:
    payload = cashaddr_decode(address, "bitcoincash")
    # Version bytes 0 and 8: hash of a key or a script, 160 bits.
    return payload is not None and len(payload) == 21 and payload[0] in {0, 8}


def _is_kaspa(address: str) -> bool:
    payload = cashaddr_decode(address, "kaspa")
    return payload is not None and (payload[0], len(payload)) in {(0, 33), (1, 34), (8, 33)}


def _is_xrp(address: str) -> bool:
    """A classic address. X-addresses, which hide a tag, are refused: the tag must be seen."""
    payload = base58check_decode(address, XRP_ALPHABET)
    return payload is not None and len(payload) == 21 and payload[0] == 0


def _is_stellar(address: str) -> bool:
    """A strkey of an account (G...). Muxed ones (M...), which hide an id, are refused."""
    data = base32_decode(address)
    if data is None or len(data) != 35 or data[0] != 6 << 3:
        return False
    return crc16(data[:-2]).to_bytes(2, "little") == data[-2:]


def _is_solana(address: str) -> bool:
    key = base58_decode(address)
    return key is not None and len(key) == 32 and any(key)


def _is_shelley(address: str) -> bool:
    """A main network address of CIP-19: base, pointer or enterprise."""
    decoded = bech32_decode(address)
    if decoded is None or decoded[0] != "addr" or decoded[2] != BECH32:
        return False
    data = to_groups(decoded[1], 5, 8, pad=False)
    if not data or data[0] & 15 != 1:
        return False
    kind = data[0] >> 4
    if kind <= 3:
        return len(data) == 57
    return len(data) == 29 if kind in {6, 7} else kind in {4, 5} and 32 <= len(data) <= 40


def _is_byron(address: str) -> bool:
    """CBOR of a tagged byte string and its CRC-32."""
    data = base58_decode(address)
    if data is None or data[:3] != b"\x82\xd8\x18" or len(data) < 20:
        return False
    length, at = (data[4], 5) if data[3] == 0x58 else (data[3] & 31, 4)
    payload, rest = data[at : at + length], data[at + length :]
    return len(rest) == 5 and rest == b"\x1a" + binascii.crc32(payload).to_bytes(4, "big")


def _ss58(prefix: int) -> Check:
    def check(address: str) -> bool:
        data = base58_decode(address)
        if data is None or len(data) != 35 or data[0] != prefix:
            return False
        return hashlib.blake2b(b"SS58PRE" + data[:33]).digest()[:2] == data[33:]

    return check


def _is_algorand(address: str) -> bool:
    data = base32_decode(address)
    if data is None or len(data) != 36:
        return False
    return hashlib.new("sha512_256", data[:32]).digest()[-4:] == data[32:]


def _is_filecoin(address: str) -> bool:
    """Protocols 1 (secp256k1), 2 (actor) and 3 (BLS); f4 holds addresses of other chains."""
    lengths = {"1": 20, "2": 20, "3": 48}
    if address[:1] != "f" or address[1:2] not in lengths or address != address.lower():
        return False
    protocol = address[1]
    data = base32_decode(address[2:].upper())
    if data is None or len(data) != lengths[protocol] + 4:
        return False
    checksum = hashlib.blake2b(bytes([int(protocol)]) + data[:-4], digest_size=4).digest()
    return checksum == data[-4:]


def _is_ton(address: str) -> bool:
    """A user-friendly address of the main network: flags, workchain, hash, CRC-16."""
    if not re.fullmatch(r"[A-Za-z0-9_\-+/]{48}", address):
        return False
    data = urlsafe_b64decode(address.replace("+", "-").replace("/", "_"))
    return (
        data[0] in {0x11, 0x51}
        and data[1] in {0, 255}
        and crc16(data[:-2]).to_bytes(2, "big") == data[-2:]
    )


def _is_icp(address: str) -> bool:
    """An account identifier: CRC-32 and the hash."""
    if not re.fullmatch(r"[0-9a-f]{64}", address):
        return False
    data = bytes.fromhex(address)
    return binascii.crc32(data[4:]).to_bytes(4, "big") == data[:4]


_NEAR_NAME: Final = _matches(r"(?=.{2,64}$)[a-z0-9]+(?:[-_.][a-z0-9]+)*\.near")
_MOVE: Final = _matches(r"0x(?!0{64})[0-9a-f]{64}")

FORMS: Final[dict[str, Check]] = {
    "bitcoin": _any_of(_segwit("bc"), _base58check(b"\x00", b"\x05")),
    "litecoin": _any_of(_segwit("ltc"), _base58check(b"\x30", b"\x32")),  # 0x05 is also Bitcoin's
    "dogecoin": _base58check(b"\x1e", b"\x16"),
    "bitcoin-cash": _is_cashaddr,  # the old form is also Bitcoin's
    "dash": _base58check(b"\x4c", b"\x10"),
    "zcash": _base58check(b"\x1c\xb8", b"\x1c\xbd"),
    "evm": _is_evm,
    "tron": _base58check(b"\x41"),
    "xrp": _is_xrp,
    "stellar": _is_stellar,
    "solana": _is_solana,
    "cardano": _any_of(_is_shelley, _is_byron),
    "polkadot": _ss58(0),
    "kusama": _ss58(2),
    "cosmos": _bech32("cosmos", 20, 32),
    "celestia": _bech32("celestia", 20, 32),
    "injective": _bech32("inj", 20, 32),
    "sei": _bech32("sei", 20, 32),
    "near": _any_of(_matches(r"[0-9a-f]{64}"), _NEAR_NAME),
    "algorand": _is_algorand,
    "filecoin": _is_filecoin,
    "tezos": _base58check(b"\x06\xa1\x9f", b"\x06\xa1\xa1", b"\x06\xa1\xa4", b"\x02\x5a\x79"),
    "eos": _matches(r"(?=.{1,12}$)[a-z1-5]+(?:\.[a-z1-5]+)*"),
    "aptos": _MOVE,
    "sui": _MOVE,
    "ton": _is_ton,
    "hedera": _matches(r"0\.0\.[1-9][0-9]{0,18}"),
    "icp": _is_icp,
    "kaspa": _is_kaspa,
}


@lru_cache(maxsize=10_000)
def find_address_fault(network: str, address: str) -> str | None:
    """Return why this cannot be an address of the network (an id of networks.py), or None.

    The answer for a pair never changes, and venues give the same addresses again and again.
    """
    if network not in NETWORKS:
        return "the network is not one that we can verify"
    if not address:
        return "the address is empty"
    if len(address) > MAX_ADDRESS_CHARACTERS:
        return "the address is too long"
    if not set(address) <= set(string.ascii_letters + string.digits + "+-_.:/"):
        return "the address has characters that no address has"
    if not FORMS[NETWORKS[network].form](address):
        return f"the address has not the form of {NETWORKS[network].name}"
    return None


def find_tag_fault(network: str, tag: str) -> str | None:
    """Return why this cannot be a tag on the network, or None."""
    kind = NETWORKS[network].tag
    if kind is TagKind.NONE:
        return f"{NETWORKS[network].name} has no tags"
    if kind is TagKind.DESTINATION_TAG:
        return None if _is_uint(tag, 32) else "a destination tag is a whole number below 2**32"
    if not tag.isprintable() or tag != tag.strip():
        return "the memo has characters that cannot be copied"
    return None if len(tag.encode()) <= MAX_MEMO_BYTES else "the memo is too long"


def _is_uint(text: str, bits: int) -> bool:
    return re.fullmatch(r"0|[1-9][0-9]{0,19}", text) is not None and int(text) < 2**bits


def needs_tag(network: Network, *, venue_says: bool) -> bool:
    """Tell whether a deposit without a tag would be lost: by the network's custom or the venue's word."""
    return network.tag_required or (venue_says and network.tag is not TagKind.NONE)
