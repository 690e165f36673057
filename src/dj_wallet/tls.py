"""Whom we believe when we call others by HTTPS."""

import ssl
from functools import cache

import httpx


@cache
def load_authorities() -> ssl.SSLContext:
    """Return what a client checks certificates by; reading the list takes longer than most calls, so once a process."""
    return httpx.create_ssl_context(trust_env=False)
