"""Seed 000's wallets: `/api/wallets/`."""

import threading
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from dj_wallet.custody.chain.keys import AccountKey
from dj_wallet.custody.chain.networks import get_network
from dj_wallet.custody.models import Address
from dj_wallet.models import Wallet
from tests.rest.api import Answer, Api

pytestmark = pytest.mark.django_db

FIELDS = {
    "id", "user", "coin", "balance", "locked_balance", "pending_balance", "address", "label", "meta", "is_archived",
    "created_at", "updated_at",
}  # fmt: skip


def open_wallet(api: Api, coin: str = "DOGE", **body: Any) -> Answer:
    return api.post("/api/wallets/", {"coin": coin, **body})


def find(answer: Answer) -> Wallet:
    return Wallet.objects.get(pk=answer.body["id"])


@pytest.fixture
def opened(api: Api) -> Answer:
    return open_wallet(api)


def path(answer: Answer) -> str:
    return f"/api/wallets/{answer.body['id']}/"


def test_a_wallet_looks_as_the_seed_shows_it(opened, alice):
    assert opened.status == 201
    assert opened.body.keys() == FIELDS
    assert opened.body["user"] == {"id": str(alice.pk), "username": "alice", "email": ""}
    assert opened.body["coin"] == {"symbol": "DOGE", "name": "DOGE"}
    assert (opened.body["balance"], opened.body["locked_balance"]) == ("0.00000000", "0.00000000")


def test_balances_have_eight_decimals(api, opened):
    find(opened).deposit("0.5")
    assert api.get(path(opened)).body["balance"] == "0.50000000"
    usd = open_wallet(api, "USD")
    find(usd).deposit("12.34")
    assert api.get(path(usd)).body["balance"] == "12.34000000"


def test_there_is_one_wallet_for_each_user_and_coin(api, bobs_api, opened):
    again = open_wallet(api)
    assert (again.status, again.code) == (409, "wallet_exists")
    assert open_wallet(bobs_api).status == 201
    assert open_wallet(api, "USD").status == 201


@pytest.mark.django_db(transaction=True)
def test_of_many_that_open_it_at_once_one_does(alice, api):
    statuses: list[int] = []

    def ask() -> None:
        try:
            statuses.append(open_wallet(api).status)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201] + [409] * 7
    assert Wallet.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid_request"),
        ({"coin": 1}, 400, "invalid_request"),
        ({"coin": "NOPE"}, 422, "asset_not_found"),
        ({"coin": "DOGE", "balance": "1000000"}, 400, "invalid_request"),
        ({"coin": "DOGE", "address": "D8vFz4p1L37jdg9xpvvFLq2xkQ2nZzfDcF"}, 400, "invalid_request"),
        ({"coin": "DOGE", "user": "somebody"}, 400, "invalid_request"),
    ],
)
def test_a_wallet_that_makes_no_sense_is_refused(api, unchanged, body, status, code):
    answer = api.post("/api/wallets/", body)
    assert (answer.status, answer.code) == (status, code)


def test_the_owner_sees_and_changes_a_wallet_and_nobody_else(api, bobs_api, staffs_api, opened):
    assert api.get(path(opened)).body == opened.body
    assert bobs_api.get(path(opened)).status == 404
    assert staffs_api.get(path(opened)).status == 200
    for stranger in (bobs_api, staffs_api):
        assert stranger.send("PATCH", path(opened), b'{"label": "mine"}').status == 404
        assert stranger.send("DELETE", path(opened), b"").status == 404
    assert api.get(path(opened)).body == opened.body


def test_label_and_meta_can_be_changed(api, opened):
    changed = api.send("PATCH", path(opened), b'{"label": "Savings", "meta": {"a": "b"}}')
    assert (changed.status, changed.body["label"], changed.body["meta"]) == (200, "Savings", {"a": "b"})  # fmt: skip
    renamed = api.send("PATCH", path(opened), b'{"label": null}')
    assert (renamed.body["label"], renamed.body["meta"]) == (None, {"a": "b"})
    assert changed.body["updated_at"] > opened.body["updated_at"]


@pytest.mark.parametrize(
    "field", ["balance", "locked_balance", "user", "coin", "address", "id", "slug", "version"]
)
def test_nothing_else_can_be_changed(api, opened, unchanged, field):
    answer = api.send("PATCH", path(opened), b'{"%s": "1"}' % field.encode())
    assert (answer.status, answer.code) == (400, "invalid_request")


def test_what_has_changed_since_is_not_overwritten(api, opened):
    tag = opened.headers["ETag"]
    first = api.send("PATCH", path(opened), b'{"label": "first"}', If_Match=tag)
    late = api.send("PATCH", path(opened), b'{"label": "late"}', If_Match=tag)
    assert (first.status, late.status, late.code) == (200, 412, "precondition_failed")
    assert api.get(path(opened)).body["label"] == "first"
    assert api.send("PATCH", path(opened), b'{"label": "x"}', If_Match="*").status == 200


