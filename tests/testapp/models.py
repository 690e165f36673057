"""Holders of every key type, and a product seller: what a user's project has."""

import uuid

from django.db import models

from dj_wallet.mixins import ProductMixin, WalletMixin
from dj_wallet.pricing import Fee


class Person(WalletMixin, models.Model):
    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name


class Team(WalletMixin, models.Model):
    """Held by a big integer."""

    id = models.BigIntegerField(primary_key=True)

    def __str__(self) -> str:
        return str(self.pk)


class Organization(WalletMixin, models.Model):
    """Held by a UUID."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)

    def __str__(self) -> str:
        return str(self.pk)


class Project(WalletMixin, models.Model):
    """Held by a string, which may look like a number."""

    code = models.CharField(max_length=200, primary_key=True)

    def __str__(self) -> str:
        return self.code


class Course(ProductMixin, models.Model):
    """Paid to the platform: it has no wallet."""

    title = models.CharField(max_length=50, default="Django")
    price = models.DecimalField(max_digits=20, decimal_places=2, default=10)
    seats = models.IntegerField(default=1000)
    discount = models.DecimalField(max_digits=20, decimal_places=2, default=0)
    # The rule of its fee, set by the tests; not stored.
    fee = None

    def __str__(self) -> str:
        return self.title

    def get_amount_product(self, customer: object) -> object:
        return self.price

    def get_discount_product(self, customer: object) -> object:
        return self.discount

    def get_fee_product(self, customer: object) -> Fee | None:
        return self.fee

    def get_meta_product(self) -> dict[str, object]:
        return {"product_name": self.title}

    def take_stock(self, customer: object, quantity: int) -> bool:
        left = type(self).objects.filter(pk=self.pk, seats__gte=quantity)
        return bool(left.update(seats=models.F("seats") - quantity))

    def return_stock(self, customer: object, quantity: int) -> None:
        if self.title == "no return":
            raise ValueError(self.title)
        type(self).objects.filter(pk=self.pk).update(seats=models.F("seats") + quantity)


class Shop(WalletMixin, ProductMixin, models.Model):
    """A product with a wallet of its own, with the methods of release 0.1.0 only."""

    price = models.DecimalField(max_digits=20, decimal_places=2, default=10)
    fee = None

    def __str__(self) -> str:
        return f"shop {self.pk}"

    def get_amount_product(self, customer: object) -> object:
        return self.price

    def get_fee_product(self, customer: object) -> Fee | None:
        return self.fee

    def get_meta_product(self) -> dict[str, object]:
        return {"product_name": "thing"}


# The models of the README of release 0.1.0


class ReadmeUser(WalletMixin, models.Model):
    username = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.username


class ReadmeOrganization(WalletMixin, models.Model):
    name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.name


class ReadmeTeam(WalletMixin, models.Model):
    name = models.CharField(max_length=100)
    organization = models.ForeignKey(ReadmeOrganization, on_delete=models.CASCADE)

    def __str__(self) -> str:
        return self.name


class DigitalCourse(ProductMixin, models.Model):
    title = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    stock = models.IntegerField(default=1)

    def __str__(self) -> str:
        return self.title

    def get_amount_product(self, customer: object) -> object:
        """REQUIRED: Return the price for this specific customer."""
        return self.price

    def can_buy(self, customer: object, quantity: int = 1) -> bool:
        """OPTIONAL: Check inventory or eligibility (default: True)."""
        return self.stock >= quantity

    def get_meta_product(self) -> dict[str, object]:
        """OPTIONAL: Add transaction metadata (default: {})."""
        return {"course_id": self.id}
