"""HTTP to a bank: one request, one answer, and how certain it is that nothing was sent."""

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import httpx

from dj_wallet.payouts.bank import Answer, Outcome
from dj_wallet.tls import load_authorities

MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_KEPT_CHARACTERS: Final = 1000
# Connecting, writing, waiting for the head and reading the body may each take the timeout.
PHASES: Final = 4

NOTHING_WAS_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)


class Reply(NamedTuple):
    """An answer over HTTP."""

    http_status: int
    body: bytes

    def read_object(self) -> dict[str, Any] | None:
        """Return the JSON object that the body is, or None."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    @property
    def evidence(self) -> dict[str, Any]:
        """What is kept of an answer that says nothing clear."""
        text = self.body.decode(errors="replace").replace("\x00", "\ufffd")[:MAX_KEPT_CHARACTERS]
        return {"http_status": self.http_status, "text": text}


class Connection:
    """Speaks to one bank. Keeps no connection open: one that the bank closed meanwhile would turn an order that was
    never read into an unknown one."""

    def __init__(self, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self._client = httpx.Client(
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
            timeout=timeout_seconds,
            verify=load_authorities(),
        )

    @property
    def call_seconds(self) -> float:
        """The longest that one request may take."""
        return self.timeout_seconds * PHASES

    def ask(
        self,
        method: str,
        url: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply | Answer:
        """Make one request; return the reply, or what a broken connection means. Follows no redirect."""
        try:
            with self._client.stream(method, url, json=body, headers=headers) as response:
                return Reply(response.status_code, self._read_body(response))
        except NOTHING_WAS_SENT as error:
            return Answer(Outcome.NOT_SENT, {"error": type(error).__name__})
        except httpx.HTTPError as error:
            return Answer(Outcome.UNKNOWN, {"error": type(error).__name__})

    def _read_body(self, response: httpx.Response) -> bytes:
        """Read the answer within the timeout as a whole, however slowly it drips."""
        deadline = time.monotonic() + self.timeout_seconds
        body = b""
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise httpx.DecodingError(
                    "The bank's answer is too long.", request=response.request
                )
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("The bank's answer drips.", request=response.request)
        return body


def is_server_error(http_status: int) -> bool:
    """Tell whether the bank has trouble of its own."""
    return http_status >= HTTPStatus.INTERNAL_SERVER_ERROR