def test_what_is_known_is_not_sent_again(api, opened):
    tag = opened.headers["ETag"]
    headers = {"Authorization": f"Bearer {api.key}", "If-None-Match": tag}
    same = api.client.get(path(opened), headers=headers)
    assert (same.status_code, same.content) == (304, b"")
    find(opened).deposit("1")
    moved = api.client.get(path(opened), headers=headers)
    assert moved.status_code == 200
    assert moved["ETag"] != tag


def test_a_wallet_that_was_never_used_is_deleted(api, opened):
    headers = {"Authorization": f"Bearer {api.key}"}
    assert api.client.delete(path(opened), headers=headers).status_code == 204
    assert not Wallet.objects.exists()
    assert open_wallet(api).status == 201


def test_a_wallet_with_a_history_is_archived_and_can_come_back(api, opened):
    wallet = find(opened)
    wallet.deposit("1")
    wallet.withdraw("1")
    archived = api.send("DELETE", path(opened), b"")
    assert (archived.status, archived.body["is_archived"]) == (200, True)
    assert api.get("/api/wallets/").body["results"] == []
    assert len(api.get("/api/wallets/?archived=true").body["results"]) == 1
    back = open_wallet(api, label="again")
    assert (back.status, back.body["id"], back.body["is_archived"]) == (201, wallet.pk, False)
    wallet.deposit("1")


def test_a_wallet_that_holds_something_is_not_removed(api, opened):
    find(opened).deposit("1")
    answer = api.send("DELETE", path(opened), b"")
    assert (answer.status, answer.code) == (409, "wallet_not_empty")
    assert api.get(path(opened)).body["is_archived"] is False


def test_a_wallet_that_an_operator_froze_stays_frozen(api, opened):
    wallet = find(opened)
    wallet.freeze("fraud")
    assert api.send("DELETE", path(opened), b"").code == "wallet_frozen"
    assert open_wallet(api).status == 409
    wallet.refresh_from_db()
    assert (wallet.is_frozen, wallet.frozen_reason) == (True, "fraud")


def test_a_list_is_narrowed_by_coin_and_by_what_is_held(api, opened):
    usd = open_wallet(api, "USD")
    find(usd).deposit("1")

    def ids(query: str) -> list[int]:
        return [one["id"] for one in api.get(f"/api/wallets/?{query}").body["results"]]

    assert ids("") == [usd.body["id"], opened.body["id"]]
    assert ids("coin=DOGE") == [opened.body["id"]]
    assert ids("with_balance=true") == [usd.body["id"]]
    assert ids("with_balance=false") == [opened.body["id"]]
    assert ids("with_locked=true") == []
    assert ids("coin=USD&with_locked=false&limit=1") == [usd.body["id"]]


@pytest.mark.parametrize("query", ["with_balance=perhaps", "coin=", "owner=bob", "limit=0"])
def test_a_filter_that_makes_no_sense_is_refused(api, query):
    assert api.get(f"/api/wallets/?{query}").code == "invalid_request"


def test_a_list_takes_as_many_queries_for_many(api, alice, django_assert_num_queries):
    open_wallet(api, "DOGE"), open_wallet(api, "USD"), open_wallet(api, "PTS")
    api.get("/api/wallets/")
    with django_assert_num_queries(3):
        assert len(api.get("/api/wallets/").body["results"]) == 3


def test_wallets_of_other_slugs_are_none_of_a_coin(api, wallet):
    assert api.get("/api/wallets/").body["results"] == []
    assert api.get(f"/api/wallets/{wallet.pk}/").status == 404


def test_the_portfolio_adds_up_all_wallets_of_a_coin(api, wallet, opened):
    find(open_wallet(api, "USD")).deposit("1.50")
    find(opened).deposit("3")
    assert api.get("/api/wallets/portfolio/").body["results"] == [
        {"coin": "DOGE", "wallets": 1, "balance": "3.00000000", "locked_balance": "0.00000000",
         "pending_balance": "0.00000000", "total": "3.00000000"},
        {"coin": "USD", "wallets": 2, "balance": "101.50000000", "locked_balance": "0.00000000",
         "pending_balance": "0.00000000", "total": "101.50000000"},
    ]  # fmt: skip


def test_a_coin_on_a_chain_that_we_serve_gets_an_address(api, settings):
    key = AccountKey.from_seed(bytes(range(64)), get_network("DOGE:regtest"))
    settings.CUSTODY_XPUBS = [f"DOGE:regtest={key.public.export()}"]
    made = open_wallet(api)
    address = Address.objects.get(wallet=made.body["id"])
    assert made.body["address"] == address.address
    assert api.get(path(made)).body["address"] == address.address


def test_the_time_of_change_is_that_of_the_last_movement(api, opened):
    find(opened).deposit("1")
    changed = api.get(path(opened)).body
    assert changed["updated_at"] > opened.body["updated_at"]
    assert Decimal(changed["balance"]) == 1
