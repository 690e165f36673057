"""Keyed digests: of API keys, so that one is not connected twice, and of addresses, so that a changed row shows."""

import hmac

from django.conf import settings


def make_fingerprint(exchange: str, api_key: str, *, sandbox: bool) -> str:
    """Return what tells this key from every other, and tells nobody the key."""
    realm = "sandbox" if sandbox else "live"
    return make_digest("api-key", realm, exchange, api_key)


def make_digest(purpose: str, *parts: str | None) -> str:
    """Return the HMAC-SHA256 of the parts, each with its length, for one purpose."""
    text = b"".join(_frame(part) for part in (purpose, *parts))
    secret: str = settings.EXCHANGES_SECRET
    return hmac.digest(secret.encode(), text, "sha256").hex()


def _frame(part: str | None) -> bytes:
    if part is None:
        return b"-;"
    content = part.encode()
    return b"%d:%s;" % (len(content), content)
