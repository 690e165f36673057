"""System checks: that credentials can be sealed, and that limits of keys are kept."""

from typing import Any

from django.conf import settings
from django.core import checks

from .credentials.providers import get_envelope
from .errors import KeyUnavailable

POLICIES = ("refuse", "warn")


def register() -> None:
    """Have `manage.py check` ask."""
    checks.register(check_policy)
    checks.register(check_keys, deploy=True)


def check_policy(**kwargs: Any) -> list[checks.CheckMessage]:
    """dj_wallet_exchanges.E001: a policy that is none."""
    if settings.EXCHANGES_PERMISSION_POLICY in POLICIES:
        return []
    return [
        checks.Error(
            "EXCHANGES_PERMISSION_POLICY must be refuse or warn.", id="dj_wallet_exchanges.E001"
        )
    ]


def check_keys(**kwargs: Any) -> list[checks.CheckMessage]:
    """dj_wallet_exchanges.W001: nobody can connect an exchange, since nothing seals its credentials."""
    try:
        get_envelope()
    except KeyUnavailable as error:
        return [checks.Warning(str(error), id="dj_wallet_exchanges.W001")]
    return []
