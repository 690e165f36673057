"""The outbox and what leaves it. State and constraints only: the services move it on."""

from uuid import uuid4

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Event(models.Model):
    """A fact for others to hear, written in the transaction in which it happened.

    The uuid is stable: who hears it twice knows it by that. The position is given once the event is committed and
    counts up without gaps, so that whoever asks for what came after a position misses nothing.
    """

    uuid = models.UUIDField(default=uuid4, unique=True, editable=False)
    type = models.CharField(max_length=100)
    # Events of one subject (a wallet, a payout) are told in the order in which they happened.
    subject = models.CharField(max_length=200)
    data = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    position = models.PositiveBigIntegerField(null=True, unique=True, editable=False)
    # The holder of the wallet that the subject names; others may not hear it.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, editable=False, on_delete=models.PROTECT,
        related_name="+",
    )  # fmt: skip

    class Meta:
        indexes = [
            models.Index(fields=["id"], condition=Q(position=None), name="dj_wallet_event_untold"),
            models.Index(fields=["user", "position"], name="dj_wallet_event_user"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.uuid}"


class Destination(models.Model):
    """Where events go: a webhook of a user or of the operator, or a bus that the settings name."""

    class Kind(models.TextChoices):
        WEBHOOK = "webhook", "Webhook"
        EVENTBRIDGE = "eventbridge", "EventBridge"
        RABBITMQ = "rabbitmq", "RabbitMQ"

    uuid = models.UUIDField(default=uuid4, unique=True, editable=False)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    # Without a user it is the operator's and hears everything.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE,
        related_name="+",
    )  # fmt: skip
    url = models.URLField(max_length=500, blank=True)
    event_types = models.JSONField(default=list, blank=True)
    # Sealed, the newest first; the second is signed with too until it has expired.
    secret = models.TextField(blank=True, editable=False)
    old_secret = models.TextField(blank=True, editable=False)
    old_secret_until = models.DateTimeField(null=True, editable=False)
    # After a failure nothing is sent before retry_at.
    failures = models.PositiveIntegerField(default=0, editable=False)
    failing_since = models.DateTimeField(null=True, editable=False)
    retry_at = models.DateTimeField(db_default=Now(), editable=False)
    disabled_at = models.DateTimeField(null=True, editable=False)
    disabled_reason = models.CharField(max_length=200, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind"],
                condition=~Q(kind="webhook"),
                name="dj_wallet_destination_one_of_each_bus",
            ),
            models.CheckConstraint(
                condition=~Q(kind="webhook") | ~Q(url="") & ~Q(secret=""),
                name="dj_wallet_destination_webhook_is_whole",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.url}".strip()


class Delivery(models.Model):
    """One event on its way to one destination.

        pending -> delivered | dead        dead, delivered -> pending (replayed by somebody)

    `token` is the claim's: a worker that lost its lease can no longer write. While one is claimed, `next_attempt_at`
    is when its lease ends.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        DELIVERED = "delivered", "Delivered"
        DEAD = "dead", "Dead"

    event = models.ForeignKey(Event, on_delete=models.PROTECT, related_name="deliveries")
    destination = models.ForeignKey(
        Destination, on_delete=models.CASCADE, related_name="deliveries"
    )
    # The event's, repeated: the next one of each subject is found by index.
    position = models.PositiveBigIntegerField(editable=False)
    subject = models.CharField(max_length=200, editable=False)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    token = models.UUIDField(null=True, editable=False)
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "deliveries"
        indexes = [
            models.Index(
                fields=["destination", "position"],
                condition=Q(status="pending"),
                name="dj_wallet_delivery_waiting",
            ),
            models.Index(
                fields=["destination", "subject", "position"],
                condition=Q(status="pending"),
                name="dj_wallet_delivery_subject",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["event", "destination"], name="dj_wallet_delivery_once"
            ),
        ]

    def __str__(self) -> str:
        return f"Delivery {self.pk} [{self.status}]"


class DeliveryAttempt(models.Model):
    """What came of one attempt. Never changed."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="log")
    attempted_at = models.DateTimeField(auto_now_add=True)
    outcome = models.CharField(max_length=20)
    answer = models.CharField(max_length=500, blank=True)
    duration_ms = models.PositiveIntegerField(null=True)

    def __str__(self) -> str:
        return f"{self.outcome} {self.attempted_at}"
