"""The settings of the library: the dictionary DJ_WALLET, read when asked so that override_settings works."""

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from .ledger.money import MAX_DECIMAL_PLACES

DEFAULTS: Final[Mapping[str, Any]] = {
    "MATH_SCALE": 8,
    "DEFAULT_CURRENCY": "USD",
    "WALLET_SERVICE_CLASS": "dj_wallet.services.common.WalletService",
    "TRANSFER_SERVICE_CLASS": "dj_wallet.services.transfer.TransferService",
}


class WalletSettings:
    """Attribute access to DJ_WALLET with defaults; `WALLET_MATH_SCALE` and `MATH_SCALE` are the same setting."""

    def __getattr__(self, name: str) -> Any:
        plain = name if name in DEFAULTS else name.removeprefix("WALLET_")
        if plain not in DEFAULTS:
            raise AttributeError(f"There is no setting {name!r}.")
        given = read_user_settings()
        value = given.get(plain, given.get(f"WALLET_{plain}", DEFAULTS[plain]))
        if plain == "MATH_SCALE" and not (
            isinstance(value, int) and 0 <= value <= MAX_DECIMAL_PLACES
        ):
            raise ImproperlyConfigured(
                f"MATH_SCALE must be a whole number from 0 to {MAX_DECIMAL_PLACES}."
            )
        return value


def read_user_settings() -> Mapping[str, Any]:
    """Return DJ_WALLET, or the lower-case dj_wallet of the 0.1.0 README where Django can see it."""
    given: Mapping[str, Any] = (
        getattr(settings, "DJ_WALLET", None) or getattr(settings, "dj_wallet", None) or {}
    )
    return given


wallet_settings = WalletSettings()
