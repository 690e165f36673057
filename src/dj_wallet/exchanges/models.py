"""Exchange accounts, their deposit addresses and what happened to both. State and constraints only.

The tables and columns are those of seed 002. Where they differ, docs/decisions/0033 says why.
"""

from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from dj_wallet.ledger.ids import uuid7


class SupportedExchange(models.Model):
    """An exchange that users may connect. A row for each adapter is kept up to date by `migrate`.

    An operator may add another id of CCXT: its generic adapter refuses every address that it cannot verify.
    """

    id = models.CharField(primary_key=True, max_length=50)
    name = models.CharField(max_length=100)
    ccxt_id = models.CharField(max_length=50, unique=True)
    website_url = models.CharField(max_length=255, blank=True)
    api_doc_url = models.CharField(max_length=255, blank=True)
    is_active = models.BooleanField(default=True)
    supports_deposit_addresses = models.BooleanField(default=True)
    rate_limit_per_minute = models.PositiveIntegerField(default=60)
    requires_passphrase = models.BooleanField(default=False)
    sandbox_available = models.BooleanField(default=False)
    supported_currencies = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    # Since when nobody reaches it; told once as an event.
    disrupted_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.name


class ExchangeAccountQuerySet(models.QuerySet["ExchangeAccount"]):
    """Filters on exchange accounts."""

    def present(self) -> "ExchangeAccountQuerySet":
        """Return those that were not removed."""
        return self.filter(deleted_at__isnull=True)


