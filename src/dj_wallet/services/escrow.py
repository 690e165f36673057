"""Money kept for an order: paid in or converted from a hold, then released, refunded, disputed or divided.

An escrow changes while the row of the buyer's wallet is locked, in whose locked part its money lies. Refusals write
nothing; every function joins the caller's transaction. On PostgreSQL opening and releasing are one call of a function,
as in `holds`.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, connections, router, transaction

from dj_wallet import signals
from dj_wallet.abstract_models import AbstractTransaction, AbstractTransfer, AbstractWallet
from dj_wallet.hold_models import MAX_REASON_LENGTH, Escrow, Hold, HoldStep
from dj_wallet.ledger.engine import (
    MAX_REFERENCE_ID_LENGTH,
    Bucket,
    Entry,
    Kind,
    Movement,
    Posted,
    find_malformation,
    fingerprint,
    is_storable,
)
from dj_wallet.ledger.errors import (
    AccountNotFound,
    AmountInvalid,
    AssetMismatch,
    EscrowNotFound,
    EscrowStateInvalid,
    HoldExpired,
    HoldNotFound,
    MovementInvalid,
    OrderConflict,
    WalletException,
    WalletFrozen,
)
from dj_wallet.ledger.ids import uuid7
from dj_wallet.ledger.models import Account, Posting
from dj_wallet.ledger.money import EXACT, ZERO, parse_amount, read_number, to_scale
from dj_wallet.ledger.post import post
from dj_wallet.ledger.records import is_plain_save_needed
from dj_wallet.ledger.statement import execute
from dj_wallet.ledger.store.postgres import count_decimal_places, write_plainly
from dj_wallet.ledger.watch import moving
from dj_wallet.models import Transaction, Transfer
from dj_wallet.signals import announce
from dj_wallet.utils import get_transaction_model, get_transfer_model

from .holds import (
    announce_records,
    announce_step,
    build_stored,
    choose_amount,
    find_hold,
    get_hold_wallet,
    get_wallet_of_user,
    keep_step,
    move_inside,
    post_naming,
    post_recorded_sale,
    refresh_locked,
    run_announced,
)
from .movements import (
    build_transaction,
    build_transfer,
    find_alias_of,
    lock_wallets,
    name_frozen,
    refuse_other_use,
    refuse_pending_keys,
    update_balances,
)

FEES: Final = "fees"
ORDER: Final = "order"
OPENED: Final = "locked"
RELEASED: Final = "released"
REFUNDED: Final = "refunded"
DISPUTED: Final = "disputed"
RESOLVED: Final = "resolved"

OPEN_ESCROW: Final = (
    "SELECT * FROM dj_wallet_open_escrow(%s, %s, %s, %s::numeric, %s::numeric, %s::integer, %s, %s, %s::uuid,"
    " %s::uuid)"
)
RELEASE_ESCROW: Final = (
    "SELECT * FROM dj_wallet_release_escrow(%s, %s, %s, %s, %s::numeric, %s::numeric, %s::integer, %s, %s, %s::uuid,"
    " %s, %s::uuid, %s::integer, %s::uuid, %s::jsonb, %s::uuid, %s::jsonb, %s::uuid, %s::uuid, %s::jsonb, %s)"
)


class Order(NamedTuple):
    """An escrow that is asked for."""

    buyer: AbstractWallet
    seller: AbstractWallet
    order_id: str
    amount: Decimal
    fee: Decimal
    key: str | None


class Sale(NamedTuple):
    """What the seller gets: the entry, its fee's entry if there is a fee, and the records of both."""

    entry: Entry
    fee_entry: Entry | None
    withdraw: Transaction
    deposit: Transaction
    transfer: Transfer
    fee_withdraw: Transaction | None


# The public steps


