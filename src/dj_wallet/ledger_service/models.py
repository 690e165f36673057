"""Whose accounts they are."""

from django.db import models

from dj_wallet.mixins import WalletMixin

MAX_ID_LENGTH = 128


class Owner(WalletMixin, models.Model):
    """Somebody whom another service knows by this id. Holds one account for each asset."""

    external_id = models.CharField(max_length=MAX_ID_LENGTH, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.external_id
