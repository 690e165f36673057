"""Synchronizations over HTTP: queued, joined, watched."""

import pytest

from dj_wallet.exchanges.models import DepositAddress
from dj_wallet.exchanges.services.syncs import run_next_sync
from tests.rest.exchange_people import ADDRESSES, connect, fetch, post_address

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


def fall_silent(sandbox, settings):
    """Let the exchange answer no longer than a user waits."""
    settings.EXCHANGES_FETCH_SECONDS = 0.5
    sandbox.break_down("hang", "binance")


def recover(sandbox, settings):
    settings.EXCHANGES_FETCH_SECONDS = 30
    sandbox.repair()


def test_what_an_exchange_does_not_answer_in_time_is_asked_by_a_worker(api, sandbox, settings):
    account = connect(api)
    fall_silent(sandbox, settings)
    answer = post_address(api, account, "BTC")
    assert answer.status == 202
    (job,) = answer.body["syncs"]
    assert (job["sync_type"], job["status"]) == ("single_currency", "queued")
    assert not DepositAddress.objects.exists()
    recover(sandbox, settings)
    run_next_sync()
    done = api.get(f"{ADDRESSES}/syncs/{job['id']}").body
    assert (done["status"], done["currencies_synced"]) == ("success", ["BTC"])
    assert post_address(api, account, "BTC", label="rent").body["label"] == "rent"
    assert DepositAddress.objects.count() == 1


def test_a_refresh_that_takes_too_long_is_done_by_a_worker(api, sandbox, settings):
    address = fetch(api, connect(api))
    fall_silent(sandbox, settings)
    answer = api.send("PUT", f"{ADDRESSES}/{address}/refresh", b"")
    assert answer.status == 202
    assert len(answer.body["syncs"]) == 1


def test_a_sync_of_other_currencies_is_no_answer_to_who_waits_for_this_one(api, sandbox, settings):
    account = connect(api)
    api.post(SYNC, {"exchange_account_id": account, "currencies": ["XRP"]})
    fall_silent(sandbox, settings)
    answer = post_address(api, account, "BTC")
    assert (answer.status, answer.code) == (504, "EXCHANGE_TIMEOUT")
    assert post_address(api, account, "XRP").status == 202
