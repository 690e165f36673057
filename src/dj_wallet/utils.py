"""The models and classes that the settings name."""

from functools import cache
from typing import TYPE_CHECKING, Any, cast

from django.apps import apps
from django.utils.module_loading import import_string

from .conf import wallet_settings

if TYPE_CHECKING:
    from .mixins import WalletMixin
    from .models import Transaction, Transfer, Wallet
    from .services.common import WalletService
    from .services.exchange import ExchangeService
    from .services.purchase import PurchaseService
    from .services.transfer import TransferService


def get_wallet_model() -> "type[Wallet]":
    """Return the model of DJ_WALLET["WALLET_MODEL"]."""
    return cast("type[Wallet]", _get_model("WALLET_MODEL"))


def get_transaction_model() -> "type[Transaction]":
    """Return the model of DJ_WALLET["TRANSACTION_MODEL"]."""
    return cast("type[Transaction]", _get_model("TRANSACTION_MODEL"))


def get_transfer_model() -> "type[Transfer]":
    """Return the model of DJ_WALLET["TRANSFER_MODEL"]."""
    return cast("type[Transfer]", _get_model("TRANSFER_MODEL"))


def _get_model(setting: str) -> Any:
    return _find_model(getattr(wallet_settings, setting))


# The registry takes 3 µs, and a cart of 50 items asks for 150 models.
_find_model = cache(apps.get_model)


# Django's asks the module for the class each time, and a payment asks for six classes.
_find_class = cache(import_string)


def get_wallet_service() -> "type[WalletService]":
    """Return the class of DJ_WALLET["WALLET_SERVICE_CLASS"]."""
    return cast("type[WalletService]", _find_class(wallet_settings.WALLET_SERVICE_CLASS))


def get_transfer_service() -> "type[TransferService]":
    """Return the class of DJ_WALLET["TRANSFER_SERVICE_CLASS"]."""
    return cast("type[TransferService]", _find_class(wallet_settings.TRANSFER_SERVICE_CLASS))


def get_exchange_service() -> "type[ExchangeService]":
    """Return the class of DJ_WALLET["EXCHANGE_SERVICE_CLASS"]."""
    return cast("type[ExchangeService]", _find_class(wallet_settings.EXCHANGE_SERVICE_CLASS))


def get_purchase_service() -> "type[PurchaseService]":
    """Return the class of DJ_WALLET["PURCHASE_SERVICE_CLASS"]."""
    return cast("type[PurchaseService]", _find_class(wallet_settings.PURCHASE_SERVICE_CLASS))


def get_wallet_mixin() -> "type[WalletMixin]":
    """Return the class of DJ_WALLET["WALLET_MIXIN_CLASS"]."""
    return cast("type[WalletMixin]", _find_class(wallet_settings.WALLET_MIXIN_CLASS))
