"""Every write of payouts: schedule, claim, hold, send, record the outcome, recover.

The steps of one execution are separate transactions, and the bank is called between them, in none:

1. claim: `processing`, with a lease and a new token;
2. hold: available -> pending, and `sent_at`, in one commit;
3. the bank is called;
4. the outcome, written only by whom holds the token: settle, give back, wait for another try, or unknown.

Whatever dies in between, the row says how far it came. An unknown outcome stays unknown, with the money in
`pending`, until somebody proves it.
"""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from dj_wallet import signals
from dj_wallet.ledger.engine import Bucket, Entry, Kind, Movement, Posted
from dj_wallet.ledger.errors import (
    MovementInvalid,
    TransactionAlreadyProcessed,
    WalletException,
    WalletFrozen,
)
from dj_wallet.ledger.money import to_minor_units
from dj_wallet.ledger.post import post_one, run_in_transaction
from dj_wallet.models import Transaction, Wallet
from dj_wallet.services.common import WalletService, record_pending
from dj_wallet.services.movements import Request, refuse_other_use, update_balances

from . import bank, doorbell
from .models import Payout

logger = logging.getLogger(__name__)

BANK: Final = "external:bank"
REFUSED_BY_BANK: Final = "bank_refused"
# Longer than the slowest call: each of connecting, writing and reading may take the timeout.
LEASE_SLACK: Final = timedelta(seconds=30)


