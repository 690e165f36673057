"""System checks of the settings, run by every `manage.py` command."""

import sys
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .abstract_models import AbstractTransaction, AbstractTransfer, AbstractWallet
from .conf import DEFAULTS, find_setting, read_user_settings, wallet_settings

MODELS = {
    "WALLET_MODEL": AbstractWallet,
    "TRANSACTION_MODEL": AbstractTransaction,
    "TRANSFER_MODEL": AbstractTransfer,
}


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Return what is wrong with DJ_WALLET.

    W001 a lower-case dictionary that Django does not read, W002 a key that is no setting, E001 a value that makes no
    sense, E002 a model that is none, E003 a class that cannot be imported, E004 transactions of your own with our
    transfers.
    """
    return [
        *_check_lower_case(),
        *_check_keys(),
        *_check_values(),
    ]


def _check_lower_case() -> Iterator[CheckMessage]:
    module = sys.modules.get(getattr(settings, "SETTINGS_MODULE", None) or "")
    unread = getattr(module, "dj_wallet", None)
    if isinstance(unread, dict) and getattr(settings, "dj_wallet", None) is not unread:
        yield Warning(
            f"dj_wallet = {{...}} in your settings is not read ({', '.join(map(str, unread))}).",
            hint="Django reads upper-case names only: call it DJ_WALLET.",
            id="dj_wallet.W001",
        )


def _check_keys() -> Iterator[CheckMessage]:
    for key in read_user_settings():
        if find_setting(str(key)) is None:
            yield Warning(f"DJ_WALLET[{key!r}] is no setting.", id="dj_wallet.W002")


def _check_values() -> Iterator[CheckMessage]:
    for setting in DEFAULTS:
        try:
            value = getattr(wallet_settings, setting)
        except ImproperlyConfigured as error:
            yield Error(str(error), id="dj_wallet.E001")
            continue
        if setting in MODELS:
            yield from _check_model(setting, value)
        elif setting.endswith("_CLASS") or (setting == "STEP_UP" and value):
            yield from _check_class(setting, value)
    yield from _check_records()


def _check_model(setting: str, label: str) -> Iterator[CheckMessage]:
    base = MODELS[setting]
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError) as error:
        yield Error(f"DJ_WALLET[{setting!r}]: {error}", id="dj_wallet.E002")
        return
    if not issubclass(model, base):
        yield Error(f"DJ_WALLET[{setting!r}]: {label} is no {base.__name__}.", id="dj_wallet.E002")


def _check_class(setting: str, path: str) -> Iterator[CheckMessage]:
    try:
        import_string(path)
    except ImportError as error:
        yield Error(f"DJ_WALLET[{setting!r}]: {error}", id="dj_wallet.E003")


def _check_records() -> Iterator[CheckMessage]:
    """The table of our transfers refers to that of our transactions."""
    try:
        own, default = (
            wallet_settings.TRANSACTION_MODEL.lower(),
            DEFAULTS["TRANSACTION_MODEL"].lower(),
        )
        transfers = wallet_settings.TRANSFER_MODEL.lower()
    except ImproperlyConfigured:
        return
    if own != default and transfers == DEFAULTS["TRANSFER_MODEL"].lower():
        yield Error(
            "A TRANSACTION_MODEL of your own needs a TRANSFER_MODEL of your own.",
            hint="class MyTransfer(AbstractTransfer): pass",
            id="dj_wallet.E004",
        )
