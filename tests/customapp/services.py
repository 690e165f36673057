"""Services that note every call, with the signatures of release 0.1.0 and of its README."""

from dj_wallet.services.common import WalletService
from dj_wallet.services.exchange import ExchangeService
from dj_wallet.services.purchase import PurchaseService
from dj_wallet.services.transfer import TransferService

CALLS: list[str] = []


class MyWalletService(WalletService):
    @classmethod
    def deposit(cls, wallet, amount, **kwargs):
        CALLS.append("deposit")
        return super().deposit(wallet, amount, **kwargs)

    @classmethod
    def withdraw(cls, wallet, amount, meta=None, confirmed=True):
        CALLS.append("withdraw")
        return super().withdraw(wallet, amount, meta, confirmed)


class MyTransferService(TransferService):
    @classmethod
    def transfer(cls, from_holder, to_holder, amount, meta=None, status=None):
        CALLS.append("transfer")
        return super().transfer(from_holder, to_holder, amount, meta, status)


class MyExchangeService(ExchangeService):
    @classmethod
    def exchange(cls, holder, from_slug, to_slug, amount, rate=None):
        CALLS.append("exchange")
        return super().exchange(holder, from_slug, to_slug, amount, rate)


class MyPurchaseService(PurchaseService):
    @staticmethod
    def pay(customer, product, quantity=1):
        CALLS.append("pay")
        return PurchaseService.pay(customer, product, quantity)
