"""Scheduling: a record that a worker will pay later. Nothing moves, and the balance is not looked at."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import transaction
from django.utils import timezone

from dj_wallet import signals
from dj_wallet.abstract_models import AbstractTransaction
from dj_wallet.ledger.engine import Kind, find_key_malformation
from dj_wallet.ledger.errors import (
    AccountNotFound,
    MovementInvalid,
    TransactionAlreadyProcessed,
    WalletException,
)
from dj_wallet.ledger.models import Posting
from dj_wallet.ledger.money import parse_amount
from dj_wallet.ledger.records import insert_records
from dj_wallet.models import Transaction, Wallet
from dj_wallet.payouts import doorbell
from dj_wallet.payouts.bank import get_bank
from dj_wallet.payouts.destination import read_destination
from dj_wallet.payouts.errors import DestinationInvalid
from dj_wallet.payouts.models import DEFAULT_BANK, Payout, RecurringPayout
from dj_wallet.services.common import WalletService, record_pending
from dj_wallet.services.movements import (
    Request,
    build_transaction,
    lock_wallets,
    make_frozen_error,
    refuse_other_use,
    run_with_keys,
)

from .outcomes import BANK, publish, publish_all, read_database_time


class PayoutRequest(NamedTuple):
    """A payout that is asked for, one of many."""

    wallet: Wallet
    amount: Any
    scheduled_for: datetime | None = None
    idempotency_key: str | None = None
    meta: Mapping[str, Any] | None = None
    bank: str = DEFAULT_BANK
    destination: Mapping[str, Any] | None = None


class Checked(NamedTuple):
    """A request whose form is sound."""

    request: PayoutRequest
    amount: Decimal
    destination: dict[str, str]

    @property
    def facts(self) -> tuple[Any, ...]:
        """What makes it the same payout under the same key."""
        request = self.request
        place = (request.wallet.pk, request.bank, self.destination)
        return (*place, self.amount, request.scheduled_for)


def schedule_payout(
    *,
    wallet: Wallet,
    amount: Any,
    scheduled_for: datetime | None = None,
    idempotency_key: str | None = None,
    meta: Mapping[str, Any] | None = None,
    bank: str = DEFAULT_BANK,
    destination: Mapping[str, Any] | None = None,
    recurring: RecurringPayout | None = None,
) -> Transaction:
    """Record a withdrawal that a worker will send to the bank at that time, or as soon as possible.

    The balance is not looked at now but when the payout executes (seed 004). A time in the past is now. Idempotent
    with a key: the first record comes back, marked `replayed`. Joins the caller's transaction.

    :raises AmountInvalid: not a positive amount of the wallet's asset
    :raises MovementInvalid: the time has no time zone
    :raises BankNotFound: no bank of this name is set up
    :raises DestinationInvalid: the bank needs to know whom to pay, or this is nobody
    :raises WalletFrozen: the wallet is frozen
    :raises IdempotencyConflict: the key was used for something else, another time or destination included
    """
    asked = PayoutRequest(wallet, amount, scheduled_for, idempotency_key, meta, bank, destination)
    checked = check_request(asked)
    request = Request(Kind.WITHDRAWAL, wallet, BANK, amount, meta, idempotency_key)

    def schedule() -> Transaction:
        record = record_pending(request, AbstractTransaction.TYPE_WITHDRAW, sender=WalletService)
        if record.replayed:
            return _check_same_payout(record, checked)
        now = read_database_time()
        payout = Payout.objects.create(
            transaction=record,
            bank=bank,
            destination=checked.destination,
            scheduled_for=scheduled_for,
            due_at=scheduled_for or now,
            recurring=recurring,
        )
        publish(payout, "payout.requested")
        if payout.due_at is not None and payout.due_at <= now:
            transaction.on_commit(lambda: doorbell.ring(payout.pk), robust=True)
        return record

    return run_with_keys(schedule, using="default")


def schedule_payouts(requests: Sequence[PayoutRequest]) -> list[Transaction | WalletException]:
    """Record many payouts at once, each on its own: its record, replayed or new, or why it was refused, in order.

    The number of statements does not depend on that of requests. Joins the caller's transaction.
    """
    checked = [_check_quietly(request) for request in requests]
    return run_with_keys(lambda: _schedule_all(checked), using="default")


def check_request(request: PayoutRequest) -> Checked:
    """Return the request as it will be recorded, without asking the database.

    :raises WalletException: see `schedule_payout`
    """
    if request.scheduled_for is not None and timezone.is_naive(request.scheduled_for):
        raise MovementInvalid("The time of a payout needs a time zone.")
    if problem := find_key_malformation(request.idempotency_key):
        raise problem
    bank = get_bank(request.bank)
    currency = getattr(bank, "currency", request.wallet.asset_id)
    if currency != request.wallet.asset_id:
        raise DestinationInvalid(f"The bank {request.bank!r} pays in {currency} only.")
    return Checked(
        request,
        parse_amount(request.amount, request.wallet.decimal_places),
        read_destination(request.destination, is_needed=bank.capabilities.needs_destination),
    )


def refuse_other_hands(record: Transaction) -> None:
    """Let nobody else confirm or reject the transaction of a payout: the bank may be paying it.

    :raises TransactionAlreadyProcessed: it has a payout
    """
    if isinstance(record, Transaction) and Payout.objects.filter(transaction=record).exists():
        raise TransactionAlreadyProcessed("Transaction is already in the hands of its payout.")


def _check_quietly(request: PayoutRequest) -> Checked | WalletException:
    try:
        return check_request(request)
    except WalletException as refusal:
        return refusal


def _schedule_all(
    checked: Sequence[Checked | WalletException],
) -> list[Transaction | WalletException]:
    sound = [one for one in checked if isinstance(one, Checked)]
    decide = _make_decision(sound)
    outcomes = [one if isinstance(one, WalletException) else decide(one) for one in checked]
    # The same key twice in one call is one record.
    new: dict[int, tuple[Checked, Transaction]] = {}
    for one, record in zip(checked, outcomes, strict=True):
        if isinstance(record, Transaction) and isinstance(one, Checked) and record.pk is None:
            new[id(record)] = one, record
    _insert(list(new.values()))
    return outcomes


def _make_decision(
    sound: Sequence[Checked],
) -> Callable[[Checked], Transaction | WalletException]:
    """Lock the wallets, look the keys up, and return what decides each request with that knowledge."""
    wallets = {one.request.wallet.pk: one.request.wallet for one in sound}
    if wallets:
        lock_wallets(list(wallets.values()), "default")
    fresh = {one.pk: one for one in Wallet.objects.filter(pk__in=list(wallets))}
    keys = [one.request.idempotency_key for one in sound if one.request.idempotency_key]
    records = Transaction.objects.filter(idempotency_key__in=keys).select_related("payout")
    known = {record.idempotency_key: record for record in records}
    posted = set(
        Posting.objects.filter(idempotency_key__in=keys).values_list("idempotency_key", flat=True)
    )
    asked: dict[str | None, Checked] = {}

    def decide(one: Checked) -> Transaction | WalletException:
        request = one.request
        key = request.idempotency_key
        if key and key in asked:
            return known[key] if asked[key].facts == one.facts else refuse_other_use(key)
        if key and key in known:
            return _find_same(known[key], one)
        if key in posted:
            return refuse_other_use(key)
        wallet = fresh.get(request.wallet.pk)
        if wallet is None:
            return AccountNotFound("There is no such wallet.")
        if wallet.is_frozen:
            return make_frozen_error(wallet)
        record = _build_record(one)
        if key:
            asked[key], known[key] = one, record
        return record

    return decide


def _find_same(record: Transaction, one: Checked) -> Transaction | WalletException:
    record.replayed = True
    try:
        if (record.wallet_id, record.type, record.amount) != (
            one.request.wallet.pk,
            AbstractTransaction.TYPE_WITHDRAW,
            one.amount,
        ):
            return refuse_other_use(record.idempotency_key)
        return _check_same_payout(record, one)
    except WalletException as refusal:
        return refusal


def _build_record(one: Checked) -> Transaction:
    request = one.request
    record = build_transaction(
        request.wallet,
        AbstractTransaction.TYPE_WITHDRAW,
        one.amount,
        meta=request.meta,
        idempotency_key=request.idempotency_key,
        status=AbstractTransaction.STATUS_PENDING,
    )
    record.counterpart = BANK
    return record


def _insert(new: Sequence[tuple[Checked, Transaction]]) -> None:
    if not new:
        return
    now = read_database_time()
    insert_records([record for _, record in new], "default")
    payouts = [
        Payout(
            transaction=record,
            bank=one.request.bank,
            destination=one.destination,
            scheduled_for=one.request.scheduled_for,
            due_at=one.request.scheduled_for or now,
        )
        for one, record in new
    ]
    insert_records(payouts, "default")
    publish_all("payout.requested", [(payout, {}) for payout in payouts])
    for payout in payouts:
        signals.announce(
            signals.transaction_created,
            WalletService,
            using="default",
            transaction=payout.transaction,
        )
    if any(payout.due_at is not None and payout.due_at <= now for payout in payouts):
        transaction.on_commit(doorbell.ring_for_sweep, robust=True)


def _check_same_payout(record: Transaction, one: Checked) -> Transaction:
    """Return the record with its payout.

    :raises IdempotencyConflict: the record is no payout, or another one
    """
    payout = Payout.objects.filter(transaction=record).first()
    if payout is None or (payout.scheduled_for, payout.bank, payout.destination) != (
        one.request.scheduled_for,
        one.request.bank,
        one.destination,
    ):
        raise refuse_other_use(record.idempotency_key)
    payout.transaction = record
    return record
