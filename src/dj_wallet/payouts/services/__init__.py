"""Every write of payouts, a module for each use case."""

from .cancelling import cancel_payout
from .execution import execute_due_payouts_of, execute_payout
from .files import export_orders
from .outcomes import (
    BANK_DID_NOT_PAY,
    BANK_REFUSED,
    BANK_UNREACHABLE,
    FAILURE_CODES,
    RESOLVED_NOT_PAID,
    return_payout,
)
from .reconciliation import close_discrepancy, import_statement
from .recurring import cancel_recurring_payout, create_recurring_payout, schedule_occurrences
from .reports import hear_report
from .resolution import (
    ask_bank_again,
    decide_resolution,
    hand_over_payouts_without_bank,
    propose_resolution,
)
from .scheduling import PayoutRequest, refuse_other_hands, schedule_payout, schedule_payouts

__all__ = [
    "BANK_DID_NOT_PAY",
    "BANK_REFUSED",
    "BANK_UNREACHABLE",
    "FAILURE_CODES",
    "RESOLVED_NOT_PAID",
    "PayoutRequest",
    "ask_bank_again",
    "cancel_payout",
    "cancel_recurring_payout",
    "close_discrepancy",
    "create_recurring_payout",
    "decide_resolution",
    "execute_due_payouts_of",
    "execute_payout",
    "export_orders",
    "hand_over_payouts_without_bank",
    "hear_report",
    "import_statement",
    "propose_resolution",
    "refuse_other_hands",
    "return_payout",
    "schedule_occurrences",
    "schedule_payout",
    "schedule_payouts",
]
