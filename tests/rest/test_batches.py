"""POST /api/v1/batches."""

from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dj_wallet.models import Transfer
from dj_wallet.signals import pre_withdraw

PATH = "/api/v1/batches"


def transfer(source, destination, key, amount="1.00", **more):
    return {
        "type": "transfer",
        "from": str(source.uuid),
        "to": str(destination.uuid),
        "amount": amount,
        "idempotency_key": key,
        **more,
    }


def deposit(wallet, key, amount="1.00", **more):
    return {
        "type": "deposit",
        "to": str(wallet.uuid),
        "amount": amount,
        "idempotency_key": key,
        **more,
    }


def post(api, *items):
    answer = api.post(PATH, {"items": list(items)})
    assert answer.status == 200, answer.body
    return answer.body["results"]


def test_each_item_has_its_own_result_in_order(api, wallet, bobs_wallet, bob):
    coins = bob.create_wallet("coins", currency="DOGE")
    results = post(
        api,
        deposit(wallet, "a", "5", meta={"n": 1}),
        transfer(wallet, bobs_wallet, "b", "105.00"),
        transfer(wallet, bobs_wallet, "c", "0.01"),
        transfer(bobs_wallet, wallet, "d"),
        transfer(wallet, coins, "e"),
        deposit(bobs_wallet, "f"),
        transfer(wallet, bobs_wallet, "g", "NaN"),
        transfer(wallet, wallet, "h"),
        transfer(wallet, bobs_wallet, "b", "105.00"),
        transfer(wallet, bobs_wallet, "b", "104.00"),
        {**transfer(wallet, wallet, "i"), "to": str(uuid4())},
    )
    outcomes = [one["error"]["code"] if "error" in one else one["status"] for one in results]
    assert outcomes == [
        "posted",
        "posted",
        "insufficient_funds",
        "account_not_found",
        "asset_mismatch",
        "account_not_found",
        "amount_invalid",
        "movement_invalid",
        "replayed",
        "idempotency_conflict",
        "account_not_found",
    ]
    assert [one["status"] for one in results if "error" in one] == ["refused"] * 8
    assert results[0]["transaction"] | {"id": 0, "uuid": "", "created_at": ""} == {
        "id": 0,
        "uuid": "",
        "wallet": str(wallet.uuid),
        "type": "DEPOSIT",
        "status": "COMPLETED",
        "amount": "5.00",
        "asset": "USD",
        "meta": {"n": 1},
        "created_at": "",
    }
    assert results[1]["transfer"] == results[8]["transfer"]
    assert results[1]["transfer"]["amount"] == "105.00"
    wallet.refresh_from_db()
    bobs_wallet.refresh_from_db()
    assert (wallet.balance, bobs_wallet.balance) == (0, 105)


def test_a_repeated_batch_moves_nothing_and_answers_the_same(api, wallet, bobs_wallet, snapshot):
    items = [deposit(wallet, "a", meta={"x": 1}), transfer(wallet, bobs_wallet, "b", meta={"y": 2})]
    first = post(api, *items)
    before = snapshot()
    again = post(api, *items)
    assert snapshot() == before
    assert [one.pop("status") for one in first] == ["posted", "posted"]
    assert [one.pop("status") for one in again] == ["replayed", "replayed"]
    assert again == first


def test_keys_are_the_callers_own_and_shared_with_single_transfers(
    api, bobs_api, wallet, bobs_wallet
):
    body = {"from": str(wallet.uuid), "to": str(bobs_wallet.uuid), "amount": "1.00"}
    single = api.post("/api/v1/transfers", body, key="k").body
    assert post(api, transfer(wallet, bobs_wallet, "k")) == [
        {"status": "replayed", "transfer": single}
    ]
    assert post(bobs_api, transfer(bobs_wallet, wallet, "k"))[0]["status"] == "posted"


def test_a_thousand_items_take_as_many_queries_as_two(api, wallet, bobs_wallet):
    post(api, deposit(wallet, "warm", "1000"), transfer(wallet, bobs_wallet, "up"))
    counts = {}
    for size in (2, 1000):
        items = [
            (transfer if n % 2 else deposit)(wallet, *[bobs_wallet][: n % 2], f"{size}-{n}", "0.01")
            for n in range(size)
        ]
        for status in ("posted", "replayed"):
            with CaptureQueriesContext(connection) as queries:
                results = post(api, *items)
            counts[size, status] = len(queries)
            assert {one["status"] for one in results} == {status}
    # Key, wallets, keys of pending records, posting, transactions, transfers; a savepoint inside the test's transaction.
    assert counts[2, "posted"] == counts[1000, "posted"] <= 6 + 2
    assert counts[2, "replayed"] == counts[1000, "replayed"]


def test_too_many_items_are_refused_as_a_whole(api, wallet, unchanged):
    answer = api.post(PATH, {"items": [deposit(wallet, str(n)) for n in range(1001)]})
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert list(answer.body["error"]["details"]) == ["items"]


@pytest.mark.parametrize(
    "change",
    [
        {"type": "withdraw"},
        {"type": ["deposit"]},
        {"amount": 1},
        {"amount": None},
        {"to": "x"},
        {"from": "00000000-0000-0000-0000-000000000000"},
        {"idempotency_key": ""},
        {"idempotency_key": "é"},
        {"idempotency_key": 1},
        {"idempotency_key": "x" * 129},
        {"meta": []},
        {"surprise": 1},
    ],
)
def test_one_malformed_item_refuses_the_whole_batch_and_is_named(api, wallet, unchanged, change):
    answer = api.post(PATH, {"items": [deposit(wallet, "a"), deposit(wallet, "b") | change]})
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert list(answer.body["error"]["details"]["items"]) == ["1"]
    assert list(answer.body["error"]["details"]["items"]["1"]) == list(change)


@pytest.mark.parametrize(
    "body",
    [None, {}, {"items": []}, {"items": {}}, {"items": None}, {"items": [1]}, {"items": [None]}],
)
def test_a_batch_without_items_is_refused(api, unchanged, body):
    answer = api.post(PATH, body)
    assert (answer.status, answer.code) == (400, "invalid_request")


def test_a_transfer_without_a_source_is_refused(api, wallet, unchanged):
    answer = api.post(PATH, {"items": [deposit(wallet, "a") | {"type": "transfer"}]})
    assert answer.body["error"]["details"] == {
        "items": {"0": {"from": ["A transfer needs a source."]}}
    }


@pytest.mark.django_db(transaction=True)
def test_an_item_that_breaks_a_receiver_does_not_take_its_neighbours_along(
    api, wallet, bobs_wallet
):
    def refuse(amount, **_):
        if amount == 13:
            raise ValueError("unlucky")

    pre_withdraw.connect(refuse)
    items = [transfer(wallet, bobs_wallet, str(n), str(n)) for n in (12, 13, 14)]
    try:
        assert api.post(PATH, {"items": items}).status == 500
    finally:
        pre_withdraw.disconnect(refuse)
    bobs_wallet.refresh_from_db()
    assert bobs_wallet.balance == Decimal(26)
    assert [one["status"] for one in post(api, *items)] == ["replayed", "posted", "replayed"]
    assert Transfer.objects.count() == 3
