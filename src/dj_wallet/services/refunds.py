"""Giving money back: refunds of transfers and purchase lines, whole or in part, and reversals.

The row of the payment (a transaction; of a transfer its withdrawal) is locked first and keeps count of what was given
back, so that refunds and reversals together never exceed what was paid, whatever their order.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple, cast

from django.db import router
from django.db import transaction as db_transaction
from django.db.models import Q
from django.utils import timezone

from dj_wallet.abstract_models import AbstractTransaction, AbstractTransfer
from dj_wallet.ledger.engine import Entry, Kind, Movement
from dj_wallet.ledger.errors import (
    AmountInvalid,
    MovementInvalid,
    RefundTooLarge,
    TransactionAlreadyProcessed,
)
from dj_wallet.ledger.models import Account, Posting
from dj_wallet.ledger.money import EXACT, ZERO, parse_amount
from dj_wallet.ledger.post import start_writing
from dj_wallet.models import Lot, PurchaseLine, Transaction, Transfer, Wallet
from dj_wallet.pricing import Share, compute_refund_of_units, divide_refund
from dj_wallet.utils import get_transaction_model, get_transfer_model

from .movements import (
    OUTSIDE,
    build_transaction,
    build_transfer,
    get_wallet,
    is_overridden,
    post_records,
    refuse_other_use,
    run_undoing,
)
from .refund_at_once import refund_at_once

SALES: Final = "sales"
FEES: Final = "fees"
TRADING: Final = "trading"


class Payment(NamedTuple):
    """What can be given back: a transaction, locked and fresh, with the transfer and the purchase line it is part of."""

    transaction: Transaction
    transfer: Transfer | None
    line: PurchaseLine | None

    @property
    def refundable(self) -> Decimal:
        whole = self.line.amounts.refundable if self.line else self.transaction.amount
        return EXACT.subtract(whole, self.refunded)

    @property
    def refunded(self) -> Decimal:
        count = self.line if self.line else self.transaction
        refunded: Decimal = count.refunded_amount
        return refunded

    @property
    def decimal_places(self) -> int:
        return get_wallet(self.transaction).decimal_places


class Refund(NamedTuple):
    """What is given back now, and why."""

    amount: Decimal
    share: Share
    units: int
    kind: Kind
    reason: str
    idempotency_key: str | None = None
    asked: list[str] | None = None


class Returned(NamedTuple):
    """The records of money given back: into the payer's wallet, out of the receiver's, and the transfer of both."""

    deposit: Transaction
    withdraw: Transaction | None
    transfer: Transfer | None


# The public steps


def refund_transfer(
    transfer: Transfer,
    *,
    amount: Any = None,
    reason: str = "",
    idempotency_key: str | None = None,
    sender: type,
) -> Transfer:
    """Give back a transfer, or an amount of it; see `TransferService.refund`."""
    using = transfer._state.db or router.db_for_write(type(transfer))
    if idempotency_key is None:
        metas = _describe_refund({"original_transfer": str(transfer.uuid)}, reason)
        if made := refund_at_once(transfer, metas, amount=amount, sender=sender, using=using):
            return made

    def refund() -> Transfer:
        start_writing(using)
        payment = lock_transfer(transfer.pk, using)
        if found := _find_refund(payment, amount, None, idempotency_key, using):
            return cast(Transfer, found)
        _refuse_given_back(payment)
        due = plan_refund(payment, amount, None, Kind.REFUND, reason, idempotency_key)
        returned = give_back(payment, due, sender, using)
        if returned.transfer is None:
            raise MovementInvalid("There is no transfer to give back.")
        return returned.transfer

    return run_undoing(refund, sender=sender, using=using)


def refund_line(
    line: PurchaseLine,
    *,
    quantity: int | None = None,
    amount: Any = None,
    reason: str = "",
    idempotency_key: str | None = None,
    sender: type,
) -> Transfer | Transaction:
    """Give back a purchase line, some units or an amount of it; see `PurchaseService.refund`."""
    using = line._state.db or router.db_for_write(PurchaseLine)

    def refund() -> Transfer | Transaction:
        start_writing(using)
        payment = lock_line(line, using)
        if found := _find_refund(payment, amount, quantity, idempotency_key, using):
            return cast(Transfer | Transaction, found)
        _refuse_given_back(payment)
        due = plan_refund(payment, amount, quantity, Kind.REFUND, reason, idempotency_key)
        returned = give_back(payment, due, sender, using)
        return returned.transfer or returned.deposit

    return run_undoing(refund, sender=sender, using=using)


def reverse(txn: Transaction, reason: str, *, sender: type) -> Transaction:
    """Undo a completed transaction and whatever it is a part of; see `WalletService.reverse_transaction`."""
    using = txn._state.db or router.db_for_write(type(txn))

    def undo() -> Transaction:
        start_writing(using)
        payment = _lock_what_it_is_part_of(txn, using)
        _refuse_not_reversible(payment)
        _refuse_given_back(payment)
        if payment.transfer is None and payment.line is None:
            return _undo_alone(payment.transaction, reason, sender, using)
        due = plan_refund(payment, None, None, Kind.REVERSAL, reason, None)
        returned = give_back(payment, due, sender, using)
        _mark_reversed(payment, using)
        is_receivers = payment.transfer is not None and txn.pk == payment.transfer.deposit_id
        return returned.withdraw if is_receivers and returned.withdraw else returned.deposit

    return run_undoing(undo, sender=sender, using=using)


# Locking


def lock_transfer(pk: Any, using: str) -> Payment:
    """Return the transfer's payment, locked until the transaction ends."""
    transfer = (
        get_transfer_model()
        ._default_manager.using(using)
        .select_for_update(of=("self", "withdraw"), no_key=True)
        .select_related("withdraw__wallet", "deposit__wallet")
        .get(pk=pk)
    )
    is_plain = transfer.status in (
        AbstractTransfer.STATUS_TRANSFER,
        AbstractTransfer.STATUS_EXCHANGE,
    )
    lines = PurchaseLine.objects.using(using).filter(transfer=transfer)
    return Payment(transfer.withdraw, transfer, None if is_plain else lines.first())


