"""Why custody refused.

WalletException
+-- DestinationInvalid         the destination is no address
+-- DestinationOfOtherNetwork  the destination is an address of another network: money sent there would be lost
+-- DestinationIsInternal      the destination is an address of ours: transfer to the wallet instead
+-- BelowMinimum               the amount is less than a withdrawal may be
+-- PolicyDenied               a limit, or the list of allowed addresses, does not let it through
+-- WithdrawalsFrozen          chain and ledger disagree: nothing leaves until somebody has looked
+-- WithdrawalsPaused          the operator stopped withdrawals for a while, or the hot wallet runs low
+-- ApprovalRefused            this person may not approve this withdrawal, or has
+-- ReplacementRefused         the transaction cannot be replaced by one with a higher fee
+-- NetworkNotServed           custody is not configured for the network or coin
"""

from dj_wallet.ledger.errors import WalletException


class DestinationInvalid(WalletException):
    """The destination is no address."""

    code = "destination_invalid"


class DestinationOfOtherNetwork(WalletException):
    """The destination is an address of another network."""

    code = "destination_of_other_network"


class DestinationIsInternal(WalletException):
    """The destination is an address of ours."""

    code = "destination_is_internal"


class BelowMinimum(WalletException):
    """The amount is less than a withdrawal may be."""

    code = "amount_below_minimum"


class PolicyDenied(WalletException):
    """A limit or the list of allowed addresses does not let the withdrawal through."""

    code = "policy_denied"
    retryable = True


class WithdrawalsFrozen(WalletException):
    """Chain and ledger disagree: nothing leaves until somebody has looked."""

    code = "withdrawals_frozen"
    retryable = True


class WithdrawalsPaused(WalletException):
    """Withdrawals are stopped for a while."""

    code = "withdrawals_paused"
    retryable = True


class ApprovalRefused(WalletException):
    """This person may not approve this withdrawal."""

    code = "approval_refused"


class ReplacementRefused(WalletException):
    """The transaction cannot be replaced by one with a higher fee."""

    code = "replacement_refused"


class NetworkNotServed(WalletException):
    """Custody is not configured for the network or coin."""

    code = "network_not_served"
