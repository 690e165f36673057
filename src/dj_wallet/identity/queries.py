"""Reads of users and keys; never write."""

import hmac

from django.utils import timezone

from dj_wallet.lookups import find_by

from .key_text import hash_secret, parse_key_text
from .models import ApiKey


def find_api_key(text: str) -> ApiKey | None:
    """Return the usable key of this text with its user, or None. One query, none if the text cannot be a key."""
    parts = parse_key_text(text)
    if parts is None:
        return None
    for api_key in find_by(ApiKey, "prefix", [parts.prefix], related="user"):
        if hmac.compare_digest(api_key.secret_hash, hash_secret(parts.secret)):
            return api_key if is_usable(api_key) else None
    return None


def is_usable(api_key: ApiKey) -> bool:
    """Tell whether the key opens something now."""
    is_expired = api_key.expires_at is not None and api_key.expires_at <= timezone.now()
    return api_key.user.is_active and api_key.revoked_at is None and not is_expired
