"""Why a movement of money was refused.

    WalletException
    +-- AmountInvalid                 the amount is not a positive number the asset can hold
    +-- AccountNotFound               no such account in this asset
    +-- AssetMismatch                 the two sides count different things
    +-- MovementInvalid               the entry itself makes no sense (no movements, same place twice, ...)
    +-- WalletFrozen                  the wallet takes part in no movement until it is unfrozen
    +-- InsufficientFunds             the bucket holds less than the amount, overdraft included
    +-- LimitExceeded                 more than the limits of the wallet let out now
    +-- IdempotencyConflict           the key was used before, for something else
    +-- OutcomeUnknown                the database did not say whether it committed: ask again with the same key
    +-- LedgerReadOnly                balances and history are written by `post` only
    +-- TransactionAlreadyProcessed   the record has left the state this step needs
    +-- PriceChanged                  a purchase no longer costs what was agreed
    +-- RefundTooLarge                more than is left of what was paid
    +-- HoldNotFound                  nothing is held for this reference
    +-- HoldEnded                     the hold keeps no money any more
    +-- HoldExpired                   the time of the hold is over
    +-- HoldExceeded                  more than the hold still keeps
    +-- EscrowNotFound                there is no such escrow
    +-- EscrowStateInvalid            the escrow has left the state this step needs
    +-- OrderConflict                 the order has an escrow with another content

The order above is the precedence: of several reasons the first is reported. A key that was used before is looked at
right after the entry's own form, before any account: a repetition gets the first answer, whatever has changed since.
Each class carries a stable `code` for machines and says whether the very same call can succeed later (`retryable`).
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class WalletException(Exception):
    """Base of every refusal of this library. `details` says more to machines, in values that JSON has."""

    code: ClassVar[str] = "wallet_error"
    retryable: ClassVar[bool] = False
    details: Mapping[str, Any] = {}
    # Of a call with many items, all or nothing: which item it was, from 0.
    position: int | None = None


class AmountInvalid(WalletException):
    """The amount is not a positive number that the asset (and the database) can hold exactly."""

    code = "amount_invalid"


class AccountNotFound(WalletException):
    """There is no such account, or not in this asset."""

    code = "account_not_found"


class AssetMismatch(WalletException):
    """Source and destination count different things; use an exchange."""

    code = "asset_mismatch"


class MovementInvalid(WalletException):
    """The entry makes no sense: no movements, a movement onto itself, an over-long key or reference."""

    code = "movement_invalid"


class WalletFrozen(WalletException):
    """The wallet is frozen: nothing goes in or out."""

    code = "wallet_frozen"
    retryable = True


class InsufficientFunds(WalletException):
    """The source bucket holds less than the amount, its overdraft limit included."""

    code = "insufficient_funds"
    retryable = True


class LimitExceeded(WalletException):
    """More than the limits of the wallet let out now.

    `details`: `limit` is its name, `allowed` what it is set to, `left` what could leave now, `renews_at` when there is
    more, None for limits that do not renew.
    """

    code = "limit_exceeded"
    retryable = True

    def __init__(self, message: str = "", **details: Any) -> None:
        super().__init__(message)
        self.details = details


class IdempotencyConflict(WalletException):
    """The idempotency key was used before, for something else."""

    code = "idempotency_conflict"


class OutcomeUnknown(WalletException):
    """The database did not confirm the commit. Repeat the call with the same idempotency key to learn the outcome."""

    code = "outcome_unknown"
    retryable = True


class LedgerReadOnly(WalletException):
    """Balances, versions and history are written by `dj_wallet.ledger.post` only."""

    code = "ledger_read_only"


class TransactionAlreadyProcessed(WalletException):
    """The transaction has already left the state that this step needs."""

    code = "transaction_already_processed"


class RefundTooLarge(WalletException):
    """Less is left to give back: what was paid, minus what was given back before."""

    code = "refund_too_large"


class PriceChanged(WalletException):
    """The purchase costs something else than the quote that the customer agreed to."""

    code = "price_changed"


class HoldNotFound(WalletException):
    """Nothing is held in this wallet for this reference."""

    code = "hold_not_found"


class HoldEnded(WalletException):
    """The hold keeps no money any more: it was released, settled, converted, or has expired."""

    code = "hold_ended"


class HoldExpired(WalletException):
    """The time of the hold is over; its money goes back to the wallet."""

    code = "hold_expired"


class HoldExceeded(WalletException):
    """The hold still keeps less than is asked for."""

    code = "hold_exceeded"


class EscrowNotFound(WalletException):
    """There is no such escrow."""

    code = "escrow_not_found"


class EscrowStateInvalid(WalletException):
    """The escrow has left the state that this step needs."""

    code = "escrow_state_invalid"


class OrderConflict(WalletException):
    """The order has an escrow already, with another buyer, seller, amount or fee."""

    code = "order_conflict"
