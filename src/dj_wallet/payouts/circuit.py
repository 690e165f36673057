"""The circuit breaker: a bank in trouble is left alone, and then asked with a single order before all come back."""

from collections.abc import Sequence
from datetime import timedelta

from django.db.models import F
from django.db.models.functions import Now

from .conf import get_setting
from .models import Circuit


def count_allowed(bank: str, wanted: int) -> int:
    """Return how many orders may go to the bank now: all that are wanted, none, or one to see how it is.

    Whoever is let through as the one keeps others out for CIRCUIT_SECONDS.
    """
    circuit = Circuit.objects.filter(pk=bank).first()
    if circuit is None or circuit.failures < get_setting("CIRCUIT_FAILURES"):
        return wanted
    turn = Circuit.objects.filter(pk=bank, open_until__lte=Now())
    return turn.update(open_until=Now() + _get_pause(), updated_at=Now())


def note_health(bank: str, healthy: Sequence[bool]) -> None:
    """Count the failures in a row, given how the last orders went, in order. The last success closes the circuit."""
    if not healthy:
        return
    trailing = next((at for at, was in enumerate(reversed(healthy)) if was), len(healthy))
    circuits = Circuit.objects.filter(pk=bank)
    if True in healthy:
        circuits.filter(failures__gt=0).update(failures=0, open_until=None, updated_at=Now())
    if not trailing:
        return
    Circuit.objects.get_or_create(bank=bank)
    circuits.update(failures=F("failures") + trailing, updated_at=Now())
    limit = get_setting("CIRCUIT_FAILURES")
    circuits.filter(failures__gte=limit).update(open_until=Now() + _get_pause())


def _get_pause() -> timedelta:
    return timedelta(seconds=get_setting("CIRCUIT_SECONDS"))
