"""The hash functions of the chain, and base58check."""

import hashlib
from typing import Final

ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
DIGITS: Final = {letter: digit for digit, letter in enumerate(ALPHABET)}
CHECKSUM_BYTES: Final = 4

_MASK: Final = 0xFFFFFFFF


def double_sha256(data: bytes) -> bytes:
    """Return SHA-256 of SHA-256: what blocks, transactions and checksums are hashed with."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def hash160(data: bytes) -> bytes:
    """Return RIPEMD-160 of SHA-256: what an address says of a public key."""
    return ripemd160(hashlib.sha256(data).digest())


def encode_base58check(payload: bytes) -> str:
    """Return the payload with its checksum, in base 58."""
    data = payload + double_sha256(payload)[:CHECKSUM_BYTES]
    number = int.from_bytes(data, "big")
    letters = []
    while number:
        number, digit = divmod(number, 58)
        letters.append(ALPHABET[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return ALPHABET[0] * zeros + "".join(reversed(letters))


def decode_base58check(text: str, max_letters: int = 120) -> bytes:
    """Return the payload of `text` without its checksum.

    :raises ValueError: too long, a letter of another alphabet, or a wrong checksum
    """
    if not 0 < len(text) <= max_letters:
        raise ValueError("the length is wrong")
    number = 0
    for letter in text:
        if letter not in DIGITS:
            raise ValueError("it has a letter that base 58 does not have")
        number = number * 58 + DIGITS[letter]
    zeros = len(text) - len(text.lstrip(ALPHABET[0]))
    data = b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
    payload, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if len(checksum) < CHECKSUM_BYTES or double_sha256(payload)[:CHECKSUM_BYTES] != checksum:
        raise ValueError("the checksum is wrong")
    return payload


def _ripemd160_of_openssl(data: bytes) -> bytes:
    return hashlib.new("ripemd160", data).digest()


# RIPEMD-160 as its authors specify it: order of words, rotations and constants of the two lines.
_WORDS_LEFT: Final = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (7, 4, 13, 1, 10, 6, 15, 3, 12, 0, 9, 5, 2, 14, 11, 8),
    (3, 10, 14, 4, 9, 15, 8, 1, 2, 7, 0, 6, 13, 11, 5, 12),
    (1, 9, 11, 10, 0, 8, 12, 4, 13, 3, 7, 15, 14, 5, 6, 2),
    (4, 0, 5, 9, 7, 12, 2, 10, 14, 1, 3, 8, 11, 6, 15, 13),
)
_WORDS_RIGHT: Final = (
    (5, 14, 7, 0, 9, 2, 11, 4, 13, 6, 15, 8, 1, 10, 3, 12),
    (6, 11, 3, 7, 0, 13, 5, 10, 14, 15, 8, 12, 4, 9, 1, 2),
    (15, 5, 1, 3, 7, 14, 6, 9, 11, 8, 12, 2, 10, 0, 4, 13),
    (8, 6, 4, 1, 3, 11, 15, 0, 5, 12, 2, 13, 9, 7, 10, 14),
    (12, 15, 10, 4, 1, 5, 8, 7, 6, 2, 13, 14, 0, 3, 9, 11),
)
_TURNS_LEFT: Final = (
    (11, 14, 15, 12, 5, 8, 7, 9, 11, 13, 14, 15, 6, 7, 9, 8),
    (7, 6, 8, 13, 11, 9, 7, 15, 7, 12, 15, 9, 11, 7, 13, 12),
    (11, 13, 6, 7, 14, 9, 13, 15, 14, 8, 13, 6, 5, 12, 7, 5),
    (11, 12, 14, 15, 14, 15, 9, 8, 9, 14, 5, 6, 8, 6, 5, 12),
    (9, 15, 5, 11, 6, 8, 13, 12, 5, 12, 13, 14, 11, 8, 5, 6),
)
_TURNS_RIGHT: Final = (
    (8, 9, 9, 11, 13, 15, 15, 5, 7, 7, 8, 11, 14, 14, 12, 6),
    (9, 13, 15, 7, 12, 8, 9, 11, 7, 7, 12, 7, 6, 15, 13, 11),
    (9, 7, 15, 11, 8, 6, 6, 14, 12, 13, 5, 14, 13, 13, 7, 5),
    (15, 5, 8, 11, 14, 14, 6, 14, 6, 9, 12, 9, 12, 5, 15, 8),
    (8, 5, 12, 9, 12, 5, 14, 6, 8, 13, 6, 5, 15, 13, 11, 11),
)
_ADDED_LEFT: Final = (0x00000000, 0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xA953FD4E)
_ADDED_RIGHT: Final = (0x50A28BE6, 0x5C4DD124, 0x6D703EF3, 0x7A6D76E9, 0x00000000)


def _ripemd160_in_python(data: bytes) -> bytes:
    """Return RIPEMD-160 without OpenSSL, for images whose OpenSSL leaves it out."""
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0]
    length = (8 * len(data)).to_bytes(8, "little")
    data += b"\x80" + bytes((55 - len(data)) % 64) + length
    for start in range(0, len(data), 64):
        words = [
            int.from_bytes(data[start + at : start + at + 4], "little") for at in range(0, 64, 4)
        ]
        left = _run_line(state, words, _WORDS_LEFT, _TURNS_LEFT, _ADDED_LEFT, (0, 1, 2, 3, 4))
        right = _run_line(state, words, _WORDS_RIGHT, _TURNS_RIGHT, _ADDED_RIGHT, (4, 3, 2, 1, 0))
        state = [
            (state[(at + 1) % 5] + left[(at + 2) % 5] + right[(at + 3) % 5]) & _MASK
            for at in range(5)
        ]
    return b"".join(word.to_bytes(4, "little") for word in state)


def _run_line(
    state: list[int],
    words: list[int],
    order: tuple[tuple[int, ...], ...],
    turns: tuple[tuple[int, ...], ...],
    added: tuple[int, ...],
    mixes: tuple[int, ...],
) -> tuple[int, int, int, int, int]:
    a, b, c, d, e = state
    for stage in range(5):
        for step in range(16):
            mixed = a + _mix(mixes[stage], b, c, d) + words[order[stage][step]] + added[stage]
            a, b, c, d, e = e, (_turn(mixed, turns[stage][step]) + e) & _MASK, b, _turn(c, 10), d
    return a, b, c, d, e


def _mix(function: int, x: int, y: int, z: int) -> int:
    if function == 0:
        return x ^ y ^ z
    if function == 1:
        return (x & y) | (~x & z)
    if function == 2:
        return (x | ~y) ^ z
    if function == 3:
        return (x & z) | (y & ~z)
    return x ^ (y | ~z)


def _turn(word: int, bits: int) -> int:
    word &= _MASK
    return (word << bits | word >> (32 - bits)) & _MASK


def _choose_ripemd160() -> bool:
    try:
        hashlib.new("ripemd160")
    except ValueError:
        return False
    return True


ripemd160 = _ripemd160_of_openssl if _choose_ripemd160() else _ripemd160_in_python
