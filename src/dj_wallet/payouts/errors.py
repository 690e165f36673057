"""Why something was refused that was asked of a payout.

WalletException
+-- PayoutInFlight          the bank may know of it: it can no longer be cancelled
+-- PayoutNotUndecided      the step is for payouts whose outcome is unknown
+-- BankCannotTell          the bank has no look-up
+-- BankNotFound            no bank of this name is set up
+-- DestinationInvalid      the bank needs an account to pay to, and this is none
+-- RecurrenceInvalid       the plan of a recurring payout makes no sense
+-- OperatorNotAllowed      the second pair of eyes is the first
+-- StatementInvalid        the file is no statement that can be read
+-- UploadInvalid           lines of a file of payouts are wrong: nothing was scheduled
"""

from collections.abc import Sequence
from typing import Any

from dj_wallet.ledger.errors import WalletException


class PayoutInFlight(WalletException):
    """The payout has ended, or the bank may know of it: it can no longer be cancelled."""

    code = "payout_in_flight"


class PayoutNotUndecided(WalletException):
    """The payout does not wait for a decision."""

    code = "payout_not_undecided"


class BankNotFound(WalletException):
    """There is no bank of this name."""

    code = "bank_not_found"


class DestinationInvalid(WalletException):
    """The bank needs the name and the IBAN of whom to pay."""

    code = "destination_invalid"


class RecurrenceInvalid(WalletException):
    """The plan has an unknown frequency or time zone, or ends before it begins."""

    code = "recurrence_invalid"


class OperatorNotAllowed(WalletException):
    """Who proposed a decision cannot be who approves it."""

    code = "operator_not_allowed"


class StatementInvalid(WalletException):
    """The file is no camt.053 statement that can be read."""

    code = "statement_invalid"


class UploadInvalid(WalletException):
    """Lines of the file are wrong; nothing was scheduled."""

    code = "upload_invalid"

    def __init__(self, message: str, lines: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.details = {"lines": list(lines)}


class BankCannotTell(WalletException):
    """The bank has no look-up: asking again would learn nothing."""

    code = "bank_cannot_tell"
