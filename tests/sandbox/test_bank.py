"""The bank's contract (seed 004), over a real socket with a real process."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from wallet_sandbox.bank_faults import MODES
from wallet_service.embedded import free_port

SUCCESS = {"data": "success", "status": 200}
FAILED = {"data": "failed", "status": 503}


def order(reference: str = "payout-1", amount: object = 10_000) -> dict[str, object]:
    return {"amount": amount, "reference": reference, "iban": "IR062960000000100324200001"}


class Bank:
    """A bank process that can be killed and started again on the same file."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.client = httpx.Client(timeout=60)

    def start(self) -> None:
        port = free_port()
        command = [
            sys.executable,
            "-m",
            "wallet_sandbox.bank",
            "--port",
            str(port),
            "--state",
            str(self.state),
        ]
        self.process = subprocess.Popen(command)
        self.client.base_url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 300
        while True:
            try:
                assert self.client.get("/healthz").json() == {"status": "ok"}
                return
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def pay(self, order: object) -> httpx.Response:
        return self.client.post("/", json=order)

    def break_down(self, mode: str) -> None:
        assert self.client.post("/faults", json={"mode": mode}).json() == {"mode": mode}

    def payments(self, **filters: str) -> list[dict[str, object]]:
        return self.client.get("/payments", params=filters).json()["payments"]


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    bank = Bank(tmp_path / "bank.jsonl")
    bank.start()
    yield bank
    bank.client.close()
    bank.kill()


def test_an_order_is_paid_and_listed(bank):
    answer = bank.pay(order())
    assert (answer.status_code, answer.json()) == (200, SUCCESS)
    assert bank.payments() == [order()]


def test_a_repeated_reference_is_paid_again(bank):
    for _ in range(2):
        assert bank.pay(order("twice")).json() == SUCCESS
    assert bank.pay(order("once")).json() == SUCCESS
    assert bank.payments(reference="twice") == [order("twice"), order("twice")]
    assert len(bank.payments()) == 3


def test_a_refusing_bank_answers_failed_and_pays_nothing(bank):
    bank.break_down("refuse")
    answer = bank.pay(order())
    assert (answer.status_code, answer.json()) == (503, FAILED)
    assert bank.payments() == []


def test_a_bank_that_is_down_gives_no_answer_and_pays_nothing(bank):
    bank.break_down("down")
    with pytest.raises(httpx.RemoteProtocolError):
        bank.pay(order())
    bank.break_down("ok")
    assert bank.payments() == []
    assert bank.pay(order()).json() == SUCCESS


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"reference": "x"},
        {"amount": 5},
        order(amount=0),
        order(amount=-1),
        order(amount=True),
        order(amount=1.5),
        order(amount="5"),
        order(reference=""),
    ],
)
def test_a_malformed_order_is_refused_and_pays_nothing(bank, wrong):
    answer = bank.pay(wrong)
    assert (answer.status_code, answer.json()) == (400, {"data": "failed", "status": 400})
    assert bank.payments() == []


def test_an_unknown_fault_is_refused_and_changes_nothing(bank):
    answer = bank.client.post("/faults", json={"mode": "explode"})
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": f"mode must be one of {', '.join(MODES)}"},
    )
    assert bank.pay(order()).json() == SUCCESS


def test_an_accepted_payment_survives_the_death_of_the_bank(bank):
    bank.pay(order("kept"))
    bank.kill()
    with bank.state.open("a") as file:
        file.write('{"amount": 5, "refer')  # died while writing, before the answer
    bank.start()
    bank.pay(order("later"))
    assert bank.payments() == [order("kept"), order("later")]
    assert [json.loads(line) for line in bank.state.read_text().splitlines()] == bank.payments()


# The keyed contract, faults and what happens later


def keyed(bank: Bank, reference: str = "p-1", key: str | None = None, **changes: object):
    sent = {"reference": reference, "amount": "12.50", "currency": "USD"} | changes
    headers = {"Idempotency-Key": key or reference}
    return bank.client.post("/v1/transfers", json=sent, headers=headers)


