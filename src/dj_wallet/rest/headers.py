"""What headers and parameters say, wherever they stand: idempotency keys, moments."""

from datetime import datetime
from typing import Final, cast

from django.utils import timezone
from django.utils.dateparse import parse_datetime
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from dj_wallet.identity.models import User

from .errors import IdempotencyKeyInvalid, IdempotencyKeyRequired

MAX_KEY_LENGTH: Final = 128
NOT_A_MOMENT: Final = "Must be an ISO 8601 time with its offset, such as 2030-02-15T15:00:00Z."


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


def find_asked_key(request: Request) -> str | None:
    """Return the ledger's form of `?idempotency_key=`, by which a list shows what a request of the caller's made.

    :raises IdempotencyKeyInvalid: see `find_idempotency_key`
    """
    key = request.query_params.get("idempotency_key")
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


def find_moment(request: Request) -> datetime | None:
    """Return the moment of `?as_of=`, or None without one.

    :raises ValidationError: it is no moment, or one without its offset
    """
    given = request.query_params.get("as_of")
    moment = None if given is None else read_instant(given)
    if given is not None and moment is None:
        raise ValidationError({"as_of": [NOT_A_MOMENT]})
    return moment


def read_instant(text: str) -> datetime | None:
    """Return the point in time that the text names with its offset, or None."""
    try:
        instant = parse_datetime(text)
        return (
            None
            if instant is None or timezone.is_naive(instant)
            else instant.astimezone(timezone.get_default_timezone())
        )
    except (ValueError, OverflowError):
        return None


def is_printable_ascii(text: str, maximum: int) -> bool:
    """Tell whether the text has 1 to `maximum` characters from space to tilde."""
    return 0 < len(text) <= maximum and text.isascii() and text.isprintable()
