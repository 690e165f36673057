"""The exceptions of the library, under the names of release 0.1.0. The tree is drawn in `ledger.errors`."""

from .ledger.errors import (
    AccountNotFound,
    AmountInvalid,
    AssetMismatch,
    EscrowNotFound,
    EscrowStateInvalid,
    HoldEnded,
    HoldExceeded,
    HoldExpired,
    HoldNotFound,
    IdempotencyConflict,
    InsufficientFunds,
    LedgerReadOnly,
    LimitExceeded,
    MovementInvalid,
    OrderConflict,
    OutcomeUnknown,
    PriceChanged,
    RefundTooLarge,
    TransactionAlreadyProcessed,
    WalletException,
    WalletFrozen,
)

__all__ = [
    "AccountNotFound",
    "AmountInvalid",
    "AssetMismatch",
    "BalanceIsEmpty",
    "ConfirmedInvalid",
    "EscrowNotFound",
    "EscrowStateInvalid",
    "HoldEnded",
    "HoldExceeded",
    "HoldExpired",
    "HoldNotFound",
    "IdempotencyConflict",
    "InsufficientFunds",
    "LedgerReadOnly",
    "LimitExceeded",
    "MovementInvalid",
    "OrderConflict",
    "OutcomeUnknown",
    "PriceChanged",
    "ProductNotAvailable",
    "RefundTooLarge",
    "TransactionAlreadyProcessed",
    "TransactionExpired",
    "WalletException",
    "WalletFrozen",
    "WalletOwnerInvalid",
]


class BalanceIsEmpty(WalletException):
    """Kept for importers of release 0.1.0, which never raised it."""

    code = "balance_is_empty"


class ConfirmedInvalid(WalletException):
    """Kept for importers of release 0.1.0, which never raised it."""

    code = "confirmed_invalid"


class WalletOwnerInvalid(WalletException):
    """Kept for importers of release 0.1.0, which never raised it."""

    code = "wallet_owner_invalid"


class ProductNotAvailable(WalletException):
    """The product cannot be bought now."""

    code = "product_not_available"


class TransactionExpired(WalletException):
    """Kept for importers of release 0.1.0, which never raised it."""

    code = "transaction_expired"
