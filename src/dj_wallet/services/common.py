"""Deposits and withdrawals of one wallet."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, cast

from django.db import router
from django.utils import timezone

from dj_wallet import signals
from dj_wallet.abstract_models import AbstractTransaction, AbstractWallet
from dj_wallet.conf import wallet_settings
from dj_wallet.ledger.engine import Entry, Kind, Movement, find_key_malformation
from dj_wallet.ledger.errors import (
    AccountNotFound,
    AmountInvalid,
    TransactionAlreadyProcessed,
    WalletFrozen,
)
from dj_wallet.ledger.models import Posting
from dj_wallet.ledger.money import parse_amount, read_number
from dj_wallet.ledger.post import post_one, run_in_transaction
from dj_wallet.ledger.records import insert_records
from dj_wallet.models import Hold, Transaction, Wallet
from dj_wallet.signals import announce
from dj_wallet.utils import get_transaction_model

from .holds import place_hold, release_reference
from .movements import (
    OUTSIDE,
    Request,
    build_transaction,
    make_frozen_error,
    move,
    name_frozen,
    refuse_other_use,
    run_with_keys,
    send_pre_signals,
    take_counterpart,
    update_balances,
)
from .refunds import reverse

# Apps that move the money of a pending transaction themselves add a function that raises
# TransactionAlreadyProcessed for theirs: nobody else may confirm or reject it.
PENDING_GUARDS: list[Callable[[Transaction], None]] = []


class WalletService:
    """Moves value into and out of one wallet.

    Every method is atomic and joins the caller's transaction. The wallet passed in is up to date afterwards. With an
    idempotency key a repeated call returns the first record and moves nothing.
    """

    @staticmethod
    def verify_amount(amount: Any) -> Decimal:
        """Return the amount as a number, without looking at any wallet.

        :raises AmountInvalid: it is not a positive number
        """
        number = read_number(amount)
        if number <= 0:
            raise AmountInvalid(f"The amount must be greater than zero, not {amount}.")
        return number

    @classmethod
    def _check_frozen(cls, wallet: AbstractWallet) -> None:
        """Refuse a wallet that is frozen, for subclasses written for release 0.1.0.

        :raises WalletFrozen: it is
        """
        if wallet.is_frozen:
            raise make_frozen_error(wallet)

    @classmethod
    def deposit(
        cls,
        wallet: AbstractWallet,
        amount: Any,
        meta: Mapping[str, Any] | None = None,
        confirmed: bool = True,
        *,
        idempotency_key: str | None = None,
        source: str = OUTSIDE,
    ) -> Transaction:
        """Add to the wallet what comes from the system account `source`; pending if not `confirmed`.

        :raises AmountInvalid: not a positive amount of the wallet's asset
        :raises WalletFrozen: the wallet is frozen
        :raises IdempotencyConflict: the key was used for something else
        """
        request = Request(
            Kind.DEPOSIT, take_counterpart(wallet, source), wallet, amount, meta, idempotency_key
        )
        return cls._move(request, AbstractTransaction.TYPE_DEPOSIT, confirmed)

    @classmethod
    def withdraw(
        cls,
        wallet: AbstractWallet,
        amount: Any,
        meta: Mapping[str, Any] | None = None,
        confirmed: bool = True,
        *,
        idempotency_key: str | None = None,
        destination: str = OUTSIDE,
    ) -> Transaction:
        """Take from the wallet what goes to the system account `destination`.

        A withdrawal that is not `confirmed` reserves nothing and is checked when it is.

        :raises AmountInvalid: not a positive amount of the wallet's asset
        :raises WalletFrozen: the wallet is frozen
        :raises InsufficientFunds: the wallet holds less
        :raises IdempotencyConflict: the key was used for something else
        """
        request = Request(
            Kind.WITHDRAWAL,
            wallet,
            take_counterpart(wallet, destination),
            amount,
            meta,
            idempotency_key,
        )
        return cls._move(request, AbstractTransaction.TYPE_WITHDRAW, confirmed)

    @classmethod
    def force_withdraw(
        cls,
        wallet: AbstractWallet,
        amount: Any,
        meta: Mapping[str, Any] | None = None,
        confirmed: bool = True,
        *,
        idempotency_key: str | None = None,
        destination: str = OUTSIDE,
    ) -> Transaction:
        """Take from the wallet even what it does not hold; otherwise as `withdraw`."""
        request = Request(
            Kind.WITHDRAWAL,
            wallet,
            take_counterpart(wallet, destination),
            amount,
            meta,
            idempotency_key,
            allow_overdraft=True,
        )
        return cls._move(request, AbstractTransaction.TYPE_WITHDRAW, confirmed)

    @classmethod
    def hold(
        cls,
        wallet: AbstractWallet,
        amount: Any,
        *,
        reference_type: str,
        reference_id: str,
        **options: Any,
    ) -> Hold:
        """Reserve an amount of the wallet for a reference; see `holds.place_hold`."""
        return place_hold(
            wallet=wallet,
            amount=amount,
            reference_type=reference_type,
            reference_id=reference_id,
            **options,
        )

    @classmethod
    def release_hold(
        cls,
        wallet: AbstractWallet,
        amount: Any = None,
        *,
        reference_type: str,
        reference_id: str,
        idempotency_key: str | None = None,
    ) -> Hold:
        """Give back what is held for a reference, or an amount of it; see `holds.release_hold`.

        :raises HoldNotFound: nothing is held for it
        """
        return release_reference(
            wallet=wallet,
            reference_type=reference_type,
            reference_id=reference_id,
            amount=amount,
            idempotency_key=idempotency_key,
        )

    @classmethod
    def confirm_transaction(cls, txn: Transaction) -> Transaction:
        """Move the money of a pending transaction and complete it; return the fresh record.

        :raises TransactionAlreadyProcessed: it is not pending
        :raises WalletFrozen: the wallet is frozen
        :raises InsufficientFunds: a withdrawal of more than the wallet holds
        :raises IdempotencyConflict: somebody else used the key of the confirmation
        """
        using = txn._state.db or router.db_for_write(type(txn))

        def confirm() -> Transaction:
            locked = lock_pending(txn, using, "confirm")
            wallet = locked.wallet
            entry = _build_confirmation(locked)
            try:
                posted = post_one(entry, using=using)
            except WalletFrozen as refusal:
                raise name_frozen([wallet], using) or refusal from None
            if posted.replayed:  # our key, used by somebody else
                raise refuse_other_use(entry.idempotency_key)
            locked.status, locked.confirmed = AbstractTransaction.STATUS_COMPLETED, True
            locked.entry_id = posted.entry_id
            locked.save(update_fields=["status", "confirmed", "entry_id", "updated_at"])
            update_balances(wallet, entry, posted)
            announce(signals.balance_changed, cls, using=using, wallet=wallet, transaction=locked)
            announce(signals.transaction_confirmed, cls, using=using, transaction=locked)
            return locked

        return run_in_transaction(confirm, using=using)

    @classmethod
    def reject_transaction(cls, txn: Transaction, reason: str = "") -> Transaction:
        """Give a pending transaction up; return the fresh record, failed.

        :raises TransactionAlreadyProcessed: it is not pending
        """
        using = txn._state.db or router.db_for_write(type(txn))

        def reject() -> Transaction:
            locked = lock_pending(txn, using, "reject")
            locked.status = AbstractTransaction.STATUS_FAILED
            if reason:
                locked.meta = {**(locked.meta or {}), "rejection_reason": reason}
            locked.save(update_fields=["status", "meta", "updated_at"])
            return locked

        return run_in_transaction(reject, using=using)

    @classmethod
    def reverse_transaction(cls, txn: Transaction, reason: str = "") -> Transaction:
        """Undo a completed transaction by an opposite one on the same wallet, which is returned.

        A leg of a transfer takes the whole transfer back, and a payment its purchase line: money is never created or
        destroyed by undoing half of a movement.

        :raises TransactionAlreadyProcessed: it is not completed, or some of it was given back already
        :raises WalletFrozen: a wallet is frozen
        :raises InsufficientFunds: who has to give it back holds less
        """
        return reverse(txn, reason, sender=cls)

    @classmethod
    def expire_pending_transactions(
        cls, wallet: AbstractWallet, before_date: datetime | None = None
    ) -> int:
        """Expire the pending transactions of the wallet from before a date; return how many.

        Those in the hands of another app, such as payouts, stay as they are.

        :param before_date: by default so many hours ago as PENDING_TRANSACTION_EXPIRY_HOURS says
        """
        using = wallet._state.db or router.db_for_write(type(wallet))
        age = timedelta(hours=wallet_settings.PENDING_TRANSACTION_EXPIRY_HOURS)
        now = timezone.now()
        records = get_transaction_model()._default_manager.using(using)
        pending = records.filter(
            wallet=cast(Wallet, wallet),
            status=AbstractTransaction.STATUS_PENDING,
            created_at__lt=before_date or now - age,
        )

        def expire() -> int:
            free = [txn.pk for txn in pending.select_for_update(of=("self",)) if not _is_held(txn)]
            return records.filter(pk__in=free).update(
                status=AbstractTransaction.STATUS_EXPIRED, updated_at=now
            )

        return run_in_transaction(expire, using=using)

    @classmethod
    def _move(cls, request: Request, type_: str, confirmed: bool) -> Transaction:
        if confirmed:
            return cast(Transaction, move(request, sender=cls))
        wallet = request.wallet
        send_pre_signals(request, parse_amount(request.amount, wallet.decimal_places), cls)
        return record_pending(request, type_, sender=cls)


def record_pending(request: Request, type_: str, *, sender: type) -> Transaction:
    """Write the record of a deposit or withdrawal that will move money later, or return the one with the same key.

    :raises AmountInvalid: not a positive amount of the wallet's asset
    :raises AccountNotFound: the wallet does not exist (any more)
    :raises WalletFrozen: the wallet is frozen
    :raises IdempotencyConflict: the key was used for something else
    """
    wallet = request.wallet
    using = wallet._state.db or router.db_for_write(type(wallet))
    key = request.idempotency_key
    if problem := find_key_malformation(key):
        raise problem
    amount = parse_amount(request.amount, wallet.decimal_places)

    def record() -> Transaction:
        # The lock makes callers with the same key wait for each other.
        wallets = type(wallet)._default_manager.using(using).select_for_update()
        fresh = wallets.filter(pk=wallet.pk).first()
        if fresh is None:
            raise AccountNotFound("There is no such wallet.")
        records = get_transaction_model()._default_manager.using(using)
        found = records.filter(idempotency_key=key).first() if key else None
        if (
            found is None
            and key
            and Posting.objects.using(using).filter(idempotency_key=key).exists()
        ):
            raise refuse_other_use(key)
        if found is not None:
            if (found.wallet_id, found.type, found.amount) != (wallet.pk, type_, amount):
                raise refuse_other_use(key)
            found.replayed = True
            return found
        if fresh.is_frozen:
            raise make_frozen_error(fresh)
        txn = build_transaction(
            wallet,
            type_,
            amount,
            meta=request.meta,
            entry_id=None,
            idempotency_key=key,
            status=AbstractTransaction.STATUS_PENDING,
        )
        txn.counterpart = next(
            side for side in (request.source, request.destination) if isinstance(side, str)
        )
        txn.allow_overdraft = request.allow_overdraft
        insert_records([txn], using)
        announce(signals.transaction_created, sender, using=using, transaction=txn)
        return txn

    return run_with_keys(record, using=using, is_keyed=key is not None)


def _build_confirmation(pending: Transaction) -> Entry:
    """Return the entry that a pending record was asked for."""
    wallet = pending.wallet
    counterpart = pending.counterpart or OUTSIDE
    if pending.type == AbstractTransaction.TYPE_DEPOSIT:
        kind, movement = (
            Kind.DEPOSIT,
            Movement(counterpart, wallet.pk, pending.amount, wallet.asset_id),
        )
    else:
        kind, movement = (
            Kind.WITHDRAWAL,
            Movement(wallet.pk, counterpart, pending.amount, wallet.asset_id),
        )
    key = f"transaction:{pending.uuid}"
    return Entry(kind, (movement,), key, allow_overdraft=pending.allow_overdraft)


def _is_held(txn: Transaction) -> bool:
    """Tell whether another app moves the money of the transaction."""
    try:
        for guard in PENDING_GUARDS:
            guard(txn)
    except TransactionAlreadyProcessed:
        return True
    return False


def lock_pending(txn: Transaction, using: str, step: str) -> Transaction:
    """Return the transaction, locked and fresh.

    :raises TransactionAlreadyProcessed: it is not pending, or in the hands of another app
    """
    locked = (
        get_transaction_model()
        ._default_manager.using(using)
        .select_for_update(of=("self",))
        .select_related("wallet")
        .get(pk=txn.pk)
    )
    for guard in PENDING_GUARDS:
        guard(locked)
    if not locked.is_pending:
        raise TransactionAlreadyProcessed(f"Transaction is already {locked.status}, cannot {step}.")
    return locked
