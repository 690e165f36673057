"""The outbox: one row for each thing that happened, written in the transaction in which it happened."""

from uuid import uuid4

from django.db import models


class Event(models.Model):
    """A fact for others to hear. Its uuid is stable: who hears it twice knows it by that."""

    uuid = models.UUIDField(default=uuid4, unique=True, editable=False)
    type = models.CharField(max_length=100)
    # Events of one subject (a wallet, a payout) are told in the order in which they happened.
    subject = models.CharField(max_length=200)
    data = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.type} {self.uuid}"
