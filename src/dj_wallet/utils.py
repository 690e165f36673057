"""The service classes that the settings name."""

from typing import TYPE_CHECKING, cast

from django.utils.module_loading import import_string

from .conf import wallet_settings

if TYPE_CHECKING:
    from .services.common import WalletService
    from .services.transfer import TransferService


def get_wallet_service() -> "type[WalletService]":
    """Return the class of DJ_WALLET["WALLET_SERVICE_CLASS"]."""
    return cast("type[WalletService]", import_string(wallet_settings.WALLET_SERVICE_CLASS))


def get_transfer_service() -> "type[TransferService]":
    """Return the class of DJ_WALLET["TRANSFER_SERVICE_CLASS"]."""
    return cast("type[TransferService]", import_string(wallet_settings.TRANSFER_SERVICE_CLASS))
