"""The envelope: one data key per record, wrapped by a provider. Text in, text out; no Django, no settings.

A wrapped key reads `v1.<provider>.<id of the wrapping key>.<wrapped data key>`, a sealed text `v1.<nonce and
ciphertext>`, in the alphabet of URLs.
"""

import binascii
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dj_wallet.exchanges.errors import KeyUnavailable, SealBroken

VERSION: Final = "v1"
NONCE_BYTES: Final = 12


class KeyProvider(Protocol):
    """Keeps keys that wrap data keys. They may live where we cannot see them."""

    # Stands in every wrapped key, so that providers can be exchanged while both are known.
    name: str

    @property
    def primary(self) -> str:
        """The id of the key that wraps from now on."""
        ...

    def wrap(self, data_key: bytes, context: bytes) -> bytes:
        """Return the data key wrapped by the primary key, bound to the context.

        :raises KeyUnavailable: the key cannot be had
        """
        ...

    def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        """Return the data key.

        :raises KeyUnavailable: the key cannot be had
        :raises SealBroken: it was wrapped with another key or for another context
        """
        ...


class Sealed(NamedTuple):
    """What is stored."""

    key: str
    text: str


class Envelope:
    """Seals with the first provider and opens with any."""

    def __init__(self, providers: Sequence[KeyProvider]) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._first = providers[0]

    def seal(self, text: bytes, context: bytes) -> Sealed:
        """Return the text sealed by a new data key."""
        data_key = AESGCM.generate_key(256)
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + AESGCM(data_key).encrypt(nonce, text, context)
        return Sealed(self._wrap(data_key, context), f"{VERSION}.{_encode(sealed)}")

    def open(self, sealed: Sealed, context: bytes) -> bytes:
        """Return the text.

        :raises KeyUnavailable: the key that wraps its data key cannot be had
        :raises SealBroken: it is not what was sealed for this context
        """
        version, _, text = sealed.text.partition(".")
        content = _decode(text)
        if version != VERSION or len(content) <= NONCE_BYTES:
            raise SealBroken("The stored credentials cannot be read.")
        return decrypt(self._unwrap(sealed.key, context), content, context)

    def needs_rewrap(self, wrapped: str) -> bool:
        """Tell whether another key than today's wraps this one."""
        _, provider, key_id, _ = _split(wrapped)
        return (provider, key_id) != (self._first.name, self._first.primary)

    def rewrap(self, wrapped: str, context: bytes) -> str:
        """Return the same data key wrapped by today's key."""
        return self._wrap(self._unwrap(wrapped, context), context)

    def _wrap(self, data_key: bytes, context: bytes) -> str:
        wrapped = self._first.wrap(data_key, context)
        key_id = _encode(self._first.primary.encode())
        return f"{VERSION}.{self._first.name}.{key_id}.{_encode(wrapped)}"

    def _unwrap(self, wrapped: str, context: bytes) -> bytes:
        _, name, key_id, content = _split(wrapped)
        provider = self._providers.get(name)
        if provider is None:
            raise KeyUnavailable(f"The key provider {name!r} is not configured.")
        return provider.unwrap(key_id, content, context)


def decrypt(key: bytes, content: bytes, context: bytes) -> bytes:
    """Return what was encrypted behind its nonce.

    :raises SealBroken: the content, the key or the context is another
    """
    try:
        return AESGCM(key).decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], context)
    except InvalidTag:
        raise SealBroken("The stored credentials cannot be read.") from None


def _split(wrapped: str) -> tuple[str, str, str, bytes]:
    version, *parts = wrapped.split(".")
    if version != VERSION or len(parts) != 3:
        raise SealBroken("The stored credentials cannot be read.")
    provider, key_id, content = parts
    return version, provider, _decode(key_id).decode(errors="replace"), _decode(content)


def _encode(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise SealBroken("The stored credentials cannot be read.") from None