def schedule_payout(
    *,
    wallet: Wallet,
    amount: Any,
    scheduled_for: datetime | None = None,
    idempotency_key: str | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Transaction:
    """Record a withdrawal that a worker will send to the bank at that time, or as soon as possible.

    The balance is not looked at now but when the payout executes (seed 004). A time in the past is now. Idempotent
    with a key: the first record comes back, marked `replayed`. Joins the caller's transaction.

    :raises AmountInvalid: not a positive amount of the wallet's asset
    :raises MovementInvalid: the time has no time zone
    :raises WalletFrozen: the wallet is frozen
    :raises IdempotencyConflict: the key was used for something else, another time included
    """
    if scheduled_for is not None and timezone.is_naive(scheduled_for):
        raise MovementInvalid("The time of a payout needs a time zone.")
    request = Request(Kind.WITHDRAWAL, wallet, BANK, amount, meta, idempotency_key)

    def schedule() -> Transaction:
        record = record_pending(request, Transaction.TYPE_WITHDRAW, sender=WalletService)
        if record.replayed:
            return _check_same_payout(record, scheduled_for)
        payout = Payout.objects.create(transaction=record, scheduled_for=scheduled_for)
        if scheduled_for is None or scheduled_for <= timezone.now():
            transaction.on_commit(lambda: doorbell.ring(payout.pk), robust=True)
        return record

    return run_in_transaction(schedule)


def execute_payout(payout_id: int) -> Payout | None:
    """Pay a due payout once; return it as it stands then, or None if it is not due or somebody else's.

    Must not run inside a transaction: the bank is called.
    """
    payout = _claim(payout_id)
    if payout is None or not _hold(payout):
        return payout
    answer = bank.send_order(
        amount_minor_units=to_minor_units(
            payout.transaction.amount, payout.transaction.wallet.decimal_places
        ),
        reference=str(payout.uuid),
    )
    run_in_transaction(lambda: _record_outcome(payout, answer))
    return payout


def recover_lapsed_payouts() -> None:
    """Take payouts back from workers that died: to be tried again if the bank was not called, else unknown."""
    lapsed = Payout.objects.lapsed()
    lapsed.filter(sent_at__isnull=True).update(
        status=Payout.Status.PENDING, lease_until=None, updated_at=Now()
    )
    unknown = lapsed.filter(sent_at__isnull=False).update(
        status=Payout.Status.UNKNOWN, lease_until=None, updated_at=Now()
    )
    if unknown:
        logger.error("%d payouts are unknown: their worker died after the bank was called", unknown)


def refuse_other_hands(record: Transaction) -> None:
    """Let nobody else confirm or reject the transaction of a payout: the bank may be paying it.

    :raises TransactionAlreadyProcessed: it has a payout
    """
    if isinstance(record, Transaction) and Payout.objects.filter(transaction=record).exists():
        raise TransactionAlreadyProcessed("Transaction is already in the hands of its payout.")


def _check_same_payout(record: Transaction, scheduled_for: datetime | None) -> Transaction:
    """Return the record with its payout.

    :raises IdempotencyConflict: the record is no payout, or one for another time
    """
    payout = Payout.objects.filter(transaction=record).first()
    if payout is None or payout.scheduled_for != scheduled_for:
        raise refuse_other_use(record.idempotency_key)
    payout.transaction = record
    return record


def _claim(payout_id: int) -> Payout | None:
    """Make a due payout ours for the length of a lease, unless another worker holds its row."""
    with transaction.atomic():
        due = Payout.objects.get_due_pending_withdrawals().filter(pk=payout_id)
        if not due.select_for_update(skip_locked=True).values_list("pk", flat=True):
            return None
        lease = timedelta(seconds=3 * settings.BANK_TIMEOUT_SECONDS) + LEASE_SLACK
        Payout.objects.filter(pk=payout_id).update(
            status=Payout.Status.PROCESSING,
            lease_until=Now() + lease,
            token=F("token") + 1,
            attempts=F("attempts") + 1,
            updated_at=Now(),
        )
        return Payout.objects.select_related("transaction__wallet").get(pk=payout_id)


def _hold(payout: Payout) -> bool:
    """Move the amount to `pending` and note that the bank is about to be called; False if it must not be.

    The first try holds the money, later ones find it held: the key is the payout's.
    """

    def hold() -> bool:
        if not _write(payout):
            return False
        try:
            posted = _move(payout, "hold", Kind.WITHDRAWAL, Bucket.AVAILABLE, Bucket.PENDING)
            if posted.replayed:
                _check_not_frozen(payout)
        except WalletException as refusal:
            _fail(payout, refusal.code)
            return False
        return _write(payout, sent_at=Now())

    return run_in_transaction(hold)


def _check_not_frozen(payout: Payout) -> None:
    """Give the money back if the wallet was frozen after an earlier try held it.

    :raises WalletFrozen: it was
    """
    wallet = Wallet.objects.select_for_update(of=("account_ptr",)).get(
        pk=payout.transaction.wallet_id
    )
    if wallet.is_frozen:
        _give_back(payout)
        raise WalletFrozen(f"Wallet {wallet.uuid} is frozen.")


def _record_outcome(payout: Payout, answer: bank.Answer) -> None:
    """Write what the bank's answer means, if the payout is still ours."""
    outcome = answer.outcome
    evidence = answer.evidence
    if outcome == bank.Outcome.PAID:
        if _write(payout, status=Payout.Status.SETTLED, bank_response=evidence, lease_until=None):
            _settle(payout)
    elif outcome == bank.Outcome.REFUSED:
        if _write(payout, bank_response=evidence):
            _give_back(payout)
            _fail(payout, REFUSED_BY_BANK)
    elif outcome == bank.Outcome.NOT_SENT:
        _write(
            payout,
            status=Payout.Status.PENDING,
            bank_response=evidence,
            lease_until=None,
            sent_at=None,
        )
    else:
        logger.error("Payout %s is unknown: %s", payout.uuid, evidence)
        _write(payout, status=Payout.Status.UNKNOWN, bank_response=evidence, lease_until=None)


def _settle(payout: Payout) -> None:
    posted = _move(payout, "settle", Kind.WITHDRAWAL, Bucket.PENDING, None)
    record = payout.transaction
    record.status, record.confirmed = Transaction.STATUS_COMPLETED, True
    record.entry_id = posted.entry_id
    record.save(update_fields=["status", "confirmed", "entry_id", "updated_at"])
    signals.announce(
        signals.transaction_confirmed, WalletService, using=record._state.db, transaction=record
    )


def _give_back(payout: Payout) -> None:
    _move(payout, "refund", Kind.REFUND, Bucket.PENDING, Bucket.AVAILABLE)


def _fail(payout: Payout, failure_code: str) -> None:
    _write(payout, status=Payout.Status.FAILED, failure_code=failure_code, lease_until=None)
    record = payout.transaction
    record.status = Transaction.STATUS_FAILED
    record.save(update_fields=["status", "updated_at"])


def _write(payout: Payout, **changes: Any) -> bool:
    """Change the row if its token is still ours; tell whether it was.

    An unknown payout may be written too: with the same token it is our own call that we report late.
    """
    ours = Payout.objects.filter(
        pk=payout.pk,
        token=payout.token,
        status__in=[Payout.Status.PROCESSING, Payout.Status.UNKNOWN],
    )
    if not ours.update(updated_at=Now(), **changes):
        return False
    payout.refresh_from_db(fields=[*changes, "updated_at"])
    return True


def _move(
    payout: Payout, step: str, kind: Kind, source: Bucket, destination: Bucket | None
) -> Posted:
    """Post one step of the payout, to another bucket of the wallet or (None) to the bank.

    Repeated, it finds its own entry. Money that is on its way arrives even in a frozen wallet.

    :raises WalletException: the hold was refused
    """
    wallet = payout.transaction.wallet
    movement = Movement(
        wallet.pk,
        BANK if destination is None else wallet.pk,
        payout.transaction.amount,
        wallet.asset_id,
        source,
        Bucket.AVAILABLE if destination is None else destination,
    )
    entry = Entry(
        kind,
        (movement,),
        f"payout:{payout.uuid}:{step}",
        reference_type="payout",
        reference_id=str(payout.uuid),
        allow_frozen=step != "hold",
    )
    posted = post_one(entry)
    if not posted.replayed:
        update_balances(wallet, entry, posted)
        signals.announce(
            signals.balance_changed,
            WalletService,
            using=wallet._state.db,
            wallet=wallet,
            transaction=payout.transaction,
        )
    return posted
