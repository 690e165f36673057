"""Alice with 100.00 USD, and banks on real sockets."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from werkzeug.serving import make_server

from dj_wallet.identity.models import User
from dj_wallet.ledger.models import Asset
from dj_wallet.models import Wallet
from wallet_sandbox.bank import QuietHandler, create_app


@pytest.fixture
def wallet(db: None) -> Wallet:
    Asset.objects.get_or_create(code="USD", defaults={"decimal_places": 2})
    wallet = User.objects.create(username="alice").get_wallet()
    wallet.deposit("100.00")
    return wallet


class Bank:
    """The sandbox bank, to be broken and asked."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, trust_env=False)

    def break_down(self, mode: str) -> None:
        assert self.client.post("/faults", json={"mode": mode}).status_code == 200

    def payments(self) -> list[dict[str, Any]]:
        return self.client.get("/payments").json()["payments"]


@pytest.fixture
def bank(settings) -> Iterator[Bank]:
    """The sandbox bank, which the service is pointed at."""
    server = make_server("127.0.0.1", 0, create_app(), threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings.BANK_URL = f"http://127.0.0.1:{server.port}/"
    bank = Bank(settings.BANK_URL)
    yield bank
    bank.client.close()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def scripted_bank(settings) -> Iterator[Callable[[Callable[[BaseHTTPRequestHandler], None]], None]]:
    """A function that starts a bank which answers an order as it is told."""
    servers = []

    def start(answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever).start()
        settings.BANK_URL = f"http://127.0.0.1:{server.server_port}/"
        servers.append(server)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
