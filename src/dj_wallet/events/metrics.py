"""What Prometheus is told of the outbox."""

from collections.abc import Iterator
from datetime import datetime

from django.db.models.functions import Now
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .models import Delivery, Event


class Outbox(Collector):
    """How long the oldest event waits to be told: to be given its position, or to arrive where it is wanted."""

    def collect(self) -> Iterator[Metric]:
        age = GaugeMetricFamily(
            "wallet_outbox_age_seconds", "Age of the oldest event that waits.", labels=["for"]
        )
        untold = Event.objects.filter(position=None).order_by("pk")
        waiting = Delivery.objects.filter(
            status=Delivery.Status.PENDING, destination__disabled_at=None
        ).order_by("position")
        for reason, rows, column in (
            ("position", untold, "created_at"),
            ("delivery", waiting, "event__created_at"),
        ):
            found = rows.annotate(now=Now()).values_list(column, "now").first()
            age.add_metric([reason], _get_age(found))
        yield age


def _get_age(found: tuple[datetime, datetime] | None) -> float:
    return 0 if found is None else (found[1] - found[0]).total_seconds()
