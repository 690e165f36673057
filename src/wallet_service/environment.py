"""Variables of the settings: from the environment, else from the file that NAME_FILE names, else from Vault.

An empty variable counts as missing. What is wrong stops the start, in one line that names it and shows no secret.
"""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured


def find(name: str) -> str | None:
    """Return the variable, or None.

    :raises ImproperlyConfigured: its file cannot be read, or Vault is to be asked and does not answer
    """
    return os.environ.get(name) or _read_file(name) or _ask_vault().get(name) or None


def env(name: str, default: str | None = None) -> str:
    """Return the variable; without a default a missing or empty one stops the start."""
    value = find(name)
    if value is None:
        value = default
    if value is None:
        require(name)
    return value or ""


def env_list(name: str, default: str | None = None) -> list[str]:
    return [item.strip() for item in env(name, default).split(",") if item.strip()]


def env_json(name: str) -> dict[str, Any]:
    """Return the variable as a JSON object; a missing one is empty."""
    try:
        value = json.loads(env(name, "{}"))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ImproperlyConfigured(f"The environment variable {name} must be a JSON object.")
    return value


def env_int(name: str, default: int) -> int:
    value = env(name, str(default))
    try:
        return int(value)
    except ValueError:
        raise ImproperlyConfigured(
            f"The environment variable {name} must be a whole number, not {value!r}."
        ) from None


def env_bool(name: str, *, default: bool) -> bool:
    value = env(name, "yes" if default else "no").lower()
    if value not in {"yes", "true", "1", "no", "false", "0"}:
        raise ImproperlyConfigured(
            f"The environment variable {name} must be yes or no, not {value!r}."
        )
    return value in {"yes", "true", "1"}


def require(*names: str) -> None:
    """Stop the start if variables are missing, and name all of them."""
    missing = [name for name in names if find(name) is None]
    if len(missing) == 1:
        raise ImproperlyConfigured(f"The environment variable {missing[0]} must be set.")
    if missing:
        raise ImproperlyConfigured(f"The environment variables {', '.join(missing)} must be set.")


def _read_file(name: str) -> str:
    path = os.environ.get(f"{name}_FILE")
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{name}_FILE cannot be read: {error}") from None


@cache
def _ask_vault() -> dict[str, str]:
    """Return what Vault keeps for us, asked once for a process; nothing if there is no Vault."""
    url = os.environ.get("VAULT_ADDR")
    if not url:
        return {}
    role, secret = (
        os.environ.get(name) or _read_file(name) for name in ("VAULT_ROLE_ID", "VAULT_SECRET_ID")
    )
    if not role or not secret:
        raise ImproperlyConfigured("VAULT_ADDR needs VAULT_ROLE_ID and VAULT_SECRET_ID.")
    # Its client takes a while to load, and most processes need none.
    from wallet_service.vault import read_vault

    return read_vault(
        url,
        role_id=role,
        secret_id=secret,
        mount=os.environ.get("VAULT_MOUNT") or "secret",
        path=os.environ.get("VAULT_PATH") or "dj-wallets",
    )
