"""The bank of seed 004: one path, `{"data": "success", "status": 200}` or `{"data": "failed", "status": 503}`.

The contract knows neither idempotency keys nor a look-up: whoever repeats an order may pay twice. A bank that can list
its payments by reference gets a LOOKUP_URL, and then a doubt is cleared by asking.
"""

from collections.abc import Mapping
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from dj_wallet.payouts.bank import Answer, Capabilities, Order, Outcome, Report

from .connection import Connection, Reply

PAID: Final = ("success", HTTPStatus.OK.value)
FAILED: Final = ("failed", HTTPStatus.SERVICE_UNAVAILABLE.value)


class PlainBank:
    """Sends an order once and believes only a clear yes or no."""

    def __init__(
        self,
        url: str,
        lookup_url: str = "",
        timeout_seconds: float = 5,
        in_flight_seconds: float = 0,
        failed_is_unpaid: bool = True,
    ) -> None:
        """:param lookup_url: with `{reference}` in it; answers `{"payments": [{"reference", "amount"}, ...]}`
        :param failed_is_unpaid: without a look-up, believe a clear "failed" as the contract says it
        """
        self.url = url
        self.lookup_url = lookup_url
        self.capabilities = Capabilities(
            lookup=bool(lookup_url),
            failed_is_unpaid=failed_is_unpaid,
            in_flight_seconds=in_flight_seconds,
        )
        self._connection = Connection(timeout_seconds)
        self.call_seconds = self._connection.call_seconds

    def send(self, order: Order) -> Answer:
        """Send the order, with whom to pay if that is known."""
        body: dict[str, Any] = {"amount": order.minor_units, "reference": order.reference}
        if order.destination:
            body["destination"] = dict(order.destination)
        reply = self._connection.ask("POST", self.url, body=body)
        return reply if isinstance(reply, Answer) else read_answer(reply)

    def look_up(self, order: Order) -> Answer:
        """Ask for the payments with the order's reference."""
        url = self.lookup_url.replace("{reference}", quote(order.reference, safe=""))
        reply = self._connection.ask("GET", url)
        return reply if isinstance(reply, Answer) else read_payments(reply, order)

    def read_report(self, headers: Mapping[str, str], body: bytes) -> Report | None:
        """This bank sends nothing."""
        return None


def read_answer(reply: Reply) -> Answer:
    """Return what an answer to an order means; HTTP 200 with a failing body is a failure."""
    said = _read_verdict(reply)
    if said == PAID and reply.http_status == HTTPStatus.OK:
        outcome = Outcome.PAID
    elif said == FAILED and reply.http_status in {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE}:
        outcome = Outcome.FAILED
    else:
        return Answer(Outcome.UNKNOWN, reply.evidence)
    data, status = said
    return Answer(outcome, {"http_status": reply.http_status, "data": data, "status": status})


def read_payments(reply: Reply, order: Order) -> Answer:
    """Return what a list of payments says of the order."""
    answer = reply.read_object() if reply.http_status == HTTPStatus.OK else None
    payments = answer.get("payments") if answer is not None else None
    if not isinstance(payments, list) or not all(isinstance(one, dict) for one in payments):
        return Answer(Outcome.UNKNOWN, reply.evidence)
    found = [one for one in payments if one.get("reference") == order.reference]
    evidence = {"http_status": reply.http_status, "found": len(found)}
    if not payments:
        return Answer(Outcome.NOT_FOUND, evidence)
    if len(found) != len(payments) or any(
        type(one.get("amount")) is not int or Decimal(one["amount"]) != order.minor_units
        for one in found
    ):
        # Another order's payments, or another amount than ours: nothing to build on.
        return Answer(Outcome.UNKNOWN, reply.evidence)
    return Answer(Outcome.PAID, evidence)


def _read_verdict(reply: Reply) -> tuple[str, int] | None:
    answer = reply.read_object()
    if answer is None:
        return None
    data, status = answer.get("data"), answer.get("status")
    return (data, status) if isinstance(data, str) and type(status) is int else None
