"""The client of seed 004's bank: sends one order and says what is certain about it afterwards.

The bank's contract knows neither idempotency keys nor a lookup. Whoever repeats an order may pay twice, so
everything that is not a clear yes or no, or provably unsent, is reported as unknown.
"""

import json
import time
from enum import StrEnum
from functools import cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import httpx
from django.conf import settings

MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_KEPT_CHARACTERS: Final = 1000

PAID: Final = ("success", HTTPStatus.OK.value)
REFUSED: Final = ("failed", HTTPStatus.SERVICE_UNAVAILABLE.value)

NOTHING_WAS_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)


class Outcome(StrEnum):
    """What is known of an order."""

    PAID = "paid"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


class Answer(NamedTuple):
    """The outcome, and as evidence what the bank said or how the connection ended."""

    outcome: Outcome
    evidence: dict[str, Any]


def send_order(*, amount_minor_units: int, reference: str) -> Answer:
    """Send one order to the bank and return what is known of it. Never raises for what the network does."""
    order = {"amount": amount_minor_units, "reference": reference}
    try:
        with _get_client().stream(
            "POST", settings.BANK_URL, json=order, timeout=settings.BANK_TIMEOUT_SECONDS
        ) as response:
            body = _read_body(response)
    except NOTHING_WAS_SENT as error:
        return Answer(Outcome.NOT_SENT, {"error": type(error).__name__})
    except httpx.HTTPError as error:
        return Answer(Outcome.UNKNOWN, {"error": type(error).__name__})
    return read_answer(response.status_code, body)


def read_answer(http_status: int, body: bytes) -> Answer:
    """Return what an HTTP answer of the bank means."""
    said = _read_verdict(body)
    if said == PAID and http_status == HTTPStatus.OK:
        outcome = Outcome.PAID
    elif said == REFUSED and http_status in {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE}:
        outcome = Outcome.REFUSED
    else:
        text = body.decode(errors="replace").replace("\x00", "\ufffd")[:MAX_KEPT_CHARACTERS]
        return Answer(Outcome.UNKNOWN, {"http_status": http_status, "text": text})
    data, status = said
    return Answer(outcome, {"http_status": http_status, "data": data, "status": status})


def _read_verdict(body: bytes) -> tuple[str, int] | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    data, status = answer.get("data"), answer.get("status")
    return (data, status) if isinstance(data, str) and type(status) is int else None


def _read_body(response: httpx.Response) -> bytes:
    """Read the answer within the timeout as a whole, however slowly it drips."""
    deadline = time.monotonic() + settings.BANK_TIMEOUT_SECONDS
    body = b""
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise httpx.DecodingError("The bank's answer is too long.", request=response.request)
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("The bank's answer drips.", request=response.request)
    return body


@cache
def _get_client() -> httpx.Client:
    """Return the client of this process. It keeps no connection: one that the bank closed meanwhile would
    turn an order that was never read into an unknown one."""
    return httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), trust_env=False)
