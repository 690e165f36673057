"""Executing payouts: claim, hold, ask, write down.

The steps are separate transactions, and the bank is called between them, in none:

1. claim: `processing`, with a lease on the database's clock and a new token;
2. hold: available -> pending, and `sent_at`, in one commit;
3. the bank is called, from a thread of its own;
4. the outcome, written only by whom still holds the token.

Whatever dies in between, the row says how far it came, and after the lease another worker goes on from there: an order
that may have reached the bank is looked up before it is repeated, and repeated only under its one reference.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import Error as DatabaseError
from django.db import connection, transaction
from django.db.models import Case, F, PositiveIntegerField, When
from django.db.models.functions import Now

from dj_wallet.ledger.engine import Bucket, Kind
from dj_wallet.ledger.errors import OutcomeUnknown, WalletException, WalletFrozen
from dj_wallet.ledger.post import run_in_transaction
from dj_wallet.models import Wallet
from dj_wallet.payouts.bank import Answer, Bank, Order, Outcome, get_bank
from dj_wallet.payouts.circuit import count_allowed, note_health
from dj_wallet.payouts.conf import get_setting
from dj_wallet.payouts.models import Payout

from . import outcomes
from .outcomes import (
    BANK_DID_NOT_PAY,
    BANK_REFUSED,
    BANK_UNREACHABLE,
    Status,
    Step,
    make_step,
    read_database_time,
)

logger = logging.getLogger(__name__)

# What a lease holds beyond the two calls of one try.
LEASE_SLACK_SECONDS: Final = 5
HEALTHY: Final = frozenset({Outcome.PAID, Outcome.ACCEPTED, Outcome.REFUSED, Outcome.RETURNED})

Ask = Callable[[], Answer]


@dataclass
class Try:
    """One worker's turn at a payout: the row as it was claimed, and how long the claim is good for."""

    payout: Payout
    bank: Bank
    # Of this worker's own clock, which also runs while the process is stopped or the machine sleeps.
    last_moment: float
    # When the row was read, by the database's clock.
    read_at: datetime
    # When an order was sent that may have arrived, before this turn.
    sent_before: datetime | None
    order: Order
    is_lookup: bool = False
    healthy: list[bool] = field(default_factory=list)

    @property
    def is_last_attempt(self) -> bool:
        return bool(self.payout.attempts > get_setting("MAX_RETRIES"))

    def is_older(self, moment: datetime | None, seconds: float) -> bool:
        return moment is not None and self.read_at - moment > timedelta(seconds=seconds)


def execute_payout(payout_id: int) -> Payout | None:
    """Pay a due payout once; return it as it stands then, or None if it is not due or somebody else's.

    Must not run inside a transaction: the bank is called.
    """
    name = Payout.objects.filter(pk=payout_id).values_list("bank", flat=True).first()
    if name is None:
        return None
    tries = _claim(name, 1, payout_id)
    _run(name, tries)
    return tries[0].payout if tries else None


def execute_due_payouts_of(bank: str, limit: int) -> int:
    """Pay up to so many due payouts of the bank, side by side; return how many there were to do."""
    tries = _claim(bank, limit)
    _run(bank, tries)
    return len(tries)


def _claim(name: str, limit: int, payout_id: int | None = None) -> list[Try]:
    """Make due payouts ours for the length of a lease; rows that others hold are passed over."""
    bank = get_bank(name)
    if bank.capabilities.is_file:
        return []
    lease_seconds = 2 * bank.call_seconds + LEASE_SLACK_SECONDS
    last_moment = time.clock_gettime(time.CLOCK_BOOTTIME) + lease_seconds - bank.call_seconds
    due = Payout.objects.due().filter(bank=name)
    if payout_id is not None:
        due = due.filter(pk=payout_id)
    if not due.exists():  # before the circuit is asked: it lets one through only
        return []
    limit = count_allowed(name, limit)
    if not limit:
        return []
    with transaction.atomic():
        free = due.select_for_update(skip_locked=True).values_list("pk", flat=True)
        claimed = list(free[:limit])
        Payout.objects.filter(pk__in=claimed).update(
            status=Status.PROCESSING,
            due_at=Now() + timedelta(seconds=lease_seconds),
            token=F("token") + 1,
            # Whoever had it never wrote what became of it.
            lapses=Case(
                When(status=Status.PROCESSING, then=F("lapses") + 1),
                default=F("lapses"),
                output_field=PositiveIntegerField(),
            ),
            updated_at=Now(),
        )
        now = read_database_time()
        rows = Payout.objects.filter(pk__in=claimed).select_related("transaction__wallet")
        return [
            Try(row, bank, last_moment, now, row.sent_at, outcomes.build_order(row)) for row in rows
        ]


def _run(name: str, tries: Sequence[Try]) -> None:
    """Bring each payout as far as it comes now. The bank is asked side by side, the database by this thread alone."""
    if not tries:
        return
    if len(tries) == 1:
        ask = _prepare_safely(tries[0])
        while ask is not None:
            ask = _record_safely(tries[0], ask())
    else:
        _run_many(tries)
    note_health(name, [was for one in tries for was in one.healthy])


