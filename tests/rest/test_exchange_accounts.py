"""Exchange accounts over HTTP: connected, tested, changed, removed, and nobody else's."""

import json

import pytest

from dj_wallet.exchanges.models import ExchangeAccount
from dj_wallet.exchanges.venues import VENUES
from tests.exchanges.stand import credentials_of
from tests.rest.exchange_people import ADDRESSES, EXCHANGES, connect, fetch, post_account

pytestmark = pytest.mark.usefixtures("keys", "sandbox")


@pytest.mark.parametrize("venue", ["binance", "kraken", "okx"])
def test_an_account_is_connected_and_its_secrets_are_never_shown(api, venue):
    answer = post_account(api, venue)
    assert answer.status == 201
    key = credentials_of(venue)
    shown = json.dumps(
        [answer.body, api.get(f"{EXCHANGES}/{answer.body['id']}").body, api.get(EXCHANGES).body]
    )
    assert key.api_secret not in shown
    assert key.api_key not in shown
    assert answer.body["key_hint"] == key.api_key[-4:]
    assert answer.headers["Location"] == f"{EXCHANGES}/{answer.body['id']}"


def test_a_key_that_may_withdraw_is_refused_in_the_seeds_format(api):
    answer = post_account(api, "binance", "careless")
    assert (answer.status, answer.code) == (422, "WITHDRAW_PERMISSION_PRESENT")
    error = answer.body["error"]
    assert set(error) == {"code", "message", "details", "timestamp"}
    assert error["details"]["exchange"] == "binance"
    assert "Enable Withdrawals" in error["details"]["least_privilege"]
    assert not ExchangeAccount.objects.exists()


def test_a_wrong_secret_is_no_401_which_would_sign_the_caller_out(api):
    answer = post_account(api, api_secret="a wrong secret")
    assert (answer.status, answer.code) == (422, "INVALID_CREDENTIALS")
    assert "a wrong secret" not in json.dumps(answer.body)


@pytest.mark.parametrize(
    "changes",
    [
        {"exchange_id": ""},
        {"exchange_id": 7},
        {"account_name": ""},
        {"account_name": "x" * 101},
        {"api_key": ""},
        {"api_key": None},
        {"api_secret": ["x"]},
        {"sandbox_mode": "true"},
        {"sandbox_mode": 1},
        {"metadata": []},
        {"is_active": True},
    ],
)
def test_what_is_malformed_is_refused_without_repeating_it(api, sandbox, changes):
    answer = post_account(api, **changes)
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert credentials_of("binance").api_secret not in json.dumps(answer.body)
    assert sandbox.calls() == []
    assert not ExchangeAccount.objects.exists()


def test_an_unknown_exchange_is_refused(api):
    answer = post_account(api, exchange_id="mtgox")
    assert (answer.status, answer.code) == (422, "EXCHANGE_NOT_SUPPORTED")


def test_a_key_and_a_name_are_taken_once(api, bobs_api):
    connect(api)
    assert post_account(bobs_api).code == "API_KEY_IN_USE"
    again = post_account(api, person="bob", account_name="alice at binance")
    assert (again.status, again.code) == (409, "EXCHANGE_ACCOUNT_EXISTS")


def test_the_list_is_the_callers_and_can_be_filtered(api, bobs_api):
    connect(api)
    connect(api, "kraken")
    connect(bobs_api, person="bob")
    names = [one["account_name"] for one in api.get(EXCHANGES).body["results"]]
    assert names == ["alice at kraken", "alice at binance"]
    found = api.get(f"{EXCHANGES}?exchange=binance&is_active=true").body["results"]
    assert [one["exchange_id"] for one in found] == ["binance"]


def test_a_page_of_accounts_takes_one_query(api, django_assert_num_queries):
    connect(api)
    connect(api, "kraken")
    api.get(EXCHANGES)
    with django_assert_num_queries(2):  # the key's user, the accounts
        api.get(EXCHANGES)


def test_a_connection_is_tested_and_the_rights_told(api):
    account = connect(api)
    answer = api.post(f"{EXCHANGES}/{account}/test")
    assert answer.status == 200
    assert answer.body["permissions"]["can_withdraw"] is False
    assert answer.body["warnings"] == ["The key is not tied to IP addresses."]


def test_an_exchange_that_fails_is_told_in_the_seeds_format(api, sandbox):
    account = connect(api)
    sandbox.break_down("rate_limited", "binance", seconds=300)
    answer = api.post(f"{EXCHANGES}/{account}/test")
    assert (answer.status, answer.code) == (429, "RATE_LIMITED")
    assert answer.body["error"]["details"]["retry_after"] == 300
    assert answer.headers["Retry-After"] == "300"


def test_name_metadata_and_use_can_be_changed(api):
    account = connect(api)
    changes = {"account_name": "savings", "is_active": False, "metadata": {"currencies": ["BTC"]}}
    answer = api.send("PUT", f"{EXCHANGES}/{account}", json.dumps(changes).encode())
    assert answer.status == 200
    assert {name: answer.body[name] for name in changes} == changes
    refused = api.post(ADDRESSES, {"exchange_account_id": account, "currency": "BTC"})
    assert (refused.status, refused.code) == (409, "EXCHANGE_ACCOUNT_INACTIVE")


def test_new_credentials_need_key_and_secret(api):
    account = connect(api)
    answer = api.send("PUT", f"{EXCHANGES}/{account}", b'{"api_key": "lonely"}')
    assert (answer.status, answer.code) == (400, "invalid_request")


def test_a_removed_account_is_gone_and_its_history_stays(api):
    account = connect(api)
    address = fetch(api, account)
    assert api.client.delete(
        f"{EXCHANGES}/{account}", headers={"Authorization": f"Bearer {api.key}"}
    ).status_code == 204  # fmt: skip
    assert api.get(f"{EXCHANGES}/{account}").status == 404
    assert api.get(f"{ADDRESSES}/{address}").status == 404
    assert api.get(f"{ADDRESSES}/history/{address}").status == 200


def test_the_supported_exchanges_are_the_eight_of_the_seed(api):
    results = api.get(f"{EXCHANGES}/supported").body["results"]
    assert {one["id"] for one in results} == set(VENUES)
    assert {one["id"] for one in results if one["requires_passphrase"]} == {"kucoin", "okx"}


def test_information_has_the_guide_and_our_addresses(api, settings):
    settings.EXCHANGES_EGRESS_IPS = ["192.0.2.7"]
    answer = api.get(f"{EXCHANGES}/huobi/info")
    assert (answer.body["id"], answer.body["egress_ips"]) == ("htx", ["192.0.2.7"])
    assert "Read-only" in answer.body["least_privilege"]
    assert answer.body["status"] == "ok"


def test_currencies_are_listed_with_their_networks_and_nothing_of_the_keys_owner(api):
    assert api.get(f"{EXCHANGES}/binance/currencies").body["results"] == []
    connect(api)
    results = api.get(f"{EXCHANGES}/binance/currencies").body["results"]
    usdt = next(one for one in results if one["currency"] == "USDT")
    assert {one["network"] for one in usdt["networks"]} == {"ethereum", "tron", "solana"}
    assert "free" not in json.dumps(results)


def test_an_id_that_is_none_is_no_account(api):
    assert api.get(f"{EXCHANGES}/unheard-of").status == 404
    assert api.get(f"{EXCHANGES}/unheard-of/info").code == "EXCHANGE_NOT_SUPPORTED"
