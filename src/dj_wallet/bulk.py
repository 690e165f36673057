"""Many movements in one call; see the guide. The names of the two modules of services that make them."""

from .services.bulk import (
    DepositItem,
    Result,
    Status,
    TransferItem,
    WithdrawalItem,
    deposit_many,
    transfer_many,
    withdraw_many,
)
from .services.payments import PaymentItem, pay_many

__all__ = [
    "DepositItem",
    "PaymentItem",
    "Result",
    "Status",
    "TransferItem",
    "WithdrawalItem",
    "deposit_many",
    "pay_many",
    "transfer_many",
    "withdraw_many",
]
