"""A chain like Dogecoin's regtest, in memory and on disk: blocks, reorganizations, waiting transactions, a faucet.

It checks what a node checks of what we send: signatures, amounts, fees, dust, maturity, conflicts and their replacement.
Blocks need no work. What happened is appended to a file, so a killed chain is the same chain again.
"""

import hashlib
import json
import os
import secrets
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from coincurve import PrivateKey

from dj_wallet.custody.chain.addresses import find_address, get_script, p2pkh_address
from dj_wallet.custody.chain.coins import Unspent, select
from dj_wallet.custody.chain.errors import ChainError, TransactionInvalid
from dj_wallet.custody.chain.hashes import double_sha256, hash160
from dj_wallet.custody.chain.keys import ChildKey, is_signature_of
from dj_wallet.custody.chain.networks import BASE_UNITS, get_network
from dj_wallet.custody.chain.transactions import (
    MAX_STANDARD_BYTES,
    SEQUENCE_FINAL,
    Input,
    Outpoint,
    Output,
    Transaction,
    build_unsigned,
    get_fee,
    hash_for_signature,
    p2pkh_script,
    parse,
    read_p2pkh_signature,
    sign,
)

NETWORK: Final = get_network("DOGE:regtest")
SUBSIDY: Final = 10_000 * BASE_UNITS
RELAY_FEE_PER_KB: Final = BASE_UNITS // 1000
HARD_DUST: Final = BASE_UNITS // 1000
SOFT_DUST: Final = BASE_UNITS // 100
MAX_FEE: Final = 400 * BASE_UNITS
MAX_ANCESTORS: Final = 25
FIRST_BLOCKS: Final = NETWORK.coinbase_maturity + 10
"""Mined at once when a chain begins, so that the faucet has something to give."""

NO_BLOCK: Final = "00" * 32
COINBASE: Final = Outpoint(NO_BLOCK, 0xFFFFFFFF)

RPC_MISSING_INPUTS: Final = -25
RPC_REJECTED: Final = -26
RPC_ALREADY_IN_CHAIN: Final = -27


class Rejected(Exception):
    """The chain does not take a transaction; `rpc_code` and text are those of a node."""

    def __init__(self, rpc_code: int, message: str) -> None:
        self.rpc_code = rpc_code
        super().__init__(message)


class Coin(NamedTuple):
    """An unspent output."""

    output: Output
    height: int | None
    """None while it waits for a block."""
    is_coinbase: bool


@dataclass(frozen=True, slots=True)
class Block:
    hash: str
    previous: str
    height: int
    time: int
    merkle_root: str
    nonce: int
    transactions: tuple[Transaction, ...]

    @property
    def chainwork(self) -> str:
        return f"{2 * (self.height + 1):064x}"