class ExchangeAccount(models.Model):
    """A user's account at an exchange, with the sealed credentials of one API key.

    `sealed_credentials` opens only with the data key in `sealed_key`, which only a key provider opens. Removing the
    account erases both: what backups hold then opens only while they hold both and the provider has its key.
    """

    class Status(models.TextChoices):
        """How the last synchronization ended, or that one runs."""

        PENDING = "pending", "Pending"
        RUNNING = "running", "Running"
        SUCCESS = "success", "Success"
        PARTIAL = "partial", "Partial"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="exchange_accounts"
    )
    exchange = models.ForeignKey(SupportedExchange, on_delete=models.PROTECT, related_name="+")
    account_name = models.CharField(max_length=100)
    sealed_key = models.TextField(blank=True, default="", editable=False)
    sealed_credentials = models.TextField(blank=True, default="", editable=False)
    credentials_version = models.PositiveIntegerField(default=1, editable=False)
    key_hint = models.CharField(max_length=4, blank=True, default="", editable=False)
    # HMAC of exchange and API key: tells that two accounts would share a key, and tells nobody the key.
    fingerprint = models.CharField(max_length=64, null=True, editable=False)
    sandbox_mode = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    last_sync_at = models.DateTimeField(null=True, blank=True)
    sync_status = models.CharField(max_length=20, choices=Status.choices, default=Status.PENDING)
    error_code = models.CharField(max_length=64, blank=True, default="")
    error_message = models.TextField(blank=True, default="")
    metadata = models.JSONField(default=dict, blank=True, encoder=DjangoJSONEncoder)
    permissions = models.JSONField(default=dict, blank=True)
    account_uid = models.CharField(max_length=100, blank=True, default="", editable=False)
    checked_at = models.DateTimeField(null=True, blank=True, editable=False)
    key_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    # The smallest number of days before its end that was warned of.
    expiry_warned_days = models.PositiveSmallIntegerField(null=True, editable=False)
    # When the exchange first said, since it last accepted it, that it does not know the key.
    refused_at = models.DateTimeField(null=True, blank=True, editable=False)
    # What the budget of the last synchronization left undone.
    sync_cursor = models.JSONField(default=list, blank=True, editable=False)
    failed_syncs = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ExchangeAccountQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "exchange", "account_name"],
                condition=Q(deleted_at__isnull=True),
                name="dj_wallet_exchange_account_name",
            ),
            models.UniqueConstraint(fields=["fingerprint"], name="dj_wallet_exchange_account_key"),
            models.CheckConstraint(
                condition=Q(deleted_at__isnull=True)
                | Q(sealed_key="", sealed_credentials="", fingerprint__isnull=True),
                name="dj_wallet_exchange_account_removed_is_shredded",
            ),
        ]
        indexes = [
            models.Index(fields=["user", "is_active"], name="dj_wallet_user_exchanges"),
            models.Index(fields=["exchange", "last_sync_at"], name="dj_wallet_exchange_sync"),
            models.Index(fields=["user", "-id"], name="dj_wallet_exchange_newest"),
            models.Index(
                fields=["last_sync_at"],
                condition=Q(is_active=True, deleted_at__isnull=True),
                name="dj_wallet_exchange_due",
            ),
            models.Index(
                fields=["exchange", "is_active"],
                condition=Q(deleted_at__isnull=True),
                name="dj_wallet_exchange_count",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account_name} ({self.exchange_id})"


class DepositAddressQuerySet(models.QuerySet["DepositAddress"]):
    """Filters on deposit addresses."""

    def present(self) -> "DepositAddressQuerySet":
        """Return those that were not removed by their owner."""
        return self.filter(deleted_at__isnull=True)


class DepositAddress(models.Model):
    """An address that an exchange gave. It is never overwritten: a new one is a new row, and the old one stays.

    `state` is what the exchange says, `is_active` what the owner wants, `deleted_at` that the owner removed it.
    """

    class State(models.TextChoices):
        """What the exchange does with deposits to the address."""

        CURRENT = "current", "Current"
        SUPERSEDED = "superseded", "Superseded"
        MISSING = "missing", "Missing"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    exchange_account = models.ForeignKey(
        ExchangeAccount, on_delete=models.PROTECT, related_name="addresses"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="exchange_addresses"
    )
    exchange = models.ForeignKey(SupportedExchange, on_delete=models.PROTECT, related_name="+")
    currency = models.CharField(max_length=40)
    address = models.CharField(max_length=512)
    tag = models.CharField(max_length=100, null=True)
    tag_required = models.BooleanField(default=False)
    network = models.CharField(max_length=50)
    network_exchange_id = models.CharField(max_length=100, blank=True)
    network_label = models.CharField(max_length=100, blank=True)
    network_source = models.CharField(max_length=10)
    address_type = models.CharField(max_length=20, default="deposit")
    state = models.CharField(max_length=10, choices=State.choices, default=State.CURRENT)
    label = models.CharField(max_length=100, blank=True, default="")
    description = models.TextField(blank=True, default="")
    is_active = models.BooleanField(default=True)
    last_verified_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    warnings = models.JSONField(default=list, blank=True)
    # Complete answers in a row that did not name it.
    absences = models.PositiveSmallIntegerField(default=0, editable=False)
    # HMAC of what a payer copies: a row that was changed behind our back is not shown.
    seal = models.CharField(max_length=64, editable=False)
    tampered_at = models.DateTimeField(null=True, blank=True, editable=False)
    exchange_metadata = models.JSONField(default=dict, blank=True)
    user_metadata = models.JSONField(default=dict, blank=True, encoder=DjangoJSONEncoder)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = DepositAddressQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deposit addresses"
        constraints = [
            models.UniqueConstraint(
                fields=["exchange_account", "currency", "network", "address", "tag"],
                nulls_distinct=False,
                name="dj_wallet_deposit_address_once",
            ),
        ]
        indexes = [
            models.Index(
                fields=["user", "-id"],
                condition=Q(deleted_at__isnull=True),
                name="dj_wallet_address_newest",
            ),
            models.Index(fields=["user", "is_active"], name="dj_wallet_user_addresses"),
            models.Index(fields=["user", "currency", "-id"], name="dj_wallet_address_by_currency"),
            models.Index(fields=["exchange", "currency"], name="dj_wallet_exchange_currency"),
            models.Index(fields=["address", "exchange"], name="dj_wallet_address_lookup"),
        ]

    def __str__(self) -> str:
        return f"{self.currency} on {self.network} at {self.exchange_id}"


class AddressCreation(models.Model):
    """A request to make a new address, by its idempotency key: made at most once, whatever became of the answer."""

    class Status(models.TextChoices):
        ASKED = "asked", "Asked"
        MADE = "made", "Made"
        REFUSED = "refused", "Refused"

    key = models.CharField(max_length=200, unique=True)
    exchange_account = models.ForeignKey(
        ExchangeAccount, on_delete=models.PROTECT, related_name="+"
    )
    currency = models.CharField(max_length=40)
    network = models.CharField(max_length=50)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.ASKED)
    address = models.ForeignKey(
        DepositAddress, on_delete=models.PROTECT, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.currency} on {self.network} [{self.status}]"


