"""The 28 ways in which services pay twice, lose money or stop, each with the test that it is not one of ours.

The numbers are those of docs/guides/payouts.md.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from celery import current_app
from django.conf import settings as django_settings
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from dj_wallet import payouts
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.models import Transaction, Wallet
from dj_wallet.payouts import tasks
from dj_wallet.payouts.bank import get_bank
from dj_wallet.payouts.errors import PayoutInFlight
from dj_wallet.payouts.models import Circuit, Payout
from dj_wallet.payouts.recurrence import to_instant
from dj_wallet.payouts.services import (
    PayoutRequest,
    cancel_payout,
    execute_due_payouts_of,
    execute_payout,
    hear_report,
    schedule_payout,
    schedule_payouts,
)
from dj_wallet.signals import balance_changed
from tests.payouts.conftest import (
    HOLD,
    KEYED,
    PLAIN,
    SETTLE,
    Bank,
    at_once,
    list_postings,
    look,
    run,
)
from tests.payouts.test_reports import list_reports

pytestmark = pytest.mark.django_db

committed = pytest.mark.django_db(transaction=True)


@pytest.fixture
def payout(wallet) -> Payout:
    """30.00 of the 100.00, due."""
    return schedule_payout(wallet=wallet, amount=30).payout


def lapse(payout: Payout, **changes: Any) -> None:
    """Make the payout look as a worker left it that died, its lease over."""
    Payout.objects.filter(pk=payout.pk).update(
        status="processing", due_at=Now() - timedelta(seconds=1), token=7, **changes
    )


def test_01_a_timeout_after_the_bank_paid_pays_once(payout, bank, impatient):
    bank.break_down("paid_timeout", seconds=4)
    with impatient():
        execute_payout(payout.pk)
    assert look(payout) == ("unknown", "pending", 70, 30)
    run(payout)
    assert look(payout) == ("settled", "completed", 70, 0)
    assert len(bank.payments(reference=str(payout.uuid))) == 1


def test_02_a_timeout_after_the_bank_paid_refunds_nothing(payout, bank, payouts_setting, impatient):
    payouts_setting(MAX_RETRIES=0)
    bank.break_down("paid_timeout", seconds=4)
    with impatient():
        execute_payout(payout.pk)
    run(payout)
    assert list_postings(payout) == [HOLD, SETTLE]


def test_03_a_503_though_paid_is_settled_by_a_lookup(payout, bank):
    bank.break_down("paid_503")
    execute_payout(payout.pk)
    assert look(payout)[0] == "retrying"
    run(payout)
    assert look(payout) == ("settled", "completed", 70, 0)
    assert len(bank.payments()) == 1


def test_04_a_failing_body_with_http_200_is_a_failure(payout, bank):
    """The pairs of status and body are in test_bank.py."""
    bank.break_down("failing_200", times=1)
    run(payout)
    assert look(payout) == ("settled", "completed", 70, 0)
    assert payout.attempts == 2


def test_05_all_tries_carry_one_key(payout, keyed_bank):
    keyed_bank.break_down("ok", script=["unavailable", "cut", "unavailable"])
    run(payout)
    orders = [one for one in keyed_bank.requests() if one["method"] == "POST"]
    assert [one["key"] for one in orders] == [str(payout.uuid)] * 4


def test_06_a_bank_that_forgot_the_key_is_asked_first(payout, keyed_bank):
    keyed_bank.break_down("paid_cut")
    execute_payout(payout.pk)
    keyed_bank.client.post("/forget-keys")
    later = timedelta(hours=25)
    Payout.objects.update(held_at=Now() - later, sent_at=Now() - later, doubted_since=Now() - later)
    run(payout)
    assert look(payout)[0] == "settled"
    assert len(keyed_bank.payments()) == 1
    assert [one["method"] for one in keyed_bank.requests()] == ["POST", "GET"]


def test_06_without_a_lookup_a_forgotten_key_is_not_used(payout, keyed_bank, payouts_setting):
    payouts_setting(bank="default", ADAPTER=KEYED, URL=f"{keyed_bank.url}/v1", LOOKUP=False)
    keyed_bank.break_down("paid_cut")
    execute_payout(payout.pk)
    Payout.objects.update(held_at=Now() - timedelta(hours=25))
    run(payout)
    assert look(payout) == ("review", "pending", 70, 30)
    assert len(keyed_bank.payments()) == 1


WORKER = """
import sys
import django
django.setup()
from dj_wallet.payouts import services
services.execute_payout(int(sys.argv[1]))
print("reported", flush=True)
"""


def start_worker(
    payout: Payout, bank: Bank, moment: str, database: str = ""
) -> subprocess.Popen[str]:
    """Execute the payout in a process of its own that dies, or stops, at this moment."""
    environment = os.environ | {
        "DATABASE_URL": make_url() + database,
        "DJANGO_SETTINGS_MODULE": "wallet_service.settings",
        "BANK_ADAPTER": "tests.payouts.harmful.HarmfulBank",
        "BANK_URL": f"{bank.url}/",
        "BANK_OPTIONS": json.dumps({"MOMENT": moment}),
        "BANK_TIMEOUT_SECONDS": "30",
    }
    command = [sys.executable, "-c", WORKER, str(payout.pk)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def make_url() -> str:
    """Return the address of the test database, for processes of its own."""
    options = connection.settings_dict
    place = f"{options['HOST']}:{options['PORT']}/{options['NAME']}"
    return f"postgresql://{options['USER']}:{options['PASSWORD']}@{place}"


@committed
@pytest.mark.parametrize("moment", ["after", "before"])
def test_07_and_08_a_worker_that_dies_around_the_call_is_replaced(payout, bank, moment):
    """7: between the bank's answer and our commit; 8: between the claim and the call."""
    worker = start_worker(payout, bank, moment)
    worker.communicate(timeout=300)
    assert worker.returncode == 9
    assert len(bank.payments()) == (moment == "after")
    assert look(payout) == ("processing", "pending", 70, 30)
    lapse(payout)
    run(payout)
    assert look(payout) == ("settled", "completed", 70, 0)
    assert len(bank.payments()) == 1
    assert audit_ledger().is_clean