class Chain:
    """The blocks, which of them count, and what waits. Every public method may be called from any thread."""

    def __init__(self, file: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.lock = threading.RLock()
        self._file = file
        self._clock = clock
        self._faucet = ChildKey(PrivateKey(hashlib.sha256(b"faucet of the sandbox").digest()))
        self.faucet_script = p2pkh_script(hash160(self._faucet.public_key))
        genesis = Block(NETWORK.genesis, NO_BLOCK, 0, 1_386_325_540, NO_BLOCK, 0, ())
        self.blocks: dict[str, Block] = {genesis.hash: genesis}
        self.best: list[str] = [genesis.hash]
        self.transactions: dict[str, Transaction] = {}
        self.mined_at: dict[str, int] = {}
        self.coins: dict[Outpoint, Coin] = {}
        self.mempool: dict[str, Transaction] = {}
        self.arrived_at: dict[str, int] = {}
        self._spent_by: dict[Outpoint, str] = {}
        for line in _read_whole_lines(file):
            self._replay(json.loads(line))
        if self.height == 0:
            self.mine(FIRST_BLOCKS)

    @property
    def height(self) -> int:
        return len(self.best) - 1

    @property
    def tip(self) -> Block:
        return self.blocks[self.best[-1]]

    def get_confirmations(self, block: Block) -> int:
        """Return how deep a block is, or -1 if it does not count."""
        if block.height <= self.height and self.best[block.height] == block.hash:
            return self.height - block.height + 1
        return -1

    def find_coin(self, outpoint: Outpoint, *, with_mempool: bool) -> Coin | None:
        """Return an unspent output; with the mempool, one that no waiting transaction spends either."""
        with self.lock:
            if not with_mempool:
                return self.coins.get(outpoint)
            if outpoint in self._spent_by:
                return None
            waiting = self.mempool.get(outpoint.txid)
            if waiting is not None and outpoint.vout < len(waiting.outputs):
                return Coin(waiting.outputs[outpoint.vout], None, is_coinbase=False)
            return self.coins.get(outpoint)

    def send(self, raw: bytes) -> str:
        """Take a transaction and return its id. One that waits already is taken again.

        :raises Rejected: as a node would
        """
        with self.lock:
            try:
                transaction = parse(raw)
            except TransactionInvalid as error:
                raise Rejected(-22, "TX decode failed") from error
            txid = transaction.txid
            if txid in self.mempool:
                return txid
            if any(Outpoint(txid, vout) in self.coins for vout in range(len(transaction.outputs))):
                raise Rejected(RPC_ALREADY_IN_CHAIN, "transaction already in block chain")
            replaced = self._check(transaction, is_relayed=True)
            for old in replaced:
                self._drop(old)
            self._accept(transaction)
            self._append({"send": raw.hex()})
            return txid

    def get_fee_of(self, transaction: Transaction) -> int:
        """Return the fee of a waiting transaction."""
        spent = (self._find_output(item.outpoint) for item in transaction.inputs)
        outputs = sum(output.amount for output in transaction.outputs)
        return sum(output.amount for output in spent if output) - outputs

    def mine(self, count: int = 1, *, address: str | None = None) -> list[str]:
        """Mine blocks with everything that waits and return their hashes. The reward is the faucet's unless an address is given.

        :raises ChainError: the address is none
        """
        script = get_script(address, NETWORK) if address else self.faucet_script
        with self.lock:
            return [self._mine_one(script) for _ in range(count)]

    def reorganize(
        self, depth: int, *, blocks: int | None = None, double_spend: Iterable[str] = ()
    ) -> list[str]:
        """Replace the last `depth` blocks by others, one more unless told otherwise, and return their hashes.

        Their transactions wait again and are mined in the first new block. Those in `double_spend`, which must be the
        faucet's, are replaced by ones that pay the faucet itself.

        :raises ChainError: deeper than the chain, or a transaction that is not the faucet's
        """
        with self.lock:
            if not 0 < depth < self.height:
                raise ChainError("The chain is not that deep.")
            wanted = set(double_spend)
            conflicts = [self._make_conflict(txid) for txid in sorted(wanted)]
            self._move_to(self.best[self.height - depth], without=wanted)
            self._append({"tip": self.tip.hash, "without": sorted(wanted)})
            for conflict in conflicts:
                self.send(conflict.serialize())
            return self.mine(depth + 1 if blocks is None else blocks)

    def fall_behind(self, blocks: int, *, keep_mempool: bool = False) -> None:
        """Forget the last blocks, and what waits, as a node does that was killed before it wrote them.

        :raises ChainError: the chain is shorter
        """
        with self.lock:
            if not 0 <= blocks <= self.height:
                raise ChainError("The chain is not that long.")
            waiting = set(self.mempool) if not keep_mempool else set()
            gone = [self.blocks[block] for block in self.best[self.height - blocks + 1 :]]
            lost = waiting | {spent.txid for block in gone for spent in block.transactions}
            self._move_to(self.best[self.height - blocks], without=lost)
            self._append({"tip": self.tip.hash, "without": sorted(lost)})

    def catch_up(self) -> None:
        """Follow the longest chain we have ever seen, as a node does that finds its peers again."""
        with self.lock:
            longest = max(self.blocks.values(), key=lambda block: block.height)
            if longest.height > self.height:
                self._move_to(longest.hash)
                self._append({"tip": longest.hash, "without": []})

    def pay(self, payments: Mapping[str, int], *, replaceable: bool = False) -> str:
        """Pay addresses from the faucet and return the id of the transaction, which waits for a block.

        :raises ChainError: an address is none, or the faucet is dry
        """
        return self.pay_many(list(payments.items()), replaceable=replaceable)

    def pay_many(self, payments: Sequence[tuple[str, int]], *, replaceable: bool = False) -> str:
        """Pay addresses from the faucet, each in an output of its own, and return the id of the transaction.

        :raises ChainError: an address is none, or the faucet is dry
        """
        outputs = [Output(amount, get_script(address, NETWORK)) for address, amount in payments]
        with self.lock:
            plan = select(
                self._list_faucet_coins(),
                outputs,
                rate_per_kb=NETWORK.fee_floor_per_kb,
                network=NETWORK,
            )
            change = [Output(plan.change, self.faucet_script)] if plan.change else []
            unsigned = build_unsigned(
                [item.outpoint for item in plan.inputs],
                [*plan.payments, *change],
                replaceable=replaceable,
            )
            try:
                return self.send(sign(unsigned, [self._faucet] * len(plan.inputs)).serialize())
            except Rejected as error:
                raise ChainError(f"The chain does not take it: {error}.") from error

    @property
    def faucet_address(self) -> str:
        return p2pkh_address(hash160(self._faucet.public_key), NETWORK)

    def _list_faucet_coins(self) -> list[Unspent]:
        return [
            Unspent(outpoint, coin.output.amount)
            for outpoint, coin in self.coins.items()
            if coin.output.script == self.faucet_script
            and outpoint not in self._spent_by
            and self._is_mature(coin)
        ]

    def _is_mature(self, coin: Coin) -> bool:
        if not coin.is_coinbase or coin.height is None:
            return True
        return self.height + 1 - coin.height >= NETWORK.coinbase_maturity

    def _make_conflict(self, txid: str) -> Transaction:
        """Return a transaction of the faucet that spends what `txid` spends, to itself and for a higher fee."""
        old = self.transactions.get(txid) or self.mempool.get(txid)
        if old is None:
            raise ChainError("There is no such transaction.")
        spent = [self._find_output(item.outpoint) for item in old.inputs]
        if any(output is None or output.script != self.faucet_script for output in spent):
            raise ChainError("Only the faucet's own payments can be spent twice.")
        amount = sum(output.amount for output in spent if output) - 5 * BASE_UNITS
        unsigned = build_unsigned(
            [item.outpoint for item in old.inputs], [Output(amount, self.faucet_script)]
        )
        return sign(unsigned, [self._faucet] * len(old.inputs))

    def _mine_one(self, script: bytes) -> str:
        height = self.height + 1
        extra = struct.pack("<I", height) + secrets.token_bytes(4)
        fees = sum(self.get_fee_of(transaction) for transaction in self.mempool.values())
        coinbase = Transaction(
            (Input(COINBASE, bytes([len(extra)]) + extra, 0xFFFFFFFF),),
            (Output(SUBSIDY + fees, script),),
        )
        transactions = (coinbase, *self.mempool.values())
        block = _make_block(self.tip, transactions, int(self._clock()))
        self._connect(block)
        self._append({"block": [raw.serialize().hex() for raw in transactions], **_head(block)})
        return block.hash

    def _connect(self, block: Block) -> None:
        self.blocks[block.hash] = block
        self.best.append(block.hash)
        for place, transaction in enumerate(block.transactions):
            txid = transaction.txid
            self._drop_conflicts(transaction, txid)
            self.transactions[txid] = transaction
            self.mined_at[txid] = block.height
            for item in transaction.inputs:
                self.coins.pop(item.outpoint, None)
            for vout, output in enumerate(transaction.outputs):
                self.coins[Outpoint(txid, vout)] = Coin(output, block.height, place == 0)

    def _disconnect(self) -> tuple[Transaction, ...]:
        """Take the last block off and return what was in it, but for the reward."""
        block = self.blocks[self.best.pop()]
        for transaction in reversed(block.transactions):
            txid = transaction.txid
            del self.mined_at[txid]
            for vout in range(len(transaction.outputs)):
                self.coins.pop(Outpoint(txid, vout), None)
            for item in transaction.inputs:
                if item.outpoint != COINBASE:
                    self.coins[item.outpoint] = self._restore(item.outpoint)
        return block.transactions[1:]

    def _restore(self, outpoint: Outpoint) -> Coin:
        source = self.transactions[outpoint.txid]
        is_coinbase = source.inputs[0].outpoint == COINBASE
        height = self.mined_at[outpoint.txid]
        return Coin(source.outputs[outpoint.vout], height, is_coinbase)

    def _move_to(self, block_hash: str, without: Iterable[str] = ()) -> None:
        """Make a block we know the last one that counts. What is no longer mined waits, unless it is in `without`."""
        path = []
        block = self.blocks[block_hash]
        while self.get_confirmations(block) < 1:
            path.append(block)
            block = self.blocks[block.previous]
        loose: list[Transaction] = []
        while self.tip.hash != block.hash:
            loose = [*self._disconnect(), *loose]
        waiting = [*loose, *self.mempool.values()]
        self.mempool, self.arrived_at, self._spent_by = {}, {}, {}
        for next_block in reversed(path):
            self._connect(next_block)
        unwanted = set(without)
        for transaction in waiting:
            txid = transaction.txid
            if txid in unwanted or txid in self.mined_at:
                continue
            try:
                self._check(transaction, is_relayed=False)
            except Rejected:
                continue
            self._accept(transaction)

    def _find_output(self, outpoint: Outpoint) -> Output | None:
        source = self.transactions.get(outpoint.txid) or self.mempool.get(outpoint.txid)
        if source is None or outpoint.vout >= len(source.outputs):
            return None
        return source.outputs[outpoint.vout]

    def _accept(self, transaction: Transaction) -> None:
        txid = transaction.txid
        self.mempool[txid] = transaction
        self.arrived_at[txid] = int(self._clock())
        for item in transaction.inputs:
            self._spent_by[item.outpoint] = txid

    def _drop(self, txid: str) -> None:
        """Forget a waiting transaction and all that spend its outputs."""
        transaction = self.mempool.pop(txid, None)
        if transaction is None:
            return
        for item in transaction.inputs:
            self._spent_by.pop(item.outpoint, None)
        for vout in range(len(transaction.outputs)):
            child = self._spent_by.get(Outpoint(txid, vout))
            if child is not None:
                self._drop(child)

    def _drop_conflicts(self, transaction: Transaction, txid: str) -> None:
        """A transaction is mined: it waits no longer, and what spends the same never will be."""
        if self.mempool.pop(txid, None) is not None:
            for item in transaction.inputs:
                self._spent_by.pop(item.outpoint, None)
            return
        for item in transaction.inputs:
            other = self._spent_by.get(item.outpoint)
            if other is not None:
                self._drop(other)

    def _check(self, transaction: Transaction, *, is_relayed: bool) -> set[str]:
        """Return the waiting transactions that this one replaces.

        :raises Rejected: it cannot be mined or, if it is relayed, is against policy
        """
        if is_relayed:
            _check_form(transaction)
        total = 0
        replaced: set[str] = set()
        for item in transaction.inputs:
            coin = self.coins.get(item.outpoint)
            if coin is None:
                waiting = self.mempool.get(item.outpoint.txid)
                if waiting is None or item.outpoint.vout >= len(waiting.outputs):
                    raise Rejected(RPC_MISSING_INPUTS, "Missing inputs")
                coin = Coin(waiting.outputs[item.outpoint.vout], None, is_coinbase=False)
            if not self._is_mature(coin):
                raise Rejected(RPC_REJECTED, "64: bad-txns-premature-spend-of-coinbase")
            if item.outpoint in self._spent_by:
                replaced.add(self._spent_by[item.outpoint])
            total += coin.output.amount
        fee = total - sum(output.amount for output in transaction.outputs)
        if fee < 0:
            raise Rejected(RPC_REJECTED, "16: bad-txns-in-belowout")
        if is_relayed:
            self._check_relay(transaction, fee, replaced)
        elif replaced:
            raise Rejected(RPC_REJECTED, "18: txn-mempool-conflict")
        self._check_signatures(transaction)
        return replaced

    def _check_relay(self, transaction: Transaction, fee: int, replaced: set[str]) -> None:
        size = len(transaction.serialize())
        least = get_fee(size, RELAY_FEE_PER_KB)
        least += SOFT_DUST * sum(output.amount < SOFT_DUST for output in transaction.outputs)
        if fee < least:
            raise Rejected(RPC_REJECTED, f"66: min relay fee not met, {fee} < {least}")
        if fee > MAX_FEE:
            raise Rejected(RPC_REJECTED, "256: absurdly-high-fee")
        if self._count_ancestors(transaction) > MAX_ANCESTORS:
            raise Rejected(RPC_REJECTED, "64: too-long-mempool-chain")
        if not replaced:
            return
        old = [self.mempool[txid] for txid in replaced]
        if not all(any(item.sequence < SEQUENCE_FINAL for item in one.inputs) for one in old):
            raise Rejected(RPC_REJECTED, "18: txn-mempool-conflict")
        if fee < sum(map(self.get_fee_of, old)) + get_fee(size, RELAY_FEE_PER_KB):
            raise Rejected(RPC_REJECTED, "66: insufficient fee")

    def _count_ancestors(self, transaction: Transaction) -> int:
        """Return how many waiting transactions this one stands on, itself included."""
        seen: set[str] = set()
        ahead = [item.outpoint.txid for item in transaction.inputs]
        while ahead:
            txid = ahead.pop()
            if txid in self.mempool and txid not in seen:
                seen.add(txid)
                ahead += [item.outpoint.txid for item in self.mempool[txid].inputs]
        return len(seen) + 1

    def _check_signatures(self, transaction: Transaction) -> None:
        for at, item in enumerate(transaction.inputs):
            output = self._find_output(item.outpoint)
            if output is None or not _is_signed(transaction, at, output.script):
                raise Rejected(
                    RPC_REJECTED,
                    "16: mandatory-script-verify-flag-failed (Script failed an OP_EQUALVERIFY operation)",
                )

    def _append(self, event: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        with self._file.open("a") as lines:
            lines.write(json.dumps(event) + "\n")
            lines.flush()
            os.fsync(lines.fileno())

    def _replay(self, event: Mapping[str, Any]) -> None:
        if "block" in event:
            transactions = tuple(parse(bytes.fromhex(raw)) for raw in event["block"])
            self._connect(
                Block(
                    event["hash"],
                    event["previous"],
                    event["height"],
                    event["time"],
                    event["merkle_root"],
                    event["nonce"],
                    transactions,
                )
            )
        elif "tip" in event:
            self._move_to(event["tip"], event["without"])
        else:
            transaction = parse(bytes.fromhex(event["send"]))
            for old in self._check(transaction, is_relayed=True):
                self._drop(old)
            self._accept(transaction)


def describe_script(script: bytes) -> dict[str, Any]:
    """Return a script as nodes of Dogecoin 1.14 describe it."""
    address = find_address(script, NETWORK)
    said: dict[str, Any] = {"asm": "", "hex": script.hex(), "type": "nonstandard"}
    if address is not None:
        kind = "pubkeyhash" if len(script) == 25 else "scripthash"
        said |= {"reqSigs": 1, "type": kind, "addresses": [address]}
    return said


def _check_form(transaction: Transaction) -> None:
    """Refuse what nodes do not relay, whoever signed it."""
    if not transaction.inputs or not transaction.outputs:
        raise Rejected(RPC_REJECTED, "16: bad-txns-vin-empty")
    outpoints = [item.outpoint for item in transaction.inputs]
    if len(set(outpoints)) != len(outpoints):
        raise Rejected(RPC_REJECTED, "16: bad-txns-inputs-duplicate")
    if transaction.version not in (1, 2):
        raise Rejected(RPC_REJECTED, "64: version")
    if len(transaction.serialize()) > MAX_STANDARD_BYTES:
        raise Rejected(RPC_REJECTED, "64: tx-size")
    for output in transaction.outputs:
        if not 0 <= output.amount <= NETWORK.max_money:
            raise Rejected(RPC_REJECTED, "16: bad-txns-vout-toolarge")
        if output.amount < HARD_DUST:
            raise Rejected(RPC_REJECTED, "64: dust")
        if find_address(output.script, NETWORK) is None:
            raise Rejected(RPC_REJECTED, "64: scriptpubkey")


def _is_signed(transaction: Transaction, at: int, script: bytes) -> bool:
    """Tell whether the input at `at` may spend a P2PKH output. No other kind can be spent here."""
    try:
        signature, public_key = read_p2pkh_signature(transaction.inputs[at].script_sig)
    except TransactionInvalid:
        return False
    if script != p2pkh_script(hash160(public_key)):
        return False
    return is_signature_of(public_key, signature, hash_for_signature(transaction, at, script))


def _make_block(previous: Block, transactions: tuple[Transaction, ...], now: int) -> Block:
    moment = max(now, previous.time + 1)
    root = _get_merkle_root([bytes.fromhex(item.txid)[::-1] for item in transactions])
    nonce = secrets.randbits(32)
    header = struct.pack("<I", 1) + bytes.fromhex(previous.hash)[::-1] + root
    header += struct.pack("<III", moment, 0x207FFFFF, nonce)
    block_hash = double_sha256(header)[::-1].hex()
    return Block(
        block_hash,
        previous.hash,
        previous.height + 1,
        moment,
        root[::-1].hex(),
        nonce,
        transactions,
    )


def _get_merkle_root(hashes: list[bytes]) -> bytes:
    while len(hashes) > 1:
        if len(hashes) % 2:
            hashes.append(hashes[-1])
        hashes = [
            double_sha256(left + right)
            for left, right in zip(hashes[::2], hashes[1::2], strict=True)
        ]
    return hashes[0]


def _head(block: Block) -> dict[str, Any]:
    return {
        "hash": block.hash,
        "previous": block.previous,
        "height": block.height,
        "time": block.time,
        "merkle_root": block.merkle_root,
        "nonce": block.nonce,
    }


def _read_whole_lines(file: Path | None) -> list[str]:
    """Return the lines of the file and cut off one that was never finished."""
    if file is None or not file.exists():
        return []
    text = file.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        os.truncate(file, len(whole))
    return whole.decode().splitlines()
