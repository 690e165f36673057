"""What Prometheus is told of the networks: asked of the rows when it asks. No user is named."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dj_wallet.ledger.models import Account
from dj_wallet.ledger.money import EXACT, ZERO
from dj_wallet.ledger.queries import get_balance

from .health import Health, list_health
from .models import Reconciliation


class Networks(Collector):
    """Gauges with a value for each network; what is not known is left out."""

    def collect(self) -> Iterator[Metric]:
        networks = list_health()
        yield _gauge("height", "How far we have read.", [(one, one.height) for one in networks])
        yield _gauge("node_height", "How far it is.", [(one, one.node_height) for one in networks])
        yield _gauge(
            "frozen", "1 while nothing leaves.", [(one, one.is_frozen) for one in networks]
        )
        yield _gauge(
            "look_age_seconds",
            "Since the node was last asked.",
            [(one, _count_seconds(one.look_age)) for one in networks],
        )
        yield _gauge(
            "oldest_withdrawal_seconds",
            "Age of the oldest withdrawal that is not confirmed.",
            [(one, _count_seconds(one.withdrawal_age)) for one in networks],
        )
        yield _gauge(
            "hot_balance",
            "What our unspent outputs were worth at the last reconciliation.",
            [(one, _find_hot_balance(one.network)) for one in networks],
        )
        yield _gauge(
            "liabilities",
            "What the wallets of its coin hold.",
            [(one, _sum_liabilities(one.asset)) for one in networks],
        )


def _gauge(name: str, text: str, values: list[tuple[Health, Decimal | float | None]]) -> Metric:
    metric = GaugeMetricFamily(f"wallet_chain_{name}", text, labels=["network"])
    for network, value in values:
        if value is not None:
            metric.add_metric([network.network], float(value))
    return metric


def _count_seconds(age: timedelta | None) -> float | None:
    return None if age is None else age.total_seconds()


def _find_hot_balance(network: str) -> Decimal | None:
    last = Reconciliation.objects.filter(chain=network).order_by("-pk")
    return last.values_list("outputs", flat=True).first()


def _sum_liabilities(asset: str) -> Decimal:
    """Return what the wallets hold, by the few accounts of our own side: together they are zero."""
    ours = Account.objects.filter(kind=Account.Kind.SYSTEM, asset=asset)
    total = ZERO
    for pk in ours.values_list("pk", flat=True):
        total = EXACT.add(total, get_balance(pk))
    return EXACT.subtract(ZERO, total)