def open_escrow(
    *,
    buyer: AbstractWallet,
    seller: AbstractWallet,
    order_id: Any,
    amount: Any,
    fee_amount: Any = 0,
    idempotency_key: str | None = None,
) -> Escrow:
    """Lock the buyer's money for an order; the same order again returns its escrow, marked `replayed`.

    :param fee_amount: what the seller will pay of it to the system account `fees`
    :raises AmountInvalid: not a positive amount of the asset, or a fee below zero or above the amount
    :raises MovementInvalid: the seller is the buyer, or the order has no id
    :raises AssetMismatch: the seller's wallet counts something else
    :raises WalletFrozen: the buyer's wallet is frozen
    :raises InsufficientFunds: less is available
    :raises OrderConflict: the order has an escrow of another content
    :raises IdempotencyConflict: the key was used for something else
    """
    order = _read_order(buyer, seller, order_id, amount, fee_amount, idempotency_key)
    using = find_alias_of(buyer)

    def open_() -> Escrow:
        return _open_at_once(order, using) or _open_carefully(order, using)

    return _run(open_, OPENED, using)


def convert_hold(
    hold: Hold,
    *,
    seller: AbstractWallet,
    order_id: Any,
    amount: Any = None,
    fee_amount: Any = 0,
    keep_remainder: bool = False,
    idempotency_key: str | None = None,
) -> Escrow:
    """Turn an amount of the hold, by default all that it keeps, into the escrow of an order; release the rest.

    The same order again returns its escrow, marked `replayed`. The hold object is up to date afterwards.

    :param keep_remainder: leave the rest held
    :raises HoldEnded: it keeps nothing any more
    :raises HoldExpired: its time is over
    :raises HoldExceeded: it keeps less
    :raises WalletException: as `open_escrow`
    """
    buyer = get_hold_wallet(hold)
    using = hold._state.db or router.db_for_write(Hold)
    asked = hold.remaining or hold.amount if amount is None else amount
    order = _read_order(buyer, seller, order_id, asked, fee_amount, idempotency_key)

    def convert() -> Escrow:
        return _convert(hold, order, amount is None, keep_remainder, using)

    return _run(convert, OPENED, using)


def release_escrow(
    escrow: Escrow | UUID | str, *, idempotency_key: str | None = None, reason: str = ""
) -> Escrow:
    """Pay the seller: the whole amount, of which the fee is taken at once. Returns the escrow, fresh.

    Takes the escrow or its UUID (seed 001). With a key, the same call again returns the escrow marked `replayed`.

    :raises EscrowNotFound: there is none
    :raises EscrowStateInvalid: it is not LOCKED; a disputed one is resolved
    :raises WalletFrozen: one of the wallets is frozen
    :raises IdempotencyConflict: the key was used for something else
    """
    found = _get(escrow)
    using = found._state.db or router.db_for_write(Escrow)
    note = _read_reason(reason)

    def release() -> Escrow:
        return _release_at_once(found, idempotency_key, note, using) or _end(
            found, None, RELEASED, idempotency_key, note, using
        )

    return _run(release, RELEASED, using)


def refund_escrow(
    escrow: Escrow | UUID | str, *, idempotency_key: str | None = None, reason: str = ""
) -> Escrow:
    """Give the buyer everything back; see `release_escrow`."""
    found = _get(escrow)
    using = found._state.db or router.db_for_write(Escrow)
    note = _read_reason(reason)
    return _run(lambda: _end(found, ZERO, REFUNDED, idempotency_key, note, using), REFUNDED, using)


def dispute_escrow(escrow: Escrow | UUID | str, *, reason: str = "") -> Escrow:
    """Stop an escrow: it can be resolved only. A disputed one stays as it is, marked `replayed`.

    :raises EscrowNotFound: there is none
    :raises EscrowStateInvalid: it has ended
    """
    found = _get(escrow)
    using = found._state.db or router.db_for_write(Escrow)
    note = _read_reason(reason)

    def dispute() -> Escrow:
        with transaction.atomic(using=using):
            lock_wallets([found.buyer_wallet], using)
            _refresh(found, using)
            found.replayed = found.status == Escrow.Status.DISPUTED
            if not found.replayed:
                _require(found, Escrow.Status.LOCKED)
                _write(found, status=Escrow.Status.DISPUTED, reason=note, using=using)
        return found

    return _run(dispute, DISPUTED, using)