def lock_payments(transfers: Sequence[Any], transactions: Sequence[Any], using: str) -> None:
    """Lock the payments of these transfers and these transactions, by key, until the transaction ends."""
    if transfers:
        rows = get_transfer_model()._default_manager.using(using).filter(pk__in=transfers)
        rows = rows.select_for_update(of=("self", "withdraw"), no_key=True)
        list(rows.select_related("withdraw").order_by("pk"))
    if transactions:
        records = get_transaction_model()._default_manager.using(using).filter(pk__in=transactions)
        list(records.select_for_update(no_key=True).order_by("pk"))


def lock_line(line: PurchaseLine, using: str) -> Payment:
    """Return the payment of a purchase line, locked until the transaction ends.

    :raises TransactionAlreadyProcessed: the line was free, so there is nothing to give back
    """
    if line.payment_id is None:
        raise TransactionAlreadyProcessed("The line was free: there is nothing to give back.")
    if line.transfer_id is not None:
        return lock_transfer(line.transfer_id, using)
    transaction = _lock_transaction(line.payment_id, using)
    return Payment(transaction, None, PurchaseLine.objects.using(using).get(pk=line.pk))


def _lock_transaction(pk: Any, using: str) -> Transaction:
    return (
        get_transaction_model()
        ._default_manager.using(using)
        .select_for_update(of=("self",), no_key=True)
        .select_related("wallet")
        .get(pk=pk)
    )


def _lock_what_it_is_part_of(txn: Transaction, using: str) -> Payment:
    transfers = get_transfer_model()._default_manager.using(using)
    part_of = transfers.filter(Q(withdraw=txn) | Q(deposit=txn)).values_list("pk", flat=True)
    transfer_pk = part_of.first()
    if transfer_pk is not None:
        return lock_transfer(transfer_pk, using)
    transaction = _lock_transaction(txn.pk, using)
    lines = PurchaseLine.objects.using(using)
    line = lines.filter(payment=transaction).first()
    if line is None and lines.filter(fee_payment=transaction).exists():
        raise MovementInvalid("A fee is given back with its purchase: refund that.")
    return Payment(transaction, None, line)


# Refusals


def _refuse_given_back(payment: Payment) -> None:
    is_refund = (
        payment.transfer is not None and payment.transfer.status == AbstractTransfer.STATUS_REFUND
    )
    is_reversed = payment.transaction.status == AbstractTransaction.STATUS_REVERSED or (
        payment.transfer is not None
        and payment.transfer.deposit.status == AbstractTransaction.STATUS_REVERSED
    )
    if is_refund or is_reversed or payment.refundable <= 0:
        raise TransactionAlreadyProcessed("Transfer has already been refunded.")


def _refuse_not_reversible(payment: Payment) -> None:
    if not payment.transaction.is_reversible:
        raise TransactionAlreadyProcessed(
            "Only completed transactions can be reversed."
            f" Current status: {payment.transaction.status}"
        )
    if payment.refunded > 0:
        raise TransactionAlreadyProcessed("A part has already been refunded: refund the rest.")


