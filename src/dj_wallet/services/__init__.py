"""Every write of the library, one function or classmethod each. The class names are those of release 0.1.0."""

from .common import WalletService
from .exchange import ExchangeService
from .purchase import PurchaseService
from .transfer import TransferService

__all__ = ["ExchangeService", "PurchaseService", "TransferService", "WalletService"]
