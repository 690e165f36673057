"""A simulated bank for seed 004 and for banks with keys. It does what it is told, and what its faults say.

Seed 004's contract: `POST /` with `{"amount": 10000, "reference": "..."}` answers `{"data": "success", "status": 200}`
or `{"data": "failed", "status": 503}`. It does not know an order it has seen before: a repeated reference is a second
payment, and `GET /payments` shows it.

The keyed contract: `POST /v1/transfers` with an Idempotency-Key pays once; `GET /v1/transfers/<reference>` tells what
became of it; messages are signed.

Both share the books, statements (`GET /statement`) and the fault panel (`GET /`, `POST /faults`). Run it with
`python -m wallet_sandbox.bank --port 8010 --state bank.jsonl`.
"""

import argparse
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeGuard
from uuid import uuid4

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.serving import WSGIRequestHandler, make_server

from .bank_book import Book, list_orders, read_clock
from .bank_faults import MODES, Faults, FaultsInvalid
from .bank_messages import Messages
from .bank_statements import write_camt053

# A secret of the sandbox alone, so that `make run` works without being told one.
WEBHOOK_SECRET = "whsec_c2FuZGJveC1iYW5rLXdlYmhvb2stc2VjcmV0"  # noqa: S105
UNPAID = frozenset({"refuse", "failing_200", "unavailable", "cut", "down"})
KEPT_REQUESTS = 100_000
SHOWN_PAYMENTS = 100

Answer = tuple[Response, int]


class Bank:
    """One bank: books, faults, messages, and what it was asked."""

    def __init__(self, state: Path | None, webhook_secret: str) -> None:
        self.book = Book(state)
        self.faults = Faults()
        self.messages = Messages(webhook_secret)
        self.requests: deque[dict[str, Any]] = deque(maxlen=KEPT_REQUESTS)
        self.keys_are_kept = True

    def reset(self) -> None:
        """Forget everything that happened."""
        self.book.clear()
        self.faults.clear()
        self.messages.clear()
        self.requests.clear()
        self.keys_are_kept = True

    def note_request(self, contract: str, reference: str) -> None:
        """Keep what was asked, for tests to see."""
        key = request.headers.get("Idempotency-Key", "")
        asked = {"contract": contract, "method": request.method, "reference": reference, "key": key}
        self.requests.append({**asked, "at": time.time()})


def create_app(state: Path | None = None, webhook_secret: str = WEBHOOK_SECRET) -> Flask:
    """Build a bank of its own: payments and faults are not shared between two apps."""
    app = Flask(__name__)
    bank = Bank(state, webhook_secret)
    add_plain_contract(app, bank)
    add_keyed_contract(app, bank)
    add_desk(app, bank)
    add_panel(app, bank)
    return app


def add_plain_contract(app: Flask, bank: Bank) -> None:
    """Add the paths of seed 004's contract."""

    @app.post("/")
    def pay() -> Answer:
        order = _read_json()
        reference = str(order.get("reference", "")) if isinstance(order, dict) else ""
        bank.note_request("plain", reference)
        mode = bank.faults.choose(reference)
        _stop_before_paying(mode, bank.faults.seconds)
        if mode in {"refuse", "reject", "cut", "down"}:
            return _answer("failed", HTTPStatus.SERVICE_UNAVAILABLE)
        if mode == "failing_200":
            return _answer("failed", HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.OK)
        if mode == "unavailable":
            return _answer_page()
        if not _is_order(order):
            return _answer("failed", HTTPStatus.BAD_REQUEST)
        bank.book.add(order)
        return _break_answer(mode, bank.faults.seconds) or _answer("success", HTTPStatus.OK)

    @app.get("/payments")
    def list_payments() -> Response:
        reference = request.args.get("reference")
        if reference is not None:
            bank.note_request("plain", reference)
            if bank.faults.lookups == "down" or bank.faults.mode == "down":
                _hang_up()
        found = bank.book.payments() if reference is None else bank.book.find(reference)
        return jsonify(payments=list_orders(found))