# The arithmetic


def plan_refund(
    payment: Payment,
    amount: Any,
    quantity: int | None,
    kind: Kind,
    reason: str,
    idempotency_key: str | None,
) -> Refund:
    """Return what to give back: an amount, some units, or all that is left.

    :raises AmountInvalid: neither a positive amount nor a number of units, or both
    :raises RefundTooLarge: more than is left
    """
    if amount is not None and quantity is not None:
        raise AmountInvalid("Refund an amount or a number of units, not both.")
    places = payment.decimal_places
    units = _read_units(payment, quantity)
    if amount is not None:
        due = parse_amount(amount, places)
    elif quantity is not None and payment.line is not None:
        due = compute_refund_of_units(
            payment.line.amounts,
            units=units,
            refunded_units=payment.line.refunded_quantity,
            refunded=payment.refunded,
            decimal_places=places,
        )
    else:
        due = payment.refundable
    if due > payment.refundable:
        raise RefundTooLarge(f"{payment.refundable} can still be given back, not {due}.")
    if due <= 0:
        raise AmountInvalid("These units cost too little to give back one by one.")
    share = Share(due, ZERO)
    if payment.line is not None:
        share = divide_refund(
            payment.line.amounts, amount=due, refunded=payment.refunded, decimal_places=places
        )
    asked = _note_asked(payment, amount, quantity) if idempotency_key is not None else None
    return Refund(due, share, units, kind, reason, idempotency_key, asked)


def _read_units(payment: Payment, quantity: int | None) -> int:
    if quantity is None or payment.line is None:
        return 0
    left = payment.line.quantity - payment.line.refunded_quantity
    if not isinstance(quantity, int) or isinstance(quantity, bool) or quantity < 1:
        raise AmountInvalid("A quantity is a positive whole number.")
    if quantity > left:
        raise RefundTooLarge(f"{left} units can still be given back, not {quantity}.")
    return quantity


# Writing


def give_back(payment: Payment, refund: Refund, sender: type, using: str) -> Returned:
    """Move the money back, keep count, let the product take its units back, and return the records.

    The payment must be locked.
    """
    return_stock = _find_stock(payment)
    if return_stock is None:
        return _give_back(payment, refund, sender, using)
    # The product writes, or raises: then nothing was given back.
    with db_transaction.atomic(using=using):
        returned = _give_back(payment, refund, sender, using)
        return_stock(_count_units(payment, refund))
    return returned


def _give_back(payment: Payment, refund: Refund, sender: type, using: str) -> Returned:
    if payment.transfer is not None and payment.transfer.status == AbstractTransfer.STATUS_EXCHANGE:
        returned = _undo_exchange(payment, payment.transfer, refund, sender, using)
    else:
        returned = _return_shares(payment, refund, sender, using)
    _keep_count(payment, refund, using)
    return returned


def _find_stock(payment: Payment) -> Callable[[int], None] | None:
    """Return what tells the line's product how many units are back; None if it does not want to know."""
    line = payment.line
    if line is None or line.product_type_id is None:
        return None
    model = line.product_type.model_class()
    if not is_overridden(model, "return_stock") or line.product is None:
        return None
    product, purchase = line.product, line.purchase
    customer = purchase.recipient if purchase.is_gift else purchase.customer

    def return_stock(units: int) -> None:
        if units:
            product.return_stock(customer, units)

    return return_stock


def _count_units(payment: Payment, refund: Refund) -> int:
    """Return how many units go back: those asked for; with the last of the money all that are left; none for an amount."""
    line = payment.line
    if line is None:
        return 0
    is_all = refund.amount == payment.refundable
    return line.quantity - line.refunded_quantity if is_all else refund.units


def _return_shares(payment: Payment, refund: Refund, sender: type, using: str) -> Returned:
    payer = get_wallet(payment.transaction)
    receiver = get_wallet(payment.transfer.deposit) if payment.transfer else None
    from_receiver, from_fees = _divide_between(payment, refund.share)
    movements, transactions, transfers = [], [], []
    withdraw = None
    meta = _describe(payment, refund)
    if from_receiver:
        source = receiver.pk if receiver else SALES
        movements.append(Movement(source, payer.pk, from_receiver, payer.asset_id))
        deposit = _build(payer, "deposit", from_receiver, meta["deposit"])
        if receiver is not None:
            withdraw = _build(receiver, "withdraw", from_receiver, meta["withdraw"])
            transactions.append(withdraw)
            transfers.append(_build_refund(withdraw, deposit, payment, refund))
        transactions.append(deposit)
    if from_fees:
        movements.append(Movement(FEES, payer.pk, from_fees, payer.asset_id))
        transactions.append(
            _build(payer, "deposit", from_fees, {**meta["deposit"], "action": "refund_fee"})
        )
    returned = Returned(transactions[1] if withdraw else transactions[0], withdraw, None)
    if not transfers:
        returned.deposit.idempotency_key = refund.idempotency_key
    _post(payment, refund, movements, transactions, transfers, sender, using)
    return returned._replace(transfer=transfers[0]) if transfers else returned


