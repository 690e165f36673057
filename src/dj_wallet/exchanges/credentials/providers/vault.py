"""Vault's (or OpenBao's) transit engine: the key never leaves it. An aes256-gcm96 key, so that the context binds."""

from base64 import b64decode, b64encode
from typing import Any

import hvac
import requests
from hvac.exceptions import InvalidRequest, VaultError

from dj_wallet.exchanges.errors import KeyUnavailable, SealBroken

from . import need


class VaultKeys:
    """A transit key. Vault keeps its versions; `vault write transit/keys/NAME/rotate` needs no re-wrapping."""

    name = "vault"

    def __init__(self, client: Any, key: str) -> None:
        self._client, self._key = client, key

    @property
    def primary(self) -> str:
        return self._key

    def wrap(self, data_key: bytes, context: bytes) -> bytes:
        wrapped: str = self._call("encrypt", self._key, context, plaintext=_text(data_key))[
            "ciphertext"
        ]
        return wrapped.encode()

    def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        text: str = self._call("decrypt", key_id, context, ciphertext=wrapped.decode())["plaintext"]
        return b64decode(text)

    def _call(self, verb: str, key: str, context: bytes, **values: str) -> Any:
        failure: Exception
        try:
            answer = self._client.adapter.post(
                f"/v1/transit/{verb}/{key}", json={**values, "associated_data": _text(context)}
            )
            return answer["data"]
        except InvalidRequest:
            failure = (
                SealBroken("The stored credentials cannot be read.")
                if verb == "decrypt"
                else KeyUnavailable("Vault refused to wrap.")
            )
        except (VaultError, requests.RequestException) as error:
            failure = KeyUnavailable(f"Vault does not answer: {type(error).__name__}.")
        raise failure


def make_provider(options: dict[str, str]) -> VaultKeys:
    """Return the transit key of the options."""
    url, token, key = need(
        options,
        "WALLET_EXCHANGE_VAULT_URL",
        "WALLET_EXCHANGE_VAULT_TOKEN",
        "WALLET_EXCHANGE_VAULT_KEY",
    )
    return VaultKeys(hvac.Client(url=url, token=token, timeout=5), key)


def _text(content: bytes) -> str:
    return b64encode(content).decode()