def add_keyed_contract(app: Flask, bank: Bank) -> None:
    """Add the paths of the contract with keys."""

    @app.post("/v1/transfers")
    def transfer() -> Answer:
        order = _read_json()
        reference = str(order.get("reference", "")) if isinstance(order, dict) else ""
        bank.note_request("keyed", reference)
        key = request.headers.get("Idempotency-Key")
        if not _is_keyed_order(order) or key != reference:
            return jsonify(code="invalid_request"), HTTPStatus.BAD_REQUEST
        found = bank.book.find(reference) if bank.keys_are_kept else []
        if found:
            response, status = _show_transfer(found[0])
            response.headers["Idempotent-Replayed"] = "true"
            return response, status
        mode = bank.faults.choose(reference)
        _stop_before_paying(mode, bank.faults.seconds)
        if mode in UNPAID:
            return _answer_page()
        payment = {**order, "id": f"B{uuid4().hex[:16]}", **_decide(mode)}
        kept = bank.book.add(payment) if not bank.keys_are_kept else bank.book.add_once(payment)[0]
        bank.messages.tell(kept)
        return _break_answer(mode, bank.faults.seconds) or _show_transfer(kept)

    @app.get("/v1/transfers/<reference>")
    def show(reference: str) -> Answer:
        bank.note_request("keyed", reference)
        if bank.faults.lookups == "down" or bank.faults.mode == "down":
            _hang_up()
        found = bank.book.find(reference)
        if not found:
            return jsonify(code="transfer_not_found"), HTTPStatus.NOT_FOUND
        return _show_transfer(found[0])[0], HTTPStatus.OK


def add_desk(app: Flask, bank: Bank) -> None:
    """Add what happens at the bank after the order, and what it sends out."""

    @app.post("/payments/<reference>/<verb>")
    def decide(reference: str, verb: str) -> Answer:
        changes = {
            "settle": {"state": "paid", "paid_at": read_clock()},
            "reject": {"state": "rejected", "code": "account_closed"},
            "return": {"state": "returned", "returned_at": read_clock(), "reason": "AC04"},
        }.get(verb)
        payment = bank.book.update(reference, **changes) if changes else None
        if payment is None:
            return jsonify(error="there is no such payment, or nothing of that kind to do"), 404
        bank.messages.tell(payment)
        return jsonify(payment), HTTPStatus.OK

    @app.get("/statement")
    def write_statement() -> Response:
        given = request.args
        lists = {name: given.getlist(name) for name in ("leave_out", "double", "wrong_amount")}
        text = write_camt053(
            bank.book.payments(),
            identifier=given.get("id") or f"STMT-{uuid4().hex[:12]}",
            currency=given.get("currency", "USD"),
            decimal_places=given.get("decimal_places", 2, int),
            **lists,
        )
        return Response(text, mimetype="application/xml")

    @app.post("/webhooks")
    def register() -> Answer:
        wanted = _read_json()
        if not isinstance(wanted, dict) or not str(wanted.get("url", "")).startswith("http"):
            return jsonify(error="url must be an http address"), HTTPStatus.BAD_REQUEST
        bank.messages.url = wanted["url"]
        bank.messages.copies = int(wanted.get("copies", 1))
        bank.messages.before_answer = wanted.get("before_answer") is True
        return jsonify(url=bank.messages.url), HTTPStatus.OK

    @app.get("/messages")
    def list_messages() -> Response:
        return jsonify(messages=bank.messages.list())


def add_panel(app: Flask, bank: Bank) -> None:
    """Add the fault panel, for people and for tests."""

    @app.get("/")
    def show_panel() -> str:
        payments = bank.book.payments()
        return render_template(
            "bank_panel.html",
            modes=MODES,
            faults=bank.faults.show(),
            payments=list(reversed(payments))[:SHOWN_PAYMENTS],
            count=len(payments),
        )

    @app.post("/faults")
    def switch_fault() -> Answer:
        # JSON first: `curl -d` says that it sends a form, whatever it sends.
        wanted = _read_json()
        is_form = wanted is None
        if is_form:
            wanted = request.form.to_dict()
        try:
            if not isinstance(wanted, dict):
                raise FaultsInvalid("faults must be an object")
            bank.faults.set(wanted)
        except (FaultsInvalid, TypeError, ValueError, AttributeError) as error:
            return jsonify(error=str(error)), HTTPStatus.BAD_REQUEST
        if is_form:
            return Response(status=303, headers={"Location": "/"}), HTTPStatus.SEE_OTHER
        return jsonify(bank.faults.show()), HTTPStatus.OK

    @app.get("/faults")
    def show_faults() -> Response:
        return jsonify(bank.faults.show() | {"modes": MODES})

    @app.get("/books")
    def show_books() -> Response:
        return jsonify(payments=bank.book.payments())

    @app.get("/requests")
    def list_requests() -> Response:
        return jsonify(requests=list(bank.requests))

    @app.post("/forget-keys")
    def forget_keys() -> Response:
        bank.keys_are_kept = False
        return jsonify(keys_are_kept=False)

    @app.post("/reset")
    def reset() -> Response:
        bank.reset()
        return jsonify(payments=0)

    @app.get("/healthz")
    def answer_health_check() -> Response:
        return jsonify(status="ok")


