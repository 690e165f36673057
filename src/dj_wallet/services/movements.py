"""Movements as holders see them: one journal entry each, and the records that go with it.

Every deposit, withdrawal and transfer, single or in bulk, comes through `move_many`.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from functools import cache
from itertools import groupby
from typing import Any, Final, NamedTuple, TypeVar

from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, connections, models, router
from django.db import transaction as db_transaction
from django.db.models import Exists, OuterRef

from dj_wallet import signals
from dj_wallet.abstract_models import AbstractTransaction, AbstractTransfer, AbstractWallet
from dj_wallet.ledger.engine import Entry, Kind, Movement, Posted, find_key_malformation
from dj_wallet.ledger.errors import IdempotencyConflict, WalletException, WalletFrozen
from dj_wallet.ledger.models import BALANCE_COLUMNS, Account, Posting
from dj_wallet.ledger.money import ZERO, parse_amount, trim
from dj_wallet.ledger.post import post, run_in_transaction, run_statement, start_writing
from dj_wallet.ledger.records import build_record, insert_records, post_with_records
from dj_wallet.ledger.statement import execute
from dj_wallet.models import Transaction, Transfer, Wallet
from dj_wallet.utils import (
    get_transaction_model,
    get_transfer_model,
    get_wallet_model,
    get_wallet_service,
)

from .at_once import TOLD, TOLD_LATER, has_receivers, is_plain, move_at_once
from .recorded import find_pending_keys, post_recorded

OUTSIDE: Final = "external:cash"
TRANSIT: Final = "transit"

# What the query in `lock_wallets` compiles to.
LOCK_ACCOUNTS: Final = (
    "SELECT id FROM dj_wallet_account WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"
)

# Where the next deposit or withdrawal of a wallet comes from or goes to instead of OUTSIDE; see `counterpart`.
_counterpart: ContextVar[tuple[int, str] | None] = ContextVar("counterpart", default=None)
# The entry that the next movement of a wallet is a part of.
_whole: ContextVar[tuple[int, Entry] | None] = ContextVar("whole", default=None)

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
    def wallet(self) -> Any:
        """The wallet whose asset it is in: that of the source, if that is one."""
        return self.destination if isinstance(self.source, str) else self.source

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

    @property
    def records(self) -> list[Record]:
        return [*self.transactions, self.transfer] if self.transfer else [*self.transactions]


def move(request: Request, *, sender: type) -> Record:
    """Move the money of one request and return its record: a Transfer between wallets, else a Transaction.

    See `move_many`.

    :raises WalletException: refused, nothing moved
    """
    wallet = request.wallet
    using = find_alias_of(wallet)
    is_short = _is_short(request, sender, using)
    if is_short:
        amount = parse_amount(request.amount, wallet.decimal_places)
        made = run_statement(lambda: _move_at_once(request, amount, using), using=using)
        if made is not None:
            return made
    entry = _build_entry(request)
    if isinstance(entry, WalletException):
        raise entry
    send_pre_signals(request, entry.movements[0].amount, sender)
    is_tried = is_short or not _has_listeners(sender)
    if not is_short and is_tried:
        moved = _build_records(request, entry)
        posted = run_statement(
            lambda: post_recorded(entry, moved.records, using=using), using=using
        )
        if posted is not None:
            return _finish(moved, posted, sender, using)
    try:
        return run_undoing(
            lambda: _move_in_transaction(request, entry, sender, using, is_tried=is_tried),
            sender=sender,
            using=using,
        )
    except WalletFrozen as refusal:
        raise name_frozen(request.wallets, using) or refusal from None


def _is_short(request: Request, sender: type, using: str) -> bool:
    """Tell whether one statement may do it all: no key, no lots of another entry, nobody who has a say or is told."""
    source, destination = request.source, request.destination
    return (
        request.idempotency_key is None
        and _whole.get() is None
        and (type(source) is Wallet or source == OUTSIDE)
        and (type(destination) is Wallet or destination == OUTSIDE)
        and (left := _get_place(source)) is not None
        and (right := _get_place(destination)) is not None
        and left != right
        and is_plain(sender, using)
    )


def _move_at_once(request: Request, amount: Decimal, using: str) -> Record | None:
    meta = request.meta or {}
    return move_at_once(
        request.kind,
        request.source,
        request.destination,
        amount,
        ({**meta, **request.source_meta}, {**meta, **request.destination_meta}),
        transfer_status=request.transfer_status,
        allow_overdraft=request.allow_overdraft,
        using=using,
    )


def run_with_keys(work: Callable[[], R], *, using: str, is_keyed: bool = True) -> R:
    """Run `work` in a transaction, and once more after somebody took one of its keys meanwhile: the second run finds it.

    In the caller's transaction a savepoint undoes what the first run wrote; without a key none is needed.
    """
    if connections[using].in_atomic_block:
        if not is_keyed:
            return work()
        try:
            with db_transaction.atomic(using=using):
                return work()
        except IntegrityError:
            return work()
    try:
        return run_in_transaction(work, using=using)
    except IntegrityError:
        return run_in_transaction(work, using=using)


def _move_in_transaction(
    request: Request, entry: Entry, sender: type, using: str, *, is_tried: bool
) -> Record:
    moved = _build_records(request, entry)

    def post_carefully() -> Posted:
        refuse_pending_keys([entry], using)
        return post_with_records(entry, moved.records, using=using)

    posted = None if is_tried else post_recorded(entry, moved.records, using=using)
    if posted is None:
        is_keyed = entry.idempotency_key is not None
        posted = run_with_keys(post_carefully, using=using, is_keyed=is_keyed)
    if posted.replayed:
        found = _find_replayed([request], using)[0]
        if isinstance(found, WalletException):
            raise found
        return found
    return _finish(moved, posted, sender, using)


def _finish(moved: Moved, posted: Posted, sender: type, using: str) -> Record:
    for wallet in moved.request.wallets:
        update_balances(wallet, moved.entry, posted)
    if is_anybody_told(sender):
        _announce(moved, sender, using)
    return moved.record


def move_many(
    requests: Sequence[Request],
    *,
    sender: type,
    using: str | None = None,
    is_atomic: bool = False,
    are_asked: bool = False,
) -> list[Record | WalletException]:
    """Move the money of each request on its own; return its record or the refusal, in order.

    Idempotent for requests with a key: the first record comes back, marked `replayed`. Joins the caller's transaction.
    The wallets passed in are up to date afterwards. The number of statements does not depend on that of requests.

    :param sender: the sender of the signals, the service class
    :param is_atomic: raise the first refusal instead, with its `position`; then nothing moved
    :param are_asked: the receivers of `pre_withdraw` and `pre_deposit` were asked already
    """
    alias = using or find_alias(requests)
    entries = [_build_entry(request) for request in requests]
    if not are_asked and is_anybody_asked(sender):
        for request, entry in zip(requests, entries, strict=True):
            if isinstance(entry, Entry):
                send_pre_signals(request, entry.movements[0].amount, sender)

    def move_all() -> list[Record | WalletException]:
        return _move_many(requests, entries, sender, alias, is_atomic)

    if is_atomic:
        return run_undoing(move_all, sender=sender, using=alias, always=True)
    is_keyed = any(request.idempotency_key is not None for request in requests)
    return run_with_keys(move_all, using=alias, is_keyed=is_keyed)


def find_alias(requests: Sequence[Request]) -> str:
    """Return the database of the first wallet."""
    for request in requests:
        for wallet in request.wallets:
            return wallet._state.db or router.db_for_write(type(wallet))
    return router.db_for_write(get_transaction_model())


def find_alias_of(wallet: AbstractWallet) -> str:
    """Return the database of the wallet."""
    return wallet._state.db or router.db_for_write(type(wallet))


def run_undoing(work: Callable[[], R], *, sender: type, using: str, always: bool = False) -> R:
    """Run `work` in a transaction as `run_with_keys` does; what it wrote before it raised is undone.

    In the caller's transaction that takes a savepoint, which is only made if somebody else's code runs in between:
    receivers of our signals, or whatever `always` stands for.
    """
    if not connections[using].in_atomic_block or not (always or _has_listeners(sender)):
        return run_with_keys(work, using=using, is_keyed=False)
    with db_transaction.atomic(using=using):
        return work()


def _has_listeners(sender: type) -> bool:
    return any(has_receivers(signal, sender) for signal in TOLD)


def is_anybody_told(sender: type) -> bool:
    """Tell whether the signals of a movement that was made have a receiver, now or after the commit."""
    return _has_listeners(sender) or any(has_receivers(signal, sender) for signal in TOLD_LATER)


def is_anybody_asked(sender: type) -> bool:
    """Tell whether `pre_withdraw` or `pre_deposit` has a receiver."""
    return signals.pre_withdraw.has_listeners(sender) or signals.pre_deposit.has_listeners(sender)


def send_pre_signals(request: Request, amount: Decimal, sender: type) -> None:
    """Ask the receivers of `pre_withdraw` and `pre_deposit`: whichever raises stops the movement."""
    if isinstance(request.source, AbstractWallet):
        signals.pre_withdraw.send(sender, wallet=request.source, amount=amount, meta=request.meta)
    if isinstance(request.destination, AbstractWallet):
        signals.pre_deposit.send(
            sender, wallet=request.destination, amount=amount, meta=request.meta
        )


@contextmanager
def counterpart(wallet: AbstractWallet, code: str, whole: Entry) -> Iterator[None]:
    """Let the next deposit into, or withdrawal from, this wallet come from or go to the system account `code`.

    For calls of a service class of the user's, whose methods have the parameters of release 0.1.0 only.

    :param whole: what the movement is a part of, which limits and lots want to know
    """
    token = _counterpart.set((wallet.pk, code))
    try:
        with part_of(wallet, whole):
            yield
    finally:
        _counterpart.reset(token)


@contextmanager
def part_of(wallet: AbstractWallet, whole: Entry) -> Iterator[None]:
    """Let limits and lots take the next movement of this wallet for a part of another entry."""
    token = _whole.set((wallet.pk, whole))
    try:
        yield
    finally:
        _whole.reset(token)


def is_part_named() -> bool:
    """Tell whether the next movement of some wallet is a part of another entry."""
    return _whole.get() is not None


def take_counterpart(wallet: AbstractWallet, given: str) -> str:
    """Return the system account that `counterpart` names for this wallet, once, or the one given."""
    named = _counterpart.get()
    if named is None or given != OUTSIDE or named[0] != wallet.pk:
        return given
    _counterpart.set(None)
    return named[1]


def name_frozen(wallets: Sequence[AbstractWallet], using: str) -> WalletFrozen | None:
    """Return the refusal that names the frozen one of these wallets, if it still is."""
    pks = [wallet.pk for wallet in wallets]
    frozen = get_wallet_model()._default_manager.using(using).filter(pk__in=pks, is_frozen=True)
    return next((make_frozen_error(wallet) for wallet in frozen), None)


def make_frozen_error(wallet: AbstractWallet) -> WalletFrozen:
    """Return the refusal of a frozen wallet."""
    return WalletFrozen(
        f"Wallet '{wallet.slug}' is frozen: {wallet.frozen_reason or 'No reason provided'}"
    )


def _build_entry(request: Request) -> Entry | WalletException:
    if problem := find_key_malformation(request.idempotency_key):
        return problem
    wallet = request.wallet
    try:
        amount = parse_amount(request.amount, wallet.decimal_places)
    except WalletException as refusal:
        return refusal
    movement = Movement(
        _get_place(request.source), _get_place(request.destination), amount, wallet.asset_id
    )
    entry = Entry(
        request.kind, (movement,), request.idempotency_key, allow_overdraft=request.allow_overdraft
    )
    return take_part(entry, wallet)


def take_part(entry: Entry, wallet: AbstractWallet) -> Entry:
    """Return the entry, once as a part of what `part_of` names for this wallet."""
    part = _whole.get()
    if part is None or part[0] != wallet.pk:
        return entry
    _whole.set(None)
    whole = part[1]
    return entry._replace(acts_as=whole.purpose, restores=whole.restores, lot_id=whole.lot_id)


def _get_place(side: AbstractWallet | str) -> int | str:
    return side if isinstance(side, str) else side.pk


def _move_many(
    requests: Sequence[Request],
    entries: Sequence[Entry | WalletException],
    sender: type,
    using: str,
    is_atomic: bool,
) -> list[Record | WalletException]:
    sound = [(at, entry) for at, entry in enumerate(entries) if isinstance(entry, Entry)]
    taken = list_pending_keys([entry for _, entry in sound], using)
    refused: dict[int, WalletException] = {
        at: entry for at, entry in enumerate(entries) if isinstance(entry, WalletException)
    }
    refused |= {
        at: refuse_other_use(entry.idempotency_key)
        for at, entry in sound
        if entry.idempotency_key in taken
    }
    sound = [(at, entry) for at, entry in sound if at not in refused]
    outcomes = post([entry for _, entry in sound], using=using)
    places: dict[int, Posted] = {}
    for (at, _), outcome in zip(sound, outcomes, strict=True):
        if isinstance(outcome, WalletException):
            refused[at] = outcome
        else:
            places[at] = outcome
    if is_atomic:
        refuse_all(refused)
    replayed = [at for at, place in places.items() if place.replayed]
    moved = {
        at: _build_records(requests[at], entry, places[at].entry_id)
        for at, entry in sound
        if at in places and not places[at].replayed
    }
    _insert_records(list(moved.values()), using)
    is_heard = is_anybody_told(sender)
    for at, one in moved.items():
        update_all_balances(one.request.wallets, one.entry, places[at])
        if is_heard:
            _announce(one, sender, using)
    records: dict[int, Record | WalletException] = {at: one.record for at, one in moved.items()}
    records |= zip(replayed, _find_replayed([requests[at] for at in replayed], using), strict=True)
    if is_atomic:
        refuse_all({at: one for at, one in records.items() if isinstance(one, WalletException)})
    records |= refused
    return [records[at] for at in range(len(requests))]


def refuse_all(refused: Mapping[int, WalletException]) -> None:
    """Raise the first of these refusals, if there is one; it says at which `position` of the call it was."""
    if refused:
        position = min(refused)
        refusal = refused[position]
        refusal.position = position
        raise refusal


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
    entry_id: int | None = None,
    idempotency_key: str | None = None,
    status: str = AbstractTransaction.STATUS_COMPLETED,
    wallet_type: int | None = None,
    **values: Any,
) -> Transaction:
    """Return an unsaved record of a deposit into, or a withdrawal from, the wallet.

    :param wallet_type: the content type of the wallet's model, if the caller knows it
    :param values: of further fields
    """
    wallet_id = wallet.pk
    record: Transaction = build_record(
        get_transaction_model(),
        {
            "payable_type_id": wallet_type or ContentType.objects.get_for_model(wallet).pk,
            "payable_id": wallet_id,
            "wallet_id": wallet_id,
            "type": type_,
            "amount": amount,
            "confirmed": status == AbstractTransaction.STATUS_COMPLETED,
            "status": status,
            "entry_id": entry_id,
            "idempotency_key": idempotency_key,
            "meta": dict(meta or {}),
            **values,
        },
        {"wallet": wallet},
    )
    if type(record) is Transaction:
        record._known_status = (status, record.confirmed)
    else:
        record.remember_status()
    return record


def _build_transfer(request: Request, transactions: Sequence[Transaction]) -> Transfer:
    withdraw, deposit = transactions
    return build_transfer(
        withdraw,
        deposit,
        status=request.transfer_status,
        idempotency_key=request.idempotency_key,
    )


def build_transfer(
    withdraw: Transaction,
    deposit: Transaction,
    *,
    status: str,
    fee: Decimal = ZERO,
    discount: Decimal = ZERO,
    refund_of: Transfer | None = None,
    idempotency_key: str | None = None,
    **values: Any,
) -> Transfer:
    """Return an unsaved record of a movement from the wallet of one transaction to that of the other."""
    return build_record(
        get_transfer_model(),
        {
            "from_type_id": withdraw.payable_type_id,
            "from_id": withdraw.payable_id,
            "to_type_id": deposit.payable_type_id,
            "to_id": deposit.payable_id,
            "status": status,
            "fee": fee,
            "discount": discount,
            "refund_of_id": None if refund_of is None else refund_of.pk,
            "entry_id": withdraw.entry_id,
            "idempotency_key": idempotency_key,
            **values,
        },
        {"withdraw": withdraw, "deposit": deposit, "refund_of": refund_of},
    )


def list_pending_keys(entries: Sequence[Entry], using: str) -> set[str | None]:
    """Return the keys of transactions that were pending once: the ledger knows what moved their money by another."""
    keys = [entry.idempotency_key for entry in entries if entry.idempotency_key is not None]
    if not keys:
        return set()
    model = get_transaction_model()
    if connections[using].vendor == "postgresql":
        return find_pending_keys(model, keys, using)
    moved = Posting.objects.filter(
        pk=OuterRef("entry_id"), idempotency_key=OuterRef("idempotency_key")
    )
    pending = model._default_manager.using(using).filter(~Exists(moved), idempotency_key__in=keys)
    return set(pending.values_list("idempotency_key", flat=True))


def refuse_pending_keys(entries: Sequence[Entry], using: str) -> None:
    for key in list_pending_keys(entries, using):
        raise refuse_other_use(key)


def _announce(moved: Moved, sender: type, using: str) -> None:
    for transaction in moved.transactions:
        announce_transaction(transaction, sender, using)
    if moved.transfer is not None:
        announce_transfer(
            moved.transfer, moved.request.source, moved.request.destination, sender, using
        )


def announce_transaction(transaction: Transaction, sender: type, using: str) -> None:
    """Send the signals of a new record whose money has moved."""
    signals.announce(
        signals.balance_changed,
        sender,
        using=using,
        wallet=transaction.wallet,
        transaction=transaction,
    )
    signals.announce(signals.transaction_created, sender, using=using, transaction=transaction)


def announce_transfer(
    transfer: Transfer, from_wallet: Any, to_wallet: Any, sender: type, using: str
) -> None:
    """Send the signal of a new transfer, whose wallets show their new balances."""
    signals.announce(
        signals.transfer_completed,
        sender,
        using=using,
        transfer=transfer,
        from_wallet=from_wallet,
        to_wallet=to_wallet,
    )


def post_records(
    entry: Entry,
    transactions: Sequence[Transaction],
    transfers: Sequence[Transfer] = (),
    *,
    before: Sequence[models.Model] = (),
    after: Sequence[models.Model] = (),
    sender: type,
    using: str,
) -> None:
    """Post an entry of any number of movements with its records, and announce them; needs an open transaction.

    The wallets of the transactions are up to date afterwards.

    :param before: records that others refer to, `after`: records that refer to others
    :raises WalletException: refused, nothing moved
    """
    refuse_pending_keys([entry], using)
    if is_customised(get_wallet_service(), "deposit", "withdraw"):
        with db_transaction.atomic(using=using):
            _delegate(entry, transactions, transfers, before, after, sender, using)
        return
    for transaction in transactions:
        send_pre_signal(transaction, sender)
    wallets = {id(one): one for one in map(get_wallet, transactions)}
    try:
        # Not by `post_recorded`: what it writes has no fees, references or keys apart from the entry's.
        posted = post_with_records(entry, [*before, *transactions, *transfers, *after], using=using)
    except WalletFrozen as refusal:
        raise name_frozen(list(wallets.values()), using) or refusal from None
    if posted.replayed:
        raise refuse_other_use(entry.idempotency_key)
    update_all_balances(list(wallets.values()), entry, posted)
    if is_anybody_told(sender):
        for transaction in transactions:
            announce_transaction(transaction, sender, using)
        _announce_transfers(transfers, sender, using)


def get_wallet(transaction: Transaction) -> Wallet:
    """Return the wallet object of a transaction."""
    wallet: Wallet = transaction.wallet
    return wallet


def send_pre_signal(transaction: Transaction, sender: type) -> None:
    """Ask the receivers of `pre_withdraw` or `pre_deposit`: whichever raises stops the movement."""
    is_deposit = transaction.type == AbstractTransaction.TYPE_DEPOSIT
    signal = signals.pre_deposit if is_deposit else signals.pre_withdraw
    signal.send(sender, wallet=transaction.wallet, amount=transaction.amount, meta=transaction.meta)


def _announce_transfers(transfers: Sequence[Transfer], sender: type, using: str) -> None:
    for transfer in transfers:
        withdraw, deposit = transfer.withdraw, transfer.deposit
        announce_transfer(transfer, withdraw.wallet, deposit.wallet, sender, using)


# A wallet service of the user's, whose deposits and withdrawals every movement goes through


def is_customised(service: Any, *methods: str) -> bool:
    """Tell whether one of these methods is not ours."""
    return _is_customised(service, methods)


@cache
def _is_customised(service: Any, methods: tuple[str, ...]) -> bool:
    return any(
        not inspect.unwrap(getattr(service, method)).__module__.startswith("dj_wallet.services.")
        for method in methods
    )


def is_overridden(product: Any, *methods: str) -> bool:
    """Tell whether a product, or its model, has one of these methods and it is not that of our mixin."""
    hooks = [getattr(product, name, None) for name in methods]
    return any(hook and getattr(hook, "__module__", "") != "dj_wallet.mixins" for hook in hooks)


def _delegate(
    entry: Entry,
    transactions: Sequence[Transaction],
    transfers: Sequence[Transfer],
    before: Sequence[models.Model],
    after: Sequence[models.Model],
    sender: type,
    using: str,
) -> None:
    """Let the user's service make each transaction, one entry each; between wallets money passes through TRANSIT."""
    lock_wallets([get_wallet(transaction) for transaction in transactions], using)
    made = {id(transaction): _make_by_service(transaction, entry) for transaction in transactions}
    entry_ids = [transaction.entry_id for transaction in made.values()]
    for records in (before, transfers, after):
        for record in records:
            _take_over(record, made)
            if hasattr(record, "entry_id"):
                record.entry_id = entry_ids[0]
        for _, alike in groupby(records, type):
            insert_records(list(alike), using)
    _announce_transfers(transfers, sender, using)