def resolve_escrow(
    escrow: Escrow | UUID | str,
    *,
    seller_amount: Any,
    buyer_amount: Any,
    idempotency_key: str | None = None,
    reason: str = "",
) -> Escrow:
    """End a dispute: divide the money between seller and buyer. The two amounts add up to the escrow's.

    The seller pays the fee in proportion, rounded down. Whoever gets nothing is given 0.

    :raises AmountInvalid: below zero, or another sum
    :raises EscrowStateInvalid: it is not DISPUTED
    :raises WalletException: as `release_escrow`
    """
    found = _get(escrow)
    using = found._state.db or router.db_for_write(Escrow)
    places = found.buyer_wallet.decimal_places
    to_seller, to_buyer = (_read_share(share, places) for share in (seller_amount, buyer_amount))
    if EXACT.add(to_seller, to_buyer) != found.amount:
        raise AmountInvalid(f"The two amounts must add up to {found.amount}.")
    note = _read_reason(reason)
    return _run(
        lambda: _end(found, to_seller, RESOLVED, idempotency_key, note, using), RESOLVED, using
    )


# The names of seed 001: users and their wallets


def pay_order(
    user_id: Any,
    amount: Any,
    order_id: Any,
    *,
    seller_id: Any,
    fee_amount: Any = 0,
    coin: str | None = None,
    idempotency_key: str | None = None,
) -> Escrow:
    """Pay an order of a user's into escrow; see `open_escrow`. An escrow has a seller, whom the seed forgot to name.

    :raises AccountNotFound: one of them has no wallet of this coin
    """
    return open_escrow(
        buyer=get_wallet_of_user(user_id, coin),
        seller=get_wallet_of_user(seller_id, coin),
        order_id=order_id,
        amount=amount,
        fee_amount=fee_amount,
        idempotency_key=idempotency_key,
    )


def convert_to_escrow(
    buyer_id: Any,
    seller_id: Any,
    order_id: Any,
    amount: Any = None,
    fee_amount: Any = 0,
    *,
    reference_type: str,
    reference_id: str,
    coin: str | None = None,
    keep_remainder: bool = False,
    idempotency_key: str | None = None,
) -> Escrow:
    """Turn what is held of a user for a reference into the escrow of an order; see `convert_hold`.

    :raises HoldNotFound: nothing is held for it
    """
    buyer, seller = (get_wallet_of_user(user_id, coin) for user_id in (buyer_id, seller_id))
    hold = find_hold(wallet=buyer, reference_type=reference_type, reference_id=reference_id)
    if hold is None:
        hold = _find_converted(order_id, buyer, reference_type, reference_id)
    if hold is None:
        raise HoldNotFound(f"Nothing is held for {reference_type} {reference_id}.")
    return convert_hold(
        hold,
        seller=seller,
        order_id=order_id,
        amount=amount,
        fee_amount=fee_amount,
        keep_remainder=keep_remainder,
        idempotency_key=idempotency_key,
    )


def get_escrow(*, uuid: UUID | str | None = None, order_id: Any = None) -> Escrow:
    """Return an escrow, with its wallets, by its UUID or its order.

    :raises EscrowNotFound: there is none
    """
    escrows = Escrow.objects.select_related("buyer_wallet", "seller_wallet")
    try:
        found = (
            escrows.filter(uuid=UUID(str(uuid)))
            if uuid is not None
            else escrows.filter(order_id=str(order_id))
        )
    except ValueError:
        raise EscrowNotFound("There is no such escrow.") from None
    escrow = found.first()
    if escrow is None:
        raise EscrowNotFound("There is no such escrow.")
    return escrow


# Opening


