"""Secrets that we must be able to read again (of authenticator apps, of signing keys), encrypted in the database.

The key comes from SECRET_KEY; what older ones of SECRET_KEY_FALLBACKS sealed can still be read.
"""

import base64
from functools import cache
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

PURPOSE: Final = b"dj_wallet.identity.sealing"


class SealBroken(Exception):
    """The text was sealed with another SECRET_KEY, or was tampered with."""


def seal(text: str) -> str:
    """Return the text encrypted with the present key."""
    return _get_cipher().encrypt(text.encode()).decode()


def unseal(sealed: str) -> str:
    """Return the text that was sealed.

    :raises SealBroken: see there
    """
    try:
        return _get_cipher().decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise SealBroken from None


def _get_cipher() -> MultiFernet:
    return _make_cipher((settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))


@cache
def _make_cipher(secrets: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(_derive(secret)) for secret in secrets])


def _derive(secret: str) -> bytes:
    derived = HKDF(SHA256(), length=32, salt=None, info=PURPOSE).derive(secret.encode())
    return base64.urlsafe_b64encode(derived)