def test_a_key_is_paid_once(bank):
    first, again = keyed(bank), keyed(bank)
    assert first.json() == again.json()
    assert (first.json()["state"], again.headers["Idempotent-Replayed"]) == ("paid", "true")
    assert len(bank.payments()) == 1
    assert bank.client.get("/v1/transfers/p-1").json() == first.json()
    unknown = bank.client.get("/v1/transfers/p-2")
    assert (unknown.status_code, unknown.json()) == (404, {"code": "transfer_not_found"})


def test_a_key_that_is_not_the_reference_is_refused(bank):
    assert keyed(bank, key="other").status_code == 400
    assert bank.payments() == []


@pytest.mark.parametrize(
    ("mode", "pays", "status"),
    [
        ("ok", True, 200),
        ("refuse", False, 503),
        ("failing_200", False, 200),
        ("reject", False, 503),
        ("paid_503", True, 503),
        ("garbage", True, 200),
        ("slow", True, 200),
        ("unavailable", False, 503),
    ],
)
def test_each_fault_does_what_it_says(bank, mode, pays, status):
    assert bank.client.post("/faults", json={"mode": mode, "seconds": 0.01}).status_code == 200
    assert bank.pay(order()).status_code == status
    assert len(bank.payments()) == pays


@pytest.mark.parametrize(("mode", "pays"), [("paid_cut", True), ("cut", False), ("down", False)])
def test_a_cut_connection_says_nothing(bank, mode, pays):
    bank.break_down(mode)
    with pytest.raises(httpx.RemoteProtocolError):
        bank.pay(order())
    bank.break_down("ok")
    assert len(bank.payments()) == pays


def test_faults_come_as_curl_sends_them_and_as_the_panel_does(bank):
    """`curl -d` names the kind of a form, and the panel sends one."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    done = bank.client.post("/faults", content=b'{"mode": "refuse", "times": 1}', headers=form)
    assert done.json() == {"mode": "refuse", "times": 1}
    assert bank.client.post("/faults", data={"mode": "down"}).status_code == 303
    assert bank.client.get("/faults").json()["mode"] == "down"


def test_faults_follow_a_script_a_count_or_a_reference(bank):
    bank.client.post("/faults", json={"script": ["refuse", "ok", "refuse"]})
    assert [bank.pay(order()).status_code for _ in range(4)] == [503, 200, 503, 200]
    bank.client.post("/faults", json={"mode": "refuse", "times": 2})
    assert [bank.pay(order()).status_code for _ in range(3)] == [503, 503, 200]
    bank.client.post("/faults", json={"mode": "refuse", "reference": "x"})
    assert [bank.pay(order(one)).status_code for one in ("x", "y", "x")] == [503, 200, 503]


def test_random_faults_are_the_same_for_the_same_seed(bank):
    def draw() -> list[int]:
        bank.client.post("/faults", json={"mix": {"refuse": 0.5}, "seed": 7})
        return [bank.pay(order()).status_code for _ in range(20)]

    first = draw()
    assert first == draw()
    assert set(first) == {200, 503}


def test_what_was_accepted_is_settled_and_sent_back_later(bank):
    bank.break_down("accept")
    assert keyed(bank).json()["state"] == "accepted"
    for verb, state in (("settle", "paid"), ("return", "returned")):
        assert bank.client.post(f"/payments/p-1/{verb}").json()["state"] == state
    statement = bank.client.get("/statement").text
    assert statement.count("<CdtDbtInd>DBIT") == statement.count("<CdtDbtInd>CRDT") == 1
    messages = bank.client.get("/messages").json()["messages"]
    assert [json.loads(one["body"])["state"] for one in messages] == [
        "accepted",
        "paid",
        "returned",
    ]
    assert bank.client.post("/payments/nobody/settle").status_code == 404


def test_what_is_settled_survives_the_death_of_the_bank(bank):
    bank.break_down("accept")
    keyed(bank)
    bank.client.post("/payments/p-1/settle")
    bank.kill()
    bank.start()
    assert bank.client.get("/v1/transfers/p-1").json()["state"] == "paid"


def test_the_panel_shows_payments_and_escapes_them(bank):
    bank.pay(order("<script>alert(1)</script>"))
    page = bank.client.get("/")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script>alert(1)" not in page.text
    assert bank.client.post("/faults", data={"mode": "refuse"}).status_code == 303
    assert bank.pay(order()).status_code == 503
