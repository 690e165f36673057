"""Holders of every key type, and a product seller: what a user's project has."""

import uuid

from django.db import models

from dj_wallet.mixins import WalletMixin


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
