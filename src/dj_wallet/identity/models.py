"""Users, what their programs sign in with, and what happened. State only: the services write.

Only a plain SHA-256 of a key's secret is kept. That is enough: the secret is 256 random bits, so there is nothing to
guess, and a slow hash would cost every request what it costs an attacker.
"""

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import F, Q

from dj_wallet.ledger.ids import uuid7
from dj_wallet.mixins import WalletMixin


class User(WalletMixin, AbstractUser):
    """A person or a program that signs in; holds wallets."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)

    def __str__(self) -> str:
        return self.username


class ApiKey(models.Model):
    """A secret that lets a program act as its user, within its scopes."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list, blank=True)
    # IP addresses and networks that it may be used from; empty means anywhere.
    allowed_addresses = models.JSONField(default=list, blank=True)
    # The sealed secret of a key that signs requests instead of travelling with them; else empty.
    signing_secret = models.TextField(blank=True, default="", editable=False)
    replaces = models.OneToOneField(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="replaced_by"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} (wk_{self.prefix}_...)"

    @property
    def is_signing(self) -> bool:
        return bool(self.signing_secret)


class UsedNonce(models.Model):
    """A signed request that was accepted: the same one is not accepted again."""

    api_key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="+")
    nonce = models.CharField(max_length=64)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["api_key", "nonce"], name="dj_wallet_nonce_used_once")
        ]

    def __str__(self) -> str:
        return self.nonce


class ExternalIdentity(models.Model):
    """Who a subject of another issuer is here."""

    issuer = models.CharField(max_length=255)
    subject = models.CharField(max_length=255)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="external_identities")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "external identities"
        constraints = [
            models.UniqueConstraint(
                fields=["issuer", "subject"], name="dj_wallet_one_user_per_subject"
            )
        ]

    def __str__(self) -> str:
        return f"{self.subject} of {self.issuer}"


class AuditEvent(models.Model):
    """Something that happened to an account: who, from where, by what. Append-only, the database sees to it."""

    class Event(models.TextChoices):
        SIGNED_UP = "signed_up"
        SIGNED_IN = "signed_in"
        SIGN_IN_FAILED = "sign_in_failed"
        SIGN_IN_THROTTLED = "sign_in_throttled"
        SIGNED_OUT = "signed_out"
        PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a word
        SECOND_FACTOR_ADDED = "second_factor_added"
        SECOND_FACTOR_REMOVED = "second_factor_removed"
        SECOND_FACTOR_RESET = "second_factor_reset"
        SECOND_FACTOR_USED = "second_factor_used"
        SECOND_FACTOR_FAILED = "second_factor_failed"
        EMAIL_CHANGED = "email_changed"
        KEY_CREATED = "key_created"
        KEY_ROLLED = "key_rolled"
        KEY_REVOKED = "key_revoked"
        USER_LINKED = "user_linked"

    event = models.CharField(max_length=32, choices=Event)
    user = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, related_name="+", verbose_name="whose account"
    )
    # The name that was typed or is known; the only trace of a sign-in to an account that does not exist.
    username = models.CharField(max_length=150, blank=True)
    actor = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    address = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=200, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    details = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(F("user"), F("id").desc(), name="dj_wallet_audit_of_user")]
        constraints = [
            models.CheckConstraint(
                name="dj_wallet_audit_names_somebody",
                condition=Q(user__isnull=False)
                | Q(event__in=["sign_in_failed", "sign_in_throttled"]),
            )
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.username}"
