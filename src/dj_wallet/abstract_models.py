"""What every wallet, transaction and transfer model has; subclass these to add fields.

State only: money moves through the services.
"""

import uuid
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, ClassVar, Self

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.utils import timezone
from django.utils.module_loading import import_string

from .conf import wallet_settings
from .holders import HolderKeyField
from .ledger.accounts import ensure_asset
from .ledger.errors import LedgerReadOnly, MovementInvalid
from .ledger.fields import MoneyField
from .ledger.ids import uuid7
from .ledger.models import LEDGER_COLUMNS, Account
from .ledger.money import EXACT
from .ledger.repair import fold_balance, repair_balance
from .managers import TransactionManager, WalletManager
from .swapping import SwappableKey

DEFAULT_SLUG = "default"
# What a SlugField holds. SQLite would take more.
MAX_SLUG_LENGTH = 50
# By name: models do not import services.
LIMITS, LOTS = "dj_wallet.services.limits", "dj_wallet.services.lots"


class AbstractWallet(Account):
    """An account with a holder and a slug."""

    account_ptr = models.OneToOneField(
        Account,
        on_delete=models.CASCADE,
        parent_link=True,
        primary_key=True,
        db_column="id",
        related_name="%(class)s",
    )
    holder_type = models.ForeignKey(
        ContentType, on_delete=models.PROTECT, related_name="%(class)s_wallets", db_constraint=False
    )
    holder_id = HolderKeyField(type_field="holder_type")
    holder = GenericForeignKey("holder_type", "holder_id")
    slug = models.SlugField(default=DEFAULT_SLUG, help_text="The name of the wallet")
    uuid = models.UUIDField(default=uuid.uuid4, editable=False, unique=True)
    frozen_at = models.DateTimeField(null=True, blank=True, help_text="When the wallet was frozen")
    frozen_reason = models.CharField(max_length=255, blank=True, help_text="Reason for freezing")
    meta = models.JSONField(blank=True, null=True, default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar[WalletManager[Self]] = WalletManager()

    class Meta:
        abstract = True
        unique_together = (("holder_type", "holder_id", "slug"),)
        verbose_name = "Wallet"
        verbose_name_plural = "Wallets"

    def __str__(self) -> str:
        return f"{self.slug} ({self.balance}){' [FROZEN]' if self.is_frozen else ''}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save everything but what the ledger owns; a new wallet gets its asset from `currency`.

        :raises LedgerReadOnly: a new wallet carries a balance, or `update_fields` names one
        :raises MovementInvalid: the slug of a new wallet is longer than 50 characters
        """
        if self._state.adding:
            if any(getattr(self, column) for column in LEDGER_COLUMNS):
                raise LedgerReadOnly("A wallet starts empty: deposit what it holds.")
            if len(self.slug) > MAX_SLUG_LENGTH:
                raise MovementInvalid(f"A slug has at most {MAX_SLUG_LENGTH} characters.")
            if not self.asset_id:
                self.asset = ensure_asset(
                    self.currency,
                    decimal_places=wallet_settings.MATH_SCALE,
                    using=kwargs.get("using"),
                )
            self.decimal_places = self.asset.decimal_places
        super().save(*args, **kwargs)

    @property
    def currency(self) -> str:
        """The code of the wallet's asset."""
        if self.asset_id:
            return self.asset_id
        code: str = (self.meta or {}).get("currency", wallet_settings.DEFAULT_CURRENCY)
        return code

    def freeze(self, reason: str = "") -> None:
        """Freeze the wallet: nothing goes in or out until `unfreeze`."""
        self._set_frozen(is_frozen=True, at=timezone.now(), reason=reason)

    def unfreeze(self) -> None:
        """Let the wallet take part in movements again."""
        self._set_frozen(is_frozen=False, at=None, reason="")

    def _set_frozen(self, *, is_frozen: bool, at: Any, reason: str) -> None:
        self.is_frozen, self.frozen_at, self.frozen_reason = is_frozen, at, reason
        self.save(update_fields=["is_frozen", "frozen_at", "frozen_reason", "updated_at"])

    def recalculate_balance(self) -> tuple[Decimal, Decimal]:
        """Return what the postings say the wallet holds, and how much more this object says."""
        calculated = fold_balance(self.pk, using=self._state.db)
        return calculated, EXACT.subtract(self.balance, calculated)

    def sync_balance(self) -> Decimal:
        """Set a balance that somebody altered to what the postings say, record the repair, and return it."""
        balance = repair_balance(self.pk, using=self._state.db)
        self.balance = balance
        return balance

    def audit_balance(self, *, with_transactions: bool = True) -> dict[str, Any]:
        """Return the balance beside what the postings say, and the wallet's transactions, oldest first.

        :param with_transactions: False leaves them in the database, where they are only counted
        """
        calculated, discrepancy = self.recalculate_balance()
        records = self.transactions.order_by("created_at", "pk").values(  # type: ignore[attr-defined]
            "uuid", "type", "amount", "confirmed", "created_at", "meta"
        )
        transactions = list(records) if with_transactions else []
        return {
            "wallet_uuid": str(self.uuid),
            "wallet_slug": self.slug,
            "cached_balance": self.balance,
            "calculated_balance": calculated,
            "discrepancy": discrepancy,
            "is_consistent": discrepancy == 0,
            "transaction_count": len(transactions) if with_transactions else records.count(),
            "transactions": transactions,
        }

    # The verbs, on the wallet itself. Each is one call of the service class that the settings name.

    def deposit(self, amount: Any, meta: Any = None, confirmed: bool = True, **options: Any) -> Any:
        """Add to this wallet; see `WalletService.deposit`."""
        from .utils import get_wallet_service

        return get_wallet_service().deposit(self, amount, meta=meta, confirmed=confirmed, **options)

    def withdraw(
        self, amount: Any, meta: Any = None, confirmed: bool = True, **options: Any
    ) -> Any:
        """Take from this wallet; see `WalletService.withdraw`."""
        from .utils import get_wallet_service

        return get_wallet_service().withdraw(
            self, amount, meta=meta, confirmed=confirmed, **options
        )

    def force_withdraw(
        self, amount: Any, meta: Any = None, confirmed: bool = True, **options: Any
    ) -> Any:
        """Take from this wallet even what it does not hold; see `WalletService.force_withdraw`."""
        from .utils import get_wallet_service

        return get_wallet_service().force_withdraw(
            self, amount, meta=meta, confirmed=confirmed, **options
        )

    def hold(self, amount: Any, **options: Any) -> Any:
        """Reserve an amount of this wallet for a reference; see `WalletService.hold`."""
        from .utils import get_wallet_service

        return get_wallet_service().hold(self, amount, **options)

    def release_hold(self, amount: Any = None, **options: Any) -> Any:
        """Give back what is held for a reference, or an amount of it; see `WalletService.release_hold`."""
        from .utils import get_wallet_service

        return get_wallet_service().release_hold(self, amount, **options)

    def pay(self, product: Any, quantity: int = 1, **options: Any) -> Any:
        """Buy a product for the holder out of this wallet; see `PurchaseService.pay`."""
        from .utils import get_purchase_service

        return get_purchase_service().pay(self.holder, product, quantity, wallet=self, **options)

    def transfer(
        self, to_wallet: "AbstractWallet", amount: Any, meta: Any = None, **options: Any
    ) -> Any:
        """Move from this wallet to another; see `TransferService.transfer_between`."""
        from .utils import get_transfer_service

        return get_transfer_service().transfer_between(self, to_wallet, amount, meta, **options)

    def grant_credit(self, amount: Any, **options: Any) -> Any:
        """Grant credit that is spent first and may expire; see `services.lots.grant_credit`."""
        return import_string(f"{LOTS}.grant_credit")(wallet=self, amount=amount, **options)

    def list_lots(self) -> Any:
        """Return the lots that hold something, in the order in which they are spent."""
        return import_string(f"{LOTS}.list_lots")(wallet=self)

    def set_limits(self, **limits: Any) -> Any:
        """Set limits of this wallet; see `services.limits.set_limits`."""
        return import_string(f"{LIMITS}.set_limits")(wallet=self, **limits)

    def get_limits(self) -> Any:
        """Return the limits of this wallet and what they leave now."""
        return import_string(f"{LIMITS}.get_limits")(wallet=self)


class AbstractTransaction(models.Model):
    """The holder-facing record of a deposit into, or a withdrawal from, one wallet.

    `amount` is positive for both types. `entry_id` is the journal entry that moved the money, None before. What a
    pending record needs to be confirmed as it was asked for: `counterpart`, the system account on the other side, and
    `allow_overdraft`.
    """

    TYPE_DEPOSIT = "deposit"
    TYPE_WITHDRAW = "withdraw"
    TYPE_CHOICES = ((TYPE_DEPOSIT, "Deposit"), (TYPE_WITHDRAW, "Withdraw"))
    STATUS_PENDING = "pending"
    STATUS_COMPLETED = "completed"
    STATUS_FAILED = "failed"
    STATUS_REVERSED = "reversed"
    STATUS_EXPIRED = "expired"
    STATUS_CHOICES = (
        (STATUS_PENDING, "Pending"),
        (STATUS_COMPLETED, "Completed"),
        (STATUS_FAILED, "Failed"),
        (STATUS_REVERSED, "Reversed"),
        (STATUS_EXPIRED, "Expired"),
    )
    # True on the object that answers a repeated call; not stored.
    replayed = False
    IMMUTABLE_COLUMNS = frozenset(
        {
            *("wallet", "payable_type", "payable_id", "type", "amount", "uuid", "idempotency_key"),
            *("counterpart", "allow_overdraft", "refunded_amount"),
        }
    )

    wallet = SwappableKey(
        wallet_settings.WALLET_MODEL,
        on_delete=models.PROTECT,
        migrated_to="dj_wallet.account",
        role="TRANSACTION_MODEL",
        related_name="transactions",
    )
    # Written by name, or by `save()` if the caller changed them: a stale object leaves them alone.
    STATUS_COLUMNS = ("status", "confirmed")
    _known_status: tuple[Any, ...] | None = None

    payable_type = models.ForeignKey(
        ContentType,
        on_delete=models.PROTECT,
        related_name="%(class)s_transactions",
        db_constraint=False,
        db_index=False,
    )
    payable_id = HolderKeyField(type_field="payable_type")
    payable = GenericForeignKey("payable_type", "payable_id")
    uuid = models.UUIDField(default=uuid7, editable=False, unique=True)
    type = models.CharField(max_length=20, choices=TYPE_CHOICES)
    amount = MoneyField()
    # How much of it was given back. Of a transfer the withdrawal keeps count, and its row is the lock.
    refunded_amount = MoneyField(default=Decimal(0), editable=False)
    confirmed = models.BooleanField(default=True)
    status = models.CharField(
        max_length=20,
        choices=STATUS_CHOICES,
        default=STATUS_COMPLETED,
        help_text="Current status of the transaction",
    )
    entry_id = models.BigIntegerField(null=True, editable=False)
    idempotency_key = models.CharField(max_length=255, null=True, editable=False)
    counterpart = models.CharField(max_length=64, blank=True, default="", editable=False)
    allow_overdraft = models.BooleanField(default=False, editable=False)
    meta = models.JSONField(blank=True, null=True, default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar[TransactionManager[Self]] = TransactionManager()

    class Meta:
        abstract = True
        constraints = [
            # Release 0.1.0 rounded tiny deposits to zero and recorded them.
            models.CheckConstraint(
                condition=models.Q(amount__gt=0) | models.Q(amount=0, entry_id__isnull=True),
                name="%(app_label)s_%(class)s_amount_positive",
            ),
            models.CheckConstraint(
                condition=models.Q(refunded_amount__gte=0)
                & models.Q(refunded_amount__lte=models.F("amount")),
                name="%(app_label)s_%(class)s_refunded_at_most_once",
            ),
            models.UniqueConstraint(
                fields=["idempotency_key"],
                condition=models.Q(idempotency_key__isnull=False),
                name="%(app_label)s_%(class)s_idempotency_key",
            ),
        ]

    def __str__(self) -> str:
        indicator = "" if self.status == self.STATUS_COMPLETED else f" [{self.status.upper()}]"
        return f"{self.type} {self.amount}{indicator}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the record; what it says about the money is written once and later changes to it are ignored."""
        named = kwargs.get("update_fields")
        if named is not None:
            kwargs["update_fields"] = [
                name
                for name in named
                if self._state.adding
                or self.IMMUTABLE_COLUMNS.isdisjoint({name, name.removesuffix("_id")})
            ]
        elif not self._state.adding:
            unchanged = self._read_status() == self._known_status
            kwargs["update_fields"] = list_mutable_fields(
                self,
                {*self.IMMUTABLE_COLUMNS, "entry_id", *(self.STATUS_COLUMNS if unchanged else ())},
            )
        super().save(*args, **kwargs)
        self.remember_status()

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        record = super().from_db(*args, **kwargs)
        record.remember_status()
        return record

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        super().refresh_from_db(*args, **kwargs)
        self.remember_status()

    def remember_status(self) -> None:
        """Note what the database says, so that an ordinary save writes the status only if it was changed here."""
        self._known_status = self._read_status()

    def _read_status(self) -> tuple[Any, ...]:
        return tuple(self.__dict__.get(name) for name in self.STATUS_COLUMNS)

    @property
    def is_pending(self) -> bool:
        return self.status == self.STATUS_PENDING

    @property
    def is_completed(self) -> bool:
        return self.status == self.STATUS_COMPLETED

    @property
    def is_reversible(self) -> bool:
        return self.status == self.STATUS_COMPLETED


class AbstractTransfer(models.Model):
    """The record of a movement from one wallet to another."""

    # True on the object that answers a repeated call; not stored.
    replayed = False
    STATUS_EXCHANGE = "exchange"
    STATUS_TRANSFER = "transfer"
    STATUS_PAID = "paid"
    STATUS_REFUND = "refund"
    STATUS_GIFT = "gift"
    STATUS_CHOICES = (
        (STATUS_EXCHANGE, "Exchange"),
        (STATUS_TRANSFER, "Transfer"),
        (STATUS_PAID, "Paid"),
        (STATUS_REFUND, "Refund"),
        (STATUS_GIFT, "Gift"),
    )

    withdraw = SwappableKey(
        wallet_settings.TRANSACTION_MODEL,
        on_delete=models.PROTECT,
        role="TRANSFER_MODEL",
        related_name="transfer_withdraw",
    )
    deposit = SwappableKey(
        wallet_settings.TRANSACTION_MODEL,
        on_delete=models.PROTECT,
        role="TRANSFER_MODEL",
        related_name="transfer_deposit",
    )
    refund_of = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, editable=False, related_name="refunds"
    )
    from_type = models.ForeignKey(
        ContentType,
        on_delete=models.PROTECT,
        related_name="%(class)s_transfers_sent",
        db_constraint=False,
        db_index=False,
    )
    from_id = HolderKeyField(type_field="from_type")
    from_object = GenericForeignKey("from_type", "from_id")
    to_type = models.ForeignKey(
        ContentType,
        on_delete=models.PROTECT,
        related_name="%(class)s_transfers_received",
        db_constraint=False,
        db_index=False,
    )
    to_id = HolderKeyField(type_field="to_type")
    to_object = GenericForeignKey("to_type", "to_id")
    status = models.CharField(max_length=20, choices=STATUS_CHOICES, default=STATUS_TRANSFER)
    discount = MoneyField(default=Decimal(0))
    fee = MoneyField(default=Decimal(0))
    uuid = models.UUIDField(default=uuid7, editable=False, unique=True)
    entry_id = models.BigIntegerField(null=True, editable=False)
    idempotency_key = models.CharField(max_length=255, null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True
        constraints = [
            models.UniqueConstraint(
                fields=["idempotency_key"],
                condition=models.Q(idempotency_key__isnull=False),
                name="%(app_label)s_%(class)s_idempotency_key",
            ),
        ]

    def __str__(self) -> str:
        return f"Transfer {self.status} ({self.uuid})"


def list_mutable_fields(instance: models.Model, immutable: Iterable[str]) -> list[str]:
    """Return the names of the fields that an update may write."""
    return [
        field.name
        for field in instance._meta.concrete_fields
        if not field.primary_key and field.name not in frozenset(immutable)
    ]


__all__ = ["AbstractTransaction", "AbstractTransfer", "AbstractWallet", "LedgerReadOnly"]
