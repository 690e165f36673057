"""Transactions: bytes to values and back, their ids, what they weigh, and signing them.

We spend P2PKH only (the one kind of output that all our chains have) and read everything, segregated witnesses and
Litecoin's HogEx included. Amounts are base units.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final, NamedTuple, Protocol

from .errors import TransactionInvalid
from .hashes import double_sha256, hash160
from .networks import Network, to_base_units

SEQUENCE_FINAL: Final = 0xFFFFFFFE
"""Not replaceable."""
SEQUENCE_REPLACEABLE: Final = 0xFFFFFFFD
"""Says that it may be replaced by one with a higher fee (BIP 125)."""
SIGHASH_ALL: Final = 1

OVERHEAD_BYTES: Final = 10
INPUT_BYTES: Final = 148
"""Of a signed P2PKH input with the longest signature that low-s DER has."""
MAX_BYTES: Final = 4_000_000
MAX_STANDARD_BYTES: Final = 100_000

_MAX_VARINT: Final = MAX_BYTES
_WITNESS, _MWEB = 1, 8


class Outpoint(NamedTuple):
    """One output of one transaction: the identity of a deposit, and of everything we can spend."""

    txid: str
    vout: int

    def __str__(self) -> str:
        return f"{self.txid}:{self.vout}"


class Input(NamedTuple):
    outpoint: Outpoint
    script_sig: bytes = b""
    sequence: int = SEQUENCE_FINAL
    witness: tuple[bytes, ...] = ()


class Output(NamedTuple):
    amount: int
    script: bytes


class Signer(Protocol):
    """What holds one private key: see `keys.ChildKey`."""

    @property
    def public_key(self) -> bytes: ...

    def sign(self, digest: bytes) -> bytes:
        """Return the DER signature (low s, RFC 6979) of a digest of 32 bytes."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction, signed or not."""

    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    version: int = 1
    lock_time: int = 0

    @property
    def txid(self) -> str:
        """The id: the hash without witnesses. Of an unsigned P2PKH transaction it is not the final one."""
        return double_sha256(self._serialize(witnesses=False))[::-1].hex()

    def serialize(self) -> bytes:
        """Return the bytes that are sent, with witnesses where there are any."""
        return self._serialize(witnesses=any(spent.witness for spent in self.inputs))

    def _serialize(self, *, witnesses: bool) -> bytes:
        parts = [struct.pack("<I", self.version & 0xFFFFFFFF)]
        if witnesses:
            parts.append(b"\x00\x01")
        parts.append(encode_varint(len(self.inputs)))
        for spent in self.inputs:
            parts += (
                encode_outpoint(spent.outpoint),
                encode_bytes(spent.script_sig),
                struct.pack("<I", spent.sequence),
            )
        parts.append(encode_varint(len(self.outputs)))
        parts += [encode_output(output) for output in self.outputs]
        if witnesses:
            for spent in self.inputs:
                parts.append(encode_varint(len(spent.witness)))
                parts += [encode_bytes(item) for item in spent.witness]
        parts.append(struct.pack("<I", self.lock_time))
        return b"".join(parts)


def parse(data: bytes) -> Transaction:
    """Return the transaction that `data` is, all of it.

    :raises TransactionInvalid: too short, too long, or not in the one form that serializing gives
    """
    if len(data) > MAX_BYTES:
        raise TransactionInvalid("A transaction is not that large.")
    reader = _Reader(data)
    version = reader.read_number("<i")
    flags = 0
    count = reader.read_varint()
    if count == 0:
        flags = reader.read_number("<B")
        if flags == 0 or flags & ~(_WITNESS | _MWEB):
            raise TransactionInvalid("The transaction has no inputs.")
        count = reader.read_varint()
    inputs = [reader.read_input() for _ in range(count)]
    outputs = [reader.read_output() for _ in range(reader.read_varint())]
    if flags & _WITNESS:
        inputs = [spent._replace(witness=reader.read_items()) for spent in inputs]
        if not any(spent.witness for spent in inputs):
            raise TransactionInvalid("The transaction announces witnesses and has none.")
    if flags & _MWEB and reader.read(1) != b"\0":
        raise TransactionInvalid("Litecoin's extension blocks are not read.")
    lock_time = reader.read_number("<I")
    reader.expect_end()
    return Transaction(tuple(inputs), tuple(outputs), version, lock_time)


