"""Many movements that PostgreSQL makes and records in one statement, where nobody has a say in it and nobody is told.

As `at_once`, for a whole call: None, with nothing written, when any item might be refused or has a key that was used.
The items are prepared in loops of few calls: of 10,000 deposits the layers of the careful way took 60 of 75 µs each.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cached_property, partial
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.utils import timezone

from dj_wallet.ledger.engine import Entry, Kind, Movement
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

from .at_once import RECEIVED, SENT, WRITE_UUID, Written, get_wallet_type
from .movements import Request, is_part_named
from .recorded import find_pending_keys
from .transfer import build_transfer_request

TYPES: Final = (
    *(f"{name}[]" for name in BATCH_TYPES),
    *("timestamptz", "integer", "boolean", "boolean", "uuid[]", "text[]", "uuid[]", "text"),
)
PARAMETERS: Final = ", ".join(f"%s::{name}" for name in TYPES)
MOVE_BATCH: Final = (
    "SELECT o_entry_ids::text, o_transaction_ids::text, o_transfer_ids::text, o_balances"
    f" FROM dj_wallet_move_batch({PARAMETERS})"
)

NOTHING: Final[Mapping[str, Any]] = {}


class Asked(NamedTuple):
    """Deposits, withdrawals or transfers that are asked for, in columns: 10,000 of them one by one take twice as long.

    A side is all wallets, or all codes of system accounts.
    """

    kind: Kind
    sources: Sequence[Any]
    destinations: Sequence[Any]
    amounts: Sequence[Any]
    metas: Sequence[Mapping[str, Any] | None]
    keys: Sequence[str | None]

    @property
    def has_withdrawal(self) -> bool:
        """Tell whether each of them is a withdrawal, or a transfer."""
        return self.kind is not Kind.DEPOSIT

    @property
    def has_deposit(self) -> bool:
        """Tell whether each of them is a deposit, or a transfer."""
        return self.kind is not Kind.WITHDRAWAL

    @property
    def sides(self) -> int:
        """How many transactions each of them has."""
        return self.has_withdrawal + self.has_deposit

    @property
    def wallets(self) -> Sequence[Any]:
        """Return the wallet that each of them is counted in: that of the source, if it is one."""
        return self.sources if self.has_withdrawal else self.destinations

    def list_requests(self) -> list[Request]:
        """Return the same one by one."""
        build = build_transfer_request if self.sides == 2 else partial(Request, self.kind)
        rows = zip(*self[1:], strict=True)
        return [
            build(source, destination, amount, meta, idempotency_key=key)
            for source, destination, amount, meta, key in rows
        ]


class Plan(NamedTuple):
    """What is asked for, what it does to the accounts, its amounts, and the wallets by key."""

    asked: Asked
    batch: Batch
    amounts: list[Decimal]
    wallets: dict[int, Wallet]


class Rows(NamedTuple):
    """What the database said: keys in order, as texts of arrays, and balances in the order of the accounts."""

    entry_ids: str
    transaction_ids: str
    transfer_ids: str | None
    balances: list[Decimal]


class Records:
    """The records of a plan that was written, each made when it is looked at: most callers look at few of 10,000."""

    def __init__(
        self,
        plan: Plan,
        rows: Rows,
        shared: Written,
        uuids: Sequence[int],
        metas: Sequence[Mapping[str, Any]],
        transfer_uuids: Sequence[int],
    ) -> None:
        """:param uuids: those of the transactions, as numbers"""
        self._plan = plan
        self._rows = rows
        self._shared = shared
        self._uuids = uuids
        self._metas = metas
        self._transfer_uuids = transfer_uuids

    def __len__(self) -> int:
        return len(self._plan.amounts)

    @cached_property
    def _keys(self) -> tuple[list[int], list[int], list[int]]:
        """The keys of the entries, the transactions and the transfers: who looks at no record need not wait for them."""
        entries, transactions, transfers = (
            [int(key) for key in array[1:-1].split(",")] if array else []
            for array in self._rows[:3]
        )
        return entries, transactions, transfers

    def make(self, at: int) -> Transaction | Transfer:
        """Return the record of the item at this position."""
        asked, amount = self._plan.asked, self._plan.amounts[at]
        entries, keys, transfers = self._keys
        shared = self._shared._replace(entry_id=entries[at])
        if asked.sides == 1:
            wallet = asked.wallets[at]
            type_ = "deposit" if asked.has_deposit else "withdraw"
            uuid, meta = UUID(int=self._uuids[at]), dict(self._metas[at])
            record = shared.show_transaction(keys[at], uuid, type_, wallet.pk, amount, meta, wallet)
            record.idempotency_key = asked.keys[at]
            return record
        source, destination = asked.sources[at], asked.destinations[at]
        own = slice(2 * at, 2 * at + 2)
        return shared.show_transfer(
            [*keys[own], transfers[at]],
            [*self._uuids[own], self._transfer_uuids[at]],
            (source.pk, destination.pk),
            amount,
            [dict(meta) for meta in self._metas[own]],
            Transfer.STATUS_TRANSFER,
            (source, destination),
            idempotency_key=asked.keys[at],
        )


def move_many_at_once(asked: Asked, using: str) -> Records | None:
    """Move the money of all that is asked for and return the records in order; where `is_plain`.

    The wallets are up to date afterwards. Needs an open transaction. Never raises for a refusal: the caller's
    transaction stays usable.
    """
    if is_part_named():
        return None
    plan = _plan(asked)
    if plan is None:
        return None
    keys = list(plan.batch.keys)
    if keys and find_pending_keys(Transaction, keys, using):
        return None
    shared = Written(0, timezone.now(), using, get_wallet_type(using))
    metas = _list_metas(asked)
    uuids = make_uuid_numbers(len(metas))
    transfer_uuids = make_uuid_numbers(len(plan.amounts)) if asked.sides == 2 else []
    rows = _write(plan, shared, uuids, metas, transfer_uuids)
    if rows is None:
        return None
    _show_balances(plan, rows.balances)
    return Records(plan, rows, shared, uuids, metas, transfer_uuids)


def _plan(asked: Asked) -> Plan | None:
    """Return what is to be moved, or None if an item is not certain to be accepted."""
    wallets: dict[int, Wallet] = {}
    sources = _find_places(asked.sources, asked.has_withdrawal, wallets)
    destinations = _find_places(asked.destinations, asked.has_deposit, wallets)
    if sources is None or destinations is None:
        return None
    assets = [wallet.asset_id for wallet in asked.wallets]
    scales = [wallet.decimal_places for wallet in asked.wallets]
    try:
        amounts = list(map(parse_amount, asked.amounts, scales))
    except WalletException:
        return None
    batch = Batch.of_columns(asked.kind, sources, destinations, amounts, assets, scales)
    if batch is None:
        return None
    for at, key in enumerate(asked.keys):
        if key is None:
            continue
        movement = Movement(sources[at], destinations[at], amounts[at], assets[at])
        if not batch.add_key(Entry(asked.kind, (movement,), key), at + 1):
            return None
    return Plan(asked, batch, amounts, wallets)


def _find_places(
    sides: Sequence[Any], are_wallets: bool, wallets: dict[int, Wallet]
) -> Sequence[Any] | None:
    """Return the accounts and note the wallets; None if one of them is not one wallet of ours, seen as one object."""
    if not are_wallets:
        return sides if all(type(code) is str for code in sides) else None
    places = [side.__dict__.get("account_ptr_id") for side in sides]
    for place, side in zip(places, sides, strict=True):
        if wallets.setdefault(place, side) is not side:
            return None
    if None in wallets or any(type(wallet) is not Wallet for wallet in wallets.values()):
        return None
    return places


def _list_metas(asked: Asked) -> list[Mapping[str, Any]]:
    """Return what each transaction says, a withdrawal before its deposit; one object for all that say nothing own."""
    if asked.sides == 1:
        return [dict(meta) if meta else NOTHING for meta in asked.metas]
    return [{**meta, **own} if meta else own for meta in asked.metas for own in (SENT, RECEIVED)]


def _write(
    plan: Plan,
    shared: Written,
    uuids: Sequence[int],
    metas: Sequence[Mapping[str, Any]],
    transfer_uuids: Sequence[int],
) -> Rows | None:
    different = {id(meta): meta for meta in metas}
    texts = dict(zip(different, write_json(different.values()), strict=True))
    parameters: list[Any] = [
        *plan.batch.list_parameters(),
        *(shared.now, shared.wallet_type, plan.asked.has_withdrawal, plan.asked.has_deposit),
        *(
            to_array(map(WRITE_UUID, uuids)),
            to_text_array(shorten([texts[id(meta)] for meta in metas])),
        ),
        *(to_array(map(WRITE_UUID, transfer_uuids)), Transfer.STATUS_TRANSFER),
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
