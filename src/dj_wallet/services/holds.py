"""Reserving money of a wallet: place, release, settle, expire. Converting a hold to an escrow is in `escrow`.

A hold changes while the row of its wallet is locked, and with it the locked part of the balance: the two are always
the same. On PostgreSQL placing and releasing are one call of a function that looks at everything first; whatever might
be refused comes to the careful way, which locks, decides and writes. Refusals write nothing.

Every function joins the caller's transaction. With an idempotency key a repeated call returns the hold, marked
`replayed`, with the step of the first call, and moves nothing.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeVar

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import InterfaceError, OperationalError, connections, models, router, transaction
from django.db.models import BooleanField, Case, Value, When
from django.db.models.functions import Now
from django.dispatch import Signal
from django.utils import timezone

from dj_wallet import signals
from dj_wallet.abstract_models import AbstractTransaction, AbstractTransfer, AbstractWallet
from dj_wallet.hold_models import Hold, HoldStep
from dj_wallet.ledger.engine import (
    Bucket,
    Entry,
    Kind,
    Movement,
    Posted,
    find_malformation,
    fingerprint,
)
from dj_wallet.ledger.errors import (
    AccountNotFound,
    HoldEnded,
    HoldExceeded,
    HoldExpired,
    HoldNotFound,
    MovementInvalid,
    WalletFrozen,
)
from dj_wallet.ledger.ids import uuid7
from dj_wallet.ledger.models import Posting
from dj_wallet.ledger.money import EXACT, parse_amount
from dj_wallet.ledger.post import post_one
from dj_wallet.ledger.records import build_record, post_with_records
from dj_wallet.ledger.statement import execute
from dj_wallet.ledger.store.postgres import count_decimal_places, write_plainly
from dj_wallet.ledger.watch import moving
from dj_wallet.models import Wallet
from dj_wallet.signals import announce
from dj_wallet.utils import get_wallet_model

from .movements import (
    announce_transaction,
    announce_transfer,
    build_transaction,
    build_transfer,
    find_alias_of,
    lock_wallets,
    name_frozen,
    refuse_other_use,
    refuse_pending_keys,
    run_with_keys,
    send_pre_signal,
    update_balances,
)
from .recorded import post_recorded

logger = logging.getLogger(__name__)

R = TypeVar("R")

PLACE_HOLD: Final = (
    "SELECT * FROM dj_wallet_place_hold(%s, %s, %s::numeric, %s::integer, %s, %s, %s, %s::uuid, %s::uuid,"
    " %s::timestamptz)"
)
RELEASE_HOLD: Final = "SELECT * FROM dj_wallet_release_hold(%s, %s, %s, %s::numeric, %s::integer, %s, %s, %s, %s, %s::uuid)"
EXPIRED_AT_ONCE: Final = 200

ENDS: Final = {
    HoldStep.Action.RELEASED: Hold.Status.RELEASED,
    HoldStep.Action.SETTLED: Hold.Status.SETTLED,
    HoldStep.Action.CONVERTED: Hold.Status.CONVERTED,
    HoldStep.Action.EXPIRED: Hold.Status.EXPIRED,
}


class Placement(NamedTuple):
    """A hold that is asked for. With `is_total` the amount is what the hold shall keep, else what is added."""

    wallet: AbstractWallet
    amount: Decimal
    reference_type: str
    reference_id: str
    expires_at: datetime | None
    is_total: bool
    key: str | None


class Taking(NamedTuple):
    """Money that is to leave a hold; an `amount` of None is all that it keeps."""

    hold: Hold
    action: HoldStep.Action
    amount: Decimal | None
    to: AbstractWallet | str | None
    key: str | None
    meta: dict[str, Any]

    @property
    def kind(self) -> Kind:
        if self.to is None:
            return Kind.BID_UNLOCK
        return Kind.WITHDRAWAL if isinstance(self.to, str) else Kind.TRANSFER


# The public steps


def place_hold(
    *,
    wallet: AbstractWallet,
    amount: Any,
    reference_type: str,
    reference_id: str,
    expires_at: datetime | None = None,
    is_total: bool = False,
    idempotency_key: str | None = None,
) -> Hold:
    """Move money from the available to the locked part of the wallet, for a reference.

    A second hold for the same reference is added to the first, until that has ended; then a new one is opened. The
    hold and the wallet are up to date afterwards.

    :param expires_at: when the money goes back by itself; a later call moves it, one without a time leaves it
    :param is_total: the hold shall keep `amount` in all, of which only what is missing is added
    :raises AmountInvalid: not a positive amount of the wallet's asset
    :raises MovementInvalid: no reference, a time without a zone or in the past, or a total below what is held
    :raises WalletFrozen: the wallet is frozen
    :raises InsufficientFunds: less is available
    :raises IdempotencyConflict: the key was used for something else
    """
    using = find_alias_of(wallet)
    if not (reference_type and reference_id):
        raise MovementInvalid("A hold needs a reference: what it is for.")
    if expires_at is not None and timezone.is_naive(expires_at):
        raise MovementInvalid("The time of a hold needs a time zone.")
    number = parse_amount(amount, wallet.decimal_places)
    asked = Placement(
        wallet, number, reference_type, reference_id, expires_at, is_total, idempotency_key
    )
    if problem := find_malformation(_build_lock(asked, number)):
        raise problem

    def place() -> Hold:
        hold = _place_at_once(asked, using) or _place_carefully(asked, using)
        announce_step(hold, using)
        return hold

    return run_announced(place, signals.hold_changed, using=using)


def release_hold(hold: Hold, *, amount: Any = None, idempotency_key: str | None = None) -> Hold:
    """Give an amount of the hold back to its wallet, by default all that it keeps; return the same object, fresh.

    :raises AmountInvalid: not a positive amount of the wallet's asset
    :raises HoldEnded: it keeps nothing any more
    :raises HoldExceeded: it keeps less
    :raises WalletFrozen: the wallet is frozen
    :raises IdempotencyConflict: the key was used for something else
    """
    return _take(hold, HoldStep.Action.RELEASED, amount, None, idempotency_key, {})


def settle_hold(
    hold: Hold,
    *,
    to: AbstractWallet | str,
    amount: Any = None,
    idempotency_key: str | None = None,
    meta: dict[str, Any] | None = None,
) -> Hold:
    """Pay an amount of the hold, by default all that it keeps, to another wallet or out to a system account.

    What is not paid stays held. The payment is a transfer, or a withdrawal, of the holder's, with its records.

    :param to: a wallet, or the code of a system account such as "external:cash"
    :raises HoldExpired: its time is over
    :raises AssetMismatch: the other wallet counts something else
    :raises WalletException: as `release_hold`
    """
    return _take(hold, HoldStep.Action.SETTLED, amount, to, idempotency_key, dict(meta or {}))


def expire_hold(hold: Hold) -> Hold:
    """Give back all that a hold keeps whose time is over; one that has ended or is not due stays as it is.

    :raises WalletFrozen: the wallet is frozen; the hold is due again once it is not
    """
    try:
        return _take(hold, HoldStep.Action.EXPIRED, None, None, f"hold:{hold.uuid}:expire", {})
    except HoldEnded:
        return hold


def expire_due_holds(*, using: str | None = None, limit: int = EXPIRED_AT_ONCE) -> int:
    """Expire the holds whose time is over, each in a transaction of its own; return how many.

    Those of frozen wallets wait, and so does one whose receiver of `hold_changed` raises: the log says so. May run anywhere
    at the same time: each hold expires once.

    :raises OperationalError: the database is away, which ends it for all
    """
    alias = using or router.db_for_write(Hold)
    due = Hold.objects.using(alias).due().filter(wallet__is_frozen=False)
    expired = 0
    for hold in due.select_related("wallet")[:limit]:
        try:
            ended = expire_hold(hold)
        except WalletFrozen:
            continue
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            logger.exception("Hold %s could not be ended.", hold.pk)
            continue
        expired += ended.step is not None and not ended.replayed
    return expired


def find_hold(
    *, wallet: AbstractWallet, reference_type: str, reference_id: str, using: str | None = None
) -> Hold | None:
    """Return the open hold of the wallet for the reference, or None."""
    holds = Hold.objects.using(using or find_alias_of(wallet)).open()
    found = holds.filter(
        wallet_id=wallet.pk, reference_type=reference_type, reference_id=reference_id
    ).first()
    if found is not None:
        found.wallet = wallet
    return found


# The names of seed 001: users and their wallets


def lock_funds(
    user_id: Any,
    amount: Any,
    reference_type: str,
    reference_id: str,
    *,
    coin: str | None = None,
    **options: Any,
) -> Hold:
    """Lock money of a user for a bid; see `place_hold`.

    :raises AccountNotFound: the user has no wallet of this coin
    """
    wallet = get_wallet_of_user(user_id, coin)
    return place_hold(
        wallet=wallet,
        amount=amount,
        reference_type=reference_type,
        reference_id=reference_id,
        **options,
    )


def unlock_funds(
    user_id: Any,
    amount: Any,
    reference_type: str,
    reference_id: str,
    *,
    coin: str | None = None,
    idempotency_key: str | None = None,
) -> Hold:
    """Unlock an amount of what is held of a user for this reference, None for all of it; see `release_hold`.

    :raises AccountNotFound: the user has no wallet of this coin
    :raises HoldNotFound: nothing is held for it
    """
    wallet = get_wallet_of_user(user_id, coin)
    return release_reference(
        wallet=wallet,
        amount=amount,
        reference_type=reference_type,
        reference_id=reference_id,
        idempotency_key=idempotency_key,
    )


def release_reference(
    *,
    wallet: AbstractWallet,
    reference_type: str,
    reference_id: str,
    amount: Any = None,
    idempotency_key: str | None = None,
) -> Hold:
    """Release the open hold of the wallet for a reference; see `release_hold`.

    :raises HoldNotFound: nothing is held for it
    """
    using = find_alias_of(wallet)
    hold = find_hold(wallet=wallet, reference_type=reference_type, reference_id=reference_id)
    if idempotency_key is not None:  # which may be that of an earlier hold for the same
        step = find_step(idempotency_key, using)
        if step is not None and (
            step.hold.wallet_id,
            step.hold.reference_type,
            step.hold.reference_id,
        ) == (wallet.pk, reference_type, reference_id):
            hold = step.hold
            hold.wallet = wallet
    if hold is None:
        raise HoldNotFound(f"Nothing is held for {reference_type} {reference_id}.")
    return release_hold(hold, amount=amount, idempotency_key=idempotency_key)


def get_wallet_of_user(user_id: Any, coin: str | None = None) -> Wallet:
    """Return the user's wallet of a coin: the one named after it, else the default one, else the oldest; without a
    coin the default wallet.

    :raises AccountNotFound: there is none
    """
    try:
        user = get_user_model()(pk=get_user_model()._meta.pk.to_python(user_id))
    except (ValidationError, ValueError, TypeError):
        raise AccountNotFound("There is no such user.") from None
    wallets = get_wallet_model().objects.held_by(user)
    if coin is None:
        wallet = wallets.filter(slug="default").first()
    else:
        rank = Case(When(slug=coin.lower(), then=0), When(slug="default", then=1), default=2)
        wallet = wallets.filter(asset_id=coin).order_by(rank, "pk").first()
    if wallet is None:
        raise AccountNotFound("The user has no such wallet.")
    return wallet


# Placing


def _build_lock(asked: Placement, amount: Decimal) -> Entry:
    return Entry(
        Kind.BID_LOCK,
        (move_inside(asked.wallet, amount, Bucket.AVAILABLE, Bucket.LOCKED),),
        asked.key,
        reference_type=asked.reference_type,
        reference_id=asked.reference_id,
    )


def move_inside(
    wallet: AbstractWallet, amount: Decimal, source: Bucket, destination: Bucket
) -> Movement:
    """Return a movement between two parts of one wallet."""
    return Movement(wallet.pk, wallet.pk, amount, wallet.asset_id, source, destination)


def _place_at_once(asked: Placement, using: str) -> Hold | None:
    """Return None, with nothing written, if that is not certain to be right."""
    if connections[using].vendor != "postgresql" or asked.is_total:
        return None
    wallet = asked.wallet
    entry = _build_lock(asked, asked.amount)
    text = write_plainly(asked.amount)
    parameters = (
        wallet.pk,
        wallet.asset_id,
        text,
        count_decimal_places(text),
        asked.reference_type,
        asked.reference_id,
        asked.key,
        None if asked.key is None else fingerprint(entry),
        uuid7(),
        asked.expires_at,
    )
    with moving([wallet.pk], using):
        found = execute(PLACE_HOLD, parameters, using).fetchone()
    entry_id, available, locked, now, step_id, *row = found
    if entry_id is None:
        return None
    posted = Posted(entry_id, False, ((available, locked),))
    pk, uuid, amount, remaining, expires_at, created_at = row
    hold: Hold = build_stored(
        Hold,
        {
            "id": pk,
            "uuid": uuid,
            "wallet_id": wallet.pk,
            "reference_type": asked.reference_type,
            "reference_id": asked.reference_id,
            "amount": amount,
            "remaining": remaining,
            "status": Hold.Status.OPEN,
            "expires_at": expires_at,
            "created_at": created_at,
            "updated_at": now,
        },
        {"wallet": wallet},
        using,
    )
    hold.posted = posted
    hold.step = build_stored(
        HoldStep,
        {
            "id": step_id,
            "hold_id": pk,
            "action": HoldStep.Action.PLACED,
            "amount": asked.amount,
            "remaining": remaining,
            "expires_at": asked.expires_at,
            "entry_id": entry_id,
            "created_at": now,
        },
        {"hold": hold},
        using,
    )
    update_balances(wallet, entry, posted)
    return hold


def _place_carefully(asked: Placement, using: str) -> Hold:
    wallet = asked.wallet
    with transaction.atomic(using=using):
        lock_wallets([wallet], using)
        if step := find_step(asked.key, using):
            return _replay_placing(asked, step)
        refuse_pending_keys([_build_lock(asked, asked.amount)], using)
        _refuse_past(asked, using)
        hold = _find_open(asked, using)
        if hold is not None and hold.is_due:  # type: ignore[attr-defined]
            hold.wallet = wallet
            expire_hold(hold)
            hold = None
        amount = _compute_missing(asked, hold)
        if amount == 0 and hold is not None:
            hold.wallet = wallet
            return hold
        entry = _build_lock(asked, amount)
        posted = post_naming(entry, [wallet], using)
        if hold is None:
            hold = Hold(
                reference_type=asked.reference_type,
                reference_id=asked.reference_id,
                amount=amount,
                remaining=amount,
                expires_at=asked.expires_at,
            )
        else:
            hold.amount = EXACT.add(hold.amount, amount)
            hold.remaining = EXACT.add(hold.remaining, amount)
            hold.expires_at = asked.expires_at or hold.expires_at
        hold.wallet = wallet
        hold.save(using=using)
        hold.replayed, hold.posted = False, posted
        hold.step = add_step(hold, HoldStep.Action.PLACED, amount, posted, asked.expires_at)
        update_balances(wallet, entry, posted)
    return hold


def _replay_placing(asked: Placement, step: HoldStep) -> Hold:
    hold = step.hold
    shown = step.remaining if asked.is_total else step.amount
    given = (HoldStep.Action.PLACED, asked.wallet.pk, asked.reference_type, asked.reference_id)
    found = (step.action, hold.wallet_id, hold.reference_type, hold.reference_id)
    if given != found or shown != asked.amount or step.expires_at != asked.expires_at:
        raise refuse_other_use(asked.key)
    hold.wallet = asked.wallet
    return mark_replayed(hold, step)


def _refuse_past(asked: Placement, using: str) -> None:
    if asked.expires_at is not None and asked.expires_at <= read_clock(using):
        raise MovementInvalid("The time of a hold lies in the future.")


def _find_open(asked: Placement, using: str) -> Hold | None:
    found: Hold | None = (
        with_due(Hold.objects.using(using).open())
        .filter(
            wallet_id=asked.wallet.pk,
            reference_type=asked.reference_type,
            reference_id=asked.reference_id,
        )
        .first()
    )
    return found


def _compute_missing(asked: Placement, hold: Hold | None) -> Decimal:
    if not asked.is_total or hold is None:
        return asked.amount
    missing = EXACT.subtract(asked.amount, hold.remaining)
    if missing < 0:
        raise MovementInvalid(f"{hold.remaining} is held already: release what is too much.")
    return missing


# Taking


def _take(
    hold: Hold,
    action: HoldStep.Action,
    amount: Any,
    to: AbstractWallet | str | None,
    key: str | None,
    meta: dict[str, Any],
) -> Hold:
    using = hold._state.db or router.db_for_write(Hold)
    wallet = get_hold_wallet(hold)
    number = None if amount is None else parse_amount(amount, wallet.decimal_places)
    asked = Taking(hold, action, number, to, key, meta)
    if problem := find_malformation(_build_taking(asked, number or Decimal(1))):
        raise problem

    def take() -> Hold:
        taken = _release_at_once(asked, using) or _take_carefully(asked, using)
        if not taken.replayed and taken.step is not None:
            announce_step(taken, using)
        return taken

    return run_announced(take, signals.hold_changed, using=using)


def _build_taking(asked: Taking, amount: Decimal) -> Entry:
    wallet, to = get_hold_wallet(asked.hold), asked.to
    movement = move_inside(wallet, amount, Bucket.LOCKED, Bucket.AVAILABLE)
    if to is not None:
        movement = movement._replace(destination=to if isinstance(to, str) else to.pk)
    return Entry(
        asked.kind,
        (movement,),
        asked.key,
        reference_type=asked.hold.reference_type,
        reference_id=asked.hold.reference_id,
    )


def _release_at_once(asked: Taking, using: str) -> Hold | None:
    """Return None, with nothing written, if that is not certain to be right."""
    hold = asked.hold
    amount = hold.remaining if asked.amount is None else asked.amount
    if (
        connections[using].vendor != "postgresql"
        or asked.action != HoldStep.Action.RELEASED
        or not amount
    ):
        return None
    wallet = get_hold_wallet(hold)
    entry = _build_taking(asked, amount)
    text = write_plainly(amount)
    parameters = (
        hold.pk,
        wallet.pk,
        wallet.asset_id,
        text,
        count_decimal_places(text),
        asked.amount is None,
        hold.reference_type,
        hold.reference_id,
        asked.key,
        None if asked.key is None else fingerprint(entry),
    )
    with moving([wallet.pk], using):
        found = execute(RELEASE_HOLD, parameters, using).fetchone()
    entry_id, locked, available, now, step_id, *row = found
    if entry_id is None:
        return None
    hold.amount, hold.remaining, hold.status, hold.expires_at = row
    hold.updated_at = now
    posted = Posted(entry_id, False, ((locked, available),))
    hold.replayed, hold.posted = False, posted
    hold.step = build_stored(
        HoldStep,
        {
            "id": step_id,
            "hold_id": hold.pk,
            "action": HoldStep.Action.RELEASED,
            "amount": amount,
            "remaining": hold.remaining,
            "entry_id": entry_id,
            "created_at": now,
        },
        {"hold": hold},
        using,
    )
    update_balances(wallet, entry, posted)
    return hold


def _take_carefully(asked: Taking, using: str) -> Hold:
    hold = asked.hold
    wallets = [get_hold_wallet(hold), *([asked.to] if isinstance(asked.to, AbstractWallet) else [])]
    with transaction.atomic(using=using):
        lock_wallets(wallets, using)
        if step := find_step(asked.key, using):
            return _replay_taking(asked, step)
        refuse_pending_keys([_build_taking(asked, Decimal(1))], using)
        is_due = refresh_locked(hold, using)
        amount = choose_amount(hold, asked.amount)
        if asked.action == HoldStep.Action.EXPIRED and not is_due:
            hold.replayed, hold.step = False, None
            return hold
        if asked.action == HoldStep.Action.SETTLED and is_due:
            raise HoldExpired("The time of the hold is over.")
        entry = _build_taking(asked, amount)
        posted = (
            _post_payment(asked, entry, using) if asked.to else post_naming(entry, wallets, using)
        )
        keep_step(hold, asked.action, amount, posted, using)
        if not asked.to:
            update_balances(wallets[0], entry, posted)
    return hold


def _post_payment(asked: Taking, entry: Entry, using: str) -> Posted:
    """Post what leaves the wallet, with the records that its holder and the receiver see."""
    wallet, amount, to = get_hold_wallet(asked.hold), entry.movements[0].amount, asked.to
    is_out = isinstance(to, str)
    withdraw = build_transaction(
        wallet,
        AbstractTransaction.TYPE_WITHDRAW,
        amount,
        meta=asked.meta,
        idempotency_key=asked.key if is_out else None,
    )
    records: list[Any] = [withdraw]
    if isinstance(to, AbstractWallet):
        deposit = build_transaction(to, AbstractTransaction.TYPE_DEPOSIT, amount, meta=asked.meta)
        status = AbstractTransfer.STATUS_TRANSFER
        records += [
            deposit,
            build_transfer(withdraw, deposit, status=status, idempotency_key=asked.key),
        ]
    return post_recorded_sale(entry, records, using)


# What holds and escrows have in common


def run_announced(work: Callable[[], R], signal: Signal, *, using: str) -> R:
    """Run `work` in a transaction; in the caller's, a receiver of the signal that raises undoes only what `work` did."""
    if connections[using].in_atomic_block and signal.receivers:
        with transaction.atomic(using=using):
            return work()
    # A key is looked at under the wallet's lock: that of another wallet's call only can be taken meanwhile.
    return run_with_keys(work, using=using, is_keyed=False)