def _read_json() -> Any:
    return request.get_json(force=True, silent=True)


def _stop_before_paying(mode: str, seconds: float) -> None:
    if mode in {"down", "cut"}:
        _hang_up()
    if mode == "slow":
        time.sleep(seconds)


def _break_answer(mode: str, seconds: float) -> Answer | None:
    """Return what is answered instead of the truth, though the order was paid; None for the truth."""
    if mode == "paid_503":
        return _answer("failed", HTTPStatus.SERVICE_UNAVAILABLE)
    if mode == "paid_timeout":
        time.sleep(seconds)
    if mode == "paid_cut":
        _hang_up()
    if mode == "garbage":
        return Response(b"\x00\xff{]garbage", mimetype="application/json"), HTTPStatus.OK
    return None


def _decide(mode: str) -> dict[str, Any]:
    """Return what the bank does with a keyed order."""
    if mode == "reject":
        return {"state": "rejected", "code": "account_closed"}
    if mode == "accept":
        return {"state": "accepted"}
    return {"state": "paid", "paid_at": read_clock()}


def _show_transfer(payment: Mapping[str, Any]) -> Answer:
    is_rejected = payment["state"] == "rejected"
    status = HTTPStatus.UNPROCESSABLE_ENTITY if is_rejected else HTTPStatus.OK
    return jsonify(payment), status.value


def _answer(data: str, status: HTTPStatus, http_status: HTTPStatus | None = None) -> Answer:
    return jsonify(data=data, status=status.value), (http_status or status).value


def _answer_page() -> Answer:
    page = Response("<html><h1>503 Service Unavailable</h1></html>", mimetype="text/html")
    return page, HTTPStatus.SERVICE_UNAVAILABLE


def _is_order(order: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether this is {"amount": 10000, "reference": "..."}; other fields are the sender's business."""
    if not isinstance(order, dict):
        return False
    amount, reference = order.get("amount"), order.get("reference")
    return type(amount) is int and amount > 0 and isinstance(reference, str) and reference != ""


def _is_keyed_order(order: object) -> TypeGuard[dict[str, Any]]:
    if not isinstance(order, dict) or not isinstance(order.get("amount"), str):
        return False
    try:
        amount = Decimal(order["amount"])
    except InvalidOperation:
        return False
    texts = (order.get("reference"), order.get("currency"))
    return amount.is_finite() and amount > 0 and all(isinstance(one, str) and one for one in texts)


def _hang_up() -> None:
    """Close the connection, so that the client gets no answer whatever we return."""
    connection: socket.socket | None = request.environ.get("werkzeug.socket")
    if connection is not None:
        connection.shutdown(socket.SHUT_RDWR)


class QuietHandler(WSGIRequestHandler):
    """Serve without a log line per request: `GET /payments` says what happened."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""

    def connection_dropped(
        self, error: BaseException, environ: Mapping[str, Any] | None = None
    ) -> None:
        """Say nothing: hanging up is one of our faults, and clients time out."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m wallet_sandbox.bank", description="A simulated bank."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8010)
    parser.add_argument(
        "--state",
        type=Path,
        help="append accepted payments to this file and read them at the start",
    )
    options = parser.parse_args(arguments)
    app = create_app(options.state)
    make_server(
        options.host, options.port, app, threaded=True, request_handler=QuietHandler
    ).serve_forever()


if __name__ == "__main__":
    main()
