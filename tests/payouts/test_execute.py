"""Executing a payout: claim, hold, bank, outcome. The money is always in exactly one place."""

import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from dj_wallet.ledger.accounts import system_account
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.errors import TransactionAlreadyProcessed
from dj_wallet.ledger.models import Posting
from dj_wallet.ledger.queries import get_balance
from dj_wallet.models import Transaction, Wallet
from dj_wallet.payouts import tasks
from dj_wallet.payouts.models import Payout
from dj_wallet.payouts.services import execute_payout, recover_lapsed_payouts, schedule_payout
from dj_wallet.services.common import WalletService
from dj_wallet.signals import transaction_confirmed
from tests.payouts.conftest import reply
from tests.payouts.test_bank import FAILED, SUCCESS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def payout(wallet) -> Payout:
    """30.00 of the 100.00, due."""
    return schedule_payout(wallet=wallet, amount=30).payout


@pytest.fixture
def no_bank(settings):
    """Nobody listens where the bank should be."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        settings.BANK_URL = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        yield


def look(payout: Payout) -> tuple[str, str, Decimal, Decimal]:
    """Return the states of payout and transaction, and the wallet's available and pending money."""
    payout.refresh_from_db()
    record = Transaction.objects.get(pk=payout.transaction_id)
    wallet = Wallet.objects.get(pk=record.wallet_id)
    return payout.status, record.status, wallet.balance, wallet.pending_balance


def list_steps(payout: Payout) -> list[tuple[str, str, int, int]]:
    """Return the payout's postings: step, kind, buckets."""
    found = Posting.objects.filter(reference_type="payout", reference_id=str(payout.uuid)).order_by(
        "id"
    )
    return [
        (
            one.idempotency_key.rpartition(":")[2],
            one.kind,
            one.source_bucket,
            one.destination_bucket,
        )
        for one in found
    ]


HOLD = ("hold", "WITHDRAWAL", 0, 2)
SETTLE = ("settle", "WITHDRAWAL", 2, 0)
REFUND = ("refund", "REFUND", 2, 0)


def test_a_paid_payout_is_settled(payout, bank):
    confirmed: list[Any] = []

    def remember(transaction: Transaction, **_: Any) -> None:
        confirmed.append(transaction.pk)

    transaction_confirmed.connect(remember)
    try:
        execute_payout(payout.pk)
    finally:
        transaction_confirmed.disconnect(remember)
    assert look(payout) == ("settled", "completed", 70, 0)
    assert list_steps(payout) == [HOLD, SETTLE]
    assert bank.payments() == [{"amount": 3000, "reference": str(payout.uuid)}]
    assert payout.bank_response == {"http_status": 200, "data": "success", "status": 200}
    record = Transaction.objects.get(pk=payout.transaction_id)
    assert record.confirmed
    assert (
        record.entry_id
        == Posting.objects.get(idempotency_key=f"payout:{payout.uuid}:settle").entry_id
    )
    assert confirmed == [record.pk]


def test_while_the_bank_is_asked_the_money_is_held_and_no_row_is_locked(payout, scripted_bank):
    seen: list[Any] = []

    def watch(handler: Any) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("set lock_timeout = '1s'")
                cursor.execute("update dj_wallet_account set is_frozen = is_frozen")
            seen.append(look(Payout.objects.get()))
            seen.append(Payout.objects.get().sent_at is not None)
        finally:
            connection.close()
        reply(handler, 200, SUCCESS)

    scripted_bank(watch)
    execute_payout(payout.pk)
    assert seen == [("processing", "pending", 70, 30), True]
    assert look(payout)[0] == "settled"


def test_a_refused_payout_gives_the_money_back(payout, bank):
    bank.break_down("refuse")
    execute_payout(payout.pk)
    assert look(payout) == ("failed", "failed", 100, 0)
    assert list_steps(payout) == [HOLD, REFUND]
    assert payout.failure_code == "bank_refused"
    assert payout.bank_response == {"http_status": 503, "data": "failed", "status": 503}


def test_an_unclear_answer_keeps_the_money_pending_and_is_not_repeated(payout, bank):
    bank.break_down("down")
    execute_payout(payout.pk)
    assert look(payout) == ("unknown", "pending", 70, 30)
    bank.break_down("ok")
    tasks.execute_due_payouts()
    assert execute_payout(payout.pk) is None
    assert look(payout) == ("unknown", "pending", 70, 30)
    assert bank.payments() == []


