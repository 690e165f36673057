"""Synchronizations over HTTP: queued, joined, watched."""

import pytest

from dj_wallet.exchanges.services.syncs import run_next_sync
from tests.rest.exchange_people import ADDRESSES, connect

pytestmark = pytest.mark.usefixtures("keys", "sandbox")
SYNC = f"{ADDRESSES}/sync"


def test_a_sync_is_queued_watched_and_ends(api):
    account = connect(api)
    body = {"exchange_account_id": account, "currencies": ["BTC", "xrp"]}
    answer = api.post(SYNC, body)
    assert answer.status == 202
    log = answer.body["syncs"][0]
    assert (log["status"], log["progress"]) == ("queued", {"done": 0, "total": 2})
    run_next_sync()
    ended = api.get(f"{ADDRESSES}/syncs/{log['id']}").body
    assert (ended["status"], ended["addresses_added"]) == ("success", 2)
    assert ended["progress"] == {"done": 2, "total": 2}
    assert api.get(f"{ADDRESSES}/syncs?status=success").body["results"] == [ended]


def test_asking_twice_is_asking_once(api):
    account = connect(api)
    first, second = (api.post(SYNC, {"exchange_account_id": account}).body for _ in range(2))
    assert first["syncs"][0]["id"] == second["syncs"][0]["id"]


def test_without_an_account_all_are_synchronized(api):
    connect(api)
    connect(api, "kraken")
    assert len(api.post(SYNC, {}).body["syncs"]) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"currencies": []},
        {"currencies": "BTC"},
        {"currencies": [7]},
        {"exchange_account_id": "1"},
        {"all": True},
    ],
)
def test_what_is_malformed_queues_nothing(api, body):
    connect(api)
    assert api.post(SYNC, body).code == "invalid_request"
    assert api.get(f"{ADDRESSES}/syncs").body["results"] == []


def test_what_is_no_currency_queues_nothing(api):
    connect(api)
    answer = api.post(SYNC, {"currencies": ["a/b"]})
    assert (answer.status, answer.code) == (422, "UNSUPPORTED_CURRENCY")
    assert api.get(f"{ADDRESSES}/syncs").body["results"] == []
