"""Reads of users and keys; never write."""

import hmac
from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from django.db.models import QuerySet
from django.utils import timezone

from dj_wallet.leases import Cache

from .kept import find_key
from .key_text import hash_secret, parse_key_text
from .models import ApiKey, User


def find_api_key(text: str, cache: Cache | None = None) -> ApiKey | None:
    """Return the usable key of this text with its user, or None. One query, none if it is kept or cannot be a key."""
    parts = parse_key_text(text)
    if parts is None:
        return None
    api_key = find_key(parts.prefix, cache)
    if api_key is None or not hmac.compare_digest(api_key.secret_hash, hash_secret(parts.secret)):
        return None
    return api_key if is_usable(api_key) and not api_key.is_signing else None


def find_signing_key(prefix: str) -> ApiKey | None:
    """Return the usable key that signs requests under this prefix, with its user, or None. One query."""
    api_key = find_key(prefix)
    return api_key if api_key is not None and is_usable(api_key) and api_key.is_signing else None


def is_usable(api_key: ApiKey) -> bool:
    """Tell whether the key opens something now."""
    is_expired = api_key.expires_at is not None and api_key.expires_at <= timezone.now()
    return api_key.user.is_active and api_key.revoked_at is None and not is_expired


def is_allowed_from(networks: Iterable[str], address: str | None) -> bool:
    """Tell whether a key with this list may be used from the address. An empty list allows all."""
    listed = [ip_network(network) for network in networks]
    if not listed:
        return True
    if address is None:
        return False
    here = ip_address(address)
    mapped = getattr(here, "ipv4_mapped", None)
    return any((mapped or here) in network for network in listed)


def list_api_keys(user: User) -> QuerySet[ApiKey]:
    """Return the user's keys, those too that open nothing any more."""
    return ApiKey.objects.filter(user=user).select_related("replaces", "replaced_by")