def test_funds_are_checked_when_it_executes(wallet, bank):
    """Seed 004: two of 80 are scheduled against 100; the first to execute gets it."""
    first, second = (schedule_payout(wallet=wallet, amount=80).payout for _ in range(2))
    execute_payout(first.pk)
    execute_payout(second.pk)
    assert look(first) == ("settled", "completed", 20, 0)
    assert look(second) == ("failed", "failed", 20, 0)
    assert (second.failure_code, second.sent_at, list_steps(second)) == (
        "insufficient_funds",
        None,
        [],
    )
    assert len(bank.payments()) == 1


def test_a_wallet_frozen_meanwhile_pays_nothing(wallet, payout, bank):
    wallet.freeze()
    execute_payout(payout.pk)
    assert look(payout) == ("failed", "failed", 100, 0)
    assert payout.failure_code == "wallet_frozen"
    assert bank.payments() == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(SUCCESS, ("settled", "completed", 70, 0)), (FAILED, ("failed", "failed", 100, 0))],
)
def test_money_on_its_way_arrives_though_the_wallet_was_frozen(
    wallet, payout, scripted_bank, answer, expected
):
    def freeze(handler: Any) -> None:
        try:
            Wallet.objects.get().freeze()
        finally:
            connection.close()
        reply(handler, 200, answer)

    scripted_bank(freeze)
    execute_payout(payout.pk)
    assert look(payout) == expected


def test_a_bank_that_cannot_be_reached_is_tried_again_with_the_money_held_once(
    payout, no_bank, request
):
    for attempt in (1, 2):
        execute_payout(payout.pk)
        assert look(payout) == ("pending", "pending", 70, 30)
        assert (payout.attempts, payout.sent_at) == (attempt, None)
    bank = request.getfixturevalue("bank")
    tasks.execute_due_payouts()
    assert look(payout) == ("settled", "completed", 70, 0)
    assert list_steps(payout) == [HOLD, SETTLE]
    assert len(bank.payments()) == 1


def test_a_wallet_frozen_between_two_tries_gets_its_money_back(wallet, payout, no_bank, request):
    execute_payout(payout.pk)
    wallet.freeze()
    bank = request.getfixturevalue("bank")
    execute_payout(payout.pk)
    assert look(payout) == ("failed", "failed", 100, 0)
    assert payout.failure_code == "wallet_frozen"
    assert bank.payments() == []


def test_nothing_is_executed_before_its_time(wallet, bank):
    later = schedule_payout(
        wallet=wallet, amount=1, scheduled_for=timezone.now() + timedelta(hours=1)
    ).payout
    assert execute_payout(later.pk) is None
    tasks.execute_due_payouts()
    assert look(later)[0] == "pending"
    assert bank.payments() == []


def test_what_is_done_is_not_done_again(payout, bank):
    execute_payout(payout.pk)
    assert execute_payout(payout.pk) is None
    tasks.execute_payout(payout.pk)
    assert execute_payout(10**9) is None
    assert len(bank.payments()) == 1


def test_a_message_delivered_many_times_at_once_pays_once(payout, bank):
    at_once([lambda: execute_payout(payout.pk)] * 8)
    assert look(payout) == ("settled", "completed", 70, 0)
    assert len(bank.payments()) == 1


def test_sweeps_that_overlap_pay_each_once(wallet, bank):
    payouts = [schedule_payout(wallet=wallet, amount=7).payout for _ in range(20)]
    at_once([tasks.execute_due_payouts] * 4)
    states = sorted(look(payout)[0] for payout in payouts)
    assert states == ["failed"] * 6 + ["settled"] * 14
    assert len({payment["reference"] for payment in bank.payments()}) == len(bank.payments()) == 14
    assert Wallet.objects.get().balance == 2


def test_the_books_balance_after_every_outcome(wallet, bank):
    for mode, amount in (("ok", 30), ("refuse", 20), ("down", 10), ("ok", 500)):
        bank.break_down(mode)
        execute_payout(schedule_payout(wallet=wallet, amount=amount).payout.pk)
    wallet.refresh_from_db()
    assert (wallet.balance, wallet.pending_balance) == (60, 10)
    assert get_balance(system_account("external:bank", "USD")) == 30


