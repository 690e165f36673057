"""Operators and payouts in doubt: ask the bank again, or decide with four eyes."""

from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from dj_wallet.payouts import doorbell
from dj_wallet.payouts.bank import get_bank, list_banks
from dj_wallet.payouts.errors import BankCannotTell, OperatorNotAllowed, PayoutNotUndecided
from dj_wallet.payouts.models import Payout, Resolution
from dj_wallet.payouts.queries import list_banks_with_payouts

from . import outcomes
from .outcomes import RESOLVED_NOT_PAID, Status, Step, make_step

UNDECIDED = frozenset({Status.REVIEW, Status.UNKNOWN, Status.ACCEPTED})


def ask_bank_again(*, payout: Payout, actor: str = "") -> Payout:
    """Let a worker ask the bank now; of what was never sent, try it again.

    :raises PayoutNotUndecided: its outcome is known, or a worker is at it
    :raises BankCannotTell: the bank has no look-up
    :raises BankNotFound: the bank is not set up any more
    """
    with transaction.atomic():
        locked = _lock_undecided(payout)
        can = get_bank(locked.bank).capabilities
        if locked.sent_at is not None and not can.lookup:
            raise BankCannotTell(f"The bank {locked.bank!r} has no look-up.")
        status = Status.UNKNOWN if locked.sent_at is not None else Status.RETRYING
        step = make_step(locked, Step.RETRY, {"reason": "asked by an operator"}, actor)
        outcomes.wait(locked, status, [step], due_at=Now())
        transaction.on_commit(lambda: doorbell.ring(locked.pk), robust=True)
        return locked


def hand_over_payouts_without_bank(limit: int) -> int:
    """Give due payouts to an operator whose bank the settings do not name any more; return how many there were."""
    gone = set(list_banks_with_payouts()) - set(list_banks())
    if not gone:
        return 0
    with transaction.atomic():
        due = Payout.objects.due().filter(bank__in=gone).select_related("transaction__wallet")
        locked = list(due.select_for_update(skip_locked=True, of=("self",))[:limit])
        for payout in locked:
            outcomes.give_to_operator(payout, "bank_not_found")
        return len(locked)


def propose_resolution(*, payout: Payout, verdict: str, reason: str, operator: Any) -> Resolution:
    """Record what an operator found out, for another one to approve.

    :raises PayoutNotUndecided: its outcome is known, it holds no money, or a proposal is waiting already
    """
    with transaction.atomic():
        locked = _lock_undecided(payout)
        if locked.resolutions.filter(status=Resolution.Status.PROPOSED).exists():
            raise PayoutNotUndecided(f"A decision on payout {locked.uuid} is proposed already.")
        if locked.held_at is None and verdict == Resolution.Verdict.PAID:
            raise PayoutNotUndecided(f"Payout {locked.uuid} was never sent: it cannot be paid.")
        resolution = Resolution.objects.create(
            payout=locked, verdict=verdict, reason=reason, proposed_by=operator
        )
        detail = {"verdict": verdict, "reason": reason}
        outcomes.note([make_step(locked, Step.PROPOSED, detail, str(operator))])
        return resolution


def decide_resolution(*, resolution: Resolution, approve: bool, operator: Any) -> Resolution:
    """Approve or reject a proposal; approved, the payout is settled or its money given back.

    :raises OperatorNotAllowed: who proposed it cannot approve it
    :raises PayoutNotUndecided: the proposal was decided, or the outcome became known meanwhile
    """
    with transaction.atomic():
        locked = outcomes.lock_payout(resolution.payout_id)
        fresh = Resolution.objects.select_for_update().get(pk=resolution.pk)
        if fresh.status != Resolution.Status.PROPOSED:
            raise PayoutNotUndecided(f"This proposal is {fresh.status} already.")
        if approve and fresh.proposed_by_id == operator.pk:
            raise OperatorNotAllowed("Who proposed a decision cannot approve it.")
        if approve:
            _check_undecided(locked)
        fresh.status = Resolution.Status.APPROVED if approve else Resolution.Status.REJECTED
        fresh.decided_by = operator
        Resolution.objects.filter(pk=fresh.pk).update(
            status=fresh.status, decided_by=operator, decided_at=Now()
        )
        kind = Step.APPROVED if approve else Step.REJECTED
        steps = [make_step(locked, kind, {"verdict": fresh.verdict}, str(operator))]
        if not approve:
            outcomes.note(steps)
        elif fresh.verdict == Resolution.Verdict.PAID:
            outcomes.settle(locked, steps)
        else:
            outcomes.fail(locked, RESOLVED_NOT_PAID, steps)
        return fresh


def _lock_undecided(payout: Payout) -> Payout:
    locked = outcomes.lock_payout(payout.pk)
    _check_undecided(locked)
    return locked


def _check_undecided(payout: Payout) -> None:
    if payout.status not in UNDECIDED:
        raise PayoutNotUndecided(f"Payout {payout.uuid} is {payout.status}: nothing to decide.")