def _read_order(
    buyer: AbstractWallet,
    seller: AbstractWallet,
    order_id: Any,
    amount: Any,
    fee_amount: Any,
    key: str | None,
) -> Order:
    """:raises WalletException: it can be refused without looking at any balance"""
    places = buyer.decimal_places
    number = parse_amount(amount, places)
    fee = _read_share(fee_amount, places)
    if fee > number:
        raise AmountInvalid("The fee must not be more than the amount.")
    if buyer.pk == seller.pk or _get_holder(buyer) == _get_holder(seller):
        raise MovementInvalid("Buyer and seller must not be the same.")
    if buyer.asset_id != seller.asset_id:
        raise AssetMismatch(f"The seller's wallet counts {seller.asset_id}, not {buyer.asset_id}.")
    order = Order(buyer, seller, str(order_id), number, fee, key)
    if not is_storable(order.order_id, MAX_REFERENCE_ID_LENGTH, minimum=1):
        raise MovementInvalid("The id of an order has 1 to 255 characters.")
    if problem := find_malformation(_build_lock(order)):
        raise problem
    return order


def _get_holder(wallet: AbstractWallet) -> tuple[Any, str]:
    return wallet.holder_type_id, str(wallet.holder_id)


def _read_share(amount: Any, places: int) -> Decimal:
    number = to_scale(read_number(amount), places)
    if number < 0:
        raise AmountInvalid("An amount must not be below zero.")
    return number


def _read_reason(reason: str) -> str:
    if not is_storable(reason, MAX_REASON_LENGTH):
        raise MovementInvalid(f"A reason has at most {MAX_REASON_LENGTH} characters.")
    return reason


def _build_lock(order: Order) -> Entry:
    movement = move_inside(order.buyer, order.amount, Bucket.AVAILABLE, Bucket.LOCKED)
    return _build_entry(Kind.ESCROW_LOCK, movement, order.key, order.order_id)


def _build_entry(
    kind: Kind, movement: Movement, key: str | None, order_id: str, *, allow_overdraft: bool = False
) -> Entry:
    return Entry(
        kind,
        (movement,),
        key,
        reference_type=ORDER,
        reference_id=order_id,
        allow_overdraft=allow_overdraft,
    )


def _open_at_once(order: Order, using: str) -> Escrow | None:
    """Return None, with nothing written, if that is not certain to be right."""
    if connections[using].vendor != "postgresql":
        return None
    entry = _build_lock(order)
    text = write_plainly(order.amount)
    uuid = uuid7()
    buyer, seller = order.buyer, order.seller
    parameters = (
        buyer.pk,
        seller.pk,
        buyer.asset_id,
        text,
        write_plainly(order.fee),
        count_decimal_places(text),
        order.order_id,
        order.key,
        None if order.key is None else fingerprint(entry),
        uuid,
    )
    with moving([buyer.pk, seller.pk], using):
        found = execute(OPEN_ESCROW, parameters, using).fetchone()
    entry_id, available, locked, now, pk = found
    if entry_id is None:
        return None
    update_balances(buyer, entry, Posted(entry_id, False, ((available, locked),)))
    values = {
        "id": pk,
        "uuid": uuid,
        "order_id": order.order_id,
        "buyer_wallet_id": buyer.pk,
        "seller_wallet_id": seller.pk,
        "amount": order.amount,
        "fee_amount": order.fee,
        "status": Escrow.Status.LOCKED,
        "entry_id": entry_id,
        "created_at": now,
        "updated_at": now,
    }
    escrow: Escrow = build_stored(
        Escrow, values, {"buyer_wallet": buyer, "seller_wallet": seller}, using
    )
    return escrow


def _open_carefully(order: Order, using: str) -> Escrow:
    def open_() -> Escrow:
        if found := _find_opened(order, None, using):
            return found
        refuse_pending_keys([_build_lock(order)], using)
        entry = _build_lock(order)
        posted = post_naming(entry, [order.buyer], using)
        escrow = _insert(order, None, posted, using)
        update_balances(order.buyer, entry, posted)
        return escrow

    return _lock_and_run(order, open_, using)


def _lock_and_run(order: Order, work: Callable[[], Escrow], using: str) -> Escrow:
    """Run `work` with the buyer locked; once more if somebody else took the order meanwhile."""
    try:
        with transaction.atomic(using=using):
            lock_wallets([order.buyer], using)
            return work()
    except IntegrityError:
        with transaction.atomic(using=using):
            lock_wallets([order.buyer], using)
            return work()


