"""Log lines: for people while developing, JSON in production. Neither shows a secret.

Nothing logs a secret on purpose; this is the second net, for a message that quotes a header or an address.
"""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Final

HIDDEN: Final = "[hidden]"

_SECRETS: Final = (
    # API keys: the prefix may be shown, the secret never.
    (re.compile(r"(wk_[a-z0-9]{12}_)[A-Za-z0-9_-]{8,}"), rf"\1{HIDDEN}"),
    # Access tokens: any three parts of a JWT.
    (re.compile(r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.?[A-Za-z0-9_-]*"), HIDDEN),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"(?i)(Signature=)[0-9a-f]{64}"), rf"\1{HIDDEN}"),
    # Passwords in addresses: scheme://user:password@host
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@]+(?=@)"), rf"\1{HIDDEN}"),
    (
        re.compile(
            r"""(?ix)(["']?\b(?:password\d?|passwd|secret|secret_id|client_secret|token|access_token|refresh_token|
            api_?key|sessionid|csrftoken|csrfmiddlewaretoken|code_verifier)["']?\s*[=:]\s*["']?)[^\s"'&,;)}\]]{4,}"""
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL
        ),
        HIDDEN,
    ),
)


def hide_secrets(text: str) -> str:
    """Return the text with what looks like a secret taken out."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class LineFormatter(logging.Formatter):
    """A line for people."""

    def format(self, record: logging.LogRecord) -> str:
        return hide_secrets(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request id, and the stack trace of an error."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": hide_secrets(record.getMessage()),
            "request_id": getattr(record, "request_id", "-"),
        }
        if record.exc_info:
            line["exception"] = hide_secrets(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)
