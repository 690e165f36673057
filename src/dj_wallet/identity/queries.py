"""Reads of users and keys; never write."""

import hmac

from django.utils import timezone

from .key_text import hash_secret, parse_key_text
from .models import ApiKey


def find_api_key(text: str) -> ApiKey | None:
    """Return the usable key of this text with its user, or None. One query, none if the text cannot be a key."""
    parts = parse_key_text(text)
    if parts is None:
        return None
    try:
        api_key = ApiKey.objects.select_related("user").get(prefix=parts.prefix)
    except ApiKey.DoesNotExist:
        return None
    matches = hmac.compare_digest(api_key.secret_hash, hash_secret(parts.secret))
    return api_key if matches and is_usable(api_key) else None


def is_usable(api_key: ApiKey) -> bool:
    """Tell whether the key opens something now."""
    is_expired = api_key.expires_at is not None and api_key.expires_at <= timezone.now()
    return api_key.user.is_active and api_key.revoked_at is None and not is_expired
