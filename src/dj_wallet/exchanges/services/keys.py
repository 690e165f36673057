"""Wrapping the data keys of all accounts by today's key, while everything runs."""

import binascii
from base64 import urlsafe_b64decode
from collections import Counter
from typing import Any

from dj_wallet.exchanges.credentials import needs_rewrap, rewrap_key
from dj_wallet.exchanges.errors import VenueError
from dj_wallet.exchanges.models import ExchangeAccount


def count_keys() -> Counter[str]:
    """Return how many accounts each key wraps, by provider and id."""
    wrapped = ExchangeAccount.objects.exclude(sealed_key="").values_list("sealed_key", flat=True)
    return Counter(_name_key(text) for text in wrapped.iterator())


def rewrap_all() -> tuple[int, dict[Any, str]]:
    """Wrap by today's key what another one wraps; return how many, and the codes of those that could not be.

    Online: the credentials stay sealed as they are, and an account whose owner changes the key meanwhile is left alone.
    Idempotent. Must not run inside a transaction: a key service may be asked.
    """
    done, failures = 0, {}
    for account in ExchangeAccount.objects.exclude(sealed_key="").order_by("pk").iterator():
        try:
            if needs_rewrap(account):
                done += _swap(account, rewrap_key(account))
        except VenueError as error:
            failures[account.pk] = error.code
    return done, failures


def _swap(account: ExchangeAccount, wrapped: str) -> int:
    same = ExchangeAccount.objects.filter(pk=account.pk, sealed_key=account.sealed_key)
    return same.update(sealed_key=wrapped)


def _name_key(wrapped: str) -> str:
    parts = wrapped.split(".")
    try:
        key_id = urlsafe_b64decode(parts[2] + "=" * (-len(parts[2]) % 4)).decode(errors="replace")
    except (IndexError, binascii.Error, ValueError):
        return "unreadable"
    return f"{parts[1]} {key_id}"