class AddressSyncLogQuerySet(models.QuerySet["AddressSyncLog"]):
    """Filters on synchronizations. Time is the database's: the clocks of workers may differ."""

    def open(self) -> "AddressSyncLogQuerySet":
        """Return those that wait or run."""
        return self.filter(status__in=AddressSyncLog.OPEN)

    def lapsed(self) -> "AddressSyncLogQuerySet":
        """Return those whose worker has not reported within its lease."""
        return self.filter(status=AddressSyncLog.Status.RUNNING, lease_until__lt=Now())


class AddressSyncLog(models.Model):
    """One synchronization: the job while it is open, the record when it has ended.

        queued -> running -> success | partial | failed

    At most one of an account is open. `token` grows with each claim, so that a worker that lost its lease can no longer
    write. `results` has an entry for each currency that was asked for.
    """

    class Status(models.TextChoices):
        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        SUCCESS = "success", "Success"
        PARTIAL = "partial", "Partial"
        FAILED = "failed", "Failed"

    class Kind(models.TextChoices):
        FULL = "full", "Full"
        INCREMENTAL = "incremental", "Incremental"
        SINGLE_CURRENCY = "single_currency", "Single currency"

    OPEN = (Status.QUEUED, Status.RUNNING)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    exchange_account = models.ForeignKey(
        ExchangeAccount, on_delete=models.PROTECT, related_name="syncs"
    )
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    sync_type = models.CharField(max_length=50, choices=Kind.choices)
    currencies = models.JSONField(default=list)
    currencies_synced = models.JSONField(default=list)
    currencies_total = models.PositiveIntegerField(default=0)
    addresses_added = models.PositiveIntegerField(default=0)
    addresses_updated = models.PositiveIntegerField(default=0)
    addresses_removed = models.PositiveIntegerField(default=0)
    sync_duration_ms = models.PositiveIntegerField(null=True)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.QUEUED)
    results = models.JSONField(default=dict)
    error_details = models.JSONField(null=True)
    priority = models.PositiveSmallIntegerField(default=0)
    token = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects = AddressSyncLogQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["exchange_account"],
                condition=Q(status__in=["queued", "running"]),
                name="dj_wallet_one_open_sync",
            ),
        ]
        indexes = [
            models.Index(
                fields=["-priority", "created_at"],
                condition=Q(status="queued"),
                name="dj_wallet_sync_queue",
            ),
            models.Index(fields=["exchange_account", "created_at"], name="dj_wallet_sync_history"),
            models.Index(fields=["user", "created_at"], name="dj_wallet_user_sync"),
        ]

    def __str__(self) -> str:
        return f"{self.sync_type} [{self.status}]"


class AddressActivityLog(models.Model):
    """What was done to an address, or to an account where no address is named. Written once."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    address = models.ForeignKey(
        DepositAddress, on_delete=models.PROTECT, null=True, related_name="activity"
    )
    exchange_account = models.ForeignKey(
        ExchangeAccount, on_delete=models.PROTECT, related_name="activity"
    )
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    action = models.CharField(max_length=50)
    old_values: Any = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    new_values: Any = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    ip_address = models.GenericIPAddressField(null=True)
    user_agent = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "address activity"
        indexes = [
            models.Index(fields=["address", "created_at"], name="dj_wallet_address_activity"),
            models.Index(fields=["address", "-id"], name="dj_wallet_address_history"),
            models.Index(fields=["user", "created_at"], name="dj_wallet_user_activity"),
        ]

    def __str__(self) -> str:
        return self.action