def _divide_between(payment: Payment, share: Share) -> tuple[Decimal, Decimal]:
    """Return what the receiver gives back and what our fees do: a fee that is kept is borne by the merchant who paid it."""
    if payment.line is not None and not payment.line.is_fee_refundable:
        return EXACT.add(share.net, share.fee), ZERO
    return share.net, share.fee


def _undo_exchange(
    payment: Payment, transfer: Transfer, refund: Refund, sender: type, using: str
) -> Returned:
    """Take an exchange back as a whole, at the rate at which it was made."""
    if refund.amount != payment.transaction.amount:
        raise MovementInvalid("An exchange is taken back as a whole or not at all.")
    payer, receiver = get_wallet(transfer.withdraw), get_wallet(transfer.deposit)
    paid, received = transfer.withdraw.amount, transfer.deposit.amount
    movements = [
        Movement(receiver.pk, TRADING, received, receiver.asset_id),
        Movement(TRADING, payer.pk, paid, payer.asset_id),
    ]
    meta = _describe(payment, refund)
    withdraw = _build(receiver, "withdraw", received, meta["withdraw"])
    deposit = _build(payer, "deposit", paid, meta["deposit"])
    made = _build_refund(withdraw, deposit, payment, refund)
    _post(payment, refund, movements, [withdraw, deposit], [made], sender, using)
    return Returned(deposit, withdraw, made)


def _build(wallet: Wallet, type_: str, amount: Decimal, meta: Mapping[str, Any]) -> Transaction:
    return build_transaction(wallet, type_, amount, meta=meta)


def _build_refund(
    withdraw: Transaction, deposit: Transaction, payment: Payment, refund: Refund
) -> Transfer:
    return build_transfer(
        withdraw,
        deposit,
        status=AbstractTransfer.STATUS_REFUND,
        refund_of=payment.transfer,
        idempotency_key=refund.idempotency_key,
    )


def _describe(payment: Payment, refund: Refund) -> dict[str, dict[str, Any]]:
    """Return the meta of both records, in the words of release 0.1.0."""
    if refund.kind == Kind.REVERSAL:
        reason = refund.reason or "Transaction reversal"
        legs = {"deposit": payment.transaction}
        if payment.transfer is not None:
            legs["withdraw"] = payment.transfer.deposit
        return {
            side: {"reversal_of": str(leg.uuid), "reason": reason} for side, leg in legs.items()
        }
    original: dict[str, Any] = (
        {"original_transfer": str(payment.transfer.uuid)}
        if payment.transfer is not None
        else {"original_transaction": str(payment.transaction.uuid)}
    )
    if refund.asked is not None:
        original["refund_asked"] = refund.asked
    return _describe_refund(original, refund.reason)


def _describe_refund(original: Mapping[str, Any], reason: str) -> dict[str, dict[str, Any]]:
    return {
        side: {"action": f"refund_{side}", **original, "reason": reason or "Transfer refund"}
        for side in ("deposit", "withdraw")
    }


def _post(
    payment: Payment,
    refund: Refund,
    movements: list[Movement],
    transactions: list[Transaction],
    transfers: list[Transfer],
    sender: type,
    using: str,
) -> None:
    entry = Entry(
        refund.kind,
        tuple(movements),
        refund.idempotency_key,
        reference_type="transaction",
        reference_id=str(payment.transaction.uuid),
        restores=_list_restored(payment),
    )
    post_records(entry, transactions, transfers, sender=sender, using=using)


def _list_restored(payment: Payment) -> tuple[int, ...]:
    """Return the entries whose lots get their units back, none for a wallet that never had lots."""
    if not get_wallet(payment.transaction).has_rules:
        return ()
    paid = [payment.transaction.entry_id]
    if payment.line is not None and payment.line.fee_payment_id is not None:
        paid.append(payment.line.fee_payment.entry_id)
    return tuple(entry_id for entry_id in paid if entry_id is not None)


