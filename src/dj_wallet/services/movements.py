"""Movements as holders see them: one journal entry each, and the records that go with it.

Every deposit, withdrawal and transfer, single or in bulk, comes through `move_many`.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeVar

from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, connections, router
from django.db.models import Exists, OuterRef

from dj_wallet import signals
from dj_wallet.abstract_models import AbstractTransaction, AbstractTransfer, AbstractWallet
from dj_wallet.ledger.engine import Entry, Kind, Movement, Posted, find_key_malformation
from dj_wallet.ledger.errors import IdempotencyConflict, WalletException
from dj_wallet.ledger.models import BALANCE_COLUMNS, Posting
from dj_wallet.ledger.money import parse_amount, trim
from dj_wallet.ledger.post import post, run_in_transaction
from dj_wallet.ledger.records import build_record, insert_records
from dj_wallet.models import Transaction, Transfer

from .recorded import post_with_records

OUTSIDE: Final = "external:cash"

Record = Transaction | Transfer
R = TypeVar("R")


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
        return [
            side for side in (self.source, self.destination) if isinstance(side, AbstractWallet)
        ]


class Moved(NamedTuple):
    """A request with its entry and its records: a withdrawal or a deposit, or both and a transfer."""

    request: Request
    entry: Entry
    transactions: list[Transaction]
    transfer: Transfer | None

    @property
    def record(self) -> Record:
        return self.transfer or self.transactions[0]


def move(request: Request, *, sender: type) -> Record:
    """Move the money of one request and return its record: a Transfer between wallets, else a Transaction.

    See `move_many`.

    :raises WalletException: refused, nothing moved
    """
    using = find_alias([request])
    _send_pre_signals(request, sender)
    entry = _build_entry(request)
    if isinstance(entry, WalletException):
        raise entry
    return run_with_keys(lambda: _move_one(request, entry, sender, using), using=using)


def run_with_keys(work: Callable[[], R], *, using: str) -> R:
    """Run `work` in a transaction; if it is our own, once more after somebody took one of its keys meanwhile.

    The second run finds the key. In the caller's transaction the IntegrityError is the caller's.
    """
    if connections[using].in_atomic_block:
        return work()
    try:
        return run_in_transaction(work, using=using)
    except IntegrityError:
        return run_in_transaction(work, using=using)


def _move_one(request: Request, entry: Entry, sender: type, using: str) -> Record:
    moved = _build_records(request, entry)
    _refuse_pending_keys([entry], using)
    records = [*moved.transactions, moved.transfer] if moved.transfer else moved.transactions
    posted = post_with_records(entry, records, using=using)
    if posted.replayed:
        found = _find_replayed([request], using)[0]
        if isinstance(found, WalletException):
            raise found
        return found
    _announce(moved, posted, sender)
    return moved.record


def move_many(
    requests: Sequence[Request], *, sender: type, using: str | None = None
) -> list[Record | WalletException]:
    """Move the money of each request on its own; return its record or the refusal, in order.

    Idempotent for requests with a key: the first record comes back, marked `replayed`. Joins the caller's transaction.
    The wallets passed in are up to date afterwards. The number of statements does not depend on that of requests.

    :param sender: the sender of the signals, the service class
    """
    alias = using or find_alias(requests)
    for request in requests:
        _send_pre_signals(request, sender)
    entries = [_build_entry(request) for request in requests]
    return run_with_keys(lambda: _move_many(requests, entries, sender, alias), using=alias)


def find_alias(requests: Sequence[Request]) -> str:
    """Return the database of the first wallet."""
    for request in requests:
        for wallet in request.wallets:
            return wallet._state.db or router.db_for_write(Transaction)
    return router.db_for_write(Transaction)


def _send_pre_signals(request: Request, sender: type) -> None:
    if isinstance(request.source, AbstractWallet):
        signals.pre_withdraw.send(
            sender, wallet=request.source, amount=request.amount, meta=request.meta
        )
    if isinstance(request.destination, AbstractWallet):
        signals.pre_deposit.send(
            sender, wallet=request.destination, amount=request.amount, meta=request.meta
        )


def _build_entry(request: Request) -> Entry | WalletException:
    if problem := find_key_malformation(request.idempotency_key):
        return problem
    wallet = request.wallets[0]
    try:
        amount = parse_amount(request.amount, wallet.decimal_places)
    except WalletException as refusal:
        return refusal
    movement = Movement(
        _get_place(request.source), _get_place(request.destination), amount, wallet.asset_id
    )
    return Entry(
        request.kind, (movement,), request.idempotency_key, allow_overdraft=request.allow_overdraft
    )


def _get_place(side: AbstractWallet | str) -> int | str:
    return side if isinstance(side, str) else side.pk


def _move_many(
    requests: Sequence[Request],
    entries: Sequence[Entry | WalletException],
    sender: type,
    using: str,
) -> list[Record | WalletException]:
    sound = [(at, entry) for at, entry in enumerate(entries) if isinstance(entry, Entry)]
    taken = _find_pending_keys([entry for _, entry in sound], using)
    refused: dict[int, WalletException] = {
        at: entry for at, entry in enumerate(entries) if isinstance(entry, WalletException)
    }
    refused |= {
        at: refuse_other_use(entry.idempotency_key)
        for at, entry in sound
        if entry.idempotency_key in taken
    }
    sound = [(at, entry) for at, entry in sound if at not in refused]
    moved: dict[int, Moved] = {}
    replayed: list[int] = []
    posted: list[Posted] = []
    for (at, entry), outcome in zip(
        sound, post([entry for _, entry in sound], using=using), strict=True
    ):
        if isinstance(outcome, WalletException):
            refused[at] = outcome
        elif outcome.replayed:
            replayed.append(at)
        else:
            moved[at] = _build_records(requests[at], entry, outcome.entry_id)
            posted.append(outcome)
    _insert_records(list(moved.values()), using)
    for one, place in zip(moved.values(), posted, strict=True):
        _announce(one, place, sender)
    found = dict(
        zip(replayed, _find_replayed([requests[at] for at in replayed], using), strict=True)
    )
    records: dict[int, Record | WalletException] = {at: one.record for at, one in moved.items()}
    outcomes = records | found | refused
    return [outcomes[at] for at in range(len(requests))]


def _build_records(request: Request, entry: Entry, entry_id: int | None = None) -> Moved:
    amount = entry.movements[0].amount
    is_transfer = len(request.wallets) == 2
    key = None if is_transfer else request.idempotency_key
    transactions = [
        build_transaction(
            wallet,
            type_,
            amount,
            meta={**(request.meta or {}), **meta},
            entry_id=entry_id,
            idempotency_key=key,
        )
        for wallet, type_, meta in (
            (request.source, AbstractTransaction.TYPE_WITHDRAW, request.source_meta),
            (request.destination, AbstractTransaction.TYPE_DEPOSIT, request.destination_meta),
        )
        if isinstance(wallet, AbstractWallet)
    ]
    return Moved(
        request,
        entry,
        transactions,
        _build_transfer(request, transactions) if is_transfer else None,
    )


def _insert_records(moved: Sequence[Moved], using: str) -> None:
    insert_records([transaction for one in moved for transaction in one.transactions], using)
    transfers = [one.transfer for one in moved if one.transfer is not None]
    for transfer in transfers:
        transfer.withdraw, transfer.deposit = (
            transfer.withdraw,
            transfer.deposit,
        )  # take over their new keys
    insert_records(transfers, using)


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
    record = build_record(
        Transaction,
        {
            "payable_type_id": ContentType.objects.get_for_model(wallet).pk,
            "payable_id": wallet.pk,
            "wallet_id": wallet.pk,
            "type": type_,
            "amount": amount,
            "confirmed": status == AbstractTransaction.STATUS_COMPLETED,
            "status": status,
            "entry_id": entry_id,
            "idempotency_key": idempotency_key,
            "meta": dict(meta or {}),
        },
        {"wallet": wallet},
    )
    record.remember_status()
    return record


def _build_transfer(request: Request, transactions: Sequence[Transaction]) -> Transfer:
    withdraw, deposit = transactions
    return build_record(
        Transfer,
        {
            "from_type_id": withdraw.payable_type_id,
            "from_id": withdraw.payable_id,
            "to_type_id": deposit.payable_type_id,
            "to_id": deposit.payable_id,
            "status": request.transfer_status,
            "entry_id": withdraw.entry_id,
            "idempotency_key": request.idempotency_key,
        },
        {"withdraw": withdraw, "deposit": deposit},
    )


def _find_pending_keys(entries: Sequence[Entry], using: str) -> set[str | None]:
    """Return the keys of transactions that were pending once: the ledger knows what moved their money by another."""
    keys = [entry.idempotency_key for entry in entries if entry.idempotency_key is not None]
    if not keys:
        return set()
    moved = Posting.objects.filter(
        pk=OuterRef("entry_id"), idempotency_key=OuterRef("idempotency_key")
    )
    pending = Transaction.objects.using(using).filter(~Exists(moved), idempotency_key__in=keys)
    return set(pending.values_list("idempotency_key", flat=True))


def _refuse_pending_keys(entries: Sequence[Entry], using: str) -> None:
    for key in _find_pending_keys(entries, using):
        raise refuse_other_use(key)


def _announce(moved: Moved, posted: Posted, sender: type) -> None:
    for wallet in moved.request.wallets:
        update_balances(wallet, moved.entry, posted)
    _send_signals(moved, sender)


def _send_signals(moved: Moved, sender: type) -> None:
    for transaction in moved.transactions:
        signals.balance_changed.send(sender, wallet=transaction.wallet, transaction=transaction)
        signals.transaction_created.send(sender, transaction=transaction)
    if moved.transfer is not None:
        signals.transfer_completed.send(
            sender,
            transfer=moved.transfer,
            from_wallet=moved.request.source,
            to_wallet=moved.request.destination,
        )


def _find_replayed(requests: Sequence[Request], using: str) -> list[Record | WalletException]:
    found: dict[tuple[type[Record], str | None], Record] = {}
    for model in (Transaction, Transfer):
        keys = [
            request.idempotency_key for request in requests if _get_record_model(request) is model
        ]
        if keys:
            for record in model._default_manager.using(using).filter(idempotency_key__in=keys):
                record.replayed = True
                found[model, record.idempotency_key] = record
    return [
        found.get((_get_record_model(request), request.idempotency_key))
        or refuse_other_use(request.idempotency_key)
        for request in requests
    ]


def _get_record_model(request: Request) -> type[Record]:
    return Transfer if len(request.wallets) == 2 else Transaction


def refuse_other_use(idempotency_key: str | None) -> IdempotencyConflict:
    """Return the error for a key that stands for something else."""
    return IdempotencyConflict(
        f"The idempotency key {idempotency_key!r} was used for something else."
    )


def update_balances(wallet: AbstractWallet, entry: Entry, posted: Posted) -> None:
    """Show the new balances on the wallet object that the caller holds."""
    for movement, (source_after, destination_after) in zip(
        entry.movements, posted.balances, strict=True
    ):
        if movement.source == wallet.pk and source_after is not None:
            setattr(wallet, BALANCE_COLUMNS[movement.source_bucket], trim(source_after))
            wallet.version += 1
        if movement.destination == wallet.pk and destination_after is not None:
            setattr(wallet, BALANCE_COLUMNS[movement.destination_bucket], trim(destination_after))
            wallet.version += 1
