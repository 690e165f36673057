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
3. `python -m dj_wallet.custody.signer` loops: `desk.claim_request()`, `sign_request(...)`, `desk.store_signed(...)` or
   `desk.store_refusal(...)`. A refusal is final for this request (not for the withdrawal): alert a human.
4. The broadcaster sends the stored raw bytes. It has no key.
"""

from dataclasses import dataclass
from typing import Protocol

from .networks import Network
from .transactions import Outpoint


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
