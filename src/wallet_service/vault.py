"""Secrets from HashiCorp Vault or OpenBao: AppRole sign-in, one read of a KV version 2 secret."""

from typing import Final

import hvac
import requests
from django.core.exceptions import ImproperlyConfigured
from hvac.exceptions import VaultError

TIMEOUT_SECONDS: Final = 5


def read_vault(url: str, *, role_id: str, secret_id: str, mount: str, path: str) -> dict[str, str]:
    """Return the names and texts of the secret.

    :raises ImproperlyConfigured: Vault is away, sealed or refuses, or what it keeps there are no texts
    """
    client = hvac.Client(url=url, timeout=TIMEOUT_SECONDS)
    try:
        client.auth.approle.login(role_id=role_id, secret_id=secret_id)
        answer = client.secrets.kv.v2.read_secret_version(
            path=path, mount_point=mount, raise_on_deleted_version=True
        )
    except (VaultError, requests.RequestException, ValueError) as error:
        # The error may spell the request, and the request holds the secret id.
        raise ImproperlyConfigured(
            f"Vault at {url} gives no {mount}/{path}: {type(error).__name__}."
        ) from None
    kept = answer["data"]["data"]
    if not all(isinstance(value, str) for value in kept.values()):
        raise ImproperlyConfigured(f"Vault at {url}: {mount}/{path} must hold texts only.")
    return dict(kept)