@committed
def test_09_a_worker_that_slept_through_its_lease_writes_nothing(payout, bank):
    worker = start_worker(payout, bank, "stop")
    assert worker.stdout is not None
    assert worker.stdout.readline() == "sent\n"
    lapse(payout, sent_at=Now())
    run(payout)
    before = look(payout), list_postings(payout), Payout.objects.get().updated_at
    assert before[0] == ("settled", "completed", 70, 0)
    os.kill(worker.pid, signal.SIGCONT)
    assert worker.communicate(timeout=300)[0] == "reported\n"
    assert (look(payout), list_postings(payout), Payout.objects.get().updated_at) == before
    assert len(bank.payments()) == 1


def test_09_a_worker_that_slept_before_the_call_does_not_make_it(payout, bank, payouts_setting):
    """A receiver of ours sleeps longer than the lease has room for, between the hold and the call."""
    payouts_setting(LEASE_SLACK_SECONDS=0)
    payouts_setting(bank="default", ADAPTER=PLAIN, URL=f"{bank.url}/", TIMEOUT_SECONDS=0.05)

    def sleep(**_: Any) -> None:
        time.sleep(get_bank("default").call_seconds + 0.1)

    balance_changed.connect(sleep)
    try:
        execute_payout(payout.pk)
    finally:
        balance_changed.disconnect(sleep)
    assert bank.requests() == []
    assert look(payout)[0] == "retrying"


@committed
def test_10_three_beats_pay_each_once(wallet, bank):
    for _ in range(9):
        schedule_payout(wallet=wallet, amount=1)
    at_once([tasks.execute_due_payouts] * 3)
    assert len({one["reference"] for one in bank.payments()}) == len(bank.payments()) == 9


def test_11_what_no_message_came_for_is_found_by_the_sweep(payout, bank):
    """Nobody rang: in this test's transaction nothing is committed, so no message was ever sent."""
    tasks.execute_due_payouts()
    assert look(payout)[0] == "settled"


@committed
def test_12_five_messages_at_once_pay_once(payout, bank):
    at_once([lambda: tasks.execute_payout(payout.pk)] * 5)
    assert look(payout)[0] == "settled"
    assert len(bank.payments()) == 1


