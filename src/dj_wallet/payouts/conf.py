"""The settings of payouts, in one place: `PAYOUTS` in the Django settings, over these defaults."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from django.conf import settings

DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType({
    # Banks by name: {"ADAPTER": dotted path, **options of the adapter}.
    "BANKS": {},
    # How often an order that failed is sent again.
    "MAX_RETRIES": 3,
    # A wait is drawn between zero and BACKOFF_SECONDS, doubled with each try up to BACKOFF_MAX_SECONDS (full jitter).
    "BACKOFF_SECONDS": 10,
    "BACKOFF_MAX_SECONDS": 600,
    # An outcome that is unknown for so long is given to an operator.
    "REVIEW_AFTER_SECONDS": 24 * 3600,
    # So many workers in a row may die or break on one payout before it is given to an operator.
    "MAX_LAPSES": 10,
    # What the lease of a worker holds beyond two calls of the bank: time for the database.
    "LEASE_SLACK_SECONDS": 5,
    # After so many failures in a row a bank is left alone for CIRCUIT_SECONDS, then asked with a single order.
    "CIRCUIT_FAILURES": 10,
    "CIRCUIT_SECONDS": 10,
    # Orders that one worker has under way at once.
    "BATCH_SIZE": 32,
})  # fmt: skip


def get_setting(name: str) -> Any:
    """Return one setting."""
    return getattr(settings, "PAYOUTS", {}).get(name, DEFAULTS[name])
