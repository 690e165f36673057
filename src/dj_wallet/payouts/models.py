"""Instructions to pay a bank, and what was written down about them. State and constraints only: services move them on."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from dj_wallet.ledger.fields import MoneyField
from dj_wallet.ledger.ids import uuid7

DEFAULT_BANK = "default"


class PayoutQuerySet(models.QuerySet["Payout"]):
    """Filters on payouts. Time is the database's: the clocks of workers may differ."""

    def due(self) -> "PayoutQuerySet":
        """Return the payouts that a worker may take now, the longest due first."""
        return self.filter(due_at__lte=Now()).order_by("due_at", "id")

    def get_due_pending_withdrawals(self) -> "PayoutQuerySet":
        """Return the payouts that were never tried and whose time has come (seed 004)."""
        return self.due().filter(status=Payout.Status.PENDING)

    def get_failed_retryable_withdrawals(self) -> "PayoutQuerySet":
        """Return the payouts that were tried without success and are to be tried, or asked for, now (seed 004)."""
        return self.due().filter(status__in=[Payout.Status.RETRYING, Payout.Status.UNKNOWN])

    def undecided(self) -> "PayoutQuerySet":
        """Return the payouts that an operator should look at, the oldest doubt first."""
        doubtful = [Payout.Status.REVIEW, Payout.Status.UNKNOWN]
        return self.filter(status__in=doubtful).order_by("doubted_since", "id")