def _keep_count(payment: Payment, refund: Refund, using: str) -> None:
    transaction, transfer, line = payment
    is_all = refund.amount == payment.refundable
    part = refund.amount if line is None else refund.share.net if line.net else refund.share.fee
    _update(transaction, using, refunded_amount=EXACT.add(transaction.refunded_amount, part))
    if line is not None:
        _update(
            line,
            using,
            refunded_amount=EXACT.add(line.refunded_amount, refund.amount),
            refunded_quantity=line.refunded_quantity + _count_units(payment, refund),
        )
    if transfer is not None and is_all:
        _update(transfer, using, status=AbstractTransfer.STATUS_REFUND, updated_at=timezone.now())


def _mark_reversed(payment: Payment, using: str) -> None:
    records = get_transaction_model()._default_manager.using(using)
    legs = [payment.transaction.pk]
    if payment.transfer is not None:
        legs.append(payment.transfer.deposit_id)
    records.filter(pk__in=legs).update(
        status=AbstractTransaction.STATUS_REVERSED, updated_at=timezone.now()
    )


def _update(record: Any, using: str, **values: Any) -> None:
    type(record)._default_manager.using(using).filter(pk=record.pk).update(**values)


# A transaction that is part of nothing


def _undo_alone(txn: Transaction, reason: str, sender: type, using: str) -> Transaction:
    wallet, code = get_wallet(txn), _find_counterpart(txn, using)
    is_deposit = txn.type == AbstractTransaction.TYPE_DEPOSIT
    source, destination = (wallet.pk, code) if is_deposit else (code, wallet.pk)
    type_ = AbstractTransaction.TYPE_WITHDRAW if is_deposit else AbstractTransaction.TYPE_DEPOSIT
    meta = {"reversal_of": str(txn.uuid), "reason": reason or "Transaction reversal"}
    made = _build(wallet, type_, txn.amount, meta)
    entry = Entry(
        Kind.REVERSAL,
        (Movement(source, destination, txn.amount, wallet.asset_id),),
        reference_type="transaction",
        reference_id=str(txn.uuid),
    )
    if wallet.has_rules and txn.entry_id is not None:
        lot = _find_lot(txn.entry_id, using) if is_deposit else None
        entry = entry._replace(lot_id=lot, restores=() if is_deposit else (txn.entry_id,))
    post_records(entry, [made], sender=sender, using=using)
    _update(
        txn,
        using,
        refunded_amount=txn.amount,
        status=AbstractTransaction.STATUS_REVERSED,
        updated_at=timezone.now(),
    )
    return made


def _find_lot(entry_id: int, using: str) -> int | None:
    """Return the lot that the entry granted: taking that back takes from no other."""
    return Lot.objects.using(using).filter(entry_id=entry_id).values_list("pk", flat=True).first()


def _find_counterpart(txn: Transaction, using: str) -> str:
    """Return the system account that the money came from or went to."""
    is_deposit = txn.type == AbstractTransaction.TYPE_DEPOSIT
    own, other = (
        ("destination_account", "source_account")
        if is_deposit
        else ("source_account", "destination_account")
    )
    codes = (
        Posting.objects.using(using)
        .of_entries([] if txn.entry_id is None else [txn.entry_id])
        .filter(
            **{f"{own}_id": txn.wallet_id, f"{other}__kind": Account.Kind.SYSTEM},
            amount=txn.amount,
        )
        .values_list(f"{other}__code", flat=True)
    )
    return codes.first() or OUTSIDE


# Repeated calls


def _find_refund(
    payment: Payment, amount: Any, quantity: int | None, idempotency_key: str | None, using: str
) -> Any:
    """Return the record of an earlier refund with this key, None if there is none.

    :raises IdempotencyConflict: the key was used for something else
    """
    if idempotency_key is None:
        return None
    is_transfer = payment.transfer is not None
    model: Any = get_transfer_model() if is_transfer else get_transaction_model()
    found = model._default_manager.using(using).filter(idempotency_key=idempotency_key).first()
    if found is None:
        return None
    asked = (found.deposit if is_transfer else found).meta.get("refund_asked")
    if asked != _note_asked(payment, amount, quantity):
        raise refuse_other_use(idempotency_key)
    found.replayed = True
    return found


def _note_asked(payment: Payment, amount: Any, quantity: int | None) -> list[str]:
    """Return what a refund with a key was asked for, to tell a repeated call from another one."""
    number = "" if amount is None else str(parse_amount(amount, payment.decimal_places))
    return [str(payment.transaction.uuid), number, "" if quantity is None else str(quantity)]
