"""Reads of payouts that span models: timelines, and the queue of the operators."""

from typing import Any, NamedTuple

from django.db.models import QuerySet

from .models import Payout, PayoutStep


class Event(NamedTuple):
    """One line of a timeline."""

    kind: str
    at: Any
    attempt: int
    detail: dict[str, Any]
    actor: str


def list_timeline(payout: Payout) -> list[Event]:
    """Return what happened to the payout, from its request on."""
    first = Event("requested", payout.created_at, 0, {}, "")
    steps = PayoutStep.objects.filter(payout=payout).order_by("pk")
    return [
        first,
        *(Event(one.kind, one.created_at, one.attempt, one.detail, one.actor) for one in steps),
    ]


def list_undecided() -> QuerySet[Payout]:
    """Return the payouts that an operator should look at, the oldest doubt first."""
    return Payout.objects.undecided().select_related("transaction__wallet")


def list_banks_with_payouts() -> list[str]:
    """Return the banks that workers have something to do for now or later: one look into the index for each."""
    waiting = Payout.objects.filter(due_at__isnull=False).order_by("bank", "due_at", "id")
    banks: list[str] = []
    while bank := waiting.filter(bank__gt=banks[-1] if banks else "").values_list("bank").first():
        banks.append(*bank)
    return banks
