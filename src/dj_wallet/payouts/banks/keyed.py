"""A bank with idempotency keys, a look-up by reference and signed messages, all in JSON.

    POST {url}/transfers           Idempotency-Key: <reference>
         {"reference", "amount": "12.50", "currency", "destination": {...}}
    GET  {url}/transfers/<reference>

Both answer `{"id", "reference", "amount", "currency", "state"}`; the state is `paid`, `accepted`, `rejected` (with
`code`) or `returned`. A rejection is HTTP 422. Messages to us are signed as the Standard Webhooks say.
"""

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from typing import Any, Final

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from dj_wallet.payouts.bank import Answer, Capabilities, Order, Outcome, Report

from .connection import MAX_ANSWER_BYTES, Connection, Reply

# The definitive refusals of the contract. A rejection for any other reason is not believed.
REJECTIONS: Final = frozenset({
    "account_closed", "account_not_found", "beneficiary_blocked", "currency_not_supported", "limit_exceeded",
})  # fmt: skip
STATES: Final = {
    "paid": Outcome.PAID,
    "accepted": Outcome.ACCEPTED,
    "rejected": Outcome.REFUSED,
    "returned": Outcome.RETURNED,
}
MAX_TEXT: Final = 200


class KeyedBank:
    """Repeats an order with its own key, and asks first."""

    def __init__(
        self,
        url: str,
        api_key: str = "",
        webhook_secret: str = "",
        timeout_seconds: float = 5,
        in_flight_seconds: float = 0,
        keys_kept_seconds: float = 24 * 3600,
        lookup: bool = True,
    ) -> None:
        """:param lookup: whether the bank answers GET /transfers/<reference>"""
        self.url = url.rstrip("/")
        self.capabilities = Capabilities(
            keys=True,
            lookup=lookup,
            statement=True,
            in_flight_seconds=in_flight_seconds,
            keys_kept_seconds=keys_kept_seconds,
        )
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._webhook = Webhook(webhook_secret) if webhook_secret else None
        self._connection = Connection(timeout_seconds)
        self.call_seconds = self._connection.call_seconds

    def send(self, order: Order) -> Answer:
        """Send the order under its one key."""
        body = {
            "reference": order.reference,
            "amount": format(order.amount, "f"),
            "currency": order.asset,
            "destination": dict(order.destination),
        }
        headers = {**self._headers, "Idempotency-Key": order.reference}
        reply = self._connection.ask("POST", f"{self.url}/transfers", body=body, headers=headers)
        return reply if isinstance(reply, Answer) else read_transfer(reply, order)

    def look_up(self, order: Order) -> Answer:
        """Ask for the transfer."""
        url = f"{self.url}/transfers/{order.reference}"
        reply = self._connection.ask("GET", url, headers=self._headers)
        if isinstance(reply, Answer):
            return reply
        if reply.http_status == HTTPStatus.NOT_FOUND and _says_not_found(reply):
            return Answer(Outcome.NOT_FOUND, {"http_status": reply.http_status})
        return read_transfer(reply, order)

    def read_report(self, headers: Mapping[str, str], body: bytes) -> Report | None:
        """Return what a message says if its signature is right and it is not old."""
        if self._webhook is None or len(body) > MAX_ANSWER_BYTES:
            return None
        lowered = {name.lower(): value for name, value in headers.items()}
        try:
            self._webhook.verify(body, lowered)
            said = json.loads(body)
        except (WebhookVerificationError, ValueError, RecursionError):
            return None
        return _read_report(lowered.get("webhook-id", ""), said)


def read_transfer(reply: Reply, order: Order) -> Answer:
    """Return what a transfer of the bank says of the order."""
    said = reply.read_object()
    outcome = _read_state(said)
    is_ours = said is not None and _is_same(said, order)
    expected = {HTTPStatus.UNPROCESSABLE_ENTITY} if outcome == Outcome.REFUSED else set()
    if outcome is None or not is_ours or reply.http_status not in {200, 201, 202, *expected}:
        return Answer(Outcome.UNKNOWN, reply.evidence)
    assert said is not None  # noqa: S101 - outcome says so
    return Answer(outcome, _keep(said, reply.http_status), _read_text(said, "id"))


def _read_state(said: dict[str, Any] | None) -> Outcome | None:
    state = said.get("state") if said is not None else None
    outcome = STATES.get(state) if isinstance(state, str) else None
    if outcome == Outcome.REFUSED and (said or {}).get("code") not in REJECTIONS:
        return None
    return outcome


def _is_same(said: Mapping[str, Any], order: Order) -> bool:
    """Tell whether the transfer is our order: reference, amount and currency."""
    try:
        amount = Decimal(said["amount"]) if isinstance(said.get("amount"), str) else None
    except InvalidOperation:
        return False
    return (said.get("reference"), amount, said.get("currency")) == (
        order.reference,
        order.amount,
        order.asset,
    )


def _keep(said: Mapping[str, Any], http_status: int) -> dict[str, Any]:
    names = ("id", "state", "code", "paid_at")
    return {"http_status": http_status} | {
        name: _read_text(said, name) for name in names if name in said
    }


def _read_text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return value.replace("\x00", "\ufffd")[:MAX_TEXT] if isinstance(value, str) else ""


def _says_not_found(reply: Reply) -> bool:
    """A 404 counts only in the bank's own words: a proxy without a route says 404 too."""
    said = reply.read_object()
    return said is not None and said.get("code") == "transfer_not_found"


def _read_report(message_id: str, said: Any) -> Report | None:
    if not isinstance(said, dict) or not isinstance(said.get("reference"), str):
        return None
    outcome = _read_state(said)
    if outcome is None:
        return None
    evidence = {
        name: _read_text(said, name)
        for name in ("id", "state", "code", "amount", "currency")
        if name in said
    }
    return Report(message_id, said["reference"], outcome, evidence, _read_text(said, "id"))
