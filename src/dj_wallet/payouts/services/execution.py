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
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
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
from dj_wallet.payouts.models import Payout, PayoutStep

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

HEALTHY: Final = frozenset({Outcome.PAID, Outcome.ACCEPTED, Outcome.REFUSED, Outcome.RETURNED})

NOT_ASKED: Final = Answer(Outcome.NOT_SENT, {})

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
    answer: Answer = NOT_ASKED
    healthy: list[bool] = field(default_factory=list)

    @property
    def is_new(self) -> bool:
        """Whether the bank was never asked to pay it; money is held before it is."""
        return self.payout.held_at is None and not self.is_exhausted

    @property
    def is_last_attempt(self) -> bool:
        return bool(self.payout.attempts > get_setting("MAX_RETRIES"))

    @property
    def is_exhausted(self) -> bool:
        """Whether too many workers died or broke on it."""
        return bool(self.payout.lapses >= get_setting("MAX_LAPSES"))

    def is_older(self, moment: datetime | None, seconds: float) -> bool:
        return moment is not None and self.read_at - moment > timedelta(seconds=seconds)

    def ask(self, question: Ask) -> "Try":
        """Take the bank's answer down; an adapter that breaks may have sent the order."""
        try:
            self.answer = question()
        except Exception as error:
            logger.exception("Payout %s: the adapter of its bank broke", self.payout.uuid)
            self.answer = Answer(Outcome.UNKNOWN, {"error": type(error).__name__})
        if self.answer.outcome != Outcome.NOT_FOUND:
            self.healthy.append(self.answer.outcome in HEALTHY)
        return self

    def remember(self) -> Callable[[], None]:
        """Return what brings this back to how it is now: a transaction that is tried again begins with what the row
        says, not with what the first try made of it."""
        row, sent_before, is_lookup = dict(vars(self.payout)), self.sent_before, self.is_lookup

        def restore() -> None:
            vars(self.payout).update(row)
            self.sent_before, self.is_lookup = sent_before, is_lookup

        return restore


Question = tuple[Try, Ask]


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
    lease_seconds = 2 * bank.call_seconds + get_setting("LEASE_SLACK_SECONDS")
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
    """Bring each payout as far as it comes now. The bank is asked side by side, the database by this thread alone.

    What was answered while the database was busy is written down together.
    """
    if not tries:
        return
    with ThreadPoolExecutor(len(tries)) as pool:
        asked = {pool.submit(one.ask, ask) for one, ask in _prepare_all(tries)}
        while asked:
            answered, asked = wait(asked, return_when=FIRST_COMPLETED)
            questions = _record_all([future.result() for future in answered])
            asked |= {pool.submit(one.ask, ask) for one, ask in questions}
    note_health(name, [was for one in tries for was in one.healthy])


def _prepare_all(tries: Sequence[Try]) -> list[Question]:
    """Commit what must be known before the bank is asked; return what to ask."""
    new = [one for one in tries if one.is_new]
    tried = [one for one in tries if not one.is_new]
    return _survive(new, _hold_all) + _survive(tried, _for_each(_prepare))


def _record_all(answered: Sequence[Try]) -> list[Question]:
    """Write down what was answered; return what to ask next, if anything."""
    paid = [one for one in answered if one.answer.outcome == Outcome.PAID]
    unclear = [one for one in answered if one.answer.outcome != Outcome.PAID]
    return _survive(paid, _settle_all) + _survive(unclear, _for_each(_record))


def _for_each(work: Callable[[Try], Ask | None]) -> Callable[[Sequence[Try]], list[Question]]:
    return lambda tries: [(one, ask) for one in tries if (ask := work(one))]


def _survive(
    tries: Sequence[Try], work: Callable[[Sequence[Try]], list[Question]]
) -> list[Question]:
    """Do the work in one transaction, and if that breaks in one for each payout: whatever breaks it must not stop the
    others, and goes to an operator if it always does."""
    if not tries:
        return []
    restores = [one.remember() for one in tries]

    def start() -> list[Question]:
        for restore in restores:
            restore()
        return work(tries)

    try:
        return run_in_transaction(start)
    except Exception as error:
        logger.exception("A turn broke: payouts %s", ", ".join(str(one.payout) for one in tries))
        connection.close_if_unusable_or_obsolete()
        # Of a payout that loses the database the row says how far it came, and its lease ends by itself.
        if len(tries) == 1 and not isinstance(error, DatabaseError | OutcomeUnknown):
            _note_lapse(tries[0].payout)
    if len(tries) == 1:
        return []
    for restore in restores:
        restore()
    return [question for one in tries for question in _survive([one], work)]


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


