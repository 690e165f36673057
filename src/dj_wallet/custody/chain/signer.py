"""The signer's rules: what it is asked, what it re-checks, and the loop between a desk and a key.

Nobody is trusted to have asked for the right thing. A request carries the transaction to sign, the withdrawals that
pay for it, each sealed with a secret that whoever approves knows and the database does not, and the whole previous
transactions, so that amounts (and with them the fee) are proven instead of believed. The signer derives the change
address itself, holds the fee against its own caps and each withdrawal against its own limits, and remembers what it
signed: a second transaction for the same withdrawal must spend an output that every earlier one spends, so at most one of
them can ever be mined. Signatures are RFC 6979: the same request gives the same bytes, so a crash between signing
and storing costs nothing and a request may be claimed twice.

How to use it (the Django side implements `SigningDesk` over its rows):

1. `coins.select(...)` chooses inputs, `transactions.build_unsigned(...)` gives the transaction; the row keeps
   `transaction.serialize()`, the reserved outpoints in order, and the index of the change key.
2. Whoever approves a withdrawal calls `seal_approval(...)` once and stores the seal with the row.
3. `python -m dj_wallet.custody.signer` loops over `dj_wallet.custody.services.signing.SigningRows()`: `desk.claim_request()`, `sign_request(...)`, `desk.store_signed(...)` or
   `desk.store_refusal(...)`. A refusal is final for this request (not for the withdrawal): alert a human.
4. The broadcaster sends the stored raw bytes. It has no key.
"""

import fcntl
import hashlib
import hmac
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from .addresses import get_script
from .errors import ChainError, SigningRefused
from .hashes import hash160
from .keys import CHANGE_CHAIN, AccountKey
from .networks import Network
from .transactions import (
    MAX_STANDARD_BYTES,
    Outpoint,
    Output,
    Transaction,
    estimate_size,
    get_fee,
    p2pkh_script,
    parse,
    sign,
)

DAY_SECONDS: Final = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class Approval:
    """A withdrawal as it was approved: what may leave, to where, and what it may cost in fees at the very most."""

    withdrawal_id: str
    address: str
    amount: int
    max_fee: int
    """The cap on this withdrawal's part of the network fee, over all replacements; base units."""
    seal: bytes
    """HMAC of the fields above and the network, see `seal_approval`."""


@dataclass(frozen=True, slots=True)
class SpentOutput:
    """An output of ours that a request spends: the key it belongs to and the proof of its amount."""

    outpoint: Outpoint
    chain: int
    """0 for deposit addresses, 1 for change."""
    index: int
    previous: bytes
    """The transaction that made it, serialized (with or without witnesses): its hash must be `outpoint.txid`."""


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """One transaction to be signed. With approvals it pays withdrawals; without, it may only sweep to cold storage."""

    id: str
    """What the answer refers to: one per transaction, so a replacement (fee bump) is a new request."""
    network: Network
    account: str
    """`AccountPublicKey.identifier` of the account whose keys own the inputs; not a secret."""
    unsigned: bytes
    """The transaction without signatures: `Transaction.serialize()`."""
    inputs: tuple[SpentOutput, ...]
    """In the order of the transaction's inputs."""
    change_index: int | None
    """The change goes to key /1/change_index of the account; None if there is none."""
    approvals: tuple[Approval, ...] = ()
    """Every withdrawal that this transaction pays, each with exactly one output."""


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """What the signer hands back: bytes to broadcast, never a key."""

    raw: bytes
    txid: str
    fee: int


class SigningDesk(Protocol):
    """Where requests come from and answers go: implemented over database rows by the Django side.

    Each call is its own short database transaction. None of them holds a lock while the signer works.
    """

    def claim_request(self) -> SigningRequest | None:
        """Return a request that has no answer yet, or None. The same one again is fine: signing is repeatable."""

    def store_signed(self, request_id: str, signed: SignedTransaction) -> None:
        """Keep raw bytes and txid of the request, unless it has an answer already."""

    def store_refusal(self, request_id: str, reason: str, message: str) -> None:
        """Keep why the signer refused, unless the request has an answer already. Neither text holds a secret."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the signer lets out on one network, whoever asks; base units."""

    max_amount: int
    """Of a single withdrawal."""
    max_amount_per_day: int
    """Of all withdrawals that were first signed within 24 hours."""
    cold_addresses: frozenset[str] = frozenset()
    """The only places that a transaction without approvals may send to."""


@dataclass(frozen=True, slots=True)
class SigningPolicy:
    """The signer's own copy of the policy: configured beside the key, never read from the database."""

    approval_secret: bytes = field(repr=False)
    """What approvals are sealed with."""
    limits: Mapping[str, Limits]
    """By name of the network. A network without limits is not signed for."""


def seal_approval(
    secret: bytes, network: Network, *, withdrawal_id: str, address: str, amount: int, max_fee: int
) -> bytes:
    """Return the seal of an approved withdrawal. Only who approves and the signer know `secret`."""
    content = [network.name, withdrawal_id, address, amount, max_fee]
    return hmac.digest(secret, json.dumps(content).encode(), hashlib.sha256)


