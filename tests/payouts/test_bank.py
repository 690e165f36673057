"""What each answer of the bank means, and what a broken connection means."""

import contextlib
import socket
import threading
import time
from decimal import Decimal

import pytest

from dj_wallet.payouts.bank import Order, Outcome, get_bank
from dj_wallet.payouts.banks.connection import Reply
from dj_wallet.payouts.banks.plain import read_answer
from tests.payouts.conftest import PLAIN, reply

SUCCESS = b'{"data": "success", "status": 200}'
FAILED = b'{"data": "failed", "status": 503}'


@pytest.mark.parametrize(
    ("http_status", "body", "outcome"),
    [
        (200, SUCCESS, "paid"),
        (200, b'{"status": 200, "data": "success", "id": 7}', "paid"),
        (503, FAILED, "failed"),
        (200, FAILED, "failed"),
        (503, SUCCESS, "unknown"),
        (201, SUCCESS, "unknown"),
        (500, FAILED, "unknown"),
        (400, b'{"data": "failed", "status": 400}', "unknown"),
        (200, b'{"data": "success", "status": 503}', "unknown"),
        (200, b'{"data": "failed", "status": 200}', "unknown"),
        (200, b'{"data": "success", "status": "200"}', "unknown"),
        (200, b'{"data": "success", "status": true}', "unknown"),
        (200, b'{"data": "SUCCESS", "status": 200}', "unknown"),
        (200, b'["success", 200]', "unknown"),
        (200, b"success", "unknown"),
        (200, b"", "unknown"),
        (200, b"\xff\x00\xfe", "unknown"),
        (200, b"[" * 100_000, "unknown"),
        (302, SUCCESS, "unknown"),
        (503, b"<html>Service Unavailable</html>", "unknown"),
    ],
)
def test_only_a_clear_yes_or_no_is_believed(http_status, body, outcome):
    answer = read_answer(Reply(http_status, body))
    assert answer.outcome == outcome
    assert answer.evidence["http_status"] == http_status


def test_evidence_fits_the_database(wallet):
    evidence = read_answer(Reply(200, b"\x00\xff\xed\xa0\x80" + b"x" * 10_000)).evidence
    assert len(evidence["text"]) == 1000
    assert "\x00" not in evidence["text"]
    evidence["text"].encode()


ORDER = Order("r", Decimal("0.01"), 1, "USD", {})


def send(order=ORDER):
    return get_bank("default").send(order)


@pytest.fixture
def raw_bank(payouts_setting):
    """A function that starts a bank which does something with the bare connection."""

    def start(treat):
        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                treat(peer)

        threading.Thread(target=serve).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        payouts_setting(bank="default", ADAPTER=PLAIN, URL=url, TIMEOUT_SECONDS=1)
        yield start


def cut_at_once(peer):
    peer.recv(1)


def cut_in_the_answer(peer):
    peer.recv(65536)
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + SUCCESS)


def say_nothing(peer):
    peer.settimeout(60)
    while peer.recv(65536):
        """Wait until we are left."""


def drip(peer):
    peer.recv(65536)
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 34\r\n\r\n")
    with contextlib.suppress(OSError):
        for byte in SUCCESS:
            time.sleep(0.2)
            peer.sendall(bytes([byte]))


def talk_too_much(peer):
    peer.recv(65536)
    with contextlib.suppress(OSError):
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b" " * 10_000_000)


def talk_nonsense(peer):
    peer.recv(65536)
    peer.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")


@pytest.mark.parametrize(
    "treat", [cut_at_once, cut_in_the_answer, say_nothing, drip, talk_too_much, talk_nonsense]
)
def test_once_a_connection_stood_nothing_is_certain(raw_bank, treat):
    raw_bank(treat)
    started = time.monotonic()
    assert send().outcome == Outcome.UNKNOWN
    assert time.monotonic() - started < 60


def test_a_refused_connection_sent_nothing(no_bank):
    assert send() == (Outcome.NOT_SENT, {"error": "ConnectError"}, "")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://127.0.0.1:99999/", "bank"])
def test_an_address_that_is_none_sends_nothing(payouts_setting, url):
    payouts_setting(bank="default", ADAPTER=PLAIN, URL=url)
    assert send().outcome == Outcome.NOT_SENT


def test_a_redirect_is_not_followed(scripted_bank):
    asked = []

    def redirect(handler):
        asked.append(handler.path)
        handler.send_response(307)
        handler.send_header("Location", "/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    scripted_bank(redirect)
    assert send().outcome == Outcome.UNKNOWN
    assert asked == ["/"]


def test_the_order_names_amount_and_reference(bank):
    assert send(Order("r-1", Decimal("10.50"), 1050, "USD", {})).outcome == Outcome.PAID
    assert bank.payments() == [{"amount": 1050, "reference": "r-1"}]


def test_a_failure_with_http_200_is_understood(scripted_bank):
    scripted_bank(lambda handler: reply(handler, 200, FAILED))
    assert send().outcome == Outcome.FAILED
