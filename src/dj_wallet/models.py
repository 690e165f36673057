"""The models of the app: the ledger's tables, the default wallet, transaction and transfer, purchases, holds."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import F, Q, Sum

from .abstract_models import AbstractTransaction, AbstractTransfer, AbstractWallet
from .conf import wallet_settings
from .hold_models import Escrow, Hold, HoldStep
from .holders import HolderKeyField
from .ledger.fields import MoneyField
from .ledger.ids import uuid7
from .ledger.models import (
    Account,
    Asset,
    BalanceRepair,
    Checkpoint,
    CheckpointHorizon,
    EntryMeta,
    LedgerEntry,
    Posting,
)
from .ledger.money import ZERO
from .ledger.rule_models import Lot, LotUse, WalletLimits
from .pricing import BUYER, MERCHANT, Line, Quote
from .swapping import SwappableKey

__all__ = [
    "Account",
    "Asset",
    "BalanceRepair",
    "Checkpoint",
    "CheckpointHorizon",
    "EntryMeta",
    "Escrow",
    "Hold",
    "HoldStep",
    "LedgerEntry",
    "Lot",
    "LotUse",
    "Posting",
    "Purchase",
    "PurchaseLine",
    "Transaction",
    "Transfer",
    "Wallet",
    "WalletLimits",
]


class Wallet(AbstractWallet):
    """The default wallet model."""

    class Meta(AbstractWallet.Meta):
        abstract = False
        permissions = [
            ("adjust_wallet", "Can adjust the balance of a wallet"),
            ("limit_wallet", "Can set the limits of a wallet"),
        ]


class Transaction(AbstractTransaction):
    """The default transaction model. Triggers stand in for its foreign key (`ledger/sql/records_stay.sql`)."""

    wallet = SwappableKey(
        wallet_settings.WALLET_MODEL,
        on_delete=models.PROTECT,
        migrated_to="dj_wallet.account",
        role="TRANSACTION_MODEL",
        related_name="transactions",
        db_constraint=False,
        db_index=False,
    )

    class Meta(AbstractTransaction.Meta):
        abstract = False
        indexes = [models.Index(fields=["wallet", "id"], name="dj_wallet_transaction_wallet")]


class Transfer(AbstractTransfer):
    """The default transfer model. Triggers stand in for its foreign keys, as for those of Transaction."""

    withdraw = SwappableKey(
        wallet_settings.TRANSACTION_MODEL,
        on_delete=models.PROTECT,
        migrated_to="dj_wallet.transaction",
        role="TRANSFER_MODEL",
        related_name="transfer_withdraw",
        db_constraint=False,
    )
    deposit = SwappableKey(
        wallet_settings.TRANSACTION_MODEL,
        on_delete=models.PROTECT,
        migrated_to="dj_wallet.transaction",
        role="TRANSFER_MODEL",
        related_name="transfer_deposit",
        db_constraint=False,
    )
    refund_of = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        editable=False,
        related_name="refunds",
        db_constraint=False,
    )

    class Meta(AbstractTransfer.Meta):
        abstract = False


def make_holder_type(**options: Any) -> Any:
    """Return the first half of a generic key that has no constraint, like those of the records."""
    return models.ForeignKey(
        ContentType,
        on_delete=models.PROTECT,
        related_name="+",
        db_constraint=False,
        db_index=False,
        **options,
    )


class Purchase(models.Model):
    """Who bought what, for whom, and what it cost: one journal entry, or none if it was free."""

    # True on the object that answers a repeated call; not stored.
    replayed = False
    # Its lines, on the object that `pay_cart` returns the first time.
    bought: "Sequence[PurchaseLine]" = ()

    customer_type = make_holder_type()
    customer_id = HolderKeyField(type_field="customer_type")
    customer = GenericForeignKey("customer_type", "customer_id")
    # Whom it is for, if that is not the customer: a gift.
    recipient_type = make_holder_type(null=True)
    recipient_id = HolderKeyField(type_field="recipient_type", null=True)
    recipient = GenericForeignKey("recipient_type", "recipient_id")
    wallet = SwappableKey(
        wallet_settings.WALLET_MODEL,
        on_delete=models.PROTECT,
        migrated_to="dj_wallet.account",
        related_name="purchases",
        db_constraint=False,
    )
    uuid = models.UUIDField(default=uuid7, editable=False, unique=True)
    total = MoneyField()
    fee = MoneyField(default=ZERO)
    discount = MoneyField(default=ZERO)
    entry_id = models.BigIntegerField(null=True, editable=False)
    idempotency_key = models.CharField(max_length=255, null=True, editable=False)
    fingerprint = models.CharField(max_length=32, editable=False)
    meta = models.JSONField(blank=True, null=True, default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["customer_type", "customer_id"], name="dj_wallet_purchase_customer"
            )
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="dj_wallet_purchase_idempotency_key",
            ),
        ]

    def __str__(self) -> str:
        return f"Purchase {self.total} ({self.uuid})"

    @property
    def is_gift(self) -> bool:
        return self.recipient_id is not None

    def get_breakdown(self) -> Quote:
        """Return what it cost, line by line: what `quote` said before."""
        return Quote(tuple(line.amounts for line in self.lines.order_by("pk")))


class PurchaseLineQuerySet(models.QuerySet["PurchaseLine"]):
    """Filters on purchase lines."""

    def of(self, holder: models.Model, product: models.Model) -> "PurchaseLineQuerySet":
        """Return the lines of a product that the holder bought for itself or was given."""
        types = ContentType.objects.db_manager(self.db)
        owner = types.get_for_model(holder)
        own = Q(
            purchase__recipient_type=None,
            purchase__customer_type=owner,
            purchase__customer_id=holder.pk,
        )
        given = Q(purchase__recipient_type=owner, purchase__recipient_id=holder.pk)
        return self.filter(
            own | given, product_type=types.get_for_model(product), product_id=product.pk
        )

    def count_units(self) -> int:
        """Return how many units were bought and not given back."""
        units: int | None = self.aggregate(units=Sum(F("quantity") - F("refunded_quantity")))[
            "units"
        ]
        return units or 0


class PurchaseLine(models.Model):
    """One product of a purchase: how many, what it cost, and how much of that was given back."""

    FEE_PAYERS: ClassVar = [(BUYER, "Buyer"), (MERCHANT, "Merchant")]

    # Written by the statement that writes the purchase; ADR 0049.
    purchase = models.ForeignKey(
        Purchase, on_delete=models.PROTECT, related_name="lines", db_constraint=False
    )
    product_type = make_holder_type(null=True)
    product_id = HolderKeyField(type_field="product_type", null=True)
    product = GenericForeignKey("product_type", "product_id")
    name = models.CharField(max_length=255)
    quantity = models.PositiveIntegerField()
    unit_price = MoneyField()
    discount = MoneyField(default=ZERO)
    fee = MoneyField(default=ZERO)
    fee_payer = models.CharField(max_length=8, choices=FEE_PAYERS, default=BUYER)
    is_fee_refundable = models.BooleanField(default=True)
    net = MoneyField()
    total = MoneyField()
    refunded_quantity = models.PositiveIntegerField(default=0, editable=False)
    refunded_amount = MoneyField(default=ZERO, editable=False)
    # The withdrawal of the net amount, or of the fee if that is all there is; its row is the lock of every refund.
    payment = SwappableKey(
        wallet_settings.TRANSACTION_MODEL,
        on_delete=models.PROTECT,
        migrated_to="dj_wallet.transaction",
        null=True,
        db_constraint=False,
        related_name="purchase_lines",
    )
    fee_payment = SwappableKey(
        wallet_settings.TRANSACTION_MODEL,
        on_delete=models.PROTECT,
        migrated_to="dj_wallet.transaction",
        null=True,
        db_constraint=False,
        related_name="purchase_fees",
    )
    transfer = SwappableKey(
        wallet_settings.TRANSFER_MODEL,
        on_delete=models.PROTECT,
        migrated_to="dj_wallet.transfer",
        null=True,
        db_constraint=False,
        related_name="purchase_lines",
    )

    objects: ClassVar[models.Manager["PurchaseLine"]] = PurchaseLineQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["product_type", "product_id"], name="dj_wallet_purchase_product")
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(refunded_amount__gte=0) & Q(refunded_amount__lte=F("total")),
                name="dj_wallet_purchaseline_refunded_at_most_once",
            ),
            models.CheckConstraint(
                condition=Q(quantity__gt=0) & Q(refunded_quantity__lte=F("quantity")),
                name="dj_wallet_purchaseline_units",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} x {self.name}"

    @property
    def amounts(self) -> Line:
        """What the line cost."""
        return Line(*(getattr(self, field) for field in Line._fields))

    @property
    def record(self) -> Any:
        """The transfer to the receiver, or without one the withdrawal; None if the line was free."""
        return self.transfer or self.payment
