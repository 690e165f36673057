"""How the networks fare, for monitors: what the scanner noted, and how long things have been waiting."""

from datetime import timedelta
from typing import Any, Final, NamedTuple

from django.db.models import DurationField, ExpressionWrapper, F, OuterRef, Subquery
from django.db.models.functions import Least, Now

from .models import Chain, Spend, WithdrawalRequest

Status: Final = WithdrawalRequest.Status


class Health(NamedTuple):
    """One network. What is not known yet is None; ages are by the database's clock."""

    network: str
    asset: str
    state: str
    is_frozen: bool
    height: int | None
    node_height: int | None
    look_age: timedelta | None
    """Since the scanner last asked the node."""
    withdrawal_age: timedelta | None
    """Of the oldest withdrawal that is not confirmed."""

    @property
    def blocks_behind(self) -> int | None:
        """How many blocks of the node's we have not read."""
        if self.height is None or self.node_height is None:
            return None
        return max(0, self.node_height - self.height)


def list_health() -> list[Health]:
    """Return how each network fares. One query; its cost does not grow with what is over."""
    chains = Chain.objects.order_by("pk").annotate(
        look_age=_since(F("scanned_at")),
        # LEAST passes over what is null.
        withdrawal_age=_since(Least(*_list_oldest())),
    )
    return [
        Health(
            chain.pk,
            chain.asset_id,
            chain.state,
            bool(chain.frozen_because),
            chain.height,
            chain.node_height,
            chain.look_age,
            chain.withdrawal_age,
        )
        for chain in chains
    ]


def _since(moment: F | Least) -> "ExpressionWrapper[Any]":
    return ExpressionWrapper(Now() - moment, output_field=DurationField())


def _list_oldest() -> list[Subquery]:
    """Return when the oldest withdrawal of each open status was asked for: the first rows of small indexes."""
    requests = WithdrawalRequest.objects.filter(chain=OuterRef("pk")).order_by("pk")
    spends = Spend.objects.filter(chain=OuterRef("pk"), settled__isnull=True).order_by("pk")
    signing = spends.filter(withdrawal__status=Status.PROCESSING)
    return [
        Subquery(requests.filter(status=Status.PENDING).values("created_at")[:1]),
        Subquery(signing.values("withdrawal__created_at")[:1]),
        Subquery(requests.filter(status=Status.BROADCAST).values("created_at")[:1]),
    ]