@committed
def test_13_a_commit_whose_message_was_never_sent_is_found_by_the_sweep(wallet, bank):
    script = """
import os
import django
django.setup()
from django.db import transaction
from dj_wallet.models import Wallet
from dj_wallet.payouts import services
with transaction.atomic():
    transaction.on_commit(lambda: os._exit(9))
    services.schedule_payout(wallet=Wallet.objects.get(), amount=30)
"""
    environment = {"DATABASE_URL": make_url(), "DJANGO_SETTINGS_MODULE": "wallet_service.settings"}
    died = subprocess.run([sys.executable, "-c", script], env=os.environ | environment, check=False)
    assert died.returncode == 9
    tasks.execute_due_payouts()
    assert look(Payout.objects.get()) == ("settled", "completed", 70, 0)


@committed
def test_14_what_is_rolled_back_is_neither_rung_for_nor_paid(wallet, bank):
    with transaction.atomic():
        number = schedule_payout(wallet=wallet, amount=30).payout.pk
        transaction.set_rollback(True)
    tasks.execute_payout(number)
    assert (Payout.objects.count(), bank.requests()) == (0, [])


def list_sources() -> list[str]:
    return [path.read_text() for path in Path(payouts.__path__[0]).rglob("*.py")]


def test_15_no_message_expires_by_a_workers_clock():
    assert not any(re.search(r"\bexpires\s*=|['\"]expires['\"]", text) for text in list_sources())
    for one in current_app.conf.beat_schedule.values():
        assert "expires" not in one.get("options", {})


def test_16_the_schedule_is_a_column_and_no_message_waits():
    pattern = r"\b(eta|countdown)\s*=|apply_async"
    assert not any(re.search(pattern, text) for text in list_sources())


def test_17_messages_of_killed_workers_come_back_before_the_next_but_one_sweep():
    options = django_settings.CELERY_BROKER_TRANSPORT_OPTIONS
    assert options["unacked_restore_interval"] * options["unacked_restore_throttle"] <= 10
    assert django_settings.CELERY_TASK_ACKS_LATE
    assert django_settings.CELERY_TASK_REJECT_ON_WORKER_LOST
    assert django_settings.CELERY_WORKER_PREFETCH_MULTIPLIER == 1


def test_18_a_bank_that_is_down_meets_no_storm(wallet, bank, payouts_setting):
    payouts_setting(CIRCUIT_FAILURES=10, CIRCUIT_SECONDS=3600, MAX_RETRIES=1000)
    for _ in range(100):
        schedule_payout(wallet=wallet, amount="0.01")
    bank.break_down("unavailable")
    for _ in range(20):
        execute_due_payouts_of("default", 16)
    assert len(bank.requests()) <= 32  # two batches, not 20 x 16
    Circuit.objects.update(open_until=Now())
    for _ in range(20):
        execute_due_payouts_of("default", 16)
    assert len(bank.requests()) <= 34


@committed
@pytest.mark.parametrize("at_step", [1, 2])
def test_19_a_poisoned_payout_stops_nobody_and_ends_with_an_operator(
    wallet, bank, payouts_setting, at_step
):
    """A receiver of ours raises, at the hold or at the settlement."""
    payouts_setting(MAX_LAPSES=3)
    poisoned, sound = (schedule_payout(wallet=wallet, amount=1).payout for _ in range(2))

    def break_down(transaction: Transaction, **_: Any) -> None:
        if transaction.pk == poisoned.transaction_id:
            seen.append(1)
            if len(seen) >= at_step:
                raise RuntimeError("poison")

    seen: list[int] = []
    balance_changed.connect(break_down)
    try:
        for _ in range(4):
            tasks.execute_due_payouts()
    finally:
        balance_changed.disconnect(break_down)
    assert look(sound)[0] == "settled"
    assert look(poisoned)[0] == "review"
    assert len(bank.payments()) == at_step


