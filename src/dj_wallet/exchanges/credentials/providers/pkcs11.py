"""A hardware security module by PKCS#11: an AES-256 key that cannot be taken out of it.

One session of a process is logged in to a token, and one thread at a time uses it: the login belongs to the process, and
further sessions of the token trip over it. Forked children make their own.
"""

import os
import threading
from collections.abc import Callable
from typing import Any

import pkcs11
from pkcs11 import GCMParams, Mechanism, PKCS11Error
from pkcs11.exceptions import (
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    GeneralError,
    NoSuchKey,
)

from dj_wallet.exchanges.credentials.envelope import NONCE_BYTES
from dj_wallet.exchanges.errors import KeyUnavailable, SealBroken

from . import need

TAG_BITS = 128
# SoftHSM calls a wrong tag a general error.
BROKEN = (EncryptedDataInvalid, EncryptedDataLenRange, GeneralError)

_LOCK = threading.Lock()
os.register_at_fork(
    before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release
)
_SESSIONS: dict[tuple[int, str, str], Any] = {}


class HardwareKeys:
    """A token's AES keys, known by their labels."""

    name = "pkcs11"

    def __init__(self, module: str, token: str, pin: str, label: str) -> None:
        self._module, self._token, self._pin, self._label = module, token, pin, label

    @property
    def primary(self) -> str:
        return self._label

    def wrap(self, data_key: bytes, context: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        wrapped = self._use(
            self._label,
            lambda key: key.encrypt(
                data_key,
                mechanism=Mechanism.AES_GCM,
                mechanism_param=GCMParams(nonce, context, TAG_BITS),
            ),
        )
        return nonce + wrapped

    def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        nonce, content = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        try:
            return self._use(
                key_id,
                lambda key: key.decrypt(
                    content,
                    mechanism=Mechanism.AES_GCM,
                    mechanism_param=GCMParams(nonce, context, TAG_BITS),
                ),
            )
        except SealBroken:
            raise SealBroken("The stored credentials cannot be read.") from None

    def _use(self, label: str, act: Callable[[Any], bytes]) -> bytes:
        """Use a key of the token.

        :raises SealBroken: the module says that the content is not of this key
        :raises KeyUnavailable: the module, the token or the key cannot be had
        """
        failure: Exception
        with _LOCK:
            try:
                return bytes(act(self._find(label)))
            except NoSuchKey:
                failure = KeyUnavailable(f"The module has no key {label!r}.")
            except BROKEN:
                failure = SealBroken("The module refused the content.")
            except (PKCS11Error, RuntimeError) as error:
                _SESSIONS.pop(self._place, None)  # the next call opens another
                failure = KeyUnavailable(f"The module does not answer: {type(error).__name__}.")
        raise failure

    def _find(self, label: str) -> Any:
        if self._place not in _SESSIONS:
            token = pkcs11.lib(self._module).get_token(token_label=self._token)
            _SESSIONS[self._place] = token.open(user_pin=self._pin)
        return _SESSIONS[self._place].get_key(
            object_class=pkcs11.ObjectClass.SECRET_KEY, key_type=pkcs11.KeyType.AES, label=label
        )

    @property
    def _place(self) -> tuple[int, str, str]:
        return os.getpid(), self._module, self._token


def make_provider(options: dict[str, str]) -> HardwareKeys:
    """Return the token of the options."""
    return HardwareKeys(
        *need(
            options,
            "WALLET_EXCHANGE_PKCS11_MODULE",
            "WALLET_EXCHANGE_PKCS11_TOKEN",
            "WALLET_EXCHANGE_PKCS11_PIN",
            "WALLET_EXCHANGE_PKCS11_KEY",
        )
    )
