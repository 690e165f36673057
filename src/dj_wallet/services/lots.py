"""Lots: credit that is granted, spent before ordinary money, and taken back when it expires.

How lots are spent and restored is decided by `ledger.lots`, in the posting itself.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from django.db import DEFAULT_DB_ALIAS
from django.db.models import QuerySet
from django.utils import timezone

from dj_wallet.abstract_models import AbstractWallet
from dj_wallet.ledger.engine import (
    MAX_CODE_LENGTH,
    Bucket,
    Entry,
    Kind,
    Movement,
    find_key_malformation,
    is_storable,
)
from dj_wallet.ledger.errors import MovementInvalid
from dj_wallet.ledger.lots import add
from dj_wallet.ledger.models import Account, Posting
from dj_wallet.ledger.money import EXACT, ZERO, parse_amount
from dj_wallet.ledger.rule_models import DEFAULT_PRIORITY, MAX_SOURCE_LENGTH, Lot, LotUse
from dj_wallet.ledger.store.rules import SPENDING_ORDER
from dj_wallet.utils import get_wallet_model, get_wallet_service

from .movements import (
    build_transaction,
    find_alias_of,
    lock_wallets,
    post_records,
    refuse_other_use,
    run_undoing,
)

logger = logging.getLogger(__name__)

PROMOTIONS: Final = "promotions"
MAX_PRIORITY: Final = 2**15 - 1
MAX_REASON_LENGTH: Final = 255
CHUNK: Final = 200


class Spent(NamedTuple):
    """A part of what an entry took out of a wallet: from which lot, None for ordinary money, and what came back."""

    lot: Lot | None
    amount: Decimal
    returned: Decimal


def grant_credit(
    *,
    wallet: AbstractWallet,
    amount: Any,
    source: str = Lot.PROMOTIONAL,
    expires_at: datetime | None = None,
    priority: int = DEFAULT_PRIORITY,
    is_withdrawable: bool = False,
    origin: str = PROMOTIONS,
    meta: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Lot:
    """Deposit credit from the system account `origin` and keep it as a lot, which is returned.

    Joins the caller's transaction. Idempotent with a key. What the wallet is overdrawn by is repaid first: so much of
    the lot is used up at once.

    :param source: what kind of credit it is, for people and reports
    :param expires_at: when what is left goes back to `origin`, None for never
    :param priority: lots of a lower number are spent first; among equals the one that expires first, then the oldest
    :param is_withdrawable: whether it may leave by other ways than a purchase
    :raises AmountInvalid: not a positive amount of the wallet's asset
    :raises MovementInvalid: it would have expired already, or a source or priority that cannot be stored
    :raises WalletFrozen: the wallet is frozen
    :raises IdempotencyConflict: the key was used for something else
    """
    using = find_alias_of(wallet)
    lot = Lot(
        account_id=wallet.pk,
        source=source,
        origin=origin,
        amount=parse_amount(amount, wallet.decimal_places),
        priority=priority,
        expires_at=expires_at,
        is_withdrawable=is_withdrawable,
        idempotency_key=idempotency_key,
    )
    lot.remaining = lot.amount
    _refuse_malformed(lot)

    def grant() -> Lot:
        lock_wallets([wallet], using)
        if found := _find_replayed(lot, using):
            return found
        if expires_at is not None and expires_at <= timezone.now():
            raise MovementInvalid("The credit would have expired already.")
        _write_grant(wallet, lot, meta or {}, using)
        return lot

    return run_undoing(grant, sender=get_wallet_service(), using=using)


def revoke_credit(*, lot: Lot, reason: str) -> Lot:
    """Take back what is left of a lot now; units that refunds return to it later are taken back as well. Idempotent.

    :raises MovementInvalid: no reason was given
    :raises WalletFrozen: the wallet is frozen
    """
    if not reason.strip() or not is_storable(reason, MAX_REASON_LENGTH):
        raise MovementInvalid(f"A reason has 1 to {MAX_REASON_LENGTH} characters.")
    using = lot._state.db or DEFAULT_DB_ALIAS

    def revoke() -> Lot:
        fresh = _lock_lot(lot.pk, using)
        if fresh.revoked_at is None:
            _take_back(fresh, "credit_revoked", {"reason": reason}, using)
            now = timezone.now()
            fresh.revoked_at, fresh.revoked_reason = now, reason
            fresh.expires_at = min(now, fresh.expires_at or now)
            fresh.save(using=using, update_fields=["revoked_at", "revoked_reason", "expires_at"])
        return fresh

    return run_undoing(revoke, sender=get_wallet_service(), using=using)


def expire_lots(
    *,
    now: datetime | None = None,
    wallet: AbstractWallet | None = None,
    seconds: float | None = None,
    using: str | None = None,
) -> int:
    """Take back what is left of lots that have expired; return how many were.

    Each lot in a transaction of its own, unless the caller has one: a stop in between loses nothing, and any number of
    these may run beside each other and beside spending. Lots of frozen wallets wait until they are unfrozen.

    :param now: lots that expire up to then, by default the present
    :param wallet: only lots of this wallet
    :param seconds: after how long to leave the rest to the next call
    """
    alias = using or (DEFAULT_DB_ALIAS if wallet is None else find_alias_of(wallet))
    moment = now or timezone.now()
    deadline = None if seconds is None else time.monotonic() + seconds
    count = 0
    for pk in _list_due(moment, wallet, alias):
        if deadline is not None and time.monotonic() > deadline:
            break
        count += _expire_one(pk, moment, alias)
    return count


def list_lots(*, wallet: AbstractWallet, is_open: bool = True) -> QuerySet[Lot]:
    """Return the lots of the wallet in the order in which they are spent; by default those that hold something."""
    lots = Lot.objects.using(find_alias_of(wallet)).filter(account=wallet.pk)
    return (lots.filter(remaining__gt=0) if is_open else lots).order_by(*SPENDING_ORDER)


def explain_spending(*, wallet: AbstractWallet, entry_id: int) -> list[Spent]:
    """Return which lots an entry took from what it took out of the wallet, and how much was ordinary money."""
    using = find_alias_of(wallet)
    postings = Posting.objects.using(using).of_entries([entry_id])
    left = postings.filter(source_account=wallet.pk).exclude(
        destination_account=wallet.pk, destination_bucket=Bucket.AVAILABLE
    )
    total = add(left.values_list("amount", flat=True))
    uses = LotUse.objects.using(using).filter(entry_id=entry_id, account=wallet.pk)
    spent = [
        Spent(use.lot, use.amount, use.returned)
        for use in uses.select_related("lot").order_by("pk")
    ]
    ordinary = EXACT.subtract(total, add(part.amount for part in spent))
    return [*spent, Spent(None, ordinary, ZERO)] if ordinary > 0 else spent


# Granting


def _refuse_malformed(lot: Lot) -> None:
    if problem := find_key_malformation(lot.idempotency_key):
        raise problem
    if not is_storable(lot.source, MAX_SOURCE_LENGTH, minimum=1):
        raise MovementInvalid(f"A source has 1 to {MAX_SOURCE_LENGTH} characters.")
    if not is_storable(lot.origin, MAX_CODE_LENGTH, minimum=1):
        raise MovementInvalid(
            f"The code of a system account has 1 to {MAX_CODE_LENGTH} characters."
        )
    priority: Any = lot.priority
    if not isinstance(priority, int) or isinstance(priority, bool) or abs(priority) > MAX_PRIORITY:
        raise MovementInvalid(
            f"A priority is a whole number from {-MAX_PRIORITY} to {MAX_PRIORITY}."
        )
    expires_at: Any = lot.expires_at
    if expires_at is not None and not (
        isinstance(expires_at, datetime)
        and timezone.is_aware(expires_at) == timezone.is_aware(timezone.now())
    ):
        raise MovementInvalid("An expiry is a datetime with a time zone.")


def _find_replayed(lot: Lot, using: str) -> Lot | None:
    """Return the lot that was granted with this key.

    :raises IdempotencyConflict: on other terms
    """
    if lot.idempotency_key is None:
        return None
    found = Lot.objects.using(using).filter(idempotency_key=lot.idempotency_key).first()
    if found is None:
        return None
    terms = ("account_id", "source", "origin", "amount", "priority", "is_withdrawable")
    is_same = all(getattr(found, name) == getattr(lot, name) for name in terms)
    # A revoked lot has expired earlier than was agreed.
    if not is_same or (found.revoked_at is None and found.expires_at != lot.expires_at):
        raise refuse_other_use(lot.idempotency_key)
    found.replayed = True
    return found


def _write_grant(wallet: AbstractWallet, lot: Lot, meta: Mapping[str, Any], using: str) -> None:
    described = {**meta, "action": "credit_granted", "lot": str(lot.uuid)}
    deposit = build_transaction(wallet, "deposit", lot.amount, meta=described)
    entry = Entry(
        Kind.DEPOSIT,
        (Movement(lot.origin, wallet.pk, lot.amount, wallet.asset_id),),
        lot.idempotency_key,
        reference_type="lot",
        reference_id=str(lot.uuid),
    )
    post_records(entry, [deposit], after=[lot], sender=get_wallet_service(), using=using)
    accounts = Account.objects.using(using).filter(pk=wallet.pk)
    accounts.update(has_rules=True)
    wallet.has_rules = True
    _repay_overdraft(lot, accounts.values_list("balance", flat=True).get(), using)


def _repay_overdraft(lot: Lot, balance: Decimal, using: str) -> None:
    """Use up as much of a new lot as the wallet lacked: lots never hold more than the wallet does."""
    others = Lot.objects.using(using).filter(account=lot.account_id, remaining__gt=0)
    held = add(others.exclude(pk=lot.pk).values_list("remaining", flat=True))
    lot.remaining = min(lot.amount, max(ZERO, EXACT.subtract(max(ZERO, balance), held)))
    if lot.remaining < lot.amount:
        lot.save(using=using, update_fields=["remaining"])
        LotUse.objects.using(using).create(
            lot=lot,
            account_id=lot.account_id,
            entry_id=lot.entry_id,
            amount=EXACT.subtract(lot.amount, lot.remaining),
        )


# Taking back


def _list_due(now: datetime, wallet: AbstractWallet | None, using: str) -> Iterator[int]:
    due = Lot.objects.using(using).filter(
        remaining__gt=0, expires_at__lte=now, account__is_frozen=False
    )
    if wallet is not None:
        due = due.filter(account=wallet.pk)
    last = 0
    while chunk := list(
        due.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:CHUNK]
    ):
        yield from chunk
        last = chunk[-1]


def _expire_one(pk: int, now: datetime, using: str) -> bool:
    """Take back what is left of one lot; one that breaks must not stop the others."""

    def expire() -> bool:
        lot = _lock_lot(pk, using)
        is_due = lot.expires_at is not None and lot.expires_at <= now
        return is_due and _take_back(lot, "credit_expired", {}, using)

    try:
        return run_undoing(expire, sender=get_wallet_service(), using=using, always=True)
    except Exception:
        logger.exception("Lot %d could not be taken back", pk)
        return False


def _lock_lot(pk: int, using: str) -> Lot:
    """Return the lot, fresh, with its wallet locked until the transaction ends."""
    lots = Lot.objects.using(using)
    account_id = lots.values_list("account_id", flat=True).get(pk=pk)
    lock_wallets([_get_wallet(account_id, using)], using)
    return lots.get(pk=pk)


def _get_wallet(account_id: int, using: str) -> AbstractWallet:
    wallet: AbstractWallet = get_wallet_model()._default_manager.using(using).get(pk=account_id)
    return wallet


def _take_back(lot: Lot, action: str, meta: Mapping[str, Any], using: str) -> bool:
    """Post what is left of a locked lot back to where it came from; tell whether there was something."""
    if lot.remaining <= 0:
        return False
    wallet = _get_wallet(lot.account_id, using)
    described = {**meta, "action": action, "lot": str(lot.uuid)}
    withdraw = build_transaction(wallet, "withdraw", lot.remaining, meta=described)
    entry = Entry(
        Kind.EXPIRY,
        (Movement(wallet.pk, lot.origin, lot.remaining, wallet.asset_id),),
        # Each taking back is a use, so their number names this one.
        f"lot:{lot.uuid}:{lot.uses.count()}",
        reference_type="lot",
        reference_id=str(lot.uuid),
        lot_id=lot.pk,
    )
    post_records(entry, [withdraw], sender=get_wallet_service(), using=using)
    lot.refresh_from_db(using=using, fields=["remaining"])
    return True
