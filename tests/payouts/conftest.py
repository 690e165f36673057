"""Alice with 100.00 USD, and banks on real sockets."""

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from django.db import connection
from django.db.models.functions import Now
from werkzeug.serving import make_server

from dj_wallet.identity.models import User
from dj_wallet.ledger.models import Asset, Posting
from dj_wallet.models import Transaction, Wallet
from dj_wallet.payouts.models import Payout, PayoutStep
from dj_wallet.payouts.services import execute_payout
from wallet_sandbox.bank import QuietHandler, create_app

PLAIN = "dj_wallet.payouts.banks.plain.PlainBank"
KEYED = "dj_wallet.payouts.banks.keyed.KeyedBank"
FILE = "dj_wallet.payouts.banks.file.FileBank"
WEBHOOK_SECRET = "whsec_c2FuZGJveC1iYW5rLXdlYmhvb2stc2VjcmV0"

# No answer takes so long, however busy the machine is.
PATIENCE = 30

HOLD = ("hold", "WITHDRAWAL", 0, 2)
SETTLE = ("settle", "WITHDRAWAL", 2, 0)
REFUND = ("refund", "REFUND", 2, 0)
RETURN = ("return", "REVERSAL", 0, 0)


@pytest.fixture
def wallet(db: None) -> Wallet:
    Asset.objects.get_or_create(code="USD", defaults={"decimal_places": 2})
    wallet = User.objects.create(username="alice").get_wallet()
    wallet.deposit("100.00")
    return wallet


@pytest.fixture
def payouts_setting(settings) -> Callable[..., None]:
    """A function that changes settings of payouts: a bank by name, or any other by its upper-case name."""

    def change(*, bank: str | None = None, **values: Any) -> None:
        changed = copy.deepcopy(settings.PAYOUTS)
        if bank is None:
            changed |= values
        else:
            # A bank that takes files is not asked anything.
            patience = {} if "FileBank" in values["ADAPTER"] else {"TIMEOUT_SECONDS": PATIENCE}
            changed["BANKS"][bank] = patience | values
        settings.PAYOUTS = changed

    return change


@pytest.fixture(autouse=True)
def short_waits(payouts_setting) -> None:
    """Nobody waits: what is to be tried again is due at once."""
    payouts_setting(BACKOFF_SECONDS=0, MAX_RETRIES=3, CIRCUIT_FAILURES=10**6)


class Bank:
    """The sandbox bank, to be broken and asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(base_url=url, trust_env=False)

    def break_down(self, mode: str, **more: Any) -> None:
        answer = self.client.post("/faults", json={"mode": mode, **more})
        assert answer.status_code == 200, answer.text

    def payments(self, **query: str) -> list[dict[str, Any]]:
        return self.client.get("/payments", params=query).json()["payments"]

    def requests(self) -> list[dict[str, Any]]:
        return self.client.get("/requests").json()["requests"]


@contextmanager
def run_bank() -> Iterator[Bank]:
    app = create_app(webhook_secret=WEBHOOK_SECRET)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    bank = Bank(f"http://127.0.0.1:{server.port}")
    yield bank
    bank.client.close()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def session_bank() -> Iterator[Bank]:
    with run_bank() as bank:
        yield bank


@pytest.fixture
def sandbox(session_bank) -> Bank:
    """The sandbox bank, with nothing in its books."""
    session_bank.client.post("/reset")
    return session_bank


@pytest.fixture
def bank(sandbox, payouts_setting) -> Bank:
    """The sandbox bank as the default bank, by seed 004's contract, with a look-up."""
    payouts_setting(
        bank="default",
        ADAPTER=PLAIN,
        URL=f"{sandbox.url}/",
        LOOKUP_URL=f"{sandbox.url}/payments?reference={{reference}}",
        TIMEOUT_SECONDS=PATIENCE,
    )
    return sandbox


@pytest.fixture
def blind_bank(sandbox, payouts_setting) -> Bank:
    """The sandbox bank as seed 004 describes it: neither keys nor a look-up."""
    payouts_setting(bank="default", ADAPTER=PLAIN, URL=f"{sandbox.url}/", TIMEOUT_SECONDS=PATIENCE)
    return sandbox


@pytest.fixture
def keyed_bank(sandbox, payouts_setting) -> Bank:
    """The sandbox bank as the default bank, by its keyed contract."""
    payouts_setting(
        bank="default",
        ADAPTER=KEYED,
        URL=f"{sandbox.url}/v1",
        WEBHOOK_SECRET=WEBHOOK_SECRET,
        TIMEOUT_SECONDS=PATIENCE,
    )
    return sandbox


@pytest.fixture
def impatient(settings, payouts_setting) -> Callable[[], Any]:
    """A context in which nobody waits longer than three seconds for the default bank."""

    @contextmanager
    def be() -> Iterator[None]:
        options = settings.PAYOUTS["BANKS"]["default"]
        payouts_setting(bank="default", **options | {"TIMEOUT_SECONDS": 3})
        yield
        payouts_setting(bank="default", **options)

    return be


@pytest.fixture
def no_bank(payouts_setting) -> None:
    """Nobody listens where the bank should be: port 1 is nobody's."""
    payouts_setting(
        bank="default", ADAPTER=PLAIN, URL="http://127.0.0.1:1/", TIMEOUT_SECONDS=PATIENCE
    )


@pytest.fixture
def scripted_bank(
    payouts_setting,
) -> Iterator[Callable[..., None]]:
    """A function that starts a bank which answers an order as it is told."""
    servers = []

    def start(answer: Callable[[BaseHTTPRequestHandler], None], **options: Any) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        given = {"ADAPTER": PLAIN, "TIMEOUT_SECONDS": PATIENCE} | options
        payouts_setting(bank="default", URL=url, **given)
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


def look(payout: Payout) -> tuple[str, str, Decimal, Decimal]:
    """Return the states of payout and transaction, and the wallet's available and pending money."""
    payout.refresh_from_db()
    record = Transaction.objects.get(pk=payout.transaction_id)
    wallet = Wallet.objects.get(pk=record.wallet_id)
    return payout.status, record.status, wallet.balance, wallet.pending_balance


def list_postings(payout: Payout) -> list[tuple[str, str, int, int]]:
    """Return the payout's postings: step, kind, buckets."""
    found = Posting.objects.filter(reference_type="payout", reference_id=str(payout.uuid))
    return [
        (
            one.idempotency_key.rpartition(":")[2],
            one.kind,
            one.source_bucket,
            one.destination_bucket,
        )
        for one in found.order_by("id")
    ]


def list_steps(payout: Payout) -> list[str]:
    """Return the kinds of the payout's timeline, in order."""
    return list(
        PayoutStep.objects.filter(payout=payout).order_by("pk").values_list("kind", flat=True)
    )


def run(payout: Payout, times: int = 10) -> Payout:
    """Execute the payout until nobody may take it any more, without waiting between the tries."""
    for _ in range(times):
        Payout.objects.filter(pk=payout.pk, due_at__gt=Now()).exclude(status="processing").update(
            due_at=Now()
        )
        execute_payout(payout.pk)
        payout.refresh_from_db()
        if payout.due_at is None:
            break
    return payout


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Run the calls in threads, started at the same moment; return what each returned or raised."""
    gate = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def start(at: int, call: Callable[[], Any]) -> None:
        gate.wait()
        try:
            results[at] = call()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            results[at] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=start, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
