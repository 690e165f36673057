"""The header Idempotency-Key."""

from typing import Final, cast

from rest_framework.request import Request

from dj_wallet.identity.models import User

from .errors import IdempotencyKeyInvalid, IdempotencyKeyRequired

MAX_KEY_LENGTH: Final = 128


def find_idempotency_key(request: Request) -> str | None:
    """Return the ledger's form of the request's key, or None without one.

    :raises IdempotencyKeyInvalid: it is empty, too long, or has other characters than printable ASCII
    """
    key: str | None = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return None
    if not is_printable_ascii(key, MAX_KEY_LENGTH):
        raise IdempotencyKeyInvalid
    return scope_key(cast(User, request.user), key)


def get_idempotency_key(request: Request) -> str:
    """Return the ledger's form of the request's key.

    :raises IdempotencyKeyRequired: there is none
    :raises IdempotencyKeyInvalid: see `find_idempotency_key`
    """
    key = find_idempotency_key(request)
    if key is None:
        raise IdempotencyKeyRequired
    return key


def scope_key(user: User, key: str) -> str:
    """Return a key that is this user's alone: one user can neither see nor take another's."""
    return f"rest:{user.pk}:{key}"


def is_printable_ascii(text: str, maximum: int) -> bool:
    """Tell whether the text has 1 to `maximum` characters from space to tilde."""
    return 0 < len(text) <= maximum and text.isascii() and text.isprintable()