def get_hold_wallet(hold: Hold) -> Wallet:
    """Return the wallet object of a hold."""
    wallet: Wallet = hold.wallet
    return wallet


def build_stored(
    model: type[models.Model], values: dict[str, Any], related: dict[str, Any], using: str
) -> Any:
    """Return the instance of a row that the database has just written."""
    record = build_record(model, values, related)
    record._state.adding, record._state.db = False, using
    return record


def post_naming(entry: Entry, wallets: Sequence[AbstractWallet], using: str) -> Posted:
    """Post one entry whose key is known to be new.

    :raises WalletException: refused; a frozen wallet is named
    """
    try:
        posted = post_one(entry, using=using)
    except WalletFrozen as refusal:
        raise name_frozen(wallets, using) or refusal from None
    if posted.replayed:
        raise refuse_other_use(entry.idempotency_key)
    return posted


def post_recorded_sale(entry: Entry, records: Sequence[Any], using: str) -> Posted:
    """Post an entry that takes money to somebody else, write its records and announce them.

    :raises WalletException: refused; a frozen wallet is named
    """
    transactions: list[Any] = [one for one in records if isinstance(one, AbstractTransaction)]
    wallets: list[Any] = [record.wallet for record in transactions]
    for record in transactions:
        send_pre_signal(record, Hold)
    try:
        posted = post_recorded(entry, records, using=using)
        if posted is None:
            posted = post_with_records(entry, records, using=using)
    except WalletFrozen as refusal:
        raise name_frozen(wallets, using) or refusal from None
    if posted.replayed:
        raise refuse_other_use(entry.idempotency_key)
    for wallet in wallets:
        update_balances(wallet, entry, posted)
    announce_records(records, using)
    return posted


