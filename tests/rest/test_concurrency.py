"""The same and different requests at once, over real sockets."""

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from dj_wallet.ledger.models import Posting
from dj_wallet.models import Transaction, Transfer, Wallet
from dj_wallet.payouts.models import Payout

pytestmark = pytest.mark.django_db(transaction=True)

CALLERS = 16


def all_at_once(call: Callable[[int], Any], callers: int = CALLERS) -> list[Any]:
    """Run the call in as many threads, started at the same moment; return the results in order."""
    gate = threading.Barrier(callers)
    results: list[Any] = [None] * callers

    def run(number: int) -> None:
        gate.wait()
        results[number] = call(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture
def post(live_server, api):
    def send(path: str, body: object, key: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {api.key}", "Idempotency-Key": key}
        return httpx.post(
            live_server.url + path, json=body, headers=headers, timeout=60, trust_env=False
        )

    return send


def check_one_answer(responses: list[httpx.Response]) -> None:
    """All got 201 and the same body; all but one were told that it is a repetition."""
    assert [response.status_code for response in responses] == [201] * CALLERS, responses[0].text
    assert len({response.text for response in responses}) == 1
    replayed = [response.headers.get("Idempotent-Replayed") for response in responses]
    assert sorted(replayed, key=str) == [None] + ["true"] * (CALLERS - 1)


def test_one_key_from_16_callers_deposits_once(post, wallet):
    path = f"/wallets/{wallet.uuid}/deposit"
    check_one_answer(all_at_once(lambda _: post(path, {"amount": 100}, "k")))
    wallet.refresh_from_db()
    assert wallet.balance == 101
    assert Posting.objects.count() == Transaction.objects.count() == 2


def test_one_key_from_16_callers_transfers_once(post, wallet, bobs_wallet):
    body = {"from": str(wallet.uuid), "to": str(bobs_wallet.uuid), "amount": "1"}
    check_one_answer(all_at_once(lambda _: post("/api/v1/transfers", body, "k")))
    bobs_wallet.refresh_from_db()
    assert bobs_wallet.balance == 1
    assert Transfer.objects.count() == 1


def test_one_key_from_16_callers_schedules_once(post, wallet):
    body = {"amount": 100, "scheduled_for": "2100-01-01T00:00:00Z"}
    check_one_answer(all_at_once(lambda _: post(f"/wallets/{wallet.uuid}/withdraw", body, "k")))
    assert Payout.objects.count() == 1


def test_one_key_from_16_callers_opens_one_wallet(post, alice):
    check_one_answer(all_at_once(lambda _: post("/wallets/", {"asset": "PTS"}, "k")))
    assert Wallet.objects.held_by(alice).count() == 1


def test_the_last_unit_is_spent_once(post, wallet, bobs_wallet):
    """100.00 among 16 who each want 30.00: three get it, the others are told why not."""
    body = {"from": str(wallet.uuid), "to": str(bobs_wallet.uuid), "amount": "30"}
    responses = all_at_once(lambda number: post("/api/v1/transfers", body, f"k{number}"))
    assert sorted(response.status_code for response in responses) == [201] * 3 + [422] * 13
    codes = {one.json()["error"]["code"] for one in responses if one.status_code == 422}
    assert codes == {"insufficient_funds"}
    wallet.refresh_from_db()
    bobs_wallet.refresh_from_db()
    assert (wallet.balance, bobs_wallet.balance) == (10, 90)


def test_batches_that_overlap_move_each_item_once(post, wallet, bobs_wallet):
    items = [
        {
            "type": "transfer",
            "from": str(wallet.uuid),
            "to": str(bobs_wallet.uuid),
            "amount": "1",
            "idempotency_key": str(n),
        }
        for n in range(20)
    ]
    responses = all_at_once(
        lambda number: post(
            "/api/v1/batches", {"items": items if number % 2 else items[::-1]}, "-"
        ),
        8,
    )
    statuses = [one["status"] for response in responses for one in response.json()["results"]]
    assert sorted(statuses) == ["posted"] * 20 + ["replayed"] * 140
    bobs_wallet.refresh_from_db()
    assert bobs_wallet.balance == 20
