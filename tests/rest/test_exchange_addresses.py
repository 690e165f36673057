"""Deposit addresses over HTTP."""

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from dj_wallet.events.models import Event
from dj_wallet.exchanges.models import DepositAddress
from tests.exchanges.stand import given
from tests.rest.exchange_people import ADDRESSES, connect, fetch, post_address

pytestmark = pytest.mark.usefixtures("keys", "sandbox")


def put(api, path, body=None):
    return api.send("PUT", path, b"" if body is None else json.dumps(body).encode())


def delete(api, path):
    return api.client.delete(path, headers={"Authorization": f"Bearer {api.key}"}).status_code


def test_an_address_is_fetched_once_and_then_known(api):
    account = connect(api)
    first = post_address(api, account, "USDT", network="trc20", label="rent")
    assert first.status == 201
    assert first.body["address"] == given("binance", "USDT", "tron")[0].address
    assert (first.body["network"], first.body["label"]) == ("tron", "rent")
    assert first.body["exchange_metadata"] == {"confirmations": 1, "minimum_deposit": "0.0001"}
    again = post_address(api, account, "USDT", network="tron")
    assert (again.status, again.body["id"]) == (200, first.body["id"])


def test_a_currency_on_several_networks_needs_one(api):
    account = connect(api)
    answer = post_address(api, account, "USDT")
    assert (answer.status, answer.code) == (422, "NETWORK_REQUIRED")
    assert set(answer.body["error"]["details"]["choices"]) == {"ethereum", "tron", "solana"}
    assert not DepositAddress.objects.exists()


def test_kraken_is_never_asked_to_choose_a_network(api):
    account = connect(api, "kraken")
    answer = post_address(api, account, "USDT", network="arbitrum")
    assert (answer.status, answer.code) == (422, "UNSUPPORTED_NETWORK")
    assert not DepositAddress.objects.exists()


def test_an_address_that_needs_a_tag_comes_with_it_and_with_a_uri(api):
    account = connect(api)
    body = post_address(api, account, "XRP").body
    assert body["tag_required"]
    assert body["payment_uri"] == f"xrpl:{body['address']}?dt={body['tag']}"


def test_an_address_without_its_tag_is_not_stored(api, sandbox):
    account = connect(api)
    sandbox.break_down("without_tag", "binance")
    answer = post_address(api, account, "XRP")
    assert (answer.status, answer.code) == (502, "TAG_MISSING")
    assert not DepositAddress.objects.exists()


def test_a_new_address_needs_a_key_and_is_made_once(api):
    account = connect(api, "kraken")
    body = {"exchange_account_id": account, "currency": "BTC", "network": "bitcoin"}
    body["create_new"] = True
    assert api.post(ADDRESSES, body).code == "idempotency_key_required"
    first = api.post(ADDRESSES, body, key="once")
    again = api.post(ADDRESSES, body, key="once")
    assert (first.status, again.status) == (201, 201)
    assert again.body["address"] == first.body["address"]
    assert again.headers["Idempotent-Replayed"] == "true"
    other = api.post(ADDRESSES, {**body, "currency": "LTC", "network": "litecoin"}, key="once")
    assert (other.status, other.code) == (409, "CREATION_KEY_CONFLICT")


def test_an_unclear_creation_stays_unclear_for_its_key(api, sandbox):
    account = connect(api, "kraken")
    body = {"exchange_account_id": account, "currency": "BTC", "network": "bitcoin"}
    body["create_new"] = True
    fetch(api, account)  # the networks are known
    sandbox.break_down("unavailable", "kraken", path="DepositAddresses")
    assert api.post(ADDRESSES, body, key="unclear").code == "OUTCOME_UNKNOWN"
    sandbox.repair()
    calls = len(sandbox.calls("kraken"))
    answer = api.post(ADDRESSES, body, key="unclear")
    assert (answer.status, answer.code) == (409, "OUTCOME_UNKNOWN")
    assert len(sandbox.calls("kraken")) == calls


def test_a_rotated_address_leaves_the_old_one_in_the_list(api, sandbox):
    account = connect(api)
    old = fetch(api, account)
    sandbox.rotate("binance", "BTC", "bitcoin")
    answer = put(api, f"{ADDRESSES}/{old}/refresh")
    assert answer.status == 200
    assert answer.body["id"] != old
    states = {one["id"]: one["state"] for one in api.get(ADDRESSES).body["results"]}
    assert states == {old: "superseded", answer.body["id"]: "current"}
    event = Event.objects.get(type="address.rotated").data
    assert (event["previous_address_id"], event["address_id"]) == (old, answer.body["id"])


def test_a_stale_address_says_so_until_it_is_refreshed(api):
    account = connect(api)
    address = fetch(api, account)
    DepositAddress.objects.update(last_verified_at=timezone.now() - timedelta(days=2))
    assert api.get(f"{ADDRESSES}/{address}").body["is_stale"]
    assert not put(api, f"{ADDRESSES}/{address}/refresh").body["is_stale"]


def test_a_changed_row_is_not_shown_and_told_once(api):
    account = connect(api)
    address = fetch(api, account)
    forged = given("binance", "BTC", "bitcoin", "bob")[0].address
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {DepositAddress._meta.db_table} SET address = %s", [forged])
    for _ in range(2):
        answer = api.get(f"{ADDRESSES}/{address}")
        assert (answer.status, answer.code) == (409, "ADDRESS_TAMPERED")
    assert api.get(f"{ADDRESSES}/{address}/qr").status == 409
    listed = api.get(ADDRESSES)
    assert (listed.body["results"][0]["address"], forged in json.dumps(listed.body)) == (
        None,
        False,
    )
    assert Event.objects.filter(type="address.unusual_activity").count() == 1


