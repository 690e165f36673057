"""Many movements that PostgreSQL makes and records in one statement, where nobody has a say in it and nobody is told.

As `at_once`, for a whole call: None, with nothing written, when any item might be refused or has a key that was used.
The items are prepared in loops of few calls: of 10,000 deposits the layers of the careful way took 60 of 75 µs each.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.utils import timezone

from dj_wallet.ledger.engine import Entry, Movement
from dj_wallet.ledger.errors import WalletException
from dj_wallet.ledger.ids import make_uuid_numbers
from dj_wallet.ledger.money import parse_amount, trim
from dj_wallet.ledger.records import write_json
from dj_wallet.ledger.statement import execute
from dj_wallet.ledger.store.postgres import (
    BATCH_TYPES,
    Batch,
    shorten,
    to_array,
    to_text_array,
)
from dj_wallet.ledger.watch import moving
from dj_wallet.models import Transaction, Transfer, Wallet

from .at_once import Written, get_wallet_type
from .movements import Request, is_part_named
from .recorded import find_pending_keys

TYPES: Final = (
    *(f"{name}[]" for name in BATCH_TYPES),
    *("timestamptz", "integer", "boolean", "boolean", "uuid[]", "text[]", "uuid[]", "text"),
)
PARAMETERS: Final = ", ".join(f"%s::{name}" for name in TYPES)
# The 32 hex digits of a UUID's number.
WRITE_UUID: Final = "{:032x}".format
MOVE_BATCH: Final = f"SELECT * FROM dj_wallet_move_batch({PARAMETERS})"


class Plan(NamedTuple):
    """Movements of one kind: what they do to the accounts, their amounts, and the wallets by key."""

    requests: Sequence[Request]
    batch: Batch
    amounts: list[Decimal]
    wallets: dict[int, Wallet]
    has_withdrawal: bool
    has_deposit: bool

    @property
    def sides(self) -> int:
        """How many transactions each of them has."""
        return self.has_withdrawal + self.has_deposit


class Rows(NamedTuple):
    """What the database said: keys in order, and balances in the order of the accounts."""

    entry_ids: list[int]
    transaction_ids: list[int]
    transfer_ids: list[int] | None
    balances: list[Decimal]


class Records:
    """The records of a plan that was written, each made when it is looked at: most callers look at few of 10,000."""

    def __init__(
        self,
        plan: Plan,
        written: Rows,
        shared: Written,
        uuids: Sequence[int],
        metas: Sequence[dict[str, Any]],
        transfer_uuids: Sequence[int],
    ) -> None:
        """:param uuids: those of the transactions, as numbers"""
        self._plan = plan
        self._written = written
        self._shared = shared
        self._uuids = uuids
        self._metas = metas
        self._transfer_uuids = transfer_uuids

    def __len__(self) -> int:
        return len(self._plan.requests)

    def make(self, at: int) -> Transaction | Transfer:
        """Return the record of the item at this position."""
        request, amount = self._plan.requests[at], self._plan.amounts[at]
        shared = self._shared._replace(entry_id=self._written.entry_ids[at])
        keys = self._written.transaction_ids
        if self._plan.sides == 1:
            is_deposit = isinstance(request.source, str)
            wallet: Any = request.destination if is_deposit else request.source
            record = shared.show_transaction(
                *(
                    keys[at],
                    UUID(int=self._uuids[at]),
                    "deposit" if is_deposit else "withdraw",
                    wallet.pk,
                ),
                *(amount, self._metas[at], wallet),
            )
            record.idempotency_key = request.idempotency_key
            return record
        source: Any = request.source
        destination: Any = request.destination
        own = slice(2 * at, 2 * at + 2)
        return shared.show_transfer(
            [*keys[own], (self._written.transfer_ids or ())[at]],
            [UUID(int=one) for one in (*self._uuids[own], self._transfer_uuids[at])],
            (source.pk, destination.pk),
            amount,
            self._metas[own],
            request.transfer_status,
            (source, destination),
            idempotency_key=request.idempotency_key,
        )


def move_many_at_once(requests: Sequence[Request], using: str) -> Records | None:
    """Move the money of all requests, which are of one kind, and return their records in order; where `is_plain`.

    The wallets are up to date afterwards. Needs an open transaction. Never raises for a refusal: the caller's
    transaction stays usable.
    """
    if is_part_named():
        return None
    plan = _plan(requests)
    if plan is None:
        return None
    keys = list(plan.batch.keys)
    if keys and find_pending_keys(Transaction, keys, using):
        return None
    shared = Written(0, timezone.now(), using, get_wallet_type(using))
    metas = _list_metas(plan)
    uuids = make_uuid_numbers(len(metas))
    transfer_uuids = make_uuid_numbers(len(requests)) if plan.sides == 2 else []
    written = _write(plan, shared, uuids, metas, transfer_uuids)
    if written is None:
        return None
    _show_balances(plan, written.balances)
    return Records(plan, written, shared, uuids, metas, transfer_uuids)


def _plan(requests: Sequence[Request]) -> Plan | None:
    """Return what is to be moved, or None if an item is not certain to be accepted."""
    is_from, is_to = (
        not isinstance(side, str) for side in (requests[0].source, requests[0].destination)
    )
    batch, wallets = Batch(), dict[int, Wallet]()
    plan = Plan(requests, batch, [], wallets, has_withdrawal=is_from, has_deposit=is_to)
    for kind, source, destination, value, _, key, allow_overdraft, *_ in requests:
        if isinstance(source, str) == is_from or isinstance(destination, str) == is_to:
            return None  # not one of the same kind
        wallet: Any = source if is_from else destination
        left, right = _find_place(source, wallets), _find_place(destination, wallets)
        if left is None or right is None:
            return None
        try:
            amount = parse_amount(value, wallet.decimal_places)
        except WalletException:
            return None
        movement = Movement(left, right, amount, wallet.asset_id)
        is_taken = (
            batch.add_movement(kind, movement, allow_overdraft)
            if key is None
            else batch.add(Entry(kind, (movement,), key, allow_overdraft=allow_overdraft))
        )
        if not is_taken:
            return None
        plan.amounts.append(amount)
    return plan


def _find_place(side: Any, wallets: dict[int, Wallet]) -> int | str | None:
    """Return the account of a side and note its wallet; None if it is not one wallet of ours, seen as one object."""
    if isinstance(side, str):
        return side
    pk: int | None = side.__dict__.get("account_ptr_id")
    if type(side) is not Wallet or pk is None or wallets.setdefault(pk, side) is not side:
        return None
    return pk


def _list_metas(plan: Plan) -> list[dict[str, Any]]:
    """Return what each transaction says, a withdrawal before its deposit."""
    metas = []
    for request in plan.requests:
        meta = request.meta or {}
        if plan.has_withdrawal:
            metas.append({**meta, **request.source_meta})
        if plan.has_deposit:
            metas.append({**meta, **request.destination_meta})
    return metas


def _write(
    plan: Plan,
    shared: Written,
    uuids: Sequence[int],
    metas: Sequence[dict[str, Any]],
    transfer_uuids: Sequence[int],
) -> Rows | None:
    parameters: list[Any] = [
        *plan.batch.list_parameters(),
        *(shared.now, shared.wallet_type, plan.has_withdrawal, plan.has_deposit),
        *(to_array(map(WRITE_UUID, uuids)), to_text_array(shorten(write_json(metas)))),
        *(to_array(map(WRITE_UUID, transfer_uuids)), plan.requests[0].transfer_status),
    ]
    with moving(plan.batch.accounts, shared.using):
        row = execute(MOVE_BATCH, parameters, shared.using).fetchone()
    return row and Rows(*row)


def _show_balances(plan: Plan, balances: Sequence[Decimal]) -> None:
    """Show the new balances on the wallet objects that the caller holds."""
    accounts = plan.batch.accounts
    for pk, balance in zip(sorted(accounts), balances, strict=True):
        wallet = plan.wallets[pk]
        wallet.balance = trim(balance)
        wallet.version += accounts[pk].touches
