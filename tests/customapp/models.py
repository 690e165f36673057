"""A project that has models of its own for wallets, transactions and transfers."""

from django.db import models

from dj_wallet.abstract_models import AbstractTransaction, AbstractTransfer, AbstractWallet
from dj_wallet.mixins import ProductMixin, WalletMixin


class MyWallet(AbstractWallet):
    tax_exempt = models.BooleanField(default=False)


class MyTransaction(AbstractTransaction):
    note = models.CharField(max_length=50, default="noted")


class MyTransfer(AbstractTransfer):
    channel = models.CharField(max_length=50, default="web")


class Player(WalletMixin, models.Model):
    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name


class Sword(WalletMixin, ProductMixin, models.Model):
    price = models.IntegerField(default=10)

    def __str__(self) -> str:
        return f"sword {self.pk}"

    def get_amount_product(self, customer: object) -> object:
        return self.price


class Potion(ProductMixin, models.Model):
    price = models.IntegerField(default=3)

    def __str__(self) -> str:
        return f"potion {self.pk}"

    def get_amount_product(self, customer: object) -> object:
        return self.price
