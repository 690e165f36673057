"""Comparing with the bank: statements in, payouts settled or returned, and what does not fit put before people."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

from django.db.models.functions import Now

from dj_wallet.ledger.errors import AmountInvalid
from dj_wallet.ledger.money import EXACT, parse_amount
from dj_wallet.ledger.post import run_in_transaction
from dj_wallet.payouts.bank import Outcome, get_bank
from dj_wallet.payouts.iso20022 import Booking, ParsedStatement
from dj_wallet.payouts.models import Discrepancy, Payout, Statement, StatementLine

from . import outcomes
from .outcomes import Status, Step, make_step
from .reports import Effect, find_payout_of, open_discrepancy, take_news

Verdict = StatementLine.Verdict
# Lines that say that the payout was paid, or came back.
PAID_VERDICTS = (Verdict.MATCHED, Verdict.DUPLICATE, Verdict.AMOUNT_MISMATCH, Verdict.CONTRADICTION)


def import_statement(*, bank: str, statement: ParsedStatement) -> tuple[Statement, bool]:
    """Compare a statement with our payouts, line by line; return it and whether it is new. All of it or nothing.

    What is paid is settled, what came back is returned by new entries, and an amount that differs, a second payment, a
    payment of what we gave back, and a payout that is missing become discrepancies. A statement that was imported
    before changes nothing.

    :raises BankNotFound: there is no such bank
    """
    get_bank(bank)
    return run_in_transaction(lambda: _import(bank, statement))


def _import(bank: str, statement: ParsedStatement) -> tuple[Statement, bool]:
    kept, is_new = Statement.objects.get_or_create(
        bank=bank,
        identifier=statement.identifier,
        defaults={
            "account": statement.account,
            "begins_at": statement.begins_at,
            "ends_at": statement.ends_at,
        },
    )
    if is_new:
        for position, booking in enumerate(statement.bookings):
            _import_line(kept, position, booking)
        _find_missing(kept)
    return kept, is_new


def close_discrepancy(*, discrepancy: Discrepancy, note: str, operator: str) -> Discrepancy:
    """Note that a person has dealt with it. Idempotent: the first note stays."""
    Discrepancy.objects.filter(pk=discrepancy.pk, closed_at=None).update(
        closed_at=Now(), closed_by=operator, note=note
    )
    discrepancy.refresh_from_db()
    return discrepancy


def _import_line(statement: Statement, position: int, booking: Booking) -> None:
    payout = find_payout_of(statement.bank, booking.reference)
    if payout is not None:
        payout = outcomes.lock_payout(payout.pk)
    verdict = Verdict.FOREIGN if payout is None else _judge(statement, payout, booking)
    StatementLine.objects.create(
        statement=statement,
        position=position,
        reference=booking.reference,
        bank_reference=booking.bank_reference,
        amount=booking.amount,
        asset=booking.asset,
        booked_at=booking.booked_at,
        reason=booking.reason,
        payout=payout,
        verdict=verdict,
    )


def _judge(statement: Statement, payout: Payout, booking: Booking) -> str:
    """Let the payout follow the line; return what the line was found to be."""
    detail = {
        "statement": statement.identifier,
        "amount": format(booking.amount, "f"),
        "bank_reference": booking.bank_reference,
        "reason": booking.reason,
    }
    record = payout.transaction
    if (abs(booking.amount), booking.asset) != (record.amount, record.wallet.asset_id):
        open_discrepancy(payout, Discrepancy.Kind.AMOUNT_MISMATCH, detail)
        return _take_part_back(payout, booking, detail) or Verdict.AMOUNT_MISMATCH
    came_back = booking.amount < 0
    if _was_seen(payout, [Verdict.RETURNED] if came_back else [Verdict.MATCHED]):
        open_discrepancy(payout, Discrepancy.Kind.DUPLICATE, detail)
        return Verdict.DUPLICATE
    outcome = Outcome.RETURNED if came_back else Outcome.PAID
    steps = [make_step(payout, Step.STATED, {"outcome": outcome, **detail})]
    effect = take_news(payout, outcome, steps, booking.bank_reference, booking.reason)
    if effect == Effect.CONTRADICTS:
        open_discrepancy(payout, Discrepancy.Kind.CONTRADICTION, detail)
        return Verdict.CONTRADICTION
    missing = Discrepancy.objects.filter(
        payout=payout, kind=Discrepancy.Kind.MISSING, closed_at=None
    )
    missing.update(closed_at=Now(), closed_by=f"statement {statement.identifier}")
    return Verdict.RETURNED if came_back else Verdict.MATCHED


def _take_part_back(payout: Payout, booking: Booking, detail: dict[str, Any]) -> str | None:
    """Give back what came back of a settled payout, often less a fee; None if the line does not prove that it did.

    It does as a credit of our asset that is new, and with those before it no more than was paid.
    """
    record = payout.transaction
    earlier = payout.statement_lines.filter(verdict=Verdict.RETURNED)
    amounts = [-amount for amount in earlier.values_list("amount", flat=True)]
    total = reduce(EXACT.add, amounts, -booking.amount)
    is_new = not earlier.filter(bank_reference=booking.bank_reference).exists()
    is_ours = booking.amount < 0 and booking.asset == record.wallet.asset_id
    if not (is_new and is_ours and payout.status == Status.SETTLED and total <= record.amount):
        return None
    try:
        amount = parse_amount(-booking.amount, record.wallet.decimal_places)
    except AmountInvalid:
        return None
    outcomes.note([make_step(payout, Step.STATED, {"outcome": Outcome.RETURNED, **detail})])
    outcomes.return_payout(
        payout=payout,
        reason=booking.reason,
        bank_reference=booking.bank_reference,
        part=outcomes.Part(amount, len(amounts) + 1, is_last=total == record.amount),
    )
    return Verdict.RETURNED


def _was_seen(payout: Payout, verdicts: Sequence[str]) -> bool:
    return payout.statement_lines.filter(verdict__in=verdicts).exists()


def _find_missing(statement: Statement) -> None:
    """Flag the payouts that we settled in the time of the statement and that no statement shows."""
    ours = Payout.objects.filter(
        bank=statement.bank,
        status=Status.SETTLED,
        sent_at__gte=statement.begins_at,
        sent_at__lt=statement.ends_at,
    )
    shown = StatementLine.objects.filter(verdict__in=PAID_VERDICTS, payout__isnull=False)
    for payout in ours.exclude(pk__in=shown.values("payout")):
        detail = {"statement": statement.identifier}
        open_discrepancy(payout, Discrepancy.Kind.MISSING, detail)
