"""What Prometheus is told. Events are counted when they happen: a scrape reads no table that grows with time.

With several processes set PROMETHEUS_MULTIPROC_DIR, so that each sees the counts of all.
"""

import os
from collections.abc import Iterator
from typing import Final

from django.db import transaction
from django.db.models import Count
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from . import runtime
from .models import ExchangeAccount, SupportedExchange

OWN: Final = CollectorRegistry()
REQUESTS: Final = Counter(
    "wallet_exchange_requests",
    "Requests to exchanges, by outcome.",
    ["exchange", "code"],
    registry=OWN,
)
SECONDS: Final = Histogram(
    "wallet_exchange_request_seconds",
    "How long exchanges took to answer.",
    ["exchange"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10),
    registry=OWN,
)
LIMITED: Final = Counter(
    "wallet_exchange_rate_limited",
    "Requests that an exchange's limit turned away.",
    ["exchange"],
    registry=OWN,
)
SYNCS: Final = Counter(
    "wallet_exchange_syncs",
    "Synchronizations that ended.",
    ["exchange", "status"],
    registry=OWN,
)
ACTIVITY: Final = Counter(
    "wallet_exchange_activity",
    "What was done to accounts and addresses.",
    ["exchange", "action"],
    registry=OWN,
)


def watch_requests() -> None:
    """Have the runtime tell of every request."""
    runtime.watch(count_request)


def count_request(exchange: str, code: str, seconds: float) -> None:
    """Count a request. Runs on the runtime's loop."""
    REQUESTS.labels(exchange, code).inc()
    SECONDS.labels(exchange).observe(seconds)
    if code == "RATE_LIMITED":
        LIMITED.labels(exchange).inc()


def count_activity(exchange: str, action: str) -> None:
    """Count what was done to an account or address, when the transaction has committed."""
    transaction.on_commit(lambda: ACTIVITY.labels(exchange, action).inc(), robust=True)


def count_sync(exchange: str, status: str) -> None:
    """Count a synchronization that ended, when the transaction has committed."""
    transaction.on_commit(lambda: SYNCS.labels(exchange, status).inc(), robust=True)


def render(*others: Collector) -> bytes:
    """Return everything in the text format of Prometheus, with what other apps collect."""
    registry = CollectorRegistry()
    for collector in (Rows(), *others):
        registry.register(collector)
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
    return generate_latest(registry) + generate_latest(OWN)


class Rows(Collector):
    """What the tables say when they are asked. No user is named."""

    def collect(self) -> Iterator[Metric]:
        yield _count_accounts()
        yield _tell_reachability()


def _count_accounts() -> Metric:
    """Counted in an index that has nothing else (`dj_wallet_exchange_count`)."""
    metric = GaugeMetricFamily(
        "wallet_exchange_accounts",
        "Connected accounts, by whether they are in use.",
        labels=["exchange", "active"],
    )
    rows = ExchangeAccount.objects.present().values_list("exchange_id", "is_active")
    for exchange, is_active, count in rows.annotate(count=Count("*")).order_by():
        metric.add_metric([exchange, str(is_active).lower()], count)
    return metric


def _tell_reachability() -> Metric:
    metric = GaugeMetricFamily(
        "wallet_exchange_up", "Whether the exchange was reached last.", labels=["exchange"]
    )
    rows = SupportedExchange.objects.filter(is_active=True).values_list("pk", "disrupted_at")
    for exchange, disrupted_at in rows:
        metric.add_metric([exchange], 0 if disrupted_at else 1)
    return metric