def _find_opened(order: Order, hold: Hold | None, using: str) -> Escrow | None:
    """Return the escrow of the order, or None if it may be opened.

    :raises OrderConflict: it has another content
    :raises AccountNotFound: the seller's wallet does not exist
    """
    escrow = Escrow.objects.using(using).filter(order_id=order.order_id).first()
    if escrow is None:
        if not Account.objects.using(using).filter(pk=order.seller.pk, kind="wallet").exists():
            raise AccountNotFound("The seller has no such wallet.")
        return None
    content = (
        escrow.buyer_wallet_id,
        escrow.seller_wallet_id,
        escrow.amount,
        escrow.fee_amount,
        escrow.hold_id,
    )
    asked = (order.buyer.pk, order.seller.pk, order.amount, order.fee, hold and hold.pk)
    if content != asked:
        raise OrderConflict(f"The order {order.order_id!r} has another escrow.")
    escrow.buyer_wallet, escrow.seller_wallet = order.buyer, order.seller
    escrow.replayed = True
    return escrow


def _insert(
    order: Order, hold: Hold | None, posted: Posted, using: str, uuid: Any = None
) -> Escrow:
    escrow = Escrow(
        uuid=uuid or uuid7(),
        order_id=order.order_id,
        hold=hold,
        amount=order.amount,
        fee_amount=order.fee,
        entry_id=posted.entry_id,
    )
    escrow.buyer_wallet, escrow.seller_wallet = order.buyer, order.seller
    escrow.save(using=using, force_insert=True)
    return escrow


# Converting


def _convert(hold: Hold, order: Order, is_all: bool, keep_remainder: bool, using: str) -> Escrow:
    def convert() -> Escrow:
        is_due = refresh_locked(hold, using)
        if found := _find_opened(_match(order, hold, is_all, using), hold, using):
            return found
        amount = choose_amount(hold, None if is_all else order.amount)
        if is_due:
            raise HoldExpired("The time of the hold is over.")
        asked = order._replace(amount=amount)
        if asked.fee > amount:
            raise AmountInvalid("The fee must not be more than the amount.")
        refuse_pending_keys([_build_lock(asked)], using)
        return _move_to_escrow(hold, asked, keep_remainder, using)

    return _lock_and_run(order, convert, using)


def _match(order: Order, hold: Hold, is_all: bool, using: str) -> Order:
    """Return the order with the amount that an earlier call converted, if this one leaves it open."""
    if not is_all:
        return order
    amounts = Escrow.objects.using(using).filter(order_id=order.order_id, hold=hold)
    amount = amounts.values_list("amount", flat=True).first()
    return order if amount is None else order._replace(amount=amount)


def _move_to_escrow(hold: Hold, order: Order, keep_remainder: bool, using: str) -> Escrow:
    """Unlock what was held and lock it for the order: two facts, two entries; and a third for the rest."""
    buyer, uuid = order.buyer, uuid7()
    rest = ZERO if keep_remainder else EXACT.subtract(hold.remaining, order.amount)
    unlock = _build_unlock(hold, order, order.amount, f"escrow:{uuid}:convert")
    # What was just unlocked is there, even if the wallet was overdrawn meanwhile; and no limit has anything to add.
    lock = _build_lock(order)._replace(
        allow_overdraft=True, takes_over=(hold.reference_type, hold.reference_id)
    )
    entries = [unlock, lock]
    if rest:
        entries.insert(0, _build_unlock(hold, order, rest, f"escrow:{uuid}:remainder"))
    posted = _post_all(entries, [buyer], using)
    steps = []
    if rest:
        steps.append(keep_step(hold, HoldStep.Action.RELEASED, rest, posted[0], using))
    steps.append(keep_step(hold, HoldStep.Action.CONVERTED, order.amount, posted[-2], using))
    for entry, place in zip(entries, posted, strict=True):
        update_balances(buyer, entry, place)
    escrow = _insert(order, hold, posted[-1], using, uuid)
    for step in steps:
        hold.step = step
        announce_step(hold, using)
    return escrow


