"""Secrets of webhooks: made here, shown once, kept sealed, since they sign what we send and must be read again."""

import base64
import secrets
from typing import Final

from dj_wallet import sealing

# The form that Standard Webhooks gives to secrets: https://www.standardwebhooks.com
PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
PURPOSE: Final = "webhooks"


def make_secret() -> str:
    """Return a new secret, as the receiver needs it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def seal(secret: str) -> str:
    """Return the secret as it may be stored."""
    return sealing.seal(secret, purpose=PURPOSE)


def open_sealed(sealed: str) -> str:
    """Return the secret that was sealed.

    :raises SealBroken: no key of ours sealed it
    """
    return sealing.unseal(sealed, purpose=PURPOSE)
