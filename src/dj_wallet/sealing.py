"""Secrets that we must be able to read again (of authenticator apps, signing keys, webhooks), encrypted in the database.

The key comes from SECRET_KEY and from what the secret is for, so that nothing sealed in one place opens in another; what older ones of SECRET_KEY_FALLBACKS sealed can still be read.
"""

import base64
from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.utils.encoding import force_bytes


class SealBroken(Exception):
    """The text was sealed with another SECRET_KEY, or was tampered with."""


def seal(text: str, *, purpose: str) -> str:
    """Return the text encrypted with the present key of this purpose."""
    return _get_cipher(purpose).encrypt(text.encode()).decode()


def unseal(sealed: str, *, purpose: str) -> str:
    """Return the text that was sealed for this purpose.

    :raises SealBroken: see there
    """
    try:
        return _get_cipher(purpose).decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise SealBroken from None


def _get_cipher(purpose: str) -> MultiFernet:
    return _make_cipher((settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS), purpose)


@cache
def _make_cipher(secrets: tuple[str | bytes, ...], purpose: str) -> MultiFernet:
    return MultiFernet([Fernet(_derive(secret, purpose)) for secret in secrets])


def _derive(secret: str | bytes, purpose: str) -> bytes:
    info = f"dj_wallet.{purpose}.sealing".encode()
    derived = HKDF(SHA256(), length=32, salt=None, info=info).derive(force_bytes(secret))
    return base64.urlsafe_b64encode(derived)
