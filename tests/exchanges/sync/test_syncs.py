"""Synchronizations: one of an account at a time, each currency on its own, nothing lost by a failure."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils import timezone

from dj_wallet.events.models import Event
from dj_wallet.exchanges import queries, tasks
from dj_wallet.exchanges.errors import AccountInactive
from dj_wallet.exchanges.models import AddressSyncLog, DepositAddress, ExchangeAccount
from dj_wallet.exchanges.services.accounts import remove_account
from dj_wallet.exchanges.services.addresses import fetch_address, store_answer
from dj_wallet.exchanges.services.syncs import (
    BACKGROUND,
    FORCED,
    recover_lapsed_syncs,
    request_sync,
    run_next_sync,
)
from dj_wallet.exchanges.venues.contract import Addresses
from tests.exchanges.people import connect
from tests.exchanges.stand import given
from wallet_service.celery import app

pytestmark = pytest.mark.usefixtures("keys")


def sync(account: ExchangeAccount, *currencies: str) -> AddressSyncLog:
    """Request a synchronization and run it."""
    log, _ = request_sync(account, currencies=currencies)
    run_next_sync()
    log.refresh_from_db()
    return log


def list_states(account, currency="BTC"):
    rows = DepositAddress.objects.filter(exchange_account=account, currency=currency)
    return list(rows.order_by("pk").values_list("state", flat=True))


def test_a_full_sync_finds_what_the_exchange_lists(sandbox, alice):
    account = connect(alice, "kucoin")
    log = sync(account)
    assert (log.sync_type, log.error_details) == ("full", None)
    assert log.status == "success"
    assert log.addresses_added == DepositAddress.objects.count() >= 50
    assert log.results["MINA"] == {"status": "skipped", "code": "UNSUPPORTED_NETWORK"} or (
        log.results["MINA"]["refused"][0]["code"] == "UNSUPPORTED_NETWORK"
    )
    account.refresh_from_db()
    assert (account.sync_status, account.sync_cursor) == ("success", [])
    finished = Event.objects.get(type="sync.finished").data
    assert (finished["status"], finished["addresses_added"]) == ("success", log.addresses_added)


def test_a_second_sync_changes_nothing_and_asks_for_what_is_known(sandbox, alice):
    account = connect(alice)
    sync(account, "BTC", "XRP")
    before = list(DepositAddress.objects.order_by("pk").values_list("pk", "address", "tag"))
    log, _ = request_sync(account, kind="incremental")
    run_next_sync()
    log.refresh_from_db()
    assert (log.addresses_added, log.addresses_removed) == (0, 0)
    assert log.currencies_synced == ["BTC", "XRP"]
    assert list(DepositAddress.objects.order_by("pk").values_list("pk", "address", "tag")) == before


def test_one_currency_that_fails_makes_it_partial(sandbox, alice):
    account = connect(alice, "okx")
    log = sync(account, "BTC", "NOPE")
    assert log.status == "partial"
    assert log.results["BTC"]["status"] == "success"
    assert log.results["NOPE"]["code"] == "UNSUPPORTED_CURRENCY"
    assert log.error_details["failed"] == ["NOPE"]


def test_when_all_currencies_fail_it_is_not_a_success(sandbox, alice):
    account = connect(alice)
    sandbox.break_down("permission", "binance")
    log = sync(account, "BTC", "XRP")
    assert (log.status, log.currencies_synced) == ("failed", [])
    assert log.error_details["code"] in {"PERMISSION_DENIED", "INVALID_CREDENTIALS"}


def test_an_exchange_that_fails_marks_no_address_removed(sandbox, alice):
    account = connect(alice)
    sync(account, "BTC", "LTC")
    for fault in ("unavailable", "empty", "garbage", "pending", "blocked_text", "without_tag"):
        sandbox.break_down(fault, "binance", path="deposit/address")
        sync(account, "BTC", "LTC")
        sandbox.repair()
        sandbox.set("limits", kept=True)
    assert list_states(account) == list_states(account, "LTC") == ["current"]
    assert DepositAddress.objects.filter(absences__gt=0).count() == 0


def test_an_address_is_missing_after_two_complete_answers_without_it(sandbox, alice):
    account = connect(alice)
    fetch_address(account, currency="BTC")
    assert store_answer(account, "BTC", Addresses(())).removed == 0
    assert list_states(account) == ["current"]
    assert store_answer(account, "BTC", Addresses(())).removed == 1
    assert list_states(account) == ["missing"]
    sync(account, "BTC")
    assert list_states(account) == ["current"]


def test_a_rotated_address_never_hides_the_old_one(sandbox, alice):
    account = connect(alice)
    sync(account, "BTC")
    sandbox.rotate("binance", "BTC", "bitcoin")
    log = sync(account, "BTC")
    assert log.addresses_added == 1
    assert list_states(account) == ["superseded", "current"]
    event = Event.objects.get(type="address.rotated").data
    old, new = given("binance", "BTC", "bitcoin"), given("binance", "BTC", "bitcoin", rotations=1)
    assert (event["previous_address"], event["address"]) == (old[0].address, new[0].address)


def test_a_new_address_is_believed_when_it_is_said_twice(sandbox, alice):
    account = connect(alice)
    sync(account, "BTC")
    sandbox.rotate("binance", "BTC", "bitcoin")
    before = len([path for path in sandbox.calls("binance") if "deposit/address" in path])
    sync(account, "BTC")
    after = len([path for path in sandbox.calls("binance") if "deposit/address" in path])
    assert after - before == 2


def test_one_address_on_two_networks_is_two_rows(sandbox, alice):
    account = connect(alice)
    one, _ = fetch_address(account, currency="USDC", network="ethereum")
    other, _ = fetch_address(account, currency="USDC", network="arbitrum")
    assert one.address == other.address
    assert one.pk != other.pk


def test_no_tag_is_null_and_is_the_same_every_time(sandbox, alice):
    account = connect(alice)
    for _ in range(2):
        fetch_address(account, currency="BTC")
    assert list(DepositAddress.objects.values_list("tag", flat=True)) == [None]


def test_earlier_addresses_of_okx_and_kraken_are_kept_as_superseded(sandbox, alice):
    for venue in ("okx", "kraken"):
        account = connect(alice, venue)
        sandbox.rotate(venue, "BTC", "bitcoin")
        sync(account, "BTC")
        assert sorted(list_states(account)) == ["current", "superseded"]


def test_where_deposits_are_closed_the_address_warns(sandbox, alice):
    account = connect(alice)
    sandbox.break_down("deposits_disabled", "binance")
    address, _ = fetch_address(account, currency="BTC")
    assert address.warnings


# Queue


def test_two_requests_become_one_which_is_as_urgent_as_the_second(sandbox, alice):
    account = connect(alice)
    first, is_new = request_sync(account, priority=BACKGROUND)
    second, is_newer = request_sync(account, priority=FORCED)
    assert (first.pk, is_new, is_newer) == (second.pk, True, False)
    assert second.priority == FORCED
    assert AddressSyncLog.objects.count() == 1


def test_the_most_urgent_runs_first(sandbox, alice, bob):
    request_sync(connect(alice), currencies=["BTC"], priority=BACKGROUND)
    urgent = connect(bob, person="bob")
    request_sync(urgent, currencies=["BTC"], priority=FORCED)
    assert run_next_sync().exchange_account_id == urgent.pk


def test_no_more_run_than_may_and_a_dead_worker_blocks_nobody_for_long(sandbox, alice, bob):
    first, _ = request_sync(connect(alice), currencies=["BTC"])
    request_sync(connect(bob, person="bob"), currencies=["BTC"])
    running = AddressSyncLog.objects.filter(pk=first.pk)
    running.update(status="running", lease_until=timezone.now() + timedelta(minutes=1))
    assert run_next_sync() is None
    running.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert run_next_sync() is not None


def test_an_account_that_is_switched_off_is_not_synchronized(sandbox, alice):
    account = connect(alice)
    account.is_active = False
    with pytest.raises(AccountInactive):
        request_sync(account)
    assert run_next_sync() is None


def test_removing_an_account_ends_its_open_sync(sandbox, alice):
    account = connect(alice)
    log, _ = request_sync(account)
    remove_account(account)
    log.refresh_from_db()
    assert (log.status, run_next_sync()) == ("failed", None)


def test_what_a_dead_worker_left_is_run_again_and_given_up_in_the_end(sandbox, alice):
    account = connect(alice)
    log, _ = request_sync(account, currencies=["BTC"])
    for token in (1, 2, 3):
        AddressSyncLog.objects.update(
            status="running", token=token, lease_until=timezone.now() - timedelta(seconds=1)
        )
        recover_lapsed_syncs()
        log.refresh_from_db()
        assert log.status == ("queued" if token < 3 else "failed")
    assert log.error_details["code"] == "WORKER_LOST"


def test_a_worker_that_lost_its_lease_writes_no_end(sandbox, alice):
    account = connect(alice)
    log, _ = request_sync(account, currencies=["BTC"])
    taken = AddressSyncLog.objects.filter(pk=log.pk)

    def take_away(**kwargs):
        taken.update(token=99)

    from django.db.models.signals import post_save

    post_save.connect(take_away, sender=DepositAddress)
    try:
        run_next_sync()
    finally:
        post_save.disconnect(take_away, sender=DepositAddress)
    log.refresh_from_db()
    assert (log.status, log.token, log.results) == ("running", 99, {})


def test_what_the_budget_leaves_is_done_next_time(sandbox, alice, settings):
    settings.EXCHANGES_SYNC_BUDGET_SECONDS = 3
    account = connect(alice, "kucoin")
    account.metadata = {"currencies": ["DOGE", "BTC"]}
    account.save()
    sandbox.set("latency", seconds=0.7)
    log = sync(account)
    assert log.status == "partial"
    account.refresh_from_db()
    done, left = set(log.results), set(account.sync_cursor)
    assert {"DOGE", "BTC"} <= done  # what the owner pinned comes first
    assert left
    assert not done & left
    assert log.error_details["code"] == "BUDGET_SPENT"
    sandbox.set("latency", seconds=0)
    settings.EXCHANGES_SYNC_BUDGET_SECONDS = 20
    following = sync(account)
    assert set(following.results) == left
    account.refresh_from_db()
    assert account.sync_cursor == []


def test_three_failures_in_a_row_are_told_once(sandbox, alice):
    account = connect(alice)
    sandbox.break_down("blocked", "binance")
    for _ in range(4):
        sync(account, "BTC")
    assert Event.objects.filter(type="exchange.sync_failing").count() == 1
    account.refresh_from_db()
    assert account.is_active


def test_due_are_those_that_were_never_synchronized_or_not_for_long(sandbox, alice, bob):
    account = connect(alice)
    assert queries.list_due_accounts() == [account]
    sync(account, "BTC")
    assert queries.list_due_accounts() == []
    ExchangeAccount.objects.update(last_sync_at=timezone.now() - timedelta(days=1))
    assert queries.list_due_accounts() == [account]
    request_sync(account)
    assert queries.list_due_accounts() == []


def test_beat_queues_and_runs_what_is_due(sandbox, alice):
    account = connect(alice)
    account.metadata = {"currencies": ["BTC"]}
    account.save()
    tasks.run_queued_syncs()
    log = AddressSyncLog.objects.get()
    assert (log.sync_type, log.status) == ("full", "success")


def test_beat_looks_at_keys_once_a_day(sandbox, alice):
    connect(alice)
    calls = len(sandbox.calls())
    tasks.check_credentials()
    assert len(sandbox.calls()) == calls
    ExchangeAccount.objects.update(checked_at=timezone.now() - timedelta(days=2))
    tasks.check_credentials()
    assert len(sandbox.calls()) > calls


def test_beat_finds_addresses_that_were_changed(sandbox, alice):
    address, _ = fetch_address(connect(alice), currency="BTC")
    DepositAddress.objects.update(tag="7")
    for _ in range(2):
        tasks.check_seals()
    address.refresh_from_db()
    assert address.tampered_at is not None
    assert Event.objects.filter(type="address.unusual_activity").count() == 1


def test_tasks_have_the_names_that_settings_and_services_call(settings):
    app.loader.import_default_modules()
    called = {one["task"] for one in settings.CELERY_BEAT_SCHEDULE.values()}
    ours = {name for name in called if name.startswith("dj_wallet.exchanges.")}
    assert len(ours) == 3
    assert {*ours, "dj_wallet.exchanges.run_next_sync"} <= set(app.tasks)


# On real transactions


@pytest.mark.django_db(transaction=True)
def test_while_an_exchange_is_asked_no_transaction_is_open(sandbox, alice):
    account = connect(alice)
    request_sync(account, currencies=["BTC"])
    sandbox.set("latency", seconds=2)
    worker = threading.Thread(target=run_and_close)
    calls = len(sandbox.calls())
    worker.start()
    seen = []
    while worker.is_alive():
        worker.join(0.1)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND state = 'idle in transaction' AND now() - xact_start > interval '1500 ms'"
            )
            seen.append(cursor.fetchone()[0])
    assert len(sandbox.calls()) > calls
    assert set(seen) == {0}
    assert AddressSyncLog.objects.get().status == "success"


@pytest.mark.django_db(transaction=True)
def test_two_workers_never_run_one_sync(sandbox, alice):
    account = connect(alice)
    log, _ = request_sync(account, currencies=["BTC", "LTC"])
    workers = [threading.Thread(target=run_and_close) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    log.refresh_from_db()
    assert (log.token, log.status) == (1, "success")
    assert DepositAddress.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_requests_at_once_become_one(sandbox, alice):
    account = connect(alice)
    found = []

    def ask():
        try:
            found.append(request_sync(account)[0].pk)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == AddressSyncLog.objects.count() == 1


def run_and_close():
    try:
        run_next_sync()
    finally:
        connections.close_all()
