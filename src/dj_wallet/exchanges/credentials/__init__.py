"""Sealing the credentials of an account, and opening them for its own record only.

An envelope: each record has a data key of its own (AES-256-GCM), which a key provider wraps. Both are bound to the
account, its user and its exchange: a row that is copied to another record does not open. No other module sees a secret
except the runtime, to which `open_credentials` is handed. See docs/decisions/0032.
"""

import json

from dj_wallet.exchanges.models import ExchangeAccount
from dj_wallet.exchanges.venues.contract import Credentials

from .envelope import Envelope, Sealed
from .fingerprint import make_fingerprint
from .providers import get_envelope

__all__ = [
    "Envelope",
    "Sealed",
    "make_fingerprint",
    "needs_rewrap",
    "open_credentials",
    "rewrap_key",
    "seal_credentials",
]


def seal_credentials(account: ExchangeAccount, credentials: Credentials) -> Sealed:
    """Return the credentials sealed for this account. May call a key service: never inside a transaction.

    :raises KeyUnavailable: no key to seal with can be had
    """
    fields = {
        "api_key": credentials.api_key,
        "api_secret": credentials.api_secret,
        "passphrase": credentials.passphrase,
    }
    return get_envelope().seal(json.dumps(fields).encode(), describe(account))


def open_credentials(account: ExchangeAccount) -> Credentials:
    """Return the credentials of an account. May call a key service: never inside a transaction.

    :raises KeyUnavailable: the key that wraps them cannot be had; they are not lost
    :raises SealBroken: they are not what was sealed for this account, or were erased
    """
    sealed = Sealed(account.sealed_key, account.sealed_credentials)
    return Credentials(**json.loads(get_envelope().open(sealed, describe(account))))


def needs_rewrap(account: ExchangeAccount) -> bool:
    """Tell whether the data key is wrapped by another key than the one that wraps new ones."""
    return get_envelope().needs_rewrap(account.sealed_key)


def rewrap_key(account: ExchangeAccount) -> str:
    """Return the data key wrapped anew; the credentials stay sealed as they are.

    :raises KeyUnavailable: the old or the new key cannot be had
    :raises SealBroken: the wrapped key is not what was wrapped for this account
    """
    return get_envelope().rewrap(account.sealed_key, describe(account))


def describe(account: ExchangeAccount) -> bytes:
    """Return what a seal is bound to."""
    parts = ("dj_wallet.exchanges", "v1", account.pk, account.user_id, account.exchange_id)
    return "|".join(str(part) for part in parts).encode()
