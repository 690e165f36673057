"""Money kept in the locked part of a wallet, and for what: holds with their steps, and escrows.

State and constraints only. A hold and an escrow change while the row of the account that keeps the money is locked:
that row is the lock of them all.
"""

from typing import Any

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from .conf import wallet_settings
from .ledger.engine import MAX_REFERENCE_ID_LENGTH, MAX_REFERENCE_TYPE_LENGTH, Posted
from .ledger.fields import MoneyField
from .ledger.ids import uuid7
from .ledger.money import ZERO
from .swapping import SwappableKey

MAX_REASON_LENGTH = 255


class HoldQuerySet(models.QuerySet["Hold"]):
    """Filters on holds. Time is the database's: the clocks of workers may differ."""

    def open(self) -> "HoldQuerySet":
        """Return the holds that still keep money."""
        return self.filter(status=Hold.Status.OPEN)

    def due(self) -> "HoldQuerySet":
        """Return the open holds whose time is over, the longest due first."""
        return self.open().filter(expires_at__lte=Now()).order_by("expires_at", "pk")


class Hold(models.Model):
    """Money of a wallet that is reserved for one thing, such as a bid.

    There is one open hold for each wallet and reference; placing another adds to it. `amount` is what was ever placed
    in it, `remaining` what it still keeps; the steps say where the rest went. A hold without remainder has ended, for
    the reason of its last step, and stays.
    """

    class Status(models.TextChoices):
        OPEN = "open", "Open"
        RELEASED = "released", "Released"
        SETTLED = "settled", "Settled"
        CONVERTED = "converted", "Converted to escrow"
        EXPIRED = "expired", "Expired"

    # Of the call that returned the object: whether an earlier call had done it, its step, and what it posted.
    replayed = False
    step: "HoldStep | None" = None
    posted: Posted | None = None

    uuid = models.UUIDField(default=uuid7, editable=False, unique=True)
    wallet = SwappableKey(
        wallet_settings.WALLET_MODEL,
        on_delete=models.PROTECT,
        migrated_to="dj_wallet.account",
        related_name="holds",
    )
    reference_type = models.CharField(max_length=MAX_REFERENCE_TYPE_LENGTH)
    reference_id = models.CharField(max_length=MAX_REFERENCE_ID_LENGTH)
    amount = MoneyField()
    remaining = MoneyField()
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.OPEN)
    expires_at = models.DateTimeField(null=True, help_text="Empty means never")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = HoldQuerySet.as_manager()

    class Meta:
        permissions = [("release_hold", "Can release what is held")]
        indexes = [
            models.Index(
                fields=["expires_at"],
                condition=Q(status="open", expires_at__isnull=False),
                name="dj_wallet_hold_expiry",
            )
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(amount__gt=0) & Q(remaining__gte=0) & Q(remaining__lte=F("amount")),
                name="dj_wallet_hold_remaining",
            ),
            models.CheckConstraint(
                condition=Q(status="open", remaining__gt=0) | (~Q(status="open") & Q(remaining=0)),
                name="dj_wallet_hold_open_keeps_money",
            ),
            models.UniqueConstraint(
                fields=["wallet", "reference_type", "reference_id"],
                condition=Q(status="open"),
                name="dj_wallet_hold_one_open",
            ),
        ]

    def __str__(self) -> str:
        return (
            f"Hold {self.remaining} for {self.reference_type} {self.reference_id} [{self.status}]"
        )

    @property
    def is_open(self) -> bool:
        return self.status == self.Status.OPEN