@committed
def test_20_the_balance_is_checked_when_it_executes(wallet, bank):
    made = [schedule_payout(wallet=wallet, amount=80).payout for _ in range(8)]
    at_once([lambda payout=payout: execute_payout(payout.pk) for payout in made])
    states = sorted((look(one)[0], one.failure_code) for one in made)
    assert states == [("failed", "insufficient_funds")] * 7 + [("settled", "")]
    assert Wallet.objects.get().balance == 20
    assert len(bank.payments()) == 1


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ((2026, 3, 29), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),  # a gap: 02:30 is 03:30
        ((2026, 10, 25), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),  # twice: the first
        ((2026, 6, 1), datetime(2026, 6, 1, 0, 30, tzinfo=UTC)),
        ((2026, 12, 1), datetime(2026, 12, 1, 1, 30, tzinfo=UTC)),
    ],
)
def test_21_half_past_two_in_the_nights_of_a_clock_change(day, expected):
    moment = datetime(*day).date()  # noqa: DTZ001
    assert to_instant(moment, datetime(1, 1, 1, 2, 30).time(), "Europe/Berlin") == expected  # noqa: DTZ001


def test_21_a_time_with_an_offset_is_kept_as_the_same_moment(wallet):
    local = datetime.fromisoformat("2030-03-31T03:30:00+02:00")
    payout = schedule_payout(wallet=wallet, amount=1, scheduled_for=local).payout
    payout.refresh_from_db()
    assert payout.scheduled_for == payout.due_at == datetime(2030, 3, 31, 1, 30, tzinfo=UTC)


def test_22_money_that_comes_back_days_later_is_a_new_entry(payout, keyed_bank):
    """The whole story is in tests/worked_examples/test_payouts.py."""
    run(payout)
    keyed_bank.client.post(f"/payments/{payout.uuid}/return")
    hear_report(bank="default", report=list_reports(keyed_bank)[-1])
    assert look(payout) == ("returned", "completed", 100, 0)
    assert audit_ledger().is_clean