class SigningJournal:
    """What was signed for which withdrawal, on the signer's own disk: the database cannot make it forget.

    A line is on disk before the signature exists outside. A line that a crash cut off had no signature.
    """

    def __init__(self, file: Path) -> None:
        """Open the journal for this process alone.

        :raises ChainError: another signer has it open
        """
        self._lines = file.open("a+b")
        try:
            fcntl.flock(self._lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lines.close()
            raise ChainError(f"Another signer writes {file}.") from None
        self._spent: dict[str, list[frozenset[str]]] = {}
        self._first: dict[str, tuple[str, int, float]] = {}
        for line in _read_whole_lines(self._lines):
            self._note(json.loads(line))

    def close(self) -> None:
        """Let another signer have it."""
        self._lines.close()

    def list_spent(self, withdrawal: str) -> list[frozenset[str]]:
        """Return what each transaction signed for the withdrawal spends."""
        return self._spent.get(withdrawal, [])

    def get_amount_since(self, network: str, moment: float) -> int:
        """Return what withdrawals of the network that were first signed since `moment` amount to."""
        return sum(
            amount for name, amount, at in self._first.values() if name == network and at >= moment
        )

    def add(
        self, network: str, amounts: Mapping[str, int], outpoints: frozenset[str], now: float
    ) -> None:
        """Remember a transaction for these withdrawals; on disk when this returns."""
        entry = {
            "network": network,
            "withdrawals": dict(amounts),
            "outpoints": sorted(outpoints),
            "at": now,
        }
        self._lines.write(json.dumps(entry).encode() + b"\n")
        self._lines.flush()
        os.fsync(self._lines.fileno())
        self._note(entry)

    def _note(self, entry: dict[str, object]) -> None:
        network, withdrawals = entry["network"], entry["withdrawals"]
        outpoints = frozenset(entry["outpoints"])  # type: ignore[call-overload]
        for withdrawal, amount in withdrawals.items():  # type: ignore[attr-defined]
            self._spent.setdefault(withdrawal, []).append(outpoints)
            self._first.setdefault(withdrawal, (network, amount, entry["at"]))  # type: ignore[arg-type]


def sign_request(
    request: SigningRequest,
    *,
    key: AccountKey,
    policy: SigningPolicy,
    journal: SigningJournal,
    now: float,
) -> SignedTransaction:
    """Check a request against everything the signer knows by itself, and sign it. Repeatable: same request, same bytes.

    :raises SigningRefused: with a `reason`: no_limits, key_mismatch, malformed, input_mismatch, change_mismatch, approval_forged,
        output_mismatch, not_cold_address, amount_above_limit, daily_limit, fee_above_cap, would_pay_twice
    """
    limits = policy.limits.get(request.network.name)
    if limits is None:
        raise SigningRefused("no_limits", f"Nothing is signed for {request.network.name}.")
    try:
        transaction = parse(request.unsigned)
        spent = _check_inputs(request, transaction, key)
        paid = _check_outputs(request, transaction, key, limits)
        for approval in request.approvals:
            _check_approval(approval, request.network, policy.approval_secret, limits)
    except SigningRefused:
        raise
    except ChainError as error:
        raise SigningRefused("malformed", str(error)) from None
    fee = spent - sum(output.amount for output in transaction.outputs)
    _check_fee(request, transaction, fee)
    outpoints = frozenset(str(item.outpoint) for item in request.inputs)
    if paid:
        _check_history(request.network, paid, outpoints, limits, journal, now)
    signed = sign(transaction, [key.get_child(item.chain, item.index) for item in request.inputs])
    if paid and any(outpoints not in journal.list_spent(name) for name in paid):
        journal.add(request.network.name, paid, outpoints, now)
    return SignedTransaction(signed.serialize(), signed.txid, fee)


def answer_one(
    desk: SigningDesk,
    *,
    find_key: Callable[[Network, str], AccountKey | None],
    policy: SigningPolicy,
    journal: SigningJournal,
    now: float,
) -> bool:
    """Answer one request of the desk; False if there is none. Storing the answer is the last step, so a crash repeats it."""
    request = desk.claim_request()
    if request is None:
        return False
    try:
        key = find_key(request.network, request.account)
        if key is None:
            raise SigningRefused("key_mismatch", "The signer has no key of this account.")
        signed = sign_request(request, key=key, policy=policy, journal=journal, now=now)
    except SigningRefused as refusal:
        desk.store_refusal(request.id, refusal.reason, str(refusal))
    else:
        desk.store_signed(request.id, signed)
    return True


def _check_inputs(request: SigningRequest, transaction: Transaction, key: AccountKey) -> int:
    """Return what the inputs are worth, proven by the transactions that made them and by our own keys."""
    if key.network != request.network or key.public.identifier != request.account:
        raise SigningRefused("key_mismatch", "The key is not that of the account.")
    spent = tuple(item.outpoint for item in transaction.inputs)
    if spent != tuple(item.outpoint for item in request.inputs) or len(set(spent)) != len(spent):
        raise SigningRefused("input_mismatch", "The transaction spends other outputs than it says.")
    if any(item.script_sig or item.witness for item in transaction.inputs) or not spent:
        raise SigningRefused("malformed", "The transaction is signed already, or spends nothing.")
    return sum(_prove_amount(item, key) for item in request.inputs)


def _prove_amount(item: SpentOutput, key: AccountKey) -> int:
    previous = parse(item.previous)
    if previous.txid != item.outpoint.txid or not 0 <= item.outpoint.vout < len(previous.outputs):
        raise SigningRefused("input_mismatch", "The previous transaction is another one.")
    output = previous.outputs[item.outpoint.vout]
    if output.script != _get_own_script(key, item.chain, item.index):
        raise SigningRefused("input_mismatch", "The output belongs to another key.")
    if output.amount <= 0:
        raise SigningRefused("input_mismatch", "The output is worth nothing.")
    return output.amount


def _get_own_script(key: AccountKey, chain: int, index: int) -> bytes:
    return p2pkh_script(hash160(key.public.get_public_key(chain, index)))


def _check_outputs(
    request: SigningRequest, transaction: Transaction, key: AccountKey, limits: Limits
) -> dict[str, int]:
    """Return the amount of each withdrawal that is paid; every other output must be our change, or cold storage."""
    outputs = list(transaction.outputs)
    if any(not 0 < output.amount <= request.network.max_money for output in outputs):
        raise SigningRefused("output_mismatch", "An output has an impossible amount.")
    if request.change_index is not None:
        _take_change(outputs, _get_own_script(key, CHANGE_CHAIN, request.change_index))
    if not request.approvals:
        _check_sweep(outputs, request, limits)
        return {}
    wanted = Counter(
        Output(approval.amount, get_script(approval.address, request.network))
        for approval in request.approvals
    )
    if wanted != Counter(outputs):
        raise SigningRefused("output_mismatch", "The outputs are not what was approved.")
    paid = {approval.withdrawal_id: approval.amount for approval in request.approvals}
    if len(paid) != len(request.approvals):
        raise SigningRefused("would_pay_twice", "A withdrawal is in the transaction twice.")
    return paid


def _take_change(outputs: list[Output], script: bytes) -> None:
    change = [output for output in outputs if output.script == script]
    if len(change) != 1:
        raise SigningRefused("change_mismatch", "The change does not go to our own change key.")
    outputs.remove(change[0])


def _check_sweep(outputs: list[Output], request: SigningRequest, limits: Limits) -> None:
    scripts = {get_script(address, request.network) for address in limits.cold_addresses}
    if any(output.script not in scripts for output in outputs):
        raise SigningRefused("not_cold_address", "Without approvals, only cold storage is paid.")


def _check_approval(approval: Approval, network: Network, secret: bytes, limits: Limits) -> None:
    seal = seal_approval(
        secret,
        network,
        withdrawal_id=approval.withdrawal_id,
        address=approval.address,
        amount=approval.amount,
        max_fee=approval.max_fee,
    )
    if not hmac.compare_digest(seal, approval.seal):
        raise SigningRefused("approval_forged", "The approval was changed, or is nobody's.")
    if approval.amount > limits.max_amount:
        raise SigningRefused("amount_above_limit", "The withdrawal is above the signer's limit.")


def _check_fee(request: SigningRequest, transaction: Transaction, fee: int) -> None:
    """Hold the fee against the network's caps and what the withdrawals were approved to cost."""
    network = request.network
    size = estimate_size(len(transaction.inputs), [item.script for item in transaction.outputs])
    if size > MAX_STANDARD_BYTES:
        raise SigningRefused("malformed", "The transaction is larger than nodes relay.")
    # Change that is not worth an output goes to the fee, whatever the rate.
    caps = [network.max_fee, get_fee(size, network.fee_cap_per_kb) + network.min_output]
    if request.approvals:
        caps.append(sum(approval.max_fee for approval in request.approvals))
    if fee < 0:
        raise SigningRefused("malformed", "The outputs are worth more than the inputs.")
    if fee > min(caps):
        raise SigningRefused("fee_above_cap", f"The fee of {fee} base units passes {min(caps)}.")


def _check_history(
    network: Network,
    paid: Mapping[str, int],
    outpoints: frozenset[str],
    limits: Limits,
    journal: SigningJournal,
    now: float,
) -> None:
    earlier = {name: journal.list_spent(name) for name in paid}
    if any(not outpoints & spent for variants in earlier.values() for spent in variants):
        raise SigningRefused(
            "would_pay_twice", "An earlier transaction for the withdrawal could be mined as well."
        )
    fresh = sum(amount for name, amount in paid.items() if not earlier[name])
    before = journal.get_amount_since(network.name, now - DAY_SECONDS)
    if fresh and before + fresh > limits.max_amount_per_day:
        raise SigningRefused("daily_limit", "The withdrawals of 24 hours pass the signer's limit.")


def _read_whole_lines(lines: BinaryIO) -> list[bytes]:
    """Return the lines of a file and cut off one that was never finished."""
    lines.seek(0)
    text = lines.read()
    whole = text[: text.rfind(b"\n") + 1]
    lines.truncate(len(whole))
    return whole.splitlines()