def from_node(said: Mapping[str, Any]) -> Transaction:
    """Return a transaction of `getblock(hash, 2)` without its witnesses, proven by its id.

    Dogecoin Core 1.14 gives no bytes there, so they are put together again from the fields.

    :raises TransactionInvalid: the fields do not hash to the id the node says
    """
    try:
        transaction = Transaction(
            tuple(_read_input(spent) for spent in said["vin"]),
            tuple(
                Output(_read_amount(output["value"]), bytes.fromhex(output["scriptPubKey"]["hex"]))
                for output in said["vout"]
            ),
            said["version"],
            said["locktime"],
        )
        matches = transaction.txid == said["txid"]
    except (KeyError, TypeError, ValueError, struct.error) as error:
        raise TransactionInvalid("The node's transaction cannot be read.") from error
    if not matches:
        raise TransactionInvalid("The node's transaction does not hash to its id.")
    return transaction


def _read_input(said: Mapping[str, Any]) -> Input:
    if "coinbase" in said:
        outpoint, script = Outpoint("00" * 32, 0xFFFFFFFF), said["coinbase"]
    else:
        outpoint, script = Outpoint(said["txid"], said["vout"]), said["scriptSig"]["hex"]
    return Input(outpoint, bytes.fromhex(script), said["sequence"])


def _read_amount(value: object) -> int:
    return to_base_units(value if isinstance(value, Decimal) else Decimal(str(value)))


def build_unsigned(
    inputs: Sequence[Outpoint], outputs: Sequence[Output], *, replaceable: bool = False
) -> Transaction:
    """Return the transaction that spends `inputs` into `outputs`, in these orders, without signatures.

    :raises TransactionInvalid: nothing in or out, an outpoint twice, or an output without an amount
    """
    if not inputs or not outputs:
        raise TransactionInvalid("A transaction has inputs and outputs.")
    if len(set(inputs)) != len(inputs):
        raise TransactionInvalid("An output cannot be spent twice.")
    if any(output.amount <= 0 for output in outputs):
        raise TransactionInvalid("An output has an amount above zero.")
    sequence = SEQUENCE_REPLACEABLE if replaceable else SEQUENCE_FINAL
    return Transaction(
        tuple(Input(outpoint, sequence=sequence) for outpoint in inputs), tuple(outputs)
    )


def sign(transaction: Transaction, signers: Sequence[Signer]) -> Transaction:
    """Return the transaction with its P2PKH inputs signed, each by the signer at its place.

    :raises TransactionInvalid: not one signer per input
    """
    if len(signers) != len(transaction.inputs):
        raise TransactionInvalid("Each input needs its signer.")
    signed = []
    for at, (spent, signer) in enumerate(zip(transaction.inputs, signers, strict=True)):
        public_key = signer.public_key
        digest = hash_for_signature(transaction, at, p2pkh_script(hash160(public_key)))
        signature = signer.sign(digest) + bytes([SIGHASH_ALL])
        signed.append(spent._replace(script_sig=_push(signature) + _push(public_key)))
    return replace(transaction, inputs=tuple(signed))


def hash_for_signature(transaction: Transaction, at: int, script: bytes) -> bytes:
    """Return what the input at `at`, which spends an output with `script`, is signed over (SIGHASH_ALL, legacy)."""
    inputs = tuple(
        spent._replace(script_sig=script if number == at else b"", witness=())
        for number, spent in enumerate(transaction.inputs)
    )
    bare = replace(transaction, inputs=inputs)
    return double_sha256(bare.serialize() + struct.pack("<I", SIGHASH_ALL))


def hash_for_witness(transaction: Transaction, at: int, key_hash: bytes, amount: int) -> bytes:
    """Return what a P2WPKH input is signed over (SIGHASH_ALL, BIP 143): unlike the legacy hash it holds the amount."""
    outpoints = b"".join(encode_outpoint(spent.outpoint) for spent in transaction.inputs)
    sequences = b"".join(struct.pack("<I", spent.sequence) for spent in transaction.inputs)
    outputs = b"".join(encode_output(output) for output in transaction.outputs)
    spent = transaction.inputs[at]
    return double_sha256(
        struct.pack("<I", transaction.version & 0xFFFFFFFF)
        + double_sha256(outpoints)
        + double_sha256(sequences)
        + encode_outpoint(spent.outpoint)
        + encode_bytes(p2pkh_script(key_hash))
        + struct.pack("<qI", amount, spent.sequence)
        + double_sha256(outputs)
        + struct.pack("<II", transaction.lock_time, SIGHASH_ALL)
    )


