"""Addresses: text to the script that is paid, and back. What is not certainly payable here is refused."""

from collections.abc import Iterable, Iterator
from typing import Final

from .errors import AddressInvalid, AddressOfOtherNetwork
from .hashes import decode_base58check, encode_base58check
from .networks import NETWORKS, Network
from .transactions import p2pkh_script

MAX_LETTERS: Final = 90
BECH32_LETTERS: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
BECH32_CHECK: Final = 1
BECH32M_CHECK: Final = 0x2BC830A3

_CHECKSUM_LETTERS: Final = 6
_HASH_BYTES: Final = 20
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
# Lengths of the programs that nodes know how to spend, by version. A later version is anyone's to take.
_PROGRAM_BYTES: Final = {0: (20, 32), 1: (32,)}


def get_script(address: str, network: Network) -> bytes:
    """Return the script that pays `address` on this network.

    :raises AddressOfOtherNetwork: it is an address of another network that we know
    :raises AddressInvalid: it is none
    """
    if not isinstance(address, str) or not address or not address.isascii():
        raise AddressInvalid("An address is letters and digits.")
    if not address.isalnum() or len(address) > MAX_LETTERS:
        raise AddressInvalid("An address is at most 90 letters and digits, without spaces.")
    for prefix in _list_bech32_prefixes():
        if address.lower().startswith(f"{prefix}1"):
            return _get_witness_script(address, prefix, network)
    return _get_base58_script(address, network)


def find_address(script: bytes, network: Network) -> str | None:
    """Return the address that `script` pays, or None if addresses cannot say it."""
    if len(script) == 25 and script == p2pkh_script(script[3:23]):
        return p2pkh_address(script[3:23], network)
    if len(script) == 23 and script == p2sh_script(script[2:22]):
        return encode_base58check(bytes([network.p2sh_version]) + script[2:22])
    version = {0x00: 0, 0x51: 1}.get(script[0]) if script else None
    if version is None or network.bech32_prefix is None:
        return None
    if len(script) - 2 not in _PROGRAM_BYTES[version] or script[1] != len(script) - 2:
        return None
    return witness_address(version, script[2:], network.bech32_prefix)


def p2pkh_address(key_hash: bytes, network: Network) -> str:
    """Return the address of the key with this hash."""
    return encode_base58check(bytes([network.p2pkh_version]) + key_hash)


def p2sh_script(script_hash: bytes) -> bytes:
    """Return the script of outputs that whoever knows the hashed script spends."""
    return b"\xa9\x14" + script_hash + b"\x87"


def witness_script(version: int, program: bytes) -> bytes:
    """Return the script of outputs that a witness spends."""
    return bytes([version + 0x50 if version else 0, len(program)]) + program


def witness_address(version: int, program: bytes, prefix: str) -> str:
    """Return the bech32 (version 0) or bech32m (later) address of a witness program."""
    data = [version, *_regroup(program, 8, 5)]
    constant = BECH32M_CHECK if version else BECH32_CHECK
    check = _checksum([*_expand(prefix), *data, *[0] * _CHECKSUM_LETTERS]) ^ constant
    letters = [*data, *(check >> 5 * (5 - place) & 31 for place in range(_CHECKSUM_LETTERS))]
    return f"{prefix}1{''.join(BECH32_LETTERS[letter] for letter in letters)}"


def _get_base58_script(address: str, network: Network) -> bytes:
    try:
        payload = decode_base58check(address, MAX_LETTERS)
    except ValueError as error:
        raise AddressInvalid(f"It is not an address: {error}.") from None
    if len(payload) != 1 + _HASH_BYTES:
        raise AddressInvalid("It is not an address: the length is wrong.")
    version, hashed = payload[0], payload[1:]
    if version == network.p2pkh_version:
        return p2pkh_script(hashed)
    if version == network.p2sh_version:
        return p2sh_script(hashed)
    owners = [
        other.name
        for other in NETWORKS.values()
        if version in (other.p2pkh_version, other.p2sh_version)
    ]
    raise _make_refusal(owners, network)


def _get_witness_script(address: str, prefix: str, network: Network) -> bytes:
    version, program = _read_bech32(address, prefix)
    if prefix != network.bech32_prefix:
        owners = [other.name for other in NETWORKS.values() if other.bech32_prefix == prefix]
        raise _make_refusal(owners, network)
    if len(program) not in _PROGRAM_BYTES.get(version, ()):
        raise AddressInvalid("The address is of a kind that nodes do not protect yet.")
    return witness_script(version, program)


def _make_refusal(owners: list[str], network: Network) -> AddressInvalid:
    """Return the refusal of an address that is not of `network` but of its `owners`, if any."""
    if owners:
        return AddressOfOtherNetwork(f"The address is of {owners[0]}, not of {network.name}.")
    return AddressInvalid(f"The address is of no network we know, and not of {network.name}.")


def _read_bech32(address: str, prefix: str) -> tuple[int, bytes]:
    """Return version and program of a bech32 or bech32m address (BIP 173, BIP 350)."""
    if address not in (address.lower(), address.upper()):
        raise AddressInvalid("The address mixes capitals and small letters.")
    letters = address.lower()[len(prefix) + 1 :]
    if any(letter not in BECH32_LETTERS for letter in letters) or len(letters) <= _CHECKSUM_LETTERS:
        raise AddressInvalid("The address is cut off or has a letter that bech32 does not have.")
    data = [BECH32_LETTERS.index(letter) for letter in letters]
    version = data[0]
    wanted = BECH32M_CHECK if version else BECH32_CHECK
    if version > 16 or _checksum([*_expand(prefix), *data]) != wanted:
        raise AddressInvalid("The checksum of the address is wrong.")
    groups = list(_regroup(data[1:-_CHECKSUM_LETTERS], 5, 8))
    spare = 5 * (len(data) - 1 - _CHECKSUM_LETTERS) % 8
    if spare >= 5 or (spare and groups.pop()):
        raise AddressInvalid("The address is padded.")
    return version, bytes(groups)


def _list_bech32_prefixes() -> list[str]:
    """Return every prefix we know, the longest first: none may be taken for the start of another."""
    prefixes = {network.bech32_prefix for network in NETWORKS.values()}
    return sorted((prefix for prefix in prefixes if prefix), key=len, reverse=True)


def _expand(prefix: str) -> list[int]:
    codes = [ord(letter) for letter in prefix]
    return [*(code >> 5 for code in codes), 0, *(code & 31 for code in codes)]


def _checksum(values: Iterable[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            if top >> bit & 1:
                check ^= generator
    return check


def _regroup(values: Iterable[int], bits_in: int, bits_out: int) -> Iterator[int]:
    """Yield the same bits in groups of another size; the last one is padded with zeros."""
    held = count = 0
    for value in values:
        held, count = held << bits_in | value, count + bits_in
        while count >= bits_out:
            count -= bits_out
            yield held >> count & ((1 << bits_out) - 1)
        held &= (1 << count) - 1
    if count:
        yield held << (bits_out - count) & ((1 << bits_out) - 1)