# Workers that die


def lapse(payout: Payout, **changes: Any) -> None:
    """Make the payout look as a worker left it that died, its lease over."""
    past = timezone.now() - timedelta(seconds=1)
    Payout.objects.filter(pk=payout.pk).update(
        status="processing", lease_until=past, token=1, attempts=1, **changes
    )


def test_a_worker_that_died_before_the_bank_was_called_is_replaced(payout, bank):
    lapse(payout)
    tasks.execute_due_payouts()
    assert look(payout) == ("settled", "completed", 70, 0)
    assert payout.attempts == 2
    assert len(bank.payments()) == 1


def test_a_worker_that_died_after_that_leaves_an_unknown_payout(payout, bank):
    lapse(payout, sent_at=timezone.now())
    tasks.execute_due_payouts()
    assert look(payout)[0] == "unknown"
    assert bank.payments() == []


def test_a_worker_within_its_lease_is_left_alone(payout):
    Payout.objects.update(
        status="processing", lease_until=timezone.now() + timedelta(minutes=1), token=1
    )
    recover_lapsed_payouts()
    assert look(payout)[0] == "processing"


def test_a_slow_worker_may_still_report_what_it_learnt(payout, scripted_bank):
    def be_slow(handler: Any) -> None:
        try:
            Payout.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
            recover_lapsed_payouts()
            assert Payout.objects.get().status == "unknown"
        finally:
            connection.close()
        reply(handler, 200, SUCCESS)

    scripted_bank(be_slow)
    execute_payout(payout.pk)
    assert look(payout) == ("settled", "completed", 70, 0)


@pytest.mark.parametrize("answer", [SUCCESS, FAILED, b"?"])
def test_a_worker_whose_token_is_old_writes_nothing(payout, scripted_bank, answer):
    def take_over(handler: Any) -> None:
        try:
            Payout.objects.update(token=99)
        finally:
            connection.close()
        reply(handler, 200, answer)

    scripted_bank(take_over)
    execute_payout(payout.pk)
    assert look(payout) == ("processing", "pending", 70, 30)
    assert (payout.bank_response, list_steps(payout)) == (None, [HOLD])


def test_one_broken_payout_does_not_stop_a_sweep(wallet, bank):
    def break_down(transaction: Transaction, **_: Any) -> None:
        if transaction.pk == poisoned.transaction_id:
            raise RuntimeError("poison")

    poisoned, sound = (schedule_payout(wallet=wallet, amount=1).payout for _ in range(2))
    transaction_confirmed.connect(break_down)
    try:
        tasks.execute_due_payouts()
    finally:
        transaction_confirmed.disconnect(break_down)
    assert look(poisoned)[0] == "processing"
    assert look(sound)[0] == "settled"


def at_once(calls: list[Callable[[], Any]]) -> None:
    """Run the calls in threads, started at the same moment."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> None:
        gate.wait()
        try:
            call()
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    "by_hand", [WalletService.confirm_transaction, WalletService.reject_transaction]
)
def test_nobody_else_confirms_or_rejects_the_transaction_of_a_payout(payout, by_hand, snapshot):
    before = snapshot()
    with pytest.raises(TransactionAlreadyProcessed):
        by_hand(payout.transaction)
    assert snapshot() == before
    payout.transaction.refresh_from_db()
    assert payout.transaction.status == "pending"


def test_the_transaction_of_a_payout_does_not_expire(payout, wallet):
    other = wallet.withdraw(1, confirmed=False)
    later = timezone.now() + timedelta(days=1)
    assert WalletService.expire_pending_transactions(wallet, before_date=later) == 1
    payout.transaction.refresh_from_db()
    other.refresh_from_db()
    assert (payout.transaction.status, other.status) == ("pending", "expired")


def test_the_audit_finds_held_money_that_no_open_payout_explains(payout, no_bank):
    execute_payout(payout.pk)
    assert look(payout) == ("pending", "pending", 70, 30)
    assert audit_ledger().is_clean
    Payout.objects.filter(pk=payout.pk).update(status="settled")
    (problem,) = audit_ledger().problems
    assert (problem.code, problem.account_id) == (
        "payout_hold_mismatch",
        payout.transaction.wallet_id,
    )