class Payout(models.Model):
    """A withdrawal to a bank. The transaction says what the holder sees, this row how the paying goes.

        pending -> processing -> settled -> returned
           |          | ^ |----> failed
           v          v |  '---> review -> settled | failed
        cancelled   retrying, unknown, accepted

    `due_at` is when a worker may take the row: the time of the payout, of the next try, or the end of the lease of the
    worker that has it; empty when nobody may. `token` grows with each claim, so that a worker that lost its lease can
    no longer write. `sent_at` is committed before the bank is called: while it is empty, the bank knows nothing.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        PROCESSING = "processing", "Processing"
        RETRYING = "retrying", "Retrying"
        UNKNOWN = "unknown", "Unknown"
        ACCEPTED = "accepted", "Accepted by the bank"
        REVIEW = "review", "Waits for an operator"
        SETTLED = "settled", "Settled"
        FAILED = "failed", "Failed"
        RETURNED = "returned", "Returned"
        CANCELLED = "cancelled", "Cancelled"

    ENDED = (Status.SETTLED, Status.FAILED, Status.RETURNED, Status.CANCELLED)
    # Of these a worker has, or will have, the next word.
    WAITING = (Status.PENDING, Status.PROCESSING, Status.RETRYING, Status.UNKNOWN)

    uuid = models.UUIDField(default=uuid7, editable=False, unique=True)
    transaction = models.OneToOneField(
        "dj_wallet.Transaction", on_delete=models.PROTECT, related_name="payout", editable=False
    )
    bank = models.CharField(max_length=64, default=DEFAULT_BANK, editable=False)
    # Whom to pay: {"name", "iban", "bic", "text"}, as far as the bank needs it.
    destination = models.JSONField(default=dict, blank=True, editable=False)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    scheduled_for = models.DateTimeField(null=True, help_text="Empty means as soon as possible")
    due_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    lookups = models.PositiveIntegerField(default=0)
    lapses = models.PositiveIntegerField(default=0)
    token = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    held_at = models.DateTimeField(null=True)
    doubted_since = models.DateTimeField(null=True)
    # What the first order said, as a digest: no later one may say something else.
    order_hash = models.CharField(max_length=64, blank=True, default="", editable=False)
    bank_reference = models.CharField(max_length=200, blank=True, default="")
    bank_response = models.JSONField(null=True)
    failure_code = models.CharField(max_length=64, blank=True, default="")
    payment_file = models.ForeignKey(
        "PaymentFile", on_delete=models.PROTECT, null=True, editable=False, related_name="payouts"
    )
    recurring = models.ForeignKey(
        "RecurringPayout",
        on_delete=models.PROTECT,
        null=True,
        editable=False,
        related_name="payouts",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = PayoutQuerySet.as_manager()

    class Meta:
        indexes = [
            # The sweep walks the due rows of one bank in their order and looks at no other row.
            models.Index(
                fields=["bank", "due_at", "id"],
                condition=Q(due_at__isnull=False),
                name="dj_wallet_payout_due",
            ),
            models.Index(
                fields=["doubted_since", "id"],
                condition=Q(status__in=["review", "unknown"]),
                name="dj_wallet_payout_undecided",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    status__in=["pending", "processing", "retrying", "unknown"],
                    due_at__isnull=False,
                )
                | Q(status="accepted")
                | Q(
                    status__in=["review", "settled", "failed", "returned", "cancelled"],
                    due_at__isnull=True,
                ),
                name="dj_wallet_payout_due_while_waiting",
            ),
            models.CheckConstraint(
                condition=Q(status="failed") | Q(failure_code=""),
                name="dj_wallet_payout_only_failed_has_code",
            ),
        ]
        permissions = [
            ("cancel_payout", "Can cancel payouts"),
            ("ask_bank", "Can ask the bank about payouts"),
            ("propose_resolution", "Can propose what became of a payout"),
            ("approve_resolution", "Can approve what somebody else proposed"),
        ]

    def __str__(self) -> str:
        return f"Payout {self.uuid} [{self.status}]"


class PayoutStep(models.Model):
    """What happened to a payout, a row for each thing, in order. Append-only: a trigger refuses changes."""

    class Kind(models.TextChoices):
        HELD = "held", "Money held"
        SENT = "sent", "Order sent"
        NOT_SENT = "not_sent", "Bank not reached"
        ANSWERED = "answered", "Bank answered"
        LOOKED_UP = "looked_up", "Bank asked"
        ACCEPTED = "accepted", "Accepted by the bank"
        RETRY = "retry", "Will be tried again"
        REPORTED = "reported", "Bank reported"
        STATED = "stated", "On a statement"
        REVIEW = "review", "Given to an operator"
        PROPOSED = "proposed", "Decision proposed"
        APPROVED = "approved", "Decision approved"
        REJECTED = "rejected", "Decision rejected"
        SETTLED = "settled", "Settled"
        REFUSED = "refused", "Refused by the bank"
        FAILED = "failed", "Failed"
        RETURNED = "returned", "Returned"
        CANCELLED = "cancelled", "Cancelled"

    payout = models.ForeignKey(Payout, on_delete=models.PROTECT, related_name="steps")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    attempt = models.PositiveIntegerField(default=0)
    token = models.PositiveIntegerField(default=0)
    # Evidence and reasons, for people and programs.
    detail = models.JSONField(default=dict)
    actor = models.CharField(max_length=150, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.kind} {self.created_at}"


class Circuit(models.Model):
    """How a bank is doing, for all workers. Closed while there are few failures in a row."""

    bank = models.CharField(max_length=64, primary_key=True)
    failures = models.PositiveIntegerField(default=0)
    open_until = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.bank}: {self.failures} failures"


class RecurringPayout(models.Model):
    """A plan: the same payout every day, week or month at a local time. Occurrence n is n steps after the first date."""

    class Frequency(models.TextChoices):
        DAILY = "daily", "Daily"
        WEEKLY = "weekly", "Weekly"
        MONTHLY = "monthly", "Monthly"

    class Status(models.TextChoices):
        ACTIVE = "active", "Active"
        ENDED = "ended", "Ended"
        CANCELLED = "cancelled", "Cancelled"

    uuid = models.UUIDField(default=uuid7, editable=False, unique=True)
    wallet = models.ForeignKey(
        "dj_wallet.Wallet", on_delete=models.PROTECT, related_name="+", editable=False
    )
    amount = MoneyField()
    bank = models.CharField(max_length=64, default=DEFAULT_BANK)
    destination = models.JSONField(default=dict, blank=True)
    frequency = models.CharField(max_length=7, choices=Frequency.choices)
    first_date = models.DateField()
    last_date = models.DateField(null=True)
    local_time = models.TimeField()
    time_zone = models.CharField(max_length=64)
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.ACTIVE)
    # The number of the next occurrence, and when it falls due; empty once there is none.
    next_number = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(null=True)
    idempotency_key = models.CharField(max_length=255, null=True, unique=True, editable=False)
    # True on the object that answers a repeated call; not stored.
    replayed = False
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["next_at"],
                condition=Q(next_at__isnull=False),
                name="dj_wallet_recurring_next",
            )
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(status="active", next_at__isnull=False)
                | Q(status__in=["ended", "cancelled"], next_at__isnull=True),
                name="dj_wallet_recurring_next_while_active",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.frequency} payout {self.uuid} [{self.status}]"


class Resolution(models.Model):
    """What became of a payout in doubt, as one operator proposes it and another one approves it."""

    class Verdict(models.TextChoices):
        PAID = "paid", "It was paid"
        NOT_PAID = "not_paid", "It was not paid"

    class Status(models.TextChoices):
        PROPOSED = "proposed", "Proposed"
        APPROVED = "approved", "Approved"
        REJECTED = "rejected", "Rejected"

    payout = models.ForeignKey(Payout, on_delete=models.PROTECT, related_name="resolutions")
    verdict = models.CharField(max_length=8, choices=Verdict.choices)
    reason = models.CharField(max_length=255)
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.PROPOSED)
    proposed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", null=True
    )
    created_at = models.DateTimeField(auto_now_add=True)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["payout"],
                condition=Q(status="proposed"),
                name="dj_wallet_resolution_one_open",
            ),
            models.CheckConstraint(
                condition=~Q(status="approved") | ~Q(decided_by=F("proposed_by")),
                name="dj_wallet_resolution_four_eyes",
            ),
            models.CheckConstraint(
                condition=Q(status="proposed") | Q(decided_by__isnull=False),
                name="dj_wallet_resolution_decided_by_someone",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verdict} [{self.status}]"


class PaymentFile(models.Model):
    """A file of orders for a bank that takes files. Its text is kept: downloaded again it is the same file."""

    uuid = models.UUIDField(default=uuid7, editable=False, unique=True)
    bank = models.CharField(max_length=64)
    message_id = models.CharField(max_length=35, unique=True)
    text = models.TextField()
    orders = models.PositiveIntegerField()
    total = MoneyField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.message_id} ({self.orders})"


class Statement(models.Model):
    """A statement of a bank, imported once."""

    bank = models.CharField(max_length=64)
    identifier = models.CharField(max_length=140)
    account = models.CharField(max_length=64, blank=True, default="")
    begins_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["bank", "identifier"], name="dj_wallet_statement_imported_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.bank} {self.identifier}"


class StatementLine(models.Model):
    """One booking of a statement, and what it was found to be."""

    class Verdict(models.TextChoices):
        MATCHED = "matched", "Matched"
        RETURNED = "returned", "Returned"
        DUPLICATE = "duplicate", "Paid more than once"
        AMOUNT_MISMATCH = "amount", "Another amount"
        CONTRADICTION = "contradict", "Contradicts the payout"
        FOREIGN = "foreign", "Not one of our payouts"

    statement = models.ForeignKey(Statement, on_delete=models.PROTECT, related_name="lines")
    position = models.PositiveIntegerField()
    reference = models.CharField(max_length=200, blank=True, default="")
    bank_reference = models.CharField(max_length=200, blank=True, default="")
    # Below zero for what came back.
    amount = MoneyField()
    asset = models.CharField(max_length=32)
    booked_at = models.DateTimeField()
    reason = models.CharField(max_length=255, blank=True, default="")
    payout = models.ForeignKey(
        Payout, on_delete=models.PROTECT, null=True, related_name="statement_lines"
    )
    verdict = models.CharField(max_length=10, choices=Verdict.choices)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["statement", "position"], name="dj_wallet_statement_line_position"
            ),
        ]
        indexes = [models.Index(fields=["reference"], name="dj_wallet_statement_reference")]

    def __str__(self) -> str:
        return f"{self.reference} {self.verdict}"


class Discrepancy(models.Model):
    """Something between the bank and us that an operator has to look at."""

    class Kind(models.TextChoices):
        MISSING = "missing", "Paid by us, not on the statement"
        DUPLICATE = "duplicate", "Paid more than once"
        AMOUNT_MISMATCH = "amount", "Another amount"
        CONTRADICTION = "contradict", "The bank says otherwise"

    kind = models.CharField(max_length=10, choices=Kind.choices)
    payout = models.ForeignKey(Payout, on_delete=models.PROTECT, related_name="discrepancies")
    detail = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    closed_at = models.DateTimeField(null=True)
    closed_by = models.CharField(max_length=150, blank=True, default="")
    note = models.CharField(max_length=255, blank=True, default="")

    class Meta:
        verbose_name_plural = "discrepancies"
        constraints = [
            models.UniqueConstraint(
                fields=["payout", "kind"],
                condition=Q(closed_at__isnull=True),
                name="dj_wallet_discrepancy_one_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.payout_id}"


class HeardReport(models.Model):
    """A message of a bank that was taken in. The same one again changes nothing."""

    bank = models.CharField(max_length=64)
    message_id = models.CharField(max_length=200)
    payout = models.ForeignKey(Payout, on_delete=models.PROTECT, related_name="reports")
    outcome = models.CharField(max_length=10)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["bank", "message_id"], name="dj_wallet_report_heard_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.bank} {self.message_id}"
