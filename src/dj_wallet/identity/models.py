"""Users and the API keys of their programs. State only: keys are made and revoked by the services."""

from django.contrib.auth.models import AbstractUser
from django.db import models

from dj_wallet.ledger.ids import uuid7
from dj_wallet.mixins import WalletMixin


class User(WalletMixin, AbstractUser):
    """A person or a program that signs in; holds wallets."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)

    def __str__(self) -> str:
        return self.username


class ApiKey(models.Model):
    """A secret that lets a program act as its user.

    Only a plain SHA-256 of the secret is kept. That is enough: the secret is 256 random bits, so there is
    nothing to guess, and a slow hash would cost every request what it costs an attacker.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} (wk_{self.prefix}_...)"
