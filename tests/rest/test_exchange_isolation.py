"""Nobody reaches what is another's: two people, every route; operators see all and no credential."""

import json
from contextlib import suppress

import pytest
from django.db import transaction

from dj_wallet.exchanges import metrics
from dj_wallet.exchanges.models import AddressSyncLog, ExchangeAccount, SupportedExchange
from dj_wallet.exchanges.services.accounts import remove_account
from dj_wallet.exchanges.services.syncs import run_next_sync
from dj_wallet.identity.services import create_api_key
from tests.exchanges.stand import credentials_of
from tests.rest.api import Api
from tests.rest.exchange_people import ADDRESSES, ADMIN, EXCHANGES, connect, fetch

pytestmark = pytest.mark.usefixtures("keys", "sandbox")


def test_anothers_things_do_not_exist_on_any_route(api, bobs_api, sandbox):
    account = connect(api)
    address = fetch(api, account)
    sync = api.post(f"{ADDRESSES}/sync", {"exchange_account_id": account}).body["syncs"][0]["id"]
    before, calls = describe_all(), len(sandbox.calls())
    body = {"exchange_account_id": account, "currency": "BTC"}
    routes = [
        ("GET", f"{EXCHANGES}/{account}", None),
        ("PUT", f"{EXCHANGES}/{account}", {"account_name": "mine"}),
        ("DELETE", f"{EXCHANGES}/{account}", None),
        ("POST", f"{EXCHANGES}/{account}/test", None),
        ("POST", ADDRESSES, body),
        ("POST", f"{ADDRESSES}/bulk", {"items": [body]}),
        ("POST", f"{ADDRESSES}/sync", {"exchange_account_id": account}),
        ("GET", f"{ADDRESSES}/{address}", None),
        ("PUT", f"{ADDRESSES}/{address}", {"label": "mine"}),
        ("DELETE", f"{ADDRESSES}/{address}", None),
        ("PUT", f"{ADDRESSES}/{address}/refresh", None),
        ("GET", f"{ADDRESSES}/{address}/qr", None),
        ("GET", f"{ADDRESSES}/history/{address}", None),
        ("GET", f"{ADDRESSES}/syncs/{sync}", None),
    ]
    for method, path, content in routes:
        raw = b"" if content is None else json.dumps(content).encode()
        assert bobs_api.send(method, path, raw).status == 404, (method, path)
    for path in (EXCHANGES, ADDRESSES, f"{ADDRESSES}/by-currency/BTC", f"{ADDRESSES}/syncs"):
        assert bobs_api.get(path).body["results"] == []
    assert describe_all() == before
    assert len(sandbox.calls()) == calls


def describe_all():
    accounts = ExchangeAccount.objects.values_list(
        "account_name", "is_active", "deleted_at", "updated_at", "sealed_key"
    )
    return list(accounts), AddressSyncLog.objects.count()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/exchanges"),
        ("GET", "/sync-status"),
        ("POST", "/sync/force"),
        ("GET", "/analytics"),
    ],
)
def test_users_are_kept_out_of_what_operators_see(api, method, path):
    answer = api.send(method, f"{ADMIN}{path}", b"{}" if method == "POST" else b"")
    assert answer.status == 403


def test_operators_see_all_accounts_and_no_secret(staffs_api, api, bobs_api):
    connect(api)
    connect(bobs_api, person="bob")
    answer = staffs_api.get(f"{ADMIN}/exchanges")
    assert len({one["user_id"] for one in answer.body["results"]}) == 2
    for person in ("alice", "bob"):
        key = credentials_of("binance", person)
        assert key.api_secret not in json.dumps(answer.body)
        assert key.api_key not in json.dumps(answer.body)


def test_operators_force_a_sync_before_all_others(staffs_api, api, bobs_api):
    connect(api)
    urgent = connect(bobs_api, person="bob")
    api.post(f"{ADDRESSES}/sync", {})
    answer = staffs_api.post(f"{ADMIN}/sync/force", {"exchange_account_ids": [urgent]})
    assert answer.status == 202
    first = run_next_sync()
    assert str(first.exchange_account_id) == urgent
    status = staffs_api.get(f"{ADMIN}/sync-status").body
    assert (status["syncs"]["success"], status["syncs"]["queued"]) == (1, 1)


def test_forcing_an_account_that_is_not_there_forces_none(staffs_api, api):
    account = connect(api)
    ids = [account, "019b0000-0000-7000-8000-000000000000"]
    answer = staffs_api.post(f"{ADMIN}/sync/force", {"exchange_account_ids": ids})
    assert answer.code == "invalid_request"
    assert not AddressSyncLog.objects.exists()


def test_analytics_count_by_exchange(staffs_api, api, bobs_api):
    fetch(api, connect(api))
    connect(bobs_api, person="bob")
    connect(api, "kraken")
    usage = {
        one["exchange"]: one
        for one in staffs_api.get(f"{ADMIN}/analytics?days=7").body["exchanges"]
    }
    assert (usage["binance"]["accounts"], usage["binance"]["users"]) == (2, 2)
    assert (usage["binance"]["addresses"], usage["kraken"]["addresses"]) == (1, 0)
    assert staffs_api.get(f"{ADMIN}/analytics?days=0").code == "invalid_request"


def test_metrics_are_internal_and_name_no_user(api, alice, staff):
    connect(api)
    assert api.get("/metrics").status == 403
    text = scrape(staff)
    assert 'wallet_exchange_accounts{active="true",exchange="binance"} 1.0' in text
    assert 'wallet_exchange_up{exchange="binance"} 1.0' in text
    assert 'wallet_exchange_requests_total{code="OK",exchange="binance"}' in text
    assert str(alice.pk) not in text


def test_metrics_count_what_happened_and_not_what_was_rolled_back(
    api, staff, django_capture_on_commit_callbacks
):
    connected = 'wallet_exchange_activity_total{action="exchange.connected",exchange="htx"}'
    ended = 'wallet_exchange_syncs_total{exchange="htx",status="success"}'
    before = read_metrics(scrape(staff))
    with django_capture_on_commit_callbacks(execute=True):
        account = connect(api, "htx")
        with suppress(ZeroDivisionError), transaction.atomic():
            remove_account(ExchangeAccount.objects.get(pk=account))
            raise ZeroDivisionError
        body = {"exchange_account_id": account, "currencies": ["XRP"]}
        api.post(f"{ADDRESSES}/sync", body)
        run_next_sync()
    after = read_metrics(scrape(staff))
    grown = {name for name, value in after.items() if value != before.get(name, 0)}
    assert after[connected] - before.get(connected, 0) == 1
    assert after[ended] - before.get(ended, 0) == 1
    assert not [name for name in grown if "exchange.removed" in name]


def test_a_scrape_reads_no_table_that_grows_with_time(staff, django_assert_num_queries):
    with django_assert_num_queries(2) as asked:
        metrics.render()
    tables = {query["sql"].partition(" FROM ")[2].split()[0] for query in asked.captured_queries}
    assert tables == {f'"{model._meta.db_table}"' for model in (ExchangeAccount, SupportedExchange)}


def scrape(staff):
    """Return what Prometheus is told."""
    service = Api(create_api_key(user=staff, name="prometheus", scopes=["internal"])[1])
    response = service.client.get("/metrics", headers={"Authorization": f"Bearer {service.key}"})
    return response.content.decode()


def read_metrics(text):
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}