def read_p2pkh_signature(script_sig: bytes) -> tuple[bytes, bytes]:
    """Return DER signature (without its SIGHASH byte) and public key of a P2PKH input.

    :raises TransactionInvalid: the script is not two plain pushes, or signs something else than SIGHASH_ALL
    """
    reader = _Reader(script_sig)
    signature, public_key = reader.read(reader.read_push()), reader.read(reader.read_push())
    reader.expect_end()
    if signature[-1:] != bytes([SIGHASH_ALL]):
        raise TransactionInvalid("The signature is not over the whole transaction.")
    return signature[:-1], public_key


def estimate_size(inputs: int, scripts: Sequence[bytes]) -> int:
    """Return how many bytes a signed transaction of P2PKH inputs has at most."""
    counts = len(encode_varint(inputs)) + len(encode_varint(len(scripts))) - 2
    outputs = sum(8 + len(encode_varint(len(script))) + len(script) for script in scripts)
    return OVERHEAD_BYTES + counts + INPUT_BYTES * inputs + outputs


def get_fee(size: int, rate_per_kb: int) -> int:
    """Return the fee of `size` bytes at a rate per 1,000 bytes, rounded up."""
    return -(-size * rate_per_kb // 1000)


def is_dust(network: Network, amount: int) -> bool:
    """Tell whether an output of this amount is not worth having on this network."""
    return amount < network.min_output


def p2pkh_script(key_hash: bytes) -> bytes:
    """Return the script of outputs that the key with this hash spends."""
    return b"\x76\xa9\x14" + key_hash + b"\x88\xac"


def encode_varint(number: int) -> bytes:
    """Return a length as the chain writes it, in the shortest form."""
    if number < 0xFD:
        return bytes([number])
    if number <= 0xFFFF:
        return b"\xfd" + struct.pack("<H", number)
    return b"\xfe" + struct.pack("<I", number)


def encode_bytes(data: bytes) -> bytes:
    """Return bytes behind their length."""
    return encode_varint(len(data)) + data


def encode_outpoint(outpoint: Outpoint) -> bytes:
    """Return an outpoint as inputs carry it.

    :raises TransactionInvalid: the id is no id
    """
    try:
        txid = bytes.fromhex(outpoint.txid)
        encoded = txid[::-1] + struct.pack("<I", outpoint.vout)
    except (ValueError, struct.error) as error:
        raise TransactionInvalid("An outpoint is an id and a number.") from error
    if len(txid) != 32:
        raise TransactionInvalid("The id of a transaction has 64 hexadecimal digits.")
    return encoded


def encode_output(output: Output) -> bytes:
    """Return an output as transactions carry it."""
    return struct.pack("<q", output.amount) + encode_bytes(output.script)


def _push(data: bytes) -> bytes:
    """Return a script that pushes up to 75 bytes."""
    return bytes([len(data)]) + data


class _Reader:
    """Reads bytes from the front, and refuses what is cut off."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise TransactionInvalid("The transaction is cut off.")
        part = self._data[self._at : end]
        self._at = end
        return part

    def read_number(self, form: str) -> int:
        (number,) = struct.unpack(form, self.read(struct.calcsize(form)))
        return int(number)

    def read_varint(self) -> int:
        first = self.read_number("<B")
        if first < 0xFD:
            return first
        form, least = {0xFD: ("<H", 0xFD), 0xFE: ("<I", 1 << 16), 0xFF: ("<Q", 1 << 32)}[first]
        number = self.read_number(form)
        if number < least or number > _MAX_VARINT:
            raise TransactionInvalid("A length is not in its shortest form, or beyond all measure.")
        return number

    def read_push(self) -> int:
        length = self.read_number("<B")
        if not 0 < length <= 75:
            raise TransactionInvalid("The script is not plain pushes.")
        return length

    def read_input(self) -> Input:
        txid, vout = self.read(32)[::-1].hex(), self.read_number("<I")
        script = self.read(self.read_varint())
        return Input(Outpoint(txid, vout), script, self.read_number("<I"))

    def read_output(self) -> Output:
        amount = self.read_number("<q")
        return Output(amount, self.read(self.read_varint()))

    def read_items(self) -> tuple[bytes, ...]:
        return tuple(self.read(self.read_varint()) for _ in range(self.read_varint()))

    def expect_end(self) -> None:
        if self._at != len(self._data):
            raise TransactionInvalid("The transaction goes on behind its end.")