def _run_many(tries: Sequence[Try]) -> None:
    with ThreadPoolExecutor(len(tries)) as pool:
        asked: dict[Future[Answer], Try] = {}
        for one in tries:
            if ask := _prepare_safely(one):
                asked[pool.submit(ask)] = one
        while asked:
            done, _ = wait(asked, return_when=FIRST_COMPLETED)
            for future in done:
                one = asked.pop(future)
                if ask := _record_safely(one, future.result()):
                    asked[pool.submit(ask)] = one


def _prepare_safely(one: Try) -> Ask | None:
    return _survive(one, lambda: _prepare(one))


def _record_safely(one: Try, answer: Answer) -> Ask | None:
    if answer.outcome != Outcome.NOT_FOUND:
        one.healthy.append(answer.outcome in HEALTHY)
    return _survive(one, lambda: _record(one, answer))


def _survive(one: Try, work: Callable[[], Ask | None]) -> Ask | None:
    """Do the work in a transaction; a payout that breaks it must not stop the others, and goes to an operator if it
    always does."""
    before = dict(vars(one.payout)), one.sent_before, one.is_lookup

    def start() -> Ask | None:
        # A transaction that is tried again begins with what the row says, not with what the first try made of it.
        vars(one.payout).update(before[0])
        one.sent_before, one.is_lookup = before[1:]
        return work()

    try:
        return run_in_transaction(start)
    except (DatabaseError, OutcomeUnknown):
        # The row says how far it came, and its lease ends by itself.
        logger.exception("Payout %s: the database was lost", one.payout.uuid)
        connection.close_if_unusable_or_obsolete()
    except Exception:
        logger.exception("Payout %s could not be executed", one.payout.uuid)
        _note_lapse(one.payout)
    return None


def _note_lapse(payout: Payout) -> None:
    """Count a turn that broke, and let the next one wait for it."""
    payout.refresh_from_db()
    if payout.status != Status.PROCESSING:
        return
    lapses = payout.lapses + 1
    with transaction.atomic():
        if lapses >= get_setting("MAX_LAPSES"):
            outcomes.give_to_operator(payout, "always_breaks")
        elif outcomes.wait(payout, Status.RETRYING if payout.sent_at is None else Status.UNKNOWN):
            Payout.objects.filter(pk=payout.pk).update(lapses=lapses)


# Before the bank is called


def _prepare(one: Try) -> Ask | None:
    """Commit what must be known before the bank is asked; return the question, or None if it must not be."""
    payout, can = one.payout, one.bank.capabilities
    if payout.lapses >= get_setting("MAX_LAPSES"):
        outcomes.give_to_operator(payout, "workers_died")
        return None
    if one.sent_before is None:
        return _hold_and_send(one)
    if can.lookup:
        one.is_lookup = True
        return lambda: one.bank.look_up(one.order)
    if can.keys and not one.is_last_attempt:
        if not one.is_older(payout.held_at, can.keys_kept_seconds):
            return _send(one)
        outcomes.give_to_operator(payout, "key_forgotten")
        return None
    outcomes.give_to_operator(payout, "outcome_unknown")
    return None


def _hold_and_send(one: Try) -> Ask | None:
    """Hold the money, once for all tries, and get ready to send."""
    payout = one.payout
    if payout.held_at is not None:
        if _is_frozen(payout):
            outcomes.fail(payout, WalletFrozen.code)
            return None
        return _send(one)
    # The row first: who does not hold it any more must hold no money.
    ask = _send(one, held_at=Now())
    if ask is None:
        return None
    payout.held_at = one.read_at
    try:
        outcomes.move(payout, "hold", Kind.WITHDRAWAL, Bucket.AVAILABLE, Bucket.PENDING)
    except WalletException as refusal:
        outcomes.fail(payout, refusal.code, held_at=None, sent_at=None, order_hash="")
        return None
    steps = [make_step(payout, Step.HELD), make_step(payout, Step.SENT, {"bank": payout.bank})]
    outcomes.note(steps)
    outcomes.publish(payout, "payout.sent", {"attempt": payout.attempts})
    return ask


def _is_frozen(payout: Payout) -> bool:
    """Tell whether the wallet was frozen after an earlier try held the money."""
    wallets = Wallet.objects.select_for_update(of=("account_ptr",))
    return wallets.get(pk=payout.transaction.wallet_id).is_frozen


def _send(one: Try, **changes: Any) -> Ask | None:
    """Note that the bank is about to be called, with the same order as ever."""
    payout, digest = one.payout, digest_order(one.order)
    if payout.order_hash and payout.order_hash != digest:
        outcomes.give_to_operator(payout, "order_changed")
        return None
    attempts = payout.attempts + 1
    if not outcomes.change(payout, sent_at=Now(), attempts=attempts, order_hash=digest, **changes):
        return None
    one.is_lookup = False
    if not changes:
        outcomes.note([make_step(payout, Step.SENT, {"bank": payout.bank})])
        outcomes.publish(payout, "payout.sent", {"attempt": attempts})
    return lambda: _send_in_time(one)