class HoldStep(models.Model):
    """One change of a hold, and the journal entry that moved the money. Written once."""

    class Action(models.TextChoices):
        PLACED = "placed", "Placed"
        RELEASED = "released", "Released"
        SETTLED = "settled", "Settled"
        CONVERTED = "converted", "Converted to escrow"
        EXPIRED = "expired", "Expired"

    hold = models.ForeignKey(Hold, on_delete=models.PROTECT, related_name="steps")
    action = models.CharField(max_length=9, choices=Action.choices)
    amount = MoneyField()
    # What the hold kept afterwards.
    remaining = MoneyField()
    # The time that this call set, to tell a repeated call from another one.
    expires_at = models.DateTimeField(null=True)
    entry_id = models.BigIntegerField(unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(amount__gt=0) & Q(remaining__gte=0), name="dj_wallet_holdstep_amounts"
            )
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.amount}, {self.remaining} remaining"


class Escrow(models.Model):
    """Money that a buyer paid for an order and the seller does not have yet.

        LOCKED -> RELEASED | REFUNDED | DISPUTED
        DISPUTED -> RELEASED (also in part) | REFUNDED

    The money lies in the locked part of the buyer's wallet. `fee_amount` is what the seller pays of the whole; it is
    fixed when the escrow is opened. Once it has ended, `released_amount` and `refunded_amount` add up to `amount`.
    """

    class Status(models.TextChoices):
        LOCKED = "LOCKED", "Locked"
        RELEASED = "RELEASED", "Released"
        REFUNDED = "REFUNDED", "Refunded"
        DISPUTED = "DISPUTED", "Disputed"

    KEEPING = (Status.LOCKED, Status.DISPUTED)

    # True on the object that answers a repeated call; not stored.
    replayed = False

    uuid = models.UUIDField(default=uuid7, editable=False, unique=True)
    order_id = models.CharField(max_length=MAX_REFERENCE_ID_LENGTH, unique=True)
    buyer_wallet = SwappableKey(
        wallet_settings.WALLET_MODEL,
        on_delete=models.PROTECT,
        migrated_to="dj_wallet.account",
        related_name="escrows_paid",
    )
    seller_wallet = SwappableKey(
        wallet_settings.WALLET_MODEL,
        on_delete=models.PROTECT,
        migrated_to="dj_wallet.account",
        related_name="escrows_received",
    )
    # The hold that it was made of.
    hold = models.ForeignKey(Hold, on_delete=models.PROTECT, null=True, related_name="escrows")
    amount = MoneyField()
    fee_amount = MoneyField(default=ZERO)
    released_amount = MoneyField(default=ZERO)
    refunded_amount = MoneyField(default=ZERO)
    fee_charged = MoneyField(default=ZERO)
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.LOCKED)
    reason = models.CharField(max_length=MAX_REASON_LENGTH, blank=True, default="")
    entry_id = models.BigIntegerField(editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        permissions = [("end_escrow", "Can release, refund and dispute escrows")]
        constraints = [
            models.CheckConstraint(
                condition=Q(amount__gt=0)
                & Q(fee_amount__gte=0)
                & Q(fee_amount__lte=F("amount"))
                & Q(fee_charged__gte=0)
                & Q(fee_charged__lte=F("released_amount")),
                name="dj_wallet_escrow_amounts",
            ),
            models.CheckConstraint(
                condition=~Q(buyer_wallet=F("seller_wallet")), name="dj_wallet_escrow_two_sides"
            ),
            models.CheckConstraint(
                condition=Q(status__in=["LOCKED", "DISPUTED"], released_amount=0, refunded_amount=0)
                | Q(status="RELEASED", released_amount__gt=0)
                | Q(status="REFUNDED", released_amount=0, refunded_amount=F("amount")),
                name="dj_wallet_escrow_ends_whole",  # that the parts add up: sql/escrow_ends_whole
            ),
        ]

    def __str__(self) -> str:
        return f"Escrow {self.amount} for order {self.order_id} [{self.status}]"

    @property
    def keeps_money(self) -> bool:
        return self.status in self.KEEPING

    @property
    def buyer_id(self) -> Any:
        """The key of whoever pays."""
        return self.buyer_wallet.holder_id

    @property
    def seller_id(self) -> Any:
        """The key of whoever is paid."""
        return self.seller_wallet.holder_id
