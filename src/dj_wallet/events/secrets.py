"""Secrets of webhooks: made here, shown once, kept sealed.

They sign what we send, so they must be read again and cannot be hashed. They are sealed with a key that is drawn from
SECRET_KEY; one of SECRET_KEY_FALLBACKS still opens them.
"""

import base64
import hashlib
import secrets
from typing import Final

from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings
from django.utils.encoding import force_bytes

# The form that Standard Webhooks gives to secrets: https://www.standardwebhooks.com
PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32


def make_secret() -> str:
    """Return a new secret, as the receiver needs it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def seal(secret: str) -> str:
    """Return the secret as it may be stored."""
    return _get_keys().encrypt(secret.encode()).decode()


def open_sealed(sealed: str) -> str:
    """Return the secret that was sealed.

    :raises cryptography.fernet.InvalidToken: no key of ours sealed it
    """
    return _get_keys().decrypt(sealed.encode()).decode()


def _get_keys() -> MultiFernet:
    return MultiFernet([
        Fernet(_draw_key(key)) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    ])  # fmt: skip


def _draw_key(secret_key: str | bytes) -> bytes:
    digest = hashlib.sha256(b"dj_wallet.events.secrets" + force_bytes(secret_key)).digest()
    return base64.urlsafe_b64encode(digest)
