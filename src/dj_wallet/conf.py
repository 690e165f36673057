"""The settings of the library: the dictionary DJ_WALLET, read when asked so that override_settings works."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from .ledger.money import MAX_DECIMAL_PLACES

DEFAULTS: Final[Mapping[str, Any]] = {
    "MATH_SCALE": 8,
    "DEFAULT_CURRENCY": "USD",
    "PENDING_TRANSACTION_EXPIRY_HOURS": 24,
    "WALLET_MODEL": "dj_wallet.Wallet",
    "TRANSACTION_MODEL": "dj_wallet.Transaction",
    "TRANSFER_MODEL": "dj_wallet.Transfer",
    "WALLET_MIXIN_CLASS": "dj_wallet.mixins.WalletMixin",
    "WALLET_SERVICE_CLASS": "dj_wallet.services.common.WalletService",
    "TRANSFER_SERVICE_CLASS": "dj_wallet.services.transfer.TransferService",
    "EXCHANGE_SERVICE_CLASS": "dj_wallet.services.exchange.ExchangeService",
    "PURCHASE_SERVICE_CLASS": "dj_wallet.services.purchase.PurchaseService",
    "STEP_UP": None,
}

PREFIX: Final = "WALLET_"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_dotted(value: Any) -> bool:
    return isinstance(value, str) and "." in value.strip(".")


Rule = tuple[Callable[[Any], bool], str]

RULES: Final[Mapping[str, Rule]] = {
    "MATH_SCALE": (
        lambda value: _is_whole(value) and 0 <= value <= MAX_DECIMAL_PLACES,
        f"a whole number from 0 to {MAX_DECIMAL_PLACES}",
    ),
    "DEFAULT_CURRENCY": (
        lambda value: isinstance(value, str) and 1 <= len(value) <= 32,
        "a code of 1 to 32 characters",
    ),
    "PENDING_TRANSACTION_EXPIRY_HOURS": (
        lambda value: _is_whole(value) and value >= 1,
        "a whole number of hours, at least 1",
    ),
    "STEP_UP": (lambda value: value is None or _is_dotted(value), "a dotted path or None"),
}
DOTTED: Final[Rule] = (_is_dotted, "a dotted path")


class WalletSettings:
    """Attribute access to DJ_WALLET with defaults; `WALLET_MATH_SCALE` and `MATH_SCALE` are the same setting.

    A value that was read is kept until Django says that the setting changed (override_settings): every movement reads
    several, and each reading costs as much as building a record.

    :raises ImproperlyConfigured: when reading a setting whose value makes no sense
    """

    def __getattr__(self, name: str) -> Any:
        setting = find_setting(name)
        if setting is None:
            raise AttributeError(f"There is no setting {name!r}.")
        given = read_user_settings()
        value = next(
            (given[key] for key in list_spellings(setting) if key in given), DEFAULTS[setting]
        )
        is_valid, expected = RULES.get(setting, DOTTED)
        if not is_valid(value):
            raise ImproperlyConfigured(f"DJ_WALLET[{setting!r}] must be {expected}, not {value!r}.")
        self.__dict__[name] = value
        return value

    def forget(self, *, setting: str, **kwargs: Any) -> None:
        """Read anew what changed; a receiver of Django's `setting_changed`."""
        if setting in ("DJ_WALLET", "dj_wallet"):
            self.__dict__.clear()


def find_setting(name: str) -> str | None:
    """Return the setting that this key of the dictionary stands for, or None."""
    return next(
        (one for one in (name, name.removeprefix(PREFIX), PREFIX + name) if one in DEFAULTS), None
    )


def list_spellings(setting: str) -> tuple[str, ...]:
    """Return the keys of the dictionary that stand for the setting: release 0.1.0 took both, with the prefix and without."""
    return setting, setting.removeprefix(PREFIX), PREFIX + setting


def read_user_settings() -> Mapping[str, Any]:
    """Return DJ_WALLET, or the lower-case dj_wallet of the 0.1.0 README where Django can see it."""
    given: Mapping[str, Any] = (
        getattr(settings, "DJ_WALLET", None) or getattr(settings, "dj_wallet", None) or {}
    )
    return given


wallet_settings = WalletSettings()
setting_changed.connect(wallet_settings.forget)