def _build_unlock(hold: Hold, order: Order, amount: Decimal, key: str) -> Entry:
    return Entry(
        Kind.BID_UNLOCK,
        (move_inside(order.buyer, amount, Bucket.LOCKED, Bucket.AVAILABLE),),
        key,
        reference_type=hold.reference_type,
        reference_id=hold.reference_id,
    )


def _find_converted(
    order_id: Any, buyer: AbstractWallet, reference_type: str, reference_id: str
) -> Hold | None:
    """Return the hold that was converted for this order: a repeated call finds it no longer open."""
    escrow = (
        Escrow.objects.filter(
            order_id=str(order_id),
            hold__wallet_id=buyer.pk,
            hold__reference_type=reference_type,
            hold__reference_id=reference_id,
        )
        .select_related("hold")
        .first()
    )
    if escrow is None or escrow.hold is None:
        return None
    escrow.hold.wallet = buyer
    return escrow.hold


# Ending


def _end(
    escrow: Escrow,
    to_seller: Decimal | None,
    action: str,
    key: str | None,
    reason: str,
    using: str,
) -> Escrow:
    """Give the money of the escrow to the seller (None: all of it) and the buyer, one entry for each."""
    buyer, seller = escrow.buyer_wallet, escrow.seller_wallet
    own_key = key or f"escrow:{escrow.uuid}:{action}"
    with transaction.atomic(using=using):
        lock_wallets([buyer, seller] if to_seller != 0 else [buyer], using)
        _refresh(escrow, using)
        released = escrow.amount if to_seller is None else to_seller
        refunded = EXACT.subtract(escrow.amount, released)
        if key is not None and _was_posted(escrow, key, using):
            if (escrow.released_amount, escrow.refunded_amount) != (released, refunded):
                raise refuse_other_use(key)
            escrow.replayed = True
            return escrow
        _require(escrow, Escrow.Status.DISPUTED if action == RESOLVED else Escrow.Status.LOCKED)
        fee = _compute_fee(escrow, released)
        if released:
            _pay_seller(escrow, released, fee, own_key, using)
        if refunded:
            refund_key = own_key if not released else f"escrow:{escrow.uuid}:rest"
            entry = _build_refund(escrow, refunded, refund_key)
            refuse_pending_keys([entry], using)
            update_balances(buyer, entry, post_naming(entry, [buyer], using))
        _write(
            escrow,
            status=Escrow.Status.RELEASED if released else Escrow.Status.REFUNDED,
            reason=reason or escrow.reason,
            released_amount=released,
            refunded_amount=refunded,
            fee_charged=fee,
            using=using,
        )
    return escrow


def _compute_fee(escrow: Escrow, released: Decimal) -> Decimal:
    """Return the seller's fee: all of it for the whole amount, else in proportion, rounded down."""
    whole: Decimal = escrow.fee_amount
    if released == escrow.amount:
        return whole
    places = escrow.buyer_wallet.decimal_places
    share = Fraction(whole) * Fraction(released) / Fraction(escrow.amount)
    units = floor(share * 10**places)
    return to_scale(Decimal(units).scaleb(-places, EXACT), places)


def _build_refund(escrow: Escrow, amount: Decimal, key: str) -> Entry:
    movement = move_inside(escrow.buyer_wallet, amount, Bucket.LOCKED, Bucket.AVAILABLE)
    return _build_entry(Kind.REFUND, movement, key, escrow.order_id)