def announce_records(records: Sequence[Any], using: str) -> None:
    """Send the signals of the transactions and transfers among the records."""
    for record in records:
        if isinstance(record, AbstractTransaction):
            announce_transaction(record, Hold, using)  # type: ignore[arg-type]
        else:
            announce_transfer(record, record.withdraw.wallet, record.deposit.wallet, Hold, using)


def with_due(holds: Any) -> Any:
    """Return the holds with `is_due`: whether their time is over by the database's clock."""
    return holds.annotate(
        is_due=Case(
            When(expires_at__lte=Now(), then=Value(True)),
            default=Value(False),
            output_field=BooleanField(),
        )
    )


def read_clock(using: str) -> datetime:
    """Return what time it is for the database."""
    if connections[using].vendor != "postgresql":
        return timezone.now()  # SQLite's clock is ours
    now: datetime = execute("SELECT clock_timestamp()", (), using).fetchone()[0]
    return now


def find_step(key: str | None, using: str) -> HoldStep | None:
    """Return the step that was posted with this key, or None if the key is free.

    :raises IdempotencyConflict: the key was used for something else
    """
    if key is None:
        return None
    postings = Posting.objects.using(using).filter(idempotency_key=key)
    entry_id = postings.values_list("entry_id", flat=True).first()
    if entry_id is None:
        return None
    step = HoldStep.objects.using(using).filter(entry_id=entry_id).select_related("hold").first()
    if step is None:
        raise refuse_other_use(key)
    return step


