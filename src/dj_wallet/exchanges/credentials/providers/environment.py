"""Keys in the environment: `k2:<base64>,k1:<base64>`, the first of which wraps."""

import binascii
import os
from base64 import b64decode, urlsafe_b64decode
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dj_wallet.exchanges.credentials.envelope import NONCE_BYTES, decrypt
from dj_wallet.exchanges.errors import KeyUnavailable

from . import need

KEY_BYTES: Final = 32


class EnvironmentKeys:
    """A ring of AES-256 keys."""

    name = "environment"

    def __init__(self, keys: dict[str, bytes]) -> None:
        self._keys = keys

    @property
    def primary(self) -> str:
        return next(iter(self._keys))

    def wrap(self, data_key: bytes, context: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        key = AESGCM(self._keys[self.primary])
        return nonce + key.encrypt(nonce, data_key, _bind(self.primary, context))

    def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        key = self._keys.get(key_id)
        if key is None:
            raise KeyUnavailable(f"The key {key_id!r} is not in the environment.")
        return decrypt(key, wrapped, _bind(key_id, context))


def make_provider(options: dict[str, str]) -> EnvironmentKeys:
    """:raises KeyUnavailable: no keys are given, or something else than keys"""
    (text,) = need(options, "WALLET_EXCHANGE_KEYS")
    keys: dict[str, bytes] = {}
    for part in text.split(","):
        key_id, _, encoded = part.strip().partition(":")
        key = _read_key(encoded)
        if not key_id or key is None or key_id in keys:
            raise KeyUnavailable(
                "WALLET_EXCHANGE_KEYS must read id:key,id:key with different ids and 32 random bytes in base64 each."
            )
        keys[key_id] = key
    return EnvironmentKeys(keys)


def _read_key(text: str) -> bytes | None:
    """Return the key that the text spells; a key of few different bytes is no random one."""
    padded = text + "=" * (-len(text) % 4)
    try:
        key = (urlsafe_b64decode if set("-_") & set(text) else b64decode)(padded)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == KEY_BYTES and len(set(key)) > 8 else None


def _bind(key_id: str, context: bytes) -> bytes:
    return key_id.encode() + b"|" + context