def _build_sale(escrow: Escrow, released: Decimal, fee: Decimal, key: str) -> Sale:
    buyer, seller = escrow.buyer_wallet, escrow.seller_wallet
    movement = Movement(buyer.pk, seller.pk, released, buyer.asset_id, Bucket.LOCKED)
    meta = {"action": "escrow", "order_id": escrow.order_id}
    withdraw = build_transaction(buyer, AbstractTransaction.TYPE_WITHDRAW, released, meta=meta)
    deposit = build_transaction(seller, AbstractTransaction.TYPE_DEPOSIT, released, meta=meta)
    status = AbstractTransfer.STATUS_PAID
    transfer = build_transfer(withdraw, deposit, status=status, fee=fee, idempotency_key=key)
    sale = _build_entry(Kind.SALE_CREDIT, movement, key, escrow.order_id)
    if not fee:
        return Sale(sale, None, withdraw, deposit, transfer, None)
    # The gross amount has just come in: the fee is covered even if the seller was overdrawn before.
    fee_entry = _build_entry(
        Kind.FEE_DEBIT,
        Movement(seller.pk, FEES, fee, seller.asset_id),
        f"escrow:{escrow.uuid}:fee",
        escrow.order_id,
        allow_overdraft=True,
    )
    fee_withdraw = build_transaction(
        seller,
        AbstractTransaction.TYPE_WITHDRAW,
        fee,
        meta={**meta, "action": "escrow_fee"},
        idempotency_key=fee_entry.idempotency_key,
    )
    return Sale(sale, fee_entry, withdraw, deposit, transfer, fee_withdraw)


def _pay_seller(escrow: Escrow, released: Decimal, fee: Decimal, key: str, using: str) -> None:
    sale = _build_sale(escrow, released, fee, key)
    refuse_pending_keys([sale.entry], using)
    post_recorded_sale(sale.entry, [sale.withdraw, sale.deposit, sale.transfer], using)
    if sale.fee_entry is not None:
        post_recorded_sale(sale.fee_entry, [sale.fee_withdraw], using)


def _release_at_once(escrow: Escrow, key: str | None, reason: str, using: str) -> Escrow | None:
    """Return None, with nothing written, if that is not certain to be right."""
    if connections[using].vendor != "postgresql" or not _are_plain():
        return None
    buyer, seller = escrow.buyer_wallet, escrow.seller_wallet
    sale = _build_sale(
        escrow, escrow.amount, escrow.fee_amount, key or f"escrow:{escrow.uuid}:{RELEASED}"
    )
    if find_malformation(sale.entry):
        return None
    with moving([buyer.pk, seller.pk], using):
        row = execute(RELEASE_ESCROW, _list_parameters(escrow, sale, reason), using).fetchone()
    entry_id, locked, credited, *keys, fee_entry_id, seller_after, fee_id, now = row
    if entry_id is None:
        return None
    saved = [*zip((sale.withdraw, sale.deposit, sale.transfer), keys, strict=True)]
    for made, pk in saved:
        _mark_saved(made, pk, entry_id, now, using)
    sale.transfer.withdraw, sale.transfer.deposit = sale.withdraw, sale.deposit
    update_balances(buyer, sale.entry, Posted(entry_id, False, ((locked, credited),)))
    update_balances(seller, sale.entry, Posted(entry_id, False, ((locked, credited),)))
    announce_records([sale.withdraw, sale.deposit, sale.transfer], using)
    if sale.fee_entry is not None and sale.fee_withdraw is not None:
        _mark_saved(sale.fee_withdraw, fee_id, fee_entry_id, now, using)
        update_balances(
            seller, sale.fee_entry, Posted(fee_entry_id, False, ((seller_after, None),))
        )
        announce_records([sale.fee_withdraw], using)
    escrow.status, escrow.reason, escrow.updated_at = Escrow.Status.RELEASED, reason, now
    escrow.released_amount, escrow.fee_charged = escrow.amount, escrow.fee_amount
    escrow.replayed = False
    return escrow


def _are_plain() -> bool:
    """Tell whether the records are of the default models, and nobody wants to see them saved or the money moved."""
    return (
        get_transaction_model() is Transaction
        and get_transfer_model() is Transfer
        and not is_plain_save_needed(Transaction)
        and not is_plain_save_needed(Transfer)
        and not signals.pre_withdraw.receivers
        and not signals.pre_deposit.receivers
    )


