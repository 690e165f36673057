"""Who owns the wallets. Written for dj-wallet 0.1.0 and for ours without a difference."""

from django.db import models

from dj_wallet.mixins import WalletMixin


class Holder(WalletMixin, models.Model):
    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name