def _make_by_service(transaction: Transaction, entry: Entry) -> Transaction:
    service, wallet = get_wallet_service(), get_wallet(transaction)
    is_deposit = transaction.type == AbstractTransaction.TYPE_DEPOSIT
    verb = service.deposit if is_deposit else service.withdraw
    with counterpart(wallet, find_counterpart_of(transaction, entry), entry):
        return verb(wallet, transaction.amount, meta=transaction.meta, confirmed=True)


def find_counterpart_of(transaction: Transaction, entry: Entry) -> str:
    """Return the system account on the other side of the transaction's movement, TRANSIT if that is a wallet."""
    pk, amount = transaction.wallet_id, transaction.amount
    is_deposit = transaction.type == AbstractTransaction.TYPE_DEPOSIT
    for movement in entry.movements:
        sides = movement.source, movement.destination
        other, own = sides if is_deposit else reversed(sides)
        if own == pk and movement.amount == amount and isinstance(other, str):
            return other
    return TRANSIT


def _take_over(record: models.Model, made: Mapping[int, Transaction]) -> None:
    """Let a record refer to the transactions that the service made, and take over the keys of other new records."""
    for field in record._meta.concrete_fields:
        if isinstance(field, models.ForeignKey) and field.is_cached(record):
            related = field.get_cached_value(record)
            setattr(record, field.name, made.get(id(related), related))