def test_labels_change_and_what_a_payer_copies_does_not(api):
    address = fetch(api, connect(api))
    changes = {"label": "rent", "description": "to me", "user_metadata": {"a": "1"}}
    answer = put(api, f"{ADDRESSES}/{address}", {**changes, "is_active": False})
    assert {name: answer.body[name] for name in changes} == changes
    assert not answer.body["is_active"]
    assert put(api, f"{ADDRESSES}/{address}", {"label": None}).body["label"] is None
    for field in ("address", "tag", "network", "currency"):
        assert put(api, f"{ADDRESSES}/{address}", {field: "x"}).code == "invalid_request"


def test_the_history_says_what_who_and_from_where(api):
    address = fetch(api, connect(api))
    put(api, f"{ADDRESSES}/{address}", {"label": "rent"})
    assert delete(api, f"{ADDRESSES}/{address}") == 204
    assert api.get(f"{ADDRESSES}/{address}").status == 404
    entries = api.get(f"{ADDRESSES}/history/{address}").body["results"]
    actions = [entry["action"] for entry in entries]
    assert actions == ["address.removed", "address.updated", "address.created"]
    assert (entries[1]["old_values"], entries[1]["new_values"]) == (
        {"label": ""},
        {"label": "rent"},
    )
    assert entries[0]["ip_address"] == "127.0.0.1"


def test_a_removed_address_comes_back_when_it_is_asked_for(api):
    account = connect(api)
    address = fetch(api, account)
    delete(api, f"{ADDRESSES}/{address}")
    assert fetch(api, account) == address
    assert len(api.get(ADDRESSES).body["results"]) == 1


def test_addresses_are_found_by_currency_and_filters(api):
    account = connect(api)
    fetch(api, account)
    fetch(api, account, "ETH", network="base")
    assert len(api.get(f"{ADDRESSES}/by-currency/eth").body["results"]) == 1
    for query, count in (
        ("currency=btc", 1),
        ("network=base", 1),
        ("state=current", 2),
        ("exchange=kraken", 0),
        (f"exchange_account_id={account}", 2),
        ("is_active=false", 0),
    ):
        assert len(api.get(f"{ADDRESSES}?{query}").body["results"]) == count, query


@pytest.mark.parametrize("query", ["state=x", "exchange_account_id=1", "limit=0", "cursor=cD1mb28"])
def test_a_filter_that_makes_no_sense_is_refused(api, query):
    assert api.get(f"{ADDRESSES}?{query}").code == "invalid_request"


def test_pages_follow_each_other(api):
    account = connect(api)
    made = [fetch(api, account, code) for code in ("BTC", "LTC", "DOGE")]
    first = api.get(f"{ADDRESSES}?limit=2").body
    second = api.get(first["next"].partition("testserver")[2]).body
    shown = [one["id"] for one in [*first["results"], *second["results"]]]
    assert shown == made[::-1]


def test_many_are_fetched_each_on_its_own(api):
    account = connect(api)
    items = [("BTC", None), ("USDT", None), ("USDT", "tron"), ("NOPE", None)]
    body = [
        {"exchange_account_id": account, "currency": code}
        | ({"network": network} if network else {})
        for code, network in items
    ]
    results = api.post(f"{ADDRESSES}/bulk", {"items": body}).body["results"]
    outcomes = [one.get("error", {}).get("code") for one in results]
    assert outcomes == [None, "NETWORK_REQUIRED", None, "UNSUPPORTED_CURRENCY"]
    assert DepositAddress.objects.count() == 2


def test_a_qr_code_holds_the_tag_or_is_refused(api):
    account = connect(api)
    for currency, status in (("BTC", 200), ("XRP", 200), ("ATOM", 422)):
        address = fetch(api, account, currency)
        response = api.client.get(
            f"{ADDRESSES}/{address}/qr", headers={"Authorization": f"Bearer {api.key}"}
        )
        assert response.status_code == status, currency
        if status == 200:
            assert response["Content-Type"] == "image/svg+xml"
            assert response.content.startswith(b"<?xml")
        else:
            assert response.json()["error"]["code"] == "QR_CODE_NOT_AVAILABLE"


def test_a_page_of_addresses_takes_one_query(api, django_assert_num_queries):
    account = connect(api)
    for code in ("BTC", "LTC", "DOGE"):
        fetch(api, account, code)
    with django_assert_num_queries(2):  # the key's user, the addresses
        assert len(api.get(ADDRESSES).body["results"]) == 3


def test_a_page_is_read_by_the_index_however_many_there_are(api, alice):
    account = connect(api)
    address = fetch(api, account)
    with connection.cursor() as cursor:
        table = DepositAddress._meta.db_table
        columns = [field.column for field in DepositAddress._meta.concrete_fields]
        values = {"id": "gen_random_uuid()", "address": "'copy ' || n"}
        chosen = ", ".join(values.get(column, column) for column in columns)
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} FROM {table}, "
            "generate_series(1, 5000) n WHERE id = %s",
            [address],
        )
        cursor.execute(f"ANALYZE {table}")
    rows = DepositAddress.objects.present().filter(user=alice).order_by("-pk")[:51]
    plan = rows.explain()
    assert "dj_wallet_address_newest" in plan
    assert "Sort" not in plan