def refresh_locked(hold: Hold, using: str) -> bool:
    """Bring the hold up to date, the row of its wallet being locked; tell whether its time is over."""
    columns = ("amount", "remaining", "status", "expires_at", "is_due")
    row = with_due(Hold.objects.using(using)).values_list(*columns).get(pk=hold.pk)
    hold.amount, hold.remaining, hold.status, hold.expires_at, is_due = row
    return bool(is_due)


def choose_amount(hold: Hold, asked: Decimal | None) -> Decimal:
    """Return what to take: an amount, or all that the hold keeps.

    :raises HoldEnded: it keeps nothing any more
    :raises HoldExceeded: it keeps less
    """
    if not hold.is_open:
        raise HoldEnded(f"The hold has ended: {hold.status}.")
    amount = hold.remaining if asked is None else asked
    if amount > hold.remaining:
        raise HoldExceeded(f"The hold keeps {hold.remaining}, not {amount}.")
    return amount


def keep_step(
    hold: Hold, action: HoldStep.Action, amount: Decimal, posted: Posted, using: str
) -> HoldStep:
    """Write what was taken from the hold."""
    hold.remaining = EXACT.subtract(hold.remaining, amount)
    if hold.remaining == 0:
        hold.status = ENDS[action]
    hold.save(using=using, update_fields=["remaining", "status", "updated_at"])
    hold.replayed, hold.posted = False, posted
    hold.step = add_step(hold, action, amount, posted)
    return hold.step