@committed
def test_23_a_message_that_overtakes_the_answer_loses_nothing(payout, keyed_bank):
    keyed_bank.break_down("paid_timeout", seconds=0.7)

    def hear() -> None:
        deadline = time.monotonic() + 300
        while not (reports := list_reports(keyed_bank)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        hear_report(bank="default", report=reports[0])

    at_once([lambda: execute_payout(payout.pk), hear])
    assert look(payout) == ("settled", "completed", 70, 0)
    assert list_postings(payout) == [HOLD, SETTLE]


def test_24_messages_twice_and_in_any_order_end_alike(payout, keyed_bank):
    """All orders are in test_reports.py."""
    keyed_bank.break_down("accept")
    execute_payout(payout.pk)
    keyed_bank.client.post(f"/payments/{payout.uuid}/settle")
    for report in [*reversed(list_reports(keyed_bank)), *list_reports(keyed_bank)]:
        hear_report(bank="default", report=report)
    assert look(payout) == ("settled", "completed", 70, 0)
    assert list_postings(payout) == [HOLD, SETTLE]


@pytest.fixture
def missing_standby() -> Iterator[Callable[[str], None]]:
    """A function that names the standby whose confirmation commits wait for; none is there.

    Only for sessions with `synchronous_commit` on, which those of tests do not have.
    """
    with psycopg.connect(make_url(), autocommit=True) as admin:

        def name_standby(name: str) -> None:
            admin.execute(f"alter system set synchronous_standby_names = '{name}'")
            admin.execute("select pg_reload_conf()")
            wait_for(lambda: admin.execute("show synchronous_standby_names").fetchone() == (name,))

        try:
            yield name_standby
        finally:
            name_standby("")


WAITS = "?options=-c%20synchronous_commit%3Don"


def end_wait(function: str) -> None:
    """Let an administrator end the session, or the wait, of the commit that waits for the standby."""
    end = f"select {function}(pid) from pg_stat_activity where wait_event = 'SyncRep'"

    def do() -> object:
        with connection.cursor() as cursor:
            cursor.execute(end)
            return cursor.fetchone()

    wait_for(do)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


ENDS = pytest.mark.parametrize("function", ["pg_terminate_backend", "pg_cancel_backend"])


@committed
@ENDS
def test_25_and_26_the_bank_is_not_called_before_the_hold_is_certain(
    payout, bank, missing_standby, function
):
    """25: the session ended while the commit waited for the standby; 26: the wait was cancelled, and says success."""
    missing_standby("missing")
    worker = start_worker(payout, bank, "never", WAITS)
    end_wait(
        "pg_cancel_backend"
    )  # the claim's: taken for granted, since nothing is called after it alone
    wait_for(lambda: look(payout)[0] == "processing")
    end_wait(function)
    assert worker.communicate(timeout=120)[0] == "reported\n"
    missing_standby("")
    assert bank.requests() == []
    lapse(payout)
    run(payout)
    assert look(payout) == ("settled", "completed", 70, 0)
    assert list_postings(payout) == [HOLD, SETTLE]
    assert len(bank.payments()) == 1
    assert audit_ledger().is_clean


@committed
@ENDS
def test_25_and_26_an_outcome_whose_commit_is_in_doubt_is_written_once(
    payout, bank, missing_standby, function
):
    worker = start_worker(payout, bank, "stop", WAITS)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "sent\n"
    missing_standby("missing")
    os.kill(worker.pid, signal.SIGCONT)
    end_wait(function)
    assert worker.communicate(timeout=120)[0] == "reported\n"
    missing_standby("")
    run(payout)
    assert look(payout) == ("settled", "completed", 70, 0)
    assert list_postings(payout) == [HOLD, SETTLE]
    assert len(bank.payments()) == 1
    assert audit_ledger().is_clean


def test_27_what_the_bank_is_told_cannot_be_edited(payout, bank):
    with pytest.raises(DatabaseError, match="refused"), transaction.atomic():
        Payout.objects.update(destination={"name": "Mallory"})
    with pytest.raises(DatabaseError, match="refused"), transaction.atomic():
        Payout.objects.update(bank="other")


def test_27_an_amount_that_was_edited_in_the_database_is_not_sent(payout, bank):
    bank.break_down("refuse", times=1)
    execute_payout(payout.pk)
    Transaction.objects.filter(pk=payout.transaction_id).update(amount=31)
    run(payout)
    assert payout.status == "review"
    assert bank.payments() == []


@committed
def test_28_a_cancellation_and_a_worker_never_both_win(wallet, bank):
    """A thousand races: one thread cancels the payouts one after the other while sweeps pay them."""
    wallet.deposit(900)
    scheduled = schedule_payouts([PayoutRequest(wallet, 1)] * 1000)
    made = [record.payout for record in scheduled if isinstance(record, Transaction)]

    def cancel_all(mine: list[Payout]) -> None:
        for one in mine:
            with suppress(PayoutInFlight):
                cancel_payout(payout=one)

    def pay_all() -> None:
        while execute_due_payouts_of("default", 8):
            pass

    # The sweeps take the oldest first; who cancels meets them coming the other way, and from behind.
    results = at_once(
        [lambda: cancel_all(made[::-2]), lambda: cancel_all(made[::2]), pay_all, pay_all]
    )
    assert results == [None] * 4
    paid = [one["reference"] for one in bank.payments()]
    assert len(made) == 1000
    assert len(set(paid)) == len(paid)
    states = dict(Payout.objects.values_list("uuid", "status"))
    assert {str(uuid) for uuid, state in states.items() if state == "settled"} == set(paid)
    assert set(states.values()) <= {"settled", "cancelled"}
    assert Wallet.objects.get().balance == 1000 - len(paid)
    assert audit_ledger().is_clean


def test_15_time_is_the_databases(payout, bank):
    """A database an hour ahead of its workers: what is due, and when it was sent, is by its clock alone."""
    later = schedule_payout(
        wallet=payout.transaction.wallet,
        amount=1,
        scheduled_for=timezone.now() + timedelta(minutes=30),
    ).payout
    assert execute_payout(later.pk) is None
    with connection.cursor() as cursor:
        cursor.execute("create schema ahead")
        cursor.execute(
            "create function ahead.statement_timestamp() returns timestamptz language sql volatile"
            " as $$ select pg_catalog.statement_timestamp() + interval '1 hour' $$"
        )
        cursor.execute("set local search_path = ahead, public, pg_catalog")
    execute_payout(later.pk)
    assert look(later)[0] == "settled"
    assert later.sent_at - timezone.now() > timedelta(minutes=50)