def _list_parameters(escrow: Escrow, sale: Sale, reason: str) -> tuple[Any, ...]:
    text = write_plainly(escrow.amount)
    fee_text = write_plainly(escrow.fee_amount)
    fee_entry, fee_withdraw = sale.fee_entry, sale.fee_withdraw
    return (
        escrow.pk,
        escrow.buyer_wallet_id,
        escrow.seller_wallet_id,
        escrow.buyer_wallet.asset_id,
        text,
        fee_text,
        max(count_decimal_places(text), count_decimal_places(fee_text)),
        escrow.order_id,
        sale.entry.idempotency_key,
        fingerprint(sale.entry),
        None if fee_entry is None else fee_entry.idempotency_key,
        None if fee_entry is None else fingerprint(fee_entry),
        ContentType.objects.get_for_model(escrow.buyer_wallet).pk,
        sale.withdraw.uuid,
        json.dumps(sale.withdraw.meta),
        sale.deposit.uuid,
        json.dumps(sale.deposit.meta),
        sale.transfer.uuid,
        None if fee_withdraw is None else fee_withdraw.uuid,
        None if fee_withdraw is None else json.dumps(fee_withdraw.meta),
        reason,
    )


def _mark_saved(record: Any, pk: int, entry_id: int, now: Any, using: str) -> None:
    record.pk, record.entry_id = pk, entry_id
    record.created_at = record.updated_at = now
    record._state.adding, record._state.db = False, using


# What all steps have in common


def _run(work: Callable[[], Escrow], action: str, using: str) -> Escrow:
    def run() -> Escrow:
        escrow = work()
        if not escrow.replayed:
            announce(signals.escrow_changed, Escrow, using=using, escrow=escrow, action=action)
        return escrow

    return run_announced(run, signals.escrow_changed, using=using)


def _get(escrow: Escrow | UUID | str) -> Escrow:
    return escrow if isinstance(escrow, Escrow) else get_escrow(uuid=escrow)


def _refresh(escrow: Escrow, using: str) -> None:
    """Bring the escrow up to date, the row of the buyer's wallet being locked."""
    columns = (
        "status",
        "reason",
        "released_amount",
        "refunded_amount",
        "fee_charged",
        "updated_at",
    )
    row = Escrow.objects.using(using).values_list(*columns).get(pk=escrow.pk)
    for column, value in zip(columns, row, strict=True):
        setattr(escrow, column, value)
    escrow.replayed = False


def _require(escrow: Escrow, status: Escrow.Status) -> None:
    if escrow.status != status:
        raise EscrowStateInvalid(f"The escrow is {escrow.status}, not {status}.")


def _was_posted(escrow: Escrow, key: str, using: str) -> bool:
    """Tell whether this key ended this escrow.

    :raises IdempotencyConflict: it was used for something else
    """
    row = (
        Posting.objects.using(using)
        .filter(idempotency_key=key)
        .values_list("kind", "reference_type", "reference_id")
        .first()
    )
    if row is None:
        return False
    kind, reference_type, reference_id = row
    is_ours = (reference_type, reference_id) == (ORDER, escrow.order_id)
    if not is_ours or kind not in (Kind.SALE_CREDIT, Kind.REFUND) or escrow.keeps_money:
        raise refuse_other_use(key)
    return True


def _post_all(entries: list[Entry], wallets: list[Any], using: str) -> list[Posted]:
    """Post the entries, all or none; needs a savepoint around it.

    :raises WalletException: one was refused
    """
    posted = []
    for entry, outcome in zip(entries, post(entries, using=using), strict=True):
        if isinstance(outcome, WalletFrozen):
            raise name_frozen(wallets, using) or outcome
        if isinstance(outcome, WalletException):
            raise outcome
        if outcome.replayed:
            raise refuse_other_use(entry.idempotency_key)
        posted.append(outcome)
    return posted


def _write(escrow: Escrow, *, using: str, **changes: Any) -> None:
    for name, value in changes.items():
        setattr(escrow, name, value)
    escrow.save(using=using, update_fields=[*changes, "updated_at"])
