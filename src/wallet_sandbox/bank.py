"""The third-party bank of seed 004, simulated: pays whatever it is told to, once for every time it is told.

It answers `{"data": "success", "status": 200}` or `{"data": "failed", "status": 503}`. It does not know an order it
has seen before: a repeated reference is a second payment, and `GET /payments` shows it. Faults are switched on by
`POST /faults`. Run it with `python -m wallet_sandbox.bank --port 8010 --state bank.jsonl`.
"""

import argparse
import json
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeGuard

from flask import Flask, Response, jsonify, request
from werkzeug.serving import WSGIRequestHandler, make_server

MODES = ("ok", "refuse", "down")


class Book:
    """The payments the bank has made, in order. With a file, an accepted payment survives the bank's death."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._payments = _read(file) if file is not None else []

    def add(self, payment: Mapping[str, Any]) -> None:
        """Record a payment; on disk when this returns."""
        with self._lock:
            if self._file is not None:
                _append(self._file, payment)
            self._payments.append(dict(payment))

    def payments(self) -> list[dict[str, Any]]:
        with self._lock:
            return list(self._payments)


def create_app(state: Path | None = None) -> Flask:
    """Build a bank of its own: payments and faults are not shared between two apps."""
    app = Flask(__name__)
    book = Book(state)
    fault = {"mode": "ok"}

    @app.post("/")
    def pay() -> tuple[Response, int]:
        if fault["mode"] == "down":
            _hang_up()
        if fault["mode"] != "ok":
            return _answer("failed", HTTPStatus.SERVICE_UNAVAILABLE)
        order = request.get_json(force=True, silent=True)
        if not _is_order(order):
            return _answer("failed", HTTPStatus.BAD_REQUEST)
        book.add(order)
        return _answer("success", HTTPStatus.OK)

    @app.get("/payments")
    def list_payments() -> Response:
        reference = request.args.get("reference")
        payments = [
            payment for payment in book.payments() if reference in {None, payment["reference"]}
        ]
        return jsonify(payments=payments)

    @app.post("/faults")
    def switch_fault() -> tuple[Response, int]:
        wanted = request.get_json(force=True, silent=True)
        mode = wanted.get("mode") if isinstance(wanted, dict) else None
        if mode not in MODES:
            return jsonify(error=f"mode must be one of {', '.join(MODES)}"), HTTPStatus.BAD_REQUEST
        fault["mode"] = mode
        return jsonify(fault), HTTPStatus.OK

    @app.get("/healthz")
    def answer_health_check() -> Response:
        return jsonify(status="ok")

    return app


def _answer(data: str, status: HTTPStatus) -> tuple[Response, int]:
    return jsonify(data=data, status=status.value), status.value


def _is_order(order: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether this is {"amount": 10000, "reference": "..."}; other fields are the sender's business."""
    if not isinstance(order, dict):
        return False
    amount, reference = order.get("amount"), order.get("reference")
    return type(amount) is int and amount > 0 and isinstance(reference, str) and reference != ""


def _hang_up() -> None:
    """Close the connection, so that the client gets no answer whatever we return."""
    connection: socket.socket | None = request.environ.get("werkzeug.socket")
    if connection is not None:
        connection.shutdown(socket.SHUT_RDWR)


def _append(file: Path, payment: Mapping[str, Any]) -> None:
    with file.open("a") as lines:
        lines.write(json.dumps(payment) + "\n")
        lines.flush()
        os.fsync(lines.fileno())


def _read(file: Path) -> list[dict[str, Any]]:
    """Read the recorded payments and cut off a line that a killed bank did not finish: it answered nobody."""
    if not file.exists():
        return []
    text = file.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        os.truncate(file, len(whole.encode()))
    return [json.loads(line) for line in whole.splitlines()]


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