def add_step(
    hold: Hold,
    action: HoldStep.Action,
    amount: Decimal,
    posted: Posted,
    expires_at: datetime | None = None,
) -> HoldStep:
    """Write a step of the hold as it is now."""
    return HoldStep.objects.using(hold._state.db).create(
        hold=hold,
        action=action,
        amount=amount,
        remaining=hold.remaining,
        expires_at=expires_at,
        entry_id=posted.entry_id,
    )


def _replay_taking(asked: Taking, step: HoldStep) -> Hold:
    hold = asked.hold
    if (step.hold_id, step.action) != (hold.pk, asked.action):
        raise refuse_other_use(asked.key)
    if asked.amount is not None and asked.amount != step.amount:
        raise refuse_other_use(asked.key)
    if asked.to is not None and not _went_to(asked, step):
        raise refuse_other_use(asked.key)
    hold.refresh_from_db(fields=["amount", "remaining", "status", "expires_at", "updated_at"])
    return mark_replayed(hold, step)


def _went_to(asked: Taking, step: HoldStep) -> bool:
    posting = (
        Posting.objects.using(step._state.db or "default")
        .select_related("destination_account")
        .get(pk=step.entry_id)
    )
    if isinstance(asked.to, str):
        return bool(posting.destination_account.code == asked.to)
    return asked.to is not None and posting.destination_account_id == asked.to.pk


def mark_replayed(hold: Hold, step: HoldStep) -> Hold:
    """Return the hold as the answer to a repeated call, with what the first one did."""
    row = (
        Posting.objects.using(step._state.db or "default")
        .values_list("source_balance_after", "destination_balance_after")
        .get(pk=step.entry_id)
    )
    hold.replayed, hold.step, hold.posted = True, step, Posted(step.entry_id, True, (row,))
    return hold


def announce_step(hold: Hold, using: str) -> None:
    """Send the signal of the hold's new step."""
    if hold.step is not None and not hold.replayed:
        announce(signals.hold_changed, Hold, using=using, hold=hold, step=hold.step)
