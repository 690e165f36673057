"""What Prometheus is told. Requests to exchanges are counted where they are made; all else is counted in the database.

With several processes set PROMETHEUS_MULTIPROC_DIR, so that each sees the counts of all.
"""

import os
from collections.abc import Iterator
from typing import Final

from django.db.models import Count, F
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from . import runtime
from .models import AddressActivityLog, AddressSyncLog, ExchangeAccount, SupportedExchange

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


def watch_requests() -> None:
    """Have the runtime tell of every request."""
    runtime.watch(count_request)


def count_request(exchange: str, code: str, seconds: float) -> None:
    """Count a request. Runs on the runtime's loop."""
    REQUESTS.labels(exchange, code).inc()
    SECONDS.labels(exchange).observe(seconds)
    if code == "RATE_LIMITED":
        LIMITED.labels(exchange).inc()


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
        yield _count_syncs()
        yield _count_activity()
        yield _tell_reachability()


def _count_accounts() -> Metric:
    metric = GaugeMetricFamily(
        "wallet_exchange_accounts",
        "Connected accounts, by whether they are in use.",
        labels=["exchange", "active"],
    )
    rows = ExchangeAccount.objects.present().values_list("exchange_id", "is_active")
    for exchange, is_active, count in rows.annotate(count=Count("pk")).order_by():
        metric.add_metric([exchange, str(is_active).lower()], count)
    return metric


def _count_syncs() -> Metric:
    metric = CounterMetricFamily(
        "wallet_exchange_syncs", "Synchronizations that ended.", labels=["exchange", "status"]
    )
    ended = AddressSyncLog.objects.exclude(status__in=AddressSyncLog.OPEN)
    rows = ended.values_list(F("exchange_account__exchange_id"), "status")
    for exchange, status, count in rows.annotate(count=Count("pk")).order_by():
        metric.add_metric([exchange, status], count)
    return metric


def _count_activity() -> Metric:
    """Address creation, update and rotation, and what users do, by exchange."""
    metric = CounterMetricFamily(
        "wallet_exchange_activity",
        "What was done to accounts and addresses.",
        labels=["exchange", "action"],
    )
    rows = AddressActivityLog.objects.values_list(F("exchange_account__exchange_id"), "action")
    for exchange, action, count in rows.annotate(count=Count("pk")).order_by():
        metric.add_metric([exchange, action], count)
    return metric


def _tell_reachability() -> Metric:
    metric = GaugeMetricFamily(
        "wallet_exchange_up", "Whether the exchange was reached last.", labels=["exchange"]
    )
    rows = SupportedExchange.objects.filter(is_active=True).values_list("pk", "disrupted_at")
    for exchange, disrupted_at in rows:
        metric.add_metric([exchange], 0 if disrupted_at else 1)
    return metric