def _hold_all(tries: Sequence[Try]) -> list[Question]:
    """Hold the money of payouts that were never tried, once for all tries, and get ready to send."""
    # The rows first: who does not hold them any more must hold no money.
    ours = outcomes.lock_ours([one.payout for one in tries])
    mine = [one for one in tries if one.payout.pk in ours]
    results = outcomes.move_all(
        [one.payout for one in mine], "hold", Kind.WITHDRAWAL, Bucket.AVAILABLE, Bucket.PENDING
    )
    held = []
    for one, result in zip(mine, results, strict=True):
        if isinstance(result, WalletException):
            outcomes.fail(one.payout, result.code)
        else:
            held.append(one)
    return _note_first_orders(held)


def _note_first_orders(tries: Sequence[Try]) -> list[Question]:
    """Note that the bank is about to be called for the first time, and what it is told."""
    payouts = [one.payout for one in tries]
    if not payouts:
        return []
    for one in tries:
        one.payout.attempts += 1
        one.payout.held_at, one.payout.order_hash = one.read_at, digest_order(one.order)
    digests = outcomes.give_each(payouts, "order_hash")
    outcomes.change_locked(
        payouts, attempts=F("attempts") + 1, held_at=Now(), sent_at=Now(), order_hash=digests
    )
    steps = [[make_step(one, Step.HELD), _make_sent_step(one)] for one in payouts]
    outcomes.note(chain.from_iterable(steps))
    outcomes.publish_all("payout.sent", [(one, {"attempt": one.attempts}) for one in payouts])
    return [(one, partial(_send_in_time, one)) for one in tries]


def _prepare(one: Try) -> Ask | None:
    """Get ready to ask the bank again, or leave it to an operator."""
    payout, can = one.payout, one.bank.capabilities
    if one.is_exhausted:
        outcomes.give_to_operator(payout, "workers_died")
        return None
    if one.sent_before is None:
        return _send_held(one)
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


def _send_held(one: Try) -> Ask | None:
    """Get ready to send again what the bank does not have; the money is held since the first try."""
    if _is_frozen(one.payout):
        outcomes.fail(one.payout, WalletFrozen.code)
        return None
    return _send(one)


def _is_frozen(payout: Payout) -> bool:
    """Tell whether the wallet was frozen after an earlier try held the money."""
    wallets = Wallet.objects.select_for_update(of=("account_ptr",))
    return wallets.get(pk=payout.transaction.wallet_id).is_frozen


def _send(one: Try) -> Ask | None:
    """Note that the bank is about to be called again, with the same order as ever."""
    payout = one.payout
    if payout.order_hash != digest_order(one.order):
        outcomes.give_to_operator(payout, "order_changed")
        return None
    attempts = payout.attempts + 1
    if not outcomes.change(payout, sent_at=Now(), attempts=attempts):
        return None
    one.is_lookup = False
    outcomes.note([_make_sent_step(payout)])
    outcomes.publish(payout, "payout.sent", {"attempt": attempts})
    return partial(_send_in_time, one)


def _make_sent_step(payout: Payout) -> PayoutStep:
    return make_step(payout, Step.SENT, {"bank": payout.bank})


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


def _settle_all(tries: Sequence[Try]) -> list[Question]:
    """Write down that these were paid, those that are still ours."""
    outcomes.settle_all(
        [outcomes.Payment(one.payout, [_make_answer_step(one)], _keep_answer(one)) for one in tries]
    )
    return []


def _record(one: Try) -> Ask | None:
    """Write what the answer means, if the payout is still ours; return what to ask next, if anything."""
    payout, answer = one.payout, one.answer
    steps, known = [_make_answer_step(one)], _keep_answer(one)
    match answer.outcome:
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


def _make_answer_step(one: Try) -> PayoutStep:
    outcome, evidence, _ = one.answer
    kind = Step.LOOKED_UP if one.is_lookup else Step.ANSWERED
    if outcome == Outcome.NOT_SENT and not one.is_lookup:
        kind = Step.NOT_SENT
    return make_step(one.payout, kind, {"outcome": outcome, **evidence})


def _keep_answer(one: Try) -> dict[str, Any]:
    """Return what the payout's row keeps of the answer."""
    known: dict[str, Any] = {"bank_response": one.answer.evidence}
    if one.answer.bank_reference:
        known["bank_reference"] = one.answer.bank_reference
    return known


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
    return _send_held(one)


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
