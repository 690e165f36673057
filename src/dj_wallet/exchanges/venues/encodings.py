"""The alphabets and checksums of addresses, both ways. Pure; decoders return None for what is not theirs.

base58: Bitcoin and XRP Ledger alphabets. bech32: BIP-173 and BIP-350. cashaddr: Bitcoin Cash's specification, which Kaspa
shares. Keccak-256: the SHA-3 competition's padding, as Ethereum uses it, which hashlib does not have.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

BITCOIN_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
XRP_ALPHABET: Final = "rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz"
BECH32_ALPHABET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

BECH32: Final = 1
BECH32M: Final = 0x2BC830A3


def base58_encode(data: bytes, alphabet: str = BITCOIN_ALPHABET) -> str:
    number = int.from_bytes(data, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = alphabet[digit] + digits
    zeros = len(data) - len(data.lstrip(b"\0"))
    return alphabet[0] * zeros + digits


def base58_decode(text: str, alphabet: str = BITCOIN_ALPHABET) -> bytes | None:
    number = 0
    for letter in text:
        digit = alphabet.find(letter)
        if digit < 0:
            return None
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")


def sha256d(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def base58check_encode(payload: bytes, alphabet: str = BITCOIN_ALPHABET) -> str:
    return base58_encode(payload + sha256d(payload)[:4], alphabet)


def base58check_decode(text: str, alphabet: str = BITCOIN_ALPHABET) -> bytes | None:
    data = base58_decode(text, alphabet)
    if data is None or len(data) < 5 or sha256d(data[:-4])[:4] != data[-4:]:
        return None
    return data[:-4]


def bech32_encode(prefix: str, values: Sequence[int], constant: int = BECH32) -> str:
    expanded = _expand(prefix)
    polymod = _bech32_polymod([*expanded, *values, 0, 0, 0, 0, 0, 0]) ^ constant
    checksum = [(polymod >> 5 * (5 - at)) & 31 for at in range(6)]
    return f"{prefix}1" + "".join(BECH32_ALPHABET[value] for value in [*values, *checksum])


def bech32_decode(text: str) -> tuple[str, list[int], int] | None:
    """Return the prefix, the five-bit values and which of the two checksums it has."""
    if text != text.lower() and text != text.upper():
        return None
    prefix, separator, data = text.lower().rpartition("1")
    values = [BECH32_ALPHABET.find(letter) for letter in data]
    if not separator or not prefix or len(values) < 6 or -1 in values:
        return None
    constant = _bech32_polymod([*_expand(prefix), *values])
    if constant not in {BECH32, BECH32M}:
        return None
    return prefix, values[:-6], constant


def _expand(prefix: str) -> list[int]:
    codes = prefix.encode()
    return [code >> 5 for code in codes] + [0] + [code & 31 for code in codes]


def _bech32_polymod(values: Iterable[int]) -> int:
    generators = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(generators):
            if top >> bit & 1:
                checksum ^= generator
    return checksum


def cashaddr_encode(prefix: str, payload: bytes) -> str:
    values = to_groups(payload, 8, 5, pad=True) or []
    codes = [code & 31 for code in prefix.encode()] + [0]
    polymod = _cashaddr_polymod([*codes, *values, *[0] * 8])
    checksum = [(polymod >> 5 * (7 - at)) & 31 for at in range(8)]
    return f"{prefix}:" + "".join(BECH32_ALPHABET[value] for value in [*values, *checksum])


def cashaddr_decode(text: str, prefix: str) -> bytes | None:
    """Return version byte and hash; `text` with its prefix or, as venues write it, without."""
    if text != text.lower() and text != text.upper():
        return None
    before, _, data = text.lower().rpartition(":")
    values = [BECH32_ALPHABET.find(letter) for letter in data]
    if before not in {"", prefix} or len(values) < 8 or -1 in values:
        return None
    codes = [code & 31 for code in prefix.encode()] + [0]
    if _cashaddr_polymod([*codes, *values]):
        return None
    groups = to_groups(values[:-8], 5, 8, pad=False)
    return None if groups is None else bytes(groups)


def _cashaddr_polymod(values: Iterable[int]) -> int:
    generators = (0x98F2BC8E61, 0x79B76D99E2, 0xF33E5FB3C4, 0xAE2EABE2A8, 0x1E4F43E470)
    checksum = 1
    for value in values:
        top = checksum >> 35
        checksum = (checksum & 0x07FFFFFFFF) << 5 ^ value
        for bit, generator in enumerate(generators):
            if top >> bit & 1:
                checksum ^= generator
    return checksum ^ 1


def to_groups(data: Iterable[int], have: int, want: int, *, pad: bool) -> list[int] | None:
    """Regroup bits. Without padding, what is left over must be zero bits and fewer than a group had."""
    accumulator = bits = 0
    groups = []
    for value in data:
        accumulator = accumulator << have | value
        bits += have
        while bits >= want:
            bits -= want
            groups.append(accumulator >> bits & (1 << want) - 1)
        accumulator &= (1 << bits) - 1
    if pad and bits:
        groups.append(accumulator << want - bits & (1 << want) - 1)
    elif not pad and (bits >= have or accumulator):
        return None
    return groups


def base32_decode(text: str) -> bytes | None:
    """Read RFC 4648 capitals without padding, each value in one way only."""
    try:
        data = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        return None
    return data if base32_encode(data) == text else None


def base32_encode(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=")


def crc16(data: bytes) -> int:
    """CRC-16/XMODEM, of Stellar and TON."""
    return binascii.crc_hqx(data, 0)


def keccak256(data: bytes) -> bytes:
    rate = 136
    padded = data + b"\x01" + b"\0" * (-(len(data) + 1) % rate)
    padded = padded[:-1] + bytes([padded[-1] | 0x80])
    lanes = [0] * 25
    for start in range(0, len(padded), rate):
        for at in range(rate // 8):
            lanes[at] ^= int.from_bytes(padded[start + 8 * at : start + 8 * at + 8], "little")
        _keccak_f(lanes)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


ROUND_CONSTANTS: Final = (
    0x0000000000000001, 0x0000000000008082, 0x800000000000808A, 0x8000000080008000, 0x000000000000808B,
    0x0000000080000001, 0x8000000080008081, 0x8000000000008009, 0x000000000000008A, 0x0000000000000088,
    0x0000000080008009, 0x000000008000000A, 0x000000008000808B, 0x800000000000008B, 0x8000000000008089,
    0x8000000000008003, 0x8000000000008002, 0x8000000000000080, 0x000000000000800A, 0x800000008000000A,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
)  # fmt: skip
MASK: Final = (1 << 64) - 1


def _rotate(lane: int, bits: int) -> int:
    return (lane << bits | lane >> 64 - bits) & MASK


def _keccak_f(lanes: list[int]) -> None:
    """Permute the 25 lanes in place; lane (x, y) stands at x + 5 * y."""
    for constant in ROUND_CONSTANTS:
        columns = [
            lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20]
            for x in range(5)
        ]
        for x in range(5):
            parity = columns[x - 1] ^ _rotate(columns[(x + 1) % 5], 1)
            for y in range(0, 25, 5):
                lanes[x + y] ^= parity
        x, y, lane = 1, 0, lanes[1]
        for step in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            at = x + 5 * y
            lanes[at], lane = _rotate(lane, (step + 1) * (step + 2) // 2 % 64), lanes[at]
        for y in range(0, 25, 5):
            row = lanes[y : y + 5]
            for x in range(5):
                lanes[x + y] = row[x] ^ (~row[(x + 1) % 5] & MASK & row[(x + 2) % 5])
        lanes[0] ^= constant