def lock_wallets(wallets: Sequence[AbstractWallet], using: str) -> set[int]:
    """Lock these wallets until the transaction ends, in the order in which every movement locks them.

    Returns the keys of those that exist.
    """
    start_writing(using)
    pks = {wallet.pk for wallet in wallets}
    if connections[using].vendor == "postgresql":
        return {pk for (pk,) in execute(LOCK_ACCOUNTS, [list(pks)], using).fetchall()}
    accounts = Account.objects.using(using).filter(pk__in=pks).order_by("pk")
    return set(accounts.select_for_update(no_key=True).values_list("pk", flat=True))


def _find_replayed(requests: Sequence[Request], using: str) -> list[Record | WalletException]:
    found: dict[tuple[type[Record], str | None], Record] = {}
    for model in (get_transaction_model(), get_transfer_model()):
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
    return get_transfer_model() if len(request.wallets) == 2 else get_transaction_model()


def refuse_other_use(idempotency_key: str | None) -> IdempotencyConflict:
    """Return the error for a key that stands for something else."""
    return IdempotencyConflict(
        f"The idempotency key {idempotency_key!r} was used for something else."
    )


def update_balances(wallet: AbstractWallet, entry: Entry, posted: Posted) -> None:
    """Show the new balances on the wallet object that the caller holds."""
    update_all_balances([wallet], entry, posted)


def update_all_balances(wallets: Sequence[AbstractWallet], entry: Entry, posted: Posted) -> None:
    """Show the new balances on the wallet objects, in one walk through the entry."""
    by_key: dict[int | str, list[AbstractWallet]] = {}
    for wallet in wallets:
        by_key.setdefault(wallet.pk, []).append(wallet)
    for movement, (source_after, destination_after) in zip(
        entry.movements, posted.balances, strict=True
    ):
        for place, bucket, balance in (
            (movement.source, movement.source_bucket, source_after),
            (movement.destination, movement.destination_bucket, destination_after),
        ):
            if balance is not None:
                for wallet in by_key.get(place, ()):
                    setattr(wallet, BALANCE_COLUMNS[bucket], trim(balance))
                    wallet.version += 1
