"""Every write of users' keys."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q
from django.utils import timezone

from .key_text import hash_secret, make_key_text
from .models import ApiKey, User

USE_RECORDED_EVERY: Final = timedelta(minutes=1)


def create_api_key(
    *, user: User, name: str, expires_at: datetime | None = None, scopes: Iterable[str] = ()
) -> tuple[ApiKey, str]:
    """Create a key for the user; return it and its text, which cannot be had again."""
    text = make_key_text()
    api_key = ApiKey.objects.create(
        user=user,
        name=name,
        prefix=text.prefix,
        secret_hash=hash_secret(text.secret),
        expires_at=expires_at,
        scopes=sorted(scopes),
    )
    return api_key, str(text)


def revoke_api_key(api_key: ApiKey) -> None:
    """Make the key useless for ever; the first revocation stands."""
    now = timezone.now()
    if ApiKey.objects.filter(pk=api_key.pk, revoked_at__isnull=True).update(revoked_at=now):
        api_key.revoked_at = now


def record_use(api_key: ApiKey) -> None:
    """Note that the key was used, at most once a minute: reads should not cost a write each."""
    now = timezone.now()
    stale = now - USE_RECORDED_EVERY
    if api_key.last_used_at is not None and api_key.last_used_at > stale:
        return
    not_yet_noted = Q(last_used_at__isnull=True) | Q(last_used_at__lte=stale)
    ApiKey.objects.filter(not_yet_noted, pk=api_key.pk).update(last_used_at=now)
    api_key.last_used_at = now
