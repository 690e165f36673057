"""Where the signer's keys come from: AWS Secrets Manager, or in development a file or the environment.

A source is `aws:NAME`, `file:PATH` or `env:VARIABLE`. What it holds is JSON: `{"network": "DOGE:main", "xprv": "...",
"xpub": "..."}` (other fields are the operator's). The private half must give the public half, so that a mixed-up
secret is found at the start and not by a signature. Old accounts stay: a new key is another source, never another
value, for as long as any address of the old one can be paid.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from .errors import ChainError, KeyInvalid
from .keys import AccountKey
from .networks import Network, get_network

KEPT_SECONDS: Final = 15 * 60


class KeyRing:
    """The keys of the signer, fetched when they are first needed and again when they have been kept for a while."""

    def __init__(self, sources: Sequence[str], *, clock: Callable[[], float]) -> None:
        self._sources = tuple(sources)
        self._clock = clock
        self._keys: dict[tuple[str, str], AccountKey] = {}
        self._fetched_at: float | None = None

    def __repr__(self) -> str:
        return f"<KeyRing of {len(self._sources)}>"

    def find_key(self, network: Network, identifier: str) -> AccountKey | None:
        """Return the key of an account, or None if no source has it.

        :raises KeyInvalid: a source does not answer, or holds something else. No key is used then
        """
        if self._fetched_at is None or self._clock() - self._fetched_at >= KEPT_SECONDS:
            self.fetch()
        return self._keys.get((network.name, identifier))

    def fetch(self) -> None:
        """Forget the keys and fetch them again.

        :raises KeyInvalid: a source does not answer, or holds something else. No key is left then
        """
        self._keys, self._fetched_at = {}, None
        keys = [load_key(source) for source in self._sources]
        self._keys = {(key.network.name, key.public.identifier): key for key in keys}
        self._fetched_at = self._clock()


def load_key(source: str) -> AccountKey:
    """Return the key that a source holds.

    :raises KeyInvalid: it cannot be read, or is not the pair it claims to be; the message names the source only
    """
    try:
        secret = json.loads(_read(source))
        network, xprv, xpub = get_network(secret["network"]), secret["xprv"], secret["xpub"]
        key = AccountKey(xprv, network)
    except (OSError, ValueError, TypeError, KeyError, ChainError) as error:
        raise KeyInvalid(f"{source} holds no usable key: {type(error).__name__}.") from None
    if key.public.export() != xpub:
        raise KeyInvalid(f"The private key in {source} is not that of the public key beside it.")
    return key


def _read(source: str) -> str:
    kind, _, name = source.partition(":")
    if kind == "aws":
        return _read_from_aws(name)
    if kind == "file":
        return Path(name).read_text()
    if kind == "env":
        return os.environ[name]
    raise KeyInvalid("A source of keys begins with aws:, file: or env:.")


def _read_from_aws(name: str) -> str:
    """Return a secret of AWS Secrets Manager. Region, endpoint and role come from the environment, as boto3 reads it."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client: Any = boto3.client("secretsmanager")
        try:
            return str(client.get_secret_value(SecretId=name)["SecretString"])
        finally:
            client.close()
    except (BotoCoreError, ClientError) as error:
        raise OSError(type(error).__name__) from None
