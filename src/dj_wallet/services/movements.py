"""Movements as holders see them: one journal entry each, and the records that go with it.

Every deposit, withdrawal and transfer, single or in bulk, comes through `move_many`.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeVar

from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, router

from .. import signals
from ..abstract_models import AbstractTransaction, AbstractTransfer, AbstractWallet
from ..ledger.engine import Entry, Kind, Movement, Posted
from ..ledger.errors import IdempotencyConflict, WalletException
from ..ledger.models import BALANCE_COLUMNS
from ..ledger.money import parse_amount, trim
from ..ledger.post import post, run_in_transaction
from ..models import Transaction, Transfer
from .records import insert_records

OUTSIDE: Final = "external:cash"

Record = Transaction | Transfer
M = TypeVar("M", Transaction, Transfer)


class Request(NamedTuple):
    """A movement that is asked for. A side is a wallet, or the code of a system account.

    From a system account it is a deposit, to one a withdrawal, between wallets a transfer.
    """

    kind: Kind
    source: AbstractWallet | str
    destination: AbstractWallet | str
    amount: Any
    meta: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    allow_overdraft: bool = False
    transfer_status: str = AbstractTransfer.STATUS_TRANSFER
    source_meta: Mapping[str, Any] = {}
    destination_meta: Mapping[str, Any] = {}

    @property
    def wallets(self) -> list[AbstractWallet]:
        return [side for side in (self.source, self.destination) if isinstance(side, AbstractWallet)]


class Moved(NamedTuple):
    """A request with its entry, where that stands, and its records in the order withdrawal, deposit."""

    request: Request
    entry: Entry
    posted: Posted
    transactions: list[Transaction]


def move(request: Request, *, sender: type) -> Record:
    """Move the money of one request and return its record: a Transfer between wallets, else a Transaction.

    :raises WalletException: refused, nothing moved
    """
    outcome = move_many([request], sender=sender)[0]
    if isinstance(outcome, WalletException):
        raise outcome
    return outcome


def move_many(requests: Sequence[Request], *, sender: type, using: str | None = None) -> list[Record | WalletException]:
    """Move the money of each request on its own; return its record or the refusal, in order.

    Idempotent for requests with a key: the first record comes back, marked `replayed`. Joins the caller's transaction.
    The wallets passed in are up to date afterwards.

    :param sender: the sender of the signals, the service class
    """
    alias = using or find_alias(requests)
    for request in requests:
        _send_pre_signals(request, sender)
    entries = [_build_entry(request) for request in requests]
    return run_in_transaction(lambda: _move_many(requests, entries, sender, alias), using=alias)


def find_alias(requests: Sequence[Request]) -> str:
    """Return the database of the first wallet."""
    for request in requests:
        for wallet in request.wallets:
            return wallet._state.db or router.db_for_write(Transaction)
    return router.db_for_write(Transaction)


def _send_pre_signals(request: Request, sender: type) -> None:
    if isinstance(request.source, AbstractWallet):
        signals.pre_withdraw.send(sender, wallet=request.source, amount=request.amount, meta=request.meta)
    if isinstance(request.destination, AbstractWallet):
        signals.pre_deposit.send(sender, wallet=request.destination, amount=request.amount, meta=request.meta)


def _build_entry(request: Request) -> Entry | WalletException:
    wallet = request.wallets[0]
    try:
        amount = parse_amount(request.amount, wallet.decimal_places)
    except WalletException as refusal:
        return refusal
    movement = Movement(_get_place(request.source), _get_place(request.destination), amount, wallet.asset_id)
    return Entry(request.kind, (movement,), request.idempotency_key, allow_overdraft=request.allow_overdraft)


def _get_place(side: AbstractWallet | str) -> int | str:
    return side if isinstance(side, str) else side.pk


def _move_many(
    requests: Sequence[Request], entries: Sequence[Entry | WalletException], sender: type, using: str
) -> list[Record | WalletException]:
    outcomes: list[Any] = list(entries)
    sound = [(at, entry) for at, entry in enumerate(entries) if isinstance(entry, Entry)]
    moved: dict[int, Moved] = {}
    replayed: dict[int, Request] = {}
    for (at, entry), outcome in zip(sound, post([entry for _, entry in sound], using=using), strict=True):
        outcomes[at] = outcome
        if isinstance(outcome, Posted):
            if outcome.replayed:
                replayed[at] = requests[at]
            else:
                moved[at] = Moved(requests[at], entry, outcome, _build_transactions(requests[at], entry, outcome))
    for at, record in zip(moved, _write_records(list(moved.values()), sender, using), strict=True):
        outcomes[at] = record
    for at, record_or_conflict in zip(replayed, _find_replayed(list(replayed.values()), using), strict=True):
        outcomes[at] = record_or_conflict
    return outcomes


def _build_transactions(request: Request, entry: Entry, posted: Posted) -> list[Transaction]:
    is_transfer = len(request.wallets) == 2
    transactions = []
    if isinstance(request.source, AbstractWallet):
        transactions.append(
            build_transaction(
                request.source,
                AbstractTransaction.TYPE_WITHDRAW,
                entry.movements[0].amount,
                meta={**(request.meta or {}), **request.source_meta},
                entry_id=posted.entry_id,
                idempotency_key=None if is_transfer else request.idempotency_key,
            )
        )
    if isinstance(request.destination, AbstractWallet):
        transactions.append(
            build_transaction(
                request.destination,
                AbstractTransaction.TYPE_DEPOSIT,
                entry.movements[0].amount,
                meta={**(request.meta or {}), **request.destination_meta},
                entry_id=posted.entry_id,
                idempotency_key=None if is_transfer else request.idempotency_key,
            )
        )
    return transactions


def build_transaction(
    wallet: AbstractWallet,
    type_: str,
    amount: Decimal,
    *,
    meta: Mapping[str, Any] | None,
    entry_id: int | None,
    idempotency_key: str | None,
    status: str = AbstractTransaction.STATUS_COMPLETED,
) -> Transaction:
    """Return an unsaved record of a deposit into, or a withdrawal from, the wallet."""
    return Transaction(
        payable_type_id=ContentType.objects.get_for_model(wallet).pk,
        payable_id=wallet.pk,
        wallet=wallet,
        type=type_,
        amount=amount,
        confirmed=status == AbstractTransaction.STATUS_COMPLETED,
        status=status,
        entry_id=entry_id,
        idempotency_key=idempotency_key,
        meta=dict(meta or {}),
    )


def _write_records(moved: Sequence[Moved], sender: type, using: str) -> list[Record]:
    if not moved:
        return []
    transactions = [transaction for one in moved for transaction in one.transactions]
    save_records(Transaction, transactions, using)
    transfers = [_build_transfer(one) for one in moved if len(one.transactions) == 2]
    save_records(Transfer, transfers, using)
    remaining = iter(transfers)
    records: list[Record] = []
    for one in moved:
        for wallet in one.request.wallets:
            update_balances(wallet, one.entry, one.posted)
        record: Record = next(remaining) if len(one.transactions) == 2 else one.transactions[0]
        _send_signals(one, record, sender)
        records.append(record)
    return records


def _build_transfer(moved: Moved) -> Transfer:
    withdraw, deposit = moved.transactions
    return Transfer(
        from_type_id=withdraw.payable_type_id,
        from_id=withdraw.payable_id,
        to_type_id=deposit.payable_type_id,
        to_id=deposit.payable_id,
        status=moved.request.transfer_status,
        withdraw=withdraw,
        deposit=deposit,
        entry_id=moved.posted.entry_id,
        idempotency_key=moved.request.idempotency_key,
    )


def save_records(model: type[M], records: Sequence[M], using: str) -> None:
    """Insert new records with one statement and give them their keys.

    :raises IdempotencyConflict: a key was used for another record
    """
    if not records:
        return
    keys = [record.idempotency_key for record in records if record.idempotency_key is not None]
    for other in (Transaction, Transfer) if keys else ():
        if taken := other._default_manager.using(using).filter(idempotency_key__in=keys).first():
            raise refuse_other_use(taken.idempotency_key)
    try:
        insert_records(records, using)
    except IntegrityError as error:
        if keys:
            raise IdempotencyConflict("An idempotency key of this batch was used for something else.") from error
        raise


def _send_signals(moved: Moved, record: Record, sender: type) -> None:
    for transaction in moved.transactions:
        signals.balance_changed.send(sender, wallet=transaction.wallet, transaction=transaction)
        signals.transaction_created.send(sender, transaction=transaction)
    if isinstance(record, Transfer):
        signals.transfer_completed.send(
            sender, transfer=record, from_wallet=moved.request.source, to_wallet=moved.request.destination
        )


def _find_replayed(requests: Sequence[Request], using: str) -> list[Record | WalletException]:
    found: dict[tuple[type[Record], str | None], Record] = {}
    for model in (Transaction, Transfer):
        keys = [request.idempotency_key for request in requests if _get_record_model(request) is model]
        if keys:
            for record in model._default_manager.using(using).filter(idempotency_key__in=keys):
                record.replayed = True
                found[model, record.idempotency_key] = record
    return [
        found.get((_get_record_model(request), request.idempotency_key)) or refuse_other_use(request.idempotency_key)
        for request in requests
    ]


def _get_record_model(request: Request) -> type[Record]:
    return Transfer if len(request.wallets) == 2 else Transaction


def refuse_other_use(idempotency_key: str | None) -> IdempotencyConflict:
    """Return the error for a key that stands for something else."""
    return IdempotencyConflict(f"The idempotency key {idempotency_key!r} was used for something else.")


def update_balances(wallet: AbstractWallet, entry: Entry, posted: Posted) -> None:
    """Show the new balances on the wallet object that the caller holds."""
    for movement, (source_after, destination_after) in zip(entry.movements, posted.balances, strict=True):
        if movement.source == wallet.pk and source_after is not None:
            setattr(wallet, BALANCE_COLUMNS[movement.source_bucket], trim(source_after))
            wallet.version += 1
        if movement.destination == wallet.pk and destination_after is not None:
            setattr(wallet, BALANCE_COLUMNS[movement.destination_bucket], trim(destination_after))
            wallet.version += 1
