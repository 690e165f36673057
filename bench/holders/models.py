"""Who owns the wallets. Written for dj-wallet 0.1.0 and for ours without a difference."""

from decimal import Decimal

from django.db import models

from dj_wallet.mixins import ProductMixin, WalletMixin

PRICE = Decimal("1.25")


class Holder(WalletMixin, models.Model):
    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name


class Shop(WalletMixin, ProductMixin, models.Model):
    """A product that has a wallet of its own."""

    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name

    def get_amount_product(self, customer: object) -> Decimal:
        return PRICE
