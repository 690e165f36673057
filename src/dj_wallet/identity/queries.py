"""Reads of users and keys; never write."""

import hmac

from .key_text import hash_secret, parse_key_text
from .models import ApiKey


def find_api_key(text: str) -> ApiKey | None:
    """Return the usable key of this text with its user, or None. One query, none if the text cannot be a key."""
    parts = parse_key_text(text)
    if parts is None:
        return None
    keys = ApiKey.objects.usable().select_related("user")
    api_key = keys.filter(prefix=parts.prefix).first()
    if api_key is None or not hmac.compare_digest(api_key.secret_hash, hash_secret(parts.secret)):
        return None
    return api_key
