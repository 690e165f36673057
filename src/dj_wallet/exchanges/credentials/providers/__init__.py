"""Where wrapping keys are kept, by name. Adding a provider is one module and one line here."""

import os
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any, Final, cast

from django.conf import settings

from dj_wallet.exchanges.credentials.envelope import Envelope, KeyProvider
from dj_wallet.exchanges.errors import KeyUnavailable

# Imported when they are named: each needs a package of its own.
MODULES: Final = {
    "environment": "environment",
    "aws": "aws",
    "vault": "vault",
    "pkcs11": "pkcs11",
}


def get_envelope() -> Envelope:
    """Return the envelope that the settings describe; the first provider seals, all open.

    :raises KeyUnavailable: no provider is configured, or one of them makes no sense
    """
    names = tuple(settings.EXCHANGES_KEY_PROVIDERS)
    options = tuple(sorted(settings.EXCHANGES_KEY_OPTIONS.items()))
    return _make_envelope(names, options, os.getpid())


@lru_cache(maxsize=8)
def _make_envelope(
    names: tuple[str, ...], options: tuple[tuple[str, str], ...], pid: int
) -> Envelope:
    """The process is part of the key: sessions with a key service do not survive a fork."""
    if not names:
        raise KeyUnavailable("No key provider is configured.")
    return Envelope([make_provider(name, dict(options)) for name in names])


def make_provider(name: str, options: dict[str, str]) -> KeyProvider:
    """Return the provider of this name.

    :raises KeyUnavailable: there is none, its package is missing, or its options make no sense
    """
    if name not in MODULES:
        raise KeyUnavailable(f"There is no key provider {name!r}.")
    try:
        module: Any = import_module(f"{__name__}.{MODULES[name]}")
    except ImportError as error:
        raise KeyUnavailable(
            f"The key provider {name!r} needs the package {error.name!r}."
        ) from None
    make = cast(Callable[[dict[str, str]], KeyProvider], module.make_provider)
    return make(options)


def need(options: dict[str, str], *names: str) -> list[str]:
    """Return these options.

    :raises KeyUnavailable: one is missing
    """
    missing = [name for name in names if not options.get(name)]
    if missing:
        raise KeyUnavailable(f"Keys cannot be had: {', '.join(missing)} is not set.")
    return [options[name] for name in names]
