"""How the text of an API key is made, taken apart and hashed. No database here."""

import hashlib
import re
import secrets
import string
from typing import Final, NamedTuple

PREFIX_LENGTH: Final = 12
PREFIX_ALPHABET: Final = string.ascii_lowercase + string.digits
SECRET_BYTES: Final = 32

_KEY_TEXT: Final = re.compile(r"wk_([a-z0-9]{12})_([A-Za-z0-9_-]{43})", re.ASCII)


class KeyText(NamedTuple):
    """An API key as its user holds it. The prefix may be shown, the secret never."""

    prefix: str
    secret: str

    def __str__(self) -> str:
        return f"wk_{self.prefix}_{self.secret}"


def make_key_text() -> KeyText:
    """Return a new key."""
    prefix = "".join(secrets.choice(PREFIX_ALPHABET) for _ in range(PREFIX_LENGTH))
    return KeyText(prefix, secrets.token_urlsafe(SECRET_BYTES))


def parse_key_text(text: str) -> KeyText | None:
    """Return the two parts of a key, or None if this cannot be one."""
    match = _KEY_TEXT.fullmatch(text)
    return KeyText(match[1], match[2]) if match else None


def hash_secret(secret: str) -> str:
    """Return the SHA-256 of the secret in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()
