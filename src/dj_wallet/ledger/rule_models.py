"""The tables behind the rules of single wallets: limits, lots, and what was taken out of lots.

They are read and written by the stores while the account is locked; `Account.has_rules` says that there are any.
"""

from typing import ClassVar, Final

from django.db import models
from django.db.models import F, Q

from .engine import (
    MAX_CODE_LENGTH,
    MAX_KEY_LENGTH,
    MAX_REFERENCE_ID_LENGTH,
    MAX_REFERENCE_TYPE_LENGTH,
    Bucket,
)
from .fields import MoneyField
from .ids import uuid7
from .models import Account, Posting
from .money import ZERO

DEFAULT_PRIORITY: Final = 100
MAX_SOURCE_LENGTH: Final = 32


class WalletLimits(models.Model):
    """What may leave a wallet, None for no limit, and what left it on the day and in the month of `counted_on`."""

    account = models.OneToOneField(
        Account, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    minimum_balance = MoneyField(null=True)
    per_transaction = MoneyField(null=True)
    per_day = MoneyField(null=True)
    per_month = MoneyField(null=True)
    spent_today = MoneyField(default=ZERO, editable=False)
    spent_this_month = MoneyField(default=ZERO, editable=False)
    counted_on = models.DateField(null=True, editable=False)
    reason = models.CharField(max_length=255, blank=True)
    operator = models.CharField(max_length=255, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "wallet limits"

    def __str__(self) -> str:
        return f"Limits of account {self.account_id}"


class Lot(models.Model):
    """Credit that was granted to a wallet: `remaining` of it are still a part of its available balance."""

    PROMOTIONAL: ClassVar = "promotional"
    PAID: ClassVar = "paid"

    account = models.ForeignKey(
        Account, on_delete=models.PROTECT, related_name="lots", db_index=False
    )
    uuid = models.UUIDField(default=uuid7, editable=False, unique=True)
    source = models.CharField(max_length=MAX_SOURCE_LENGTH, default=PROMOTIONAL)
    # The system account that it came from, and goes back to.
    origin = models.CharField(max_length=MAX_CODE_LENGTH)
    amount = MoneyField()
    remaining = MoneyField()
    priority = models.SmallIntegerField(default=DEFAULT_PRIORITY)
    expires_at = models.DateTimeField(null=True)
    is_withdrawable = models.BooleanField(default=False)
    entry_id = models.BigIntegerField(unique=True, editable=False)
    idempotency_key = models.CharField(max_length=MAX_KEY_LENGTH, null=True, editable=False)
    revoked_at = models.DateTimeField(null=True)
    revoked_reason = models.CharField(max_length=255, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    # True on the object that answers a repeated call; not stored.
    replayed = False

    class Meta:
        indexes = [
            models.Index(
                fields=["account"], condition=Q(remaining__gt=0), name="dj_wallet_lot_open"
            ),
            models.Index(
                fields=["expires_at"], condition=Q(remaining__gt=0), name="dj_wallet_lot_expires"
            ),
            models.Index(fields=["account", "id"], name="dj_wallet_lot_account"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(remaining__gte=0) & Q(remaining__lte=F("amount")),
                name="dj_wallet_lot_remaining",
            ),
            models.UniqueConstraint(
                fields=["idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="dj_wallet_lot_idempotency_key",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.remaining} of {self.amount} {self.source} ({self.uuid})"


class LotUse(models.Model):
    """Units that an entry took out of a lot.

    `held` of them are still in `bucket` of the same wallet; `returned` ones are in the lot again, or another entry took
    them on.
    """

    lot = models.ForeignKey(Lot, on_delete=models.PROTECT, related_name="uses")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+", db_index=False)
    entry_id = models.BigIntegerField(db_index=True)
    amount = MoneyField()
    returned = MoneyField(default=ZERO)
    bucket = models.PositiveSmallIntegerField(
        choices=Posting.BUCKETS, default=Bucket.AVAILABLE.value
    )
    held = MoneyField(default=ZERO)
    reference_type = models.CharField(max_length=MAX_REFERENCE_TYPE_LENGTH, blank=True, default="")
    reference_id = models.CharField(max_length=MAX_REFERENCE_ID_LENGTH, blank=True, default="")

    class Meta:
        indexes = [
            models.Index(fields=["account"], condition=Q(held__gt=0), name="dj_wallet_lotuse_held")
        ]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="dj_wallet_lotuse_amount"),
            models.CheckConstraint(
                condition=Q(returned__gte=0) & Q(returned__lte=F("amount")),
                name="dj_wallet_lotuse_returned",
            ),
            models.CheckConstraint(
                condition=Q(held__gte=0) & Q(held__lte=F("amount")),
                name="dj_wallet_lotuse_held_at_most",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount} of lot {self.lot_id} by entry {self.entry_id}"
