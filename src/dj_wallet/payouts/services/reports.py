"""What a bank tells us on its own: messages, and lines of statements. Repeated or out of order they change nothing."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db import transaction

from dj_wallet.payouts.bank import Outcome, Report, get_bank
from dj_wallet.payouts.models import Discrepancy, HeardReport, Payout, PayoutStep

from . import outcomes
from .outcomes import BANK_REFUSED, Status, Step, make_step


class Effect(StrEnum):
    """What news of a bank did to a payout."""

    CHANGED = "changed"
    KNOWN = "known"
    CONTRADICTS = "contradicts"


def find_payout_of(bank: str, reference: str) -> Payout | None:
    """Return the payout that the bank means."""
    try:
        uuid = UUID(reference)
    except ValueError:
        return None
    return Payout.objects.filter(uuid=uuid, bank=bank).first()


def hear_report(*, bank: str, report: Report) -> Payout | None:
    """Take a message of the bank in; return the payout it is about, or None if it is not ours.

    The same message again, and one that is overtaken by what is known, changes nothing.
    """
    payout = find_payout_of(bank, report.reference)
    if payout is None:
        return None
    with transaction.atomic():
        locked = outcomes.lock_payout(payout.pk)
        heard, is_new = HeardReport.objects.get_or_create(
            bank=bank,
            message_id=report.id,
            defaults={"payout": locked, "outcome": report.outcome},
        )
        if not is_new:
            return locked
        step = make_step(locked, Step.REPORTED, {"outcome": heard.outcome, **report.evidence})
        if not _is_amount_right(locked, report.evidence):
            outcomes.note([step])
            open_discrepancy(locked, Discrepancy.Kind.AMOUNT_MISMATCH, report.evidence)
            return locked
        effect = take_news(locked, report.outcome, [step], report.bank_reference)
        if effect == Effect.CONTRADICTS:
            detail = {"outcome": report.outcome, "status": locked.status, **report.evidence}
            open_discrepancy(locked, Discrepancy.Kind.CONTRADICTION, detail)
        return locked


def take_news(
    payout: Payout,
    outcome: Outcome,
    steps: Sequence[PayoutStep],
    bank_reference: str = "",
    reason: str = "",
) -> Effect:
    """Let a locked payout follow what the bank says, and note the steps; tell what it did."""
    known = {"bank_reference": bank_reference} if bank_reference else {}
    is_open = payout.held_at is not None and payout.status not in Payout.ENDED
    effect = Effect.KNOWN
    if outcome == Outcome.ACCEPTED:
        if is_open and payout.status not in {Status.PROCESSING, Status.ACCEPTED}:
            can_ask = get_bank(payout.bank).capabilities.lookup
            outcomes.accept(payout, steps, asks=can_ask, **known)
            return Effect.CHANGED
    elif is_open:
        _end(payout, outcome, steps, known, bank_reference, reason)
        return Effect.CHANGED
    elif outcome == Outcome.RETURNED and payout.status == Status.SETTLED:
        outcomes.note(steps)
        outcomes.return_payout(payout=payout, reason=reason, bank_reference=bank_reference)
        return Effect.CHANGED
    elif payout.status not in EXPECTED[outcome]:
        effect = Effect.CONTRADICTS
    outcomes.note(steps)
    return effect


# In these states the news is no news; in others it contradicts what we did.
EXPECTED: Mapping[Outcome, frozenset[str]] = {
    Outcome.PAID: frozenset({Status.SETTLED, Status.RETURNED}),
    Outcome.REFUSED: frozenset({Status.FAILED}),
    Outcome.RETURNED: frozenset({Status.RETURNED}),
}


def _end(
    payout: Payout,
    outcome: Outcome,
    steps: Sequence[PayoutStep],
    known: dict[str, Any],
    bank_reference: str,
    reason: str,
) -> None:
    if outcome == Outcome.REFUSED:
        outcomes.fail(payout, BANK_REFUSED, steps, Step.REFUSED, **known)
        return
    outcomes.settle(payout, steps, **known)
    if outcome == Outcome.RETURNED:
        outcomes.return_payout(payout=payout, reason=reason, bank_reference=bank_reference)


def open_discrepancy(payout: Payout, kind: str, detail: Mapping[str, Any]) -> None:
    """Put something before the operators, once until they closed it."""
    Discrepancy.objects.get_or_create(
        payout=payout, kind=kind, closed_at=None, defaults={"detail": dict(detail)}
    )


def _is_amount_right(payout: Payout, evidence: Mapping[str, Any]) -> bool:
    if "amount" not in evidence:
        return True
    try:
        amount = Decimal(str(evidence["amount"]))
    except InvalidOperation:
        return False
    asset = payout.transaction.wallet.asset_id
    return bool(amount == payout.transaction.amount) and evidence.get("currency", asset) == asset
