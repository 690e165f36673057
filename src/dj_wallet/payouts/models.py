"""Instructions to pay a bank. State and constraints only: the services move them on."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from dj_wallet.ledger.ids import uuid7


class PayoutQuerySet(models.QuerySet["Payout"]):
    """Filters on payouts. Time is the database's: the clocks of workers may differ."""

    def get_due_pending_withdrawals(self) -> "PayoutQuerySet":
        """Return the payouts that wait and whose time has come, the longest due first."""
        is_due = Q(scheduled_for__isnull=True) | Q(scheduled_for__lte=Now())
        return self.filter(is_due, status=Payout.Status.PENDING).order_by("scheduled_for", "id")

    def lapsed(self) -> "PayoutQuerySet":
        """Return the payouts whose worker has not reported within its lease."""
        return self.filter(status=Payout.Status.PROCESSING, lease_until__lt=Now())


class Payout(models.Model):
    """A withdrawal to a bank. The transaction says what the holder sees, this row how the paying goes.

        pending -> processing -> settled | failed | unknown
           ^------------'  (the bank was provably not called)

    `token` grows with each claim, so that a worker that lost its lease can no longer write. `sent_at` is committed
    before the bank is called: while it is empty, the bank knows nothing of this payout.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        PROCESSING = "processing", "Processing"
        SETTLED = "settled", "Settled"
        FAILED = "failed", "Failed"
        UNKNOWN = "unknown", "Unknown"

    uuid = models.UUIDField(default=uuid7, editable=False, unique=True)
    transaction = models.OneToOneField(
        "dj_wallet.Transaction", on_delete=models.PROTECT, related_name="payout", editable=False
    )
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    scheduled_for = models.DateTimeField(null=True, help_text="Empty means as soon as possible")
    attempts = models.PositiveIntegerField(default=0)
    token = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    bank_response = models.JSONField(null=True)
    failure_code = models.CharField(max_length=64, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = PayoutQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["scheduled_for", "id"],
                condition=Q(status="pending"),
                name="dj_wallet_payout_pending",
            ),
            models.Index(
                fields=["lease_until"],
                condition=Q(status="processing"),
                name="dj_wallet_payout_processing",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=~Q(status="processing") | Q(lease_until__isnull=False),
                name="dj_wallet_payout_processing_has_lease",
            ),
            models.CheckConstraint(
                condition=Q(status="failed") | Q(failure_code=""),
                name="dj_wallet_payout_only_failed_has_code",
            ),
        ]

    def __str__(self) -> str:
        return f"Payout {self.uuid} [{self.status}]"
