"""Signed requests between services: the secret never travels, and a request that was heard is not heard twice.

    Authorization: WALLET-HMAC-SHA256 Key=<prefix>, Timestamp=<unix seconds>, Nonce=<text>, Signature=<hex>

The signature is HMAC-SHA256, under the secret of the API key, over what `describe` returns.
"""

import hashlib
import hmac
import re
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from django.db import IntegrityError, transaction
from django.utils import timezone

from dj_wallet.sealing import SealBroken, unseal

from .errors import SignatureInvalid
from .key_text import parse_key_text
from .models import ApiKey, UsedNonce

SCHEME: Final = "WALLET-HMAC-SHA256"
# How far the clocks of two services may differ.
WINDOW: Final = timedelta(minutes=5)
_FIELDS: Final = re.compile(
    r"Key=([a-z0-9]{12}), ?Timestamp=([0-9]{1,12}), ?Nonce=([A-Za-z0-9_-]{16,64}), ?Signature=([0-9a-f]{64})",
    re.ASCII,
)


class Signature(NamedTuple):
    """What the header says."""

    prefix: str
    timestamp: int
    nonce: str
    value: str


def parse_signature(credentials: str) -> Signature:
    """Return the fields behind the scheme of an Authorization header.

    :raises SignatureInvalid: they are not there, or not in this order
    """
    match = _FIELDS.fullmatch(credentials.strip())
    if match is None:
        raise SignatureInvalid("malformed")
    return Signature(match[1], int(match[2]), match[3], match[4])


def describe(timestamp: int, nonce: str, method: str, target: str, body: bytes) -> bytes:
    """Return what is signed: everything that says what the request does, a line each.

    :param target: path and query as they are sent
    """
    digest = hashlib.sha256(body).hexdigest()
    return "\n".join([SCHEME, str(timestamp), nonce, method.upper(), target, digest]).encode()


def sign(secret: str, text: bytes) -> str:
    """Return the signature in hex."""
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def make_header(key_text: str, method: str, target: str, body: bytes = b"") -> str:
    """Return the Authorization header of a request that is sent now: what a calling service does.

    :raises ValueError: the text is no API key
    """
    parts = parse_key_text(key_text)
    if parts is None:
        raise ValueError("This is no API key.")
    timestamp, nonce = int(time.time()), secrets.token_urlsafe(18)
    value = sign(parts.secret, describe(timestamp, nonce, method, target, body))
    return f"{SCHEME} Key={parts.prefix}, Timestamp={timestamp}, Nonce={nonce}, Signature={value}"


def verify_signature(
    signature: Signature, api_key: ApiKey, *, method: str, target: str, body: bytes
) -> None:
    """Accept the request, this once. Commits the nonce, so call it outside of a transaction.

    :raises SignatureInvalid: the signature is wrong or too old, or the request was accepted before
    """
    now = timezone.now()
    if not _is_near(signature.timestamp, now):
        raise SignatureInvalid("the timestamp is too far away")
    try:
        secret = unseal(api_key.signing_secret, purpose="identity")
    except SealBroken:
        raise SignatureInvalid("the key was sealed with another SECRET_KEY") from None
    text = describe(signature.timestamp, signature.nonce, method, target, body)
    if not hmac.compare_digest(sign(secret, text), signature.value):
        raise SignatureInvalid("the signature does not match")
    _use_nonce(api_key, signature.nonce, now)


def _is_near(timestamp: int, now: datetime) -> bool:
    try:
        return abs(now - datetime.fromtimestamp(timestamp, UTC)) <= WINDOW
    except (OverflowError, ValueError, OSError):
        return False


def _use_nonce(api_key: ApiKey, nonce: str, now: datetime) -> None:
    try:
        with transaction.atomic():
            UsedNonce.objects.create(api_key=api_key, nonce=nonce, expires_at=now + 2 * WINDOW)
    except IntegrityError:
        raise SignatureInvalid("replayed") from None


def forget_nonces() -> int:
    """Delete the nonces whose requests are too old to be accepted anyway; return how many."""
    return UsedNonce.objects.filter(expires_at__lt=timezone.now()).delete()[0]