def _send_in_time(one: Try) -> Answer:
    """Send the order unless the lease may end before the answer is written: then it is another worker's."""
    if time.clock_gettime(time.CLOCK_BOOTTIME) > one.last_moment:
        return Answer(Outcome.NOT_SENT, {"error": "too late"})
    return one.bank.send(one.order)


def digest_order(order: Order) -> str:
    """Return a digest of everything that the bank is told."""
    facts = [
        order.reference,
        format(order.amount, "f"),
        order.asset,
        sorted(order.destination.items()),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


# After the bank has answered


def _record(one: Try, answer: Answer) -> Ask | None:
    """Write what the answer means, if the payout is still ours; return what to ask next, if anything."""
    payout = one.payout
    kind = Step.LOOKED_UP if one.is_lookup else Step.ANSWERED
    if answer.outcome == Outcome.NOT_SENT and not one.is_lookup:
        kind = Step.NOT_SENT
    steps = [make_step(payout, kind, {"outcome": answer.outcome, **answer.evidence})]
    known: dict[str, Any] = {"bank_response": answer.evidence}
    if answer.bank_reference:
        known["bank_reference"] = answer.bank_reference
    match answer.outcome:
        case Outcome.PAID:
            outcomes.settle(payout, steps, **known)
        case Outcome.ACCEPTED:
            outcomes.accept(payout, steps, asks=one.bank.capabilities.lookup, **known)
        case Outcome.REFUSED:
            outcomes.fail(payout, BANK_REFUSED, steps, Step.REFUSED, **known)
        case Outcome.RETURNED:
            if outcomes.settle(payout, steps, **known):
                outcomes.return_payout(payout=payout, reason="returned")
        case Outcome.NOT_FOUND if one.is_lookup:
            return _send_again(one, steps)
        case _ if one.is_lookup:
            _ask_later(one, steps)
        case Outcome.FAILED | Outcome.NOT_SENT:
            _retry(one, answer.outcome, steps, known)
        case _:
            _doubt(one, steps, known)
    return None


def _send_again(one: Try, steps: list[Any]) -> Ask | None:
    """The bank has no such order: repeat it, once it is too late for an earlier one to arrive."""
    payout, can = one.payout, one.bank.capabilities
    if outcomes.was_accepted(payout):
        outcomes.give_to_operator(payout, "accepted_but_not_found", steps)
        return None
    if can.in_flight_seconds and not one.is_older(one.sent_before, can.in_flight_seconds):
        later = Now() + timedelta(seconds=can.in_flight_seconds)
        outcomes.wait(payout, Status.UNKNOWN, steps, due_at=later, lookups=payout.lookups + 1)
        return None
    if one.is_last_attempt:
        outcomes.fail(payout, BANK_DID_NOT_PAY, steps)
        return None
    # Nothing of ours is at the bank: from here on it is as before the first order.
    one.sent_before = None
    outcomes.note(steps)
    return _hold_and_send(one)


def _ask_later(one: Try, steps: list[Any]) -> None:
    payout = one.payout
    if one.is_older(payout.doubted_since, get_setting("REVIEW_AFTER_SECONDS")):
        outcomes.give_to_operator(payout, "unknown_for_too_long", steps)
        return
    outcomes.wait(payout, Status.UNKNOWN, steps, lookups=payout.lookups + 1)


def _retry(one: Try, outcome: Outcome, steps: list[Any], known: dict[str, Any]) -> None:
    """The bank says it did not pay, or was not reached: try again later, or give up."""
    payout, can = one.payout, one.bank.capabilities
    is_believed = outcome == Outcome.NOT_SENT or (can.failed_is_unpaid and not can.lookup)
    if not is_believed:
        if can.lookup or can.keys:
            outcomes.wait(payout, Status.RETRYING, steps, **known)
        else:
            outcomes.give_to_operator(payout, "failed_but_maybe_paid", steps, **known)
        return
    known["sent_at"] = one.sent_before
    if one.sent_before is not None:
        outcomes.wait(payout, Status.UNKNOWN, steps, **known)
    elif one.is_last_attempt:
        code = BANK_UNREACHABLE if outcome == Outcome.NOT_SENT else BANK_REFUSED
        outcomes.fail(payout, code, steps, **known)
    else:
        outcomes.wait(payout, Status.RETRYING, steps, **known)


def _doubt(one: Try, steps: list[Any], known: dict[str, Any]) -> None:
    """Nobody knows whether it was paid: ask, or repeat under the key, or leave it to a person."""
    can = one.bank.capabilities
    if can.lookup or can.keys:
        outcomes.wait(one.payout, Status.UNKNOWN, steps, **known)
    else:
        outcomes.give_to_operator(one.payout, "outcome_unknown", steps, **known)
