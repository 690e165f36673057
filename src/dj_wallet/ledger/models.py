"""The tables of the ledger: assets, accounts, postings. State and constraints only; `post` does the writing."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q

from .engine import (
    MAX_CODE_LENGTH,
    MAX_KEY_LENGTH,
    MAX_REFERENCE_ID_LENGTH,
    MAX_REFERENCE_TYPE_LENGTH,
    Bucket,
)
from .errors import LedgerReadOnly
from .fields import MoneyField
from .money import MAX_DECIMAL_PLACES, ZERO

# Written by `post` alone; `save()` leaves them out, so that a stale object destroys no money.
BALANCE_COLUMNS = {
    Bucket.AVAILABLE: "balance",
    Bucket.LOCKED: "locked_balance",
    Bucket.PENDING: "pending_balance",
}
LEDGER_COLUMNS = frozenset({*BALANCE_COLUMNS.values(), "version", "has_rules"})
# What an account is: written once.
IDENTITY_COLUMNS = frozenset({"asset", "kind", "code", "decimal_places"})
# Written by name only (`update_fields`), so that a stale object neither unfreezes a wallet nor changes its limit.
CONTROL_COLUMNS = frozenset({"is_frozen", "overdraft_limit"})


# Most entries are one posting, found by primary key: only the other postings need an index on the entry.
IS_NOT_FIRST = ~Q(entry_id=F("id"))


class Asset(models.Model):
    """What is counted: a currency, a coin, points."""

    class Kind(models.TextChoices):
        FIAT = "fiat", "Fiat money"
        CRYPTO = "crypto", "Coin"
        POINTS = "points", "Points"

    code = models.CharField(max_length=32, primary_key=True)
    name = models.CharField(max_length=100, blank=True)
    decimal_places = models.PositiveSmallIntegerField(default=8)
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.FIAT)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(decimal_places__lte=MAX_DECIMAL_PLACES),
                name="dj_wallet_asset_decimal_places",
            )
        ]

    def __str__(self) -> str:
        return self.code


class Account(models.Model):
    """A place that holds one asset: a wallet, or a system account with a code such as "external:bank".

    The balances of a system account are not kept here but derived (see `ledger.queries`): a fee account that is
    part of every entry must not be a row that every entry waits for.
    """

    class Kind(models.TextChoices):
        WALLET = "wallet", "Wallet"
        SYSTEM = "system", "System account"

    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=6, choices=Kind.choices, default=Kind.WALLET, editable=False)
    code = models.CharField(max_length=MAX_CODE_LENGTH, null=True, editable=False)
    decimal_places = models.PositiveSmallIntegerField(default=8, editable=False)
    balance = MoneyField(default=ZERO, editable=False)
    locked_balance = MoneyField(default=ZERO, editable=False)
    pending_balance = MoneyField(default=ZERO, editable=False)
    overdraft_limit = MoneyField(default=ZERO, null=True, blank=True)
    is_frozen = models.BooleanField(default=False)
    version = models.BigIntegerField(default=0, editable=False)
    # Whether limits or lots have to be asked before anything leaves the account; see `ledger.rule_models`.
    has_rules = models.BooleanField(default=False, db_default=False, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(locked_balance__gte=0), name="dj_wallet_account_locked_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(pending_balance__gte=0), name="dj_wallet_account_pending_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(kind="wallet", code__isnull=True)
                | Q(kind="system", code__isnull=False),
                name="dj_wallet_account_system_has_code",
            ),
            models.UniqueConstraint(
                fields=["asset", "code"],
                condition=Q(kind="system"),
                name="dj_wallet_account_system_code",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code or 'account'} {self.asset_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save everything but what the ledger owns.

        :raises LedgerReadOnly: `update_fields` names a balance
        """
        if not self._state.adding:
            kwargs["update_fields"] = self._list_writable_fields(kwargs.get("update_fields"))
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete an account that never took part in a movement.

        :raises LedgerReadOnly: it has a history
        """
        if (
            Account.objects.using(kwargs.get("using") or self._state.db)
            .filter(pk=self.pk, version__gt=0)
            .exists()
        ):
            raise LedgerReadOnly("An account with a history cannot be deleted.")
        return super().delete(*args, **kwargs)

    def _list_writable_fields(self, update_fields: Iterable[str] | None) -> list[str]:
        if update_fields is None:
            return [
                field.name
                for field in self._meta.concrete_fields
                if not field.primary_key
                and field.name not in LEDGER_COLUMNS | CONTROL_COLUMNS | IDENTITY_COLUMNS
            ]
        if owned := (LEDGER_COLUMNS | IDENTITY_COLUMNS).intersection(update_fields):
            raise LedgerReadOnly(f"{', '.join(sorted(owned))} are written by the ledger alone.")
        return list(update_fields)


class PostingQuerySet(models.QuerySet["Posting"]):
    """Filters on postings."""

    def of_entries(self, entry_ids: Iterable[int]) -> "PostingQuerySet":
        """Return the postings of these entries: the first by primary key, the rest by an index of the rest alone."""
        ids = list(entry_ids)
        return self.filter(Q(pk__in=ids) | Q(IS_NOT_FIRST, entry_id__in=ids))


class Posting(models.Model):
    """One movement: a positive amount from one account and bucket to another. Append-only.

    Both sides are in one row, so it cannot be unbalanced. Postings with the same `entry_id`, which is the id of
    the first of them, form a journal entry; the idempotency key and fingerprint stand on that first one.
    There is no database constraint towards accounts (it costs 1.7x in batches): the update of the account proves
    that it exists, accounts with history cannot be deleted, and the audit checks.
    """

    BUCKETS: ClassVar = [(bucket.value, bucket.label) for bucket in Bucket]

    id = models.BigAutoField(primary_key=True)
    entry_id = models.BigIntegerField()
    kind = models.CharField(max_length=16)
    source_account = models.ForeignKey(
        Account, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    source_bucket = models.PositiveSmallIntegerField(
        choices=BUCKETS, default=Bucket.AVAILABLE.value
    )
    destination_account = models.ForeignKey(
        Account, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    destination_bucket = models.PositiveSmallIntegerField(
        choices=BUCKETS, default=Bucket.AVAILABLE.value
    )
    amount = MoneyField()
    source_balance_after = MoneyField(null=True)
    source_version = models.BigIntegerField(null=True)
    destination_balance_after = MoneyField(null=True)
    destination_version = models.BigIntegerField(null=True)
    reference_type = models.CharField(max_length=MAX_REFERENCE_TYPE_LENGTH, blank=True, default="")
    reference_id = models.CharField(max_length=MAX_REFERENCE_ID_LENGTH, blank=True, default="")
    idempotency_key = models.CharField(max_length=MAX_KEY_LENGTH, null=True)
    fingerprint = models.UUIDField(null=True)
    event_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()

    objects = PostingQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["source_account", "source_bucket", "id"], name="dj_wallet_posting_source"
            ),
            models.Index(
                fields=["destination_account", "destination_bucket", "id"],
                name="dj_wallet_posting_destination",
            ),
            models.Index(fields=["created_at"], name="dj_wallet_posting_created"),
            models.Index(
                fields=["entry_id"], condition=IS_NOT_FIRST, name="dj_wallet_posting_entry"
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(amount__gt=0), name="dj_wallet_posting_amount_positive"
            ),
            models.CheckConstraint(
                condition=~Q(
                    source_account=F("destination_account"), source_bucket=F("destination_bucket")
                ),
                name="dj_wallet_posting_moves",
            ),
            models.UniqueConstraint(
                fields=["idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="dj_wallet_posting_idempotency_key",
            ),
        ]

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.amount} {self.source_account_id} -> {self.destination_account_id}"
        )

    def save(self, *args: Any, **kwargs: Any) -> None:
        raise LedgerReadOnly("Postings are written by post() and never changed.")

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        raise LedgerReadOnly("Postings are never deleted.")


class EntryMeta(models.Model):
    """Free-form data of a journal entry, only where some was given."""

    entry_id = models.BigIntegerField(primary_key=True)
    data = models.JSONField()

    def __str__(self) -> str:
        return f"Meta of entry {self.entry_id}"


class Checkpoint(models.Model):
    """The derived balance of a system account up to and including a posting."""

    account = models.OneToOneField(
        Account, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    posting_id = models.BigIntegerField()
    balance = MoneyField()

    def __str__(self) -> str:
        return f"{self.balance} up to posting {self.posting_id}"


class CheckpointHorizon(models.Model):
    """Between two passes: up to which posting the next checkpoint may go once `transaction_id` has ended."""

    posting_id = models.BigIntegerField()
    transaction_id = models.BigIntegerField()

    def __str__(self) -> str:
        return f"Posting {self.posting_id}, when transaction {self.transaction_id} has ended"


class BalanceRepair(models.Model):
    """A balance that was not the sum of its postings, and what it was set to. Written by `ledger.repair`."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    found = MoneyField()
    restored = MoneyField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.found} -> {self.restored} on account {self.account_id}"


class LedgerEntry(models.Model):
    """One side of a posting as a line of a ledger (seed 001): a debit or a credit. A database view, never written."""

    id = models.BigIntegerField(primary_key=True)
    posting = models.ForeignKey(
        Posting, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False
    )
    account = models.ForeignKey(
        Account, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False
    )
    bucket = models.PositiveSmallIntegerField(choices=Posting.BUCKETS)
    entry_id = models.BigIntegerField()
    entry_type = models.CharField(max_length=16)
    debit = MoneyField()
    credit = MoneyField()
    balance_after = MoneyField(null=True)
    version = models.BigIntegerField(null=True)
    reference_type = models.CharField(max_length=MAX_REFERENCE_TYPE_LENGTH)
    reference_id = models.CharField(max_length=MAX_REFERENCE_ID_LENGTH)
    idempotency_key = models.CharField(max_length=MAX_KEY_LENGTH, null=True)
    event_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "dj_wallet_ledgerentry"
        verbose_name_plural = "ledger entries"

    def __str__(self) -> str:
        return f"{self.entry_type} -{self.debit} +{self.credit}"
