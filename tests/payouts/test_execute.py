"""Executing a payout: claim, hold, bank, outcome. The money is always in exactly one place."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dj_wallet.events.models import Event
from dj_wallet.ledger.accounts import system_account
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.errors import TransactionAlreadyProcessed
from dj_wallet.ledger.models import Posting
from dj_wallet.ledger.queries import get_balance
from dj_wallet.models import Transaction, Wallet
from dj_wallet.payouts import tasks
from dj_wallet.payouts.bank import Answer, Order
from dj_wallet.payouts.banks.plain import PlainBank
from dj_wallet.payouts.models import Payout
from dj_wallet.payouts.services import (
    execute_due_payouts_of,
    execute_payout,
    outcomes,
    schedule_payout,
)
from dj_wallet.services.common import WalletService
from dj_wallet.signals import transaction_confirmed
from tests.payouts.conftest import (
    HOLD,
    REFUND,
    SETTLE,
    at_once,
    list_postings,
    list_steps,
    look,
    reply,
    run,
)
from tests.payouts.test_bank import FAILED, SUCCESS

pytestmark = pytest.mark.django_db


class BrokenBank(PlainBank):
    """An adapter with a fault of its own."""

    def send(self, order: Order) -> Answer:
        if order.amount == 13:
            raise ZeroDivisionError
        return super().send(order)


@pytest.fixture
def payout(wallet) -> Payout:
    """30.00 of the 100.00, due."""
    return schedule_payout(wallet=wallet, amount=30).payout


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
    assert list_postings(payout) == [HOLD, SETTLE]
    assert list_steps(payout) == ["held", "sent", "answered", "settled"]
    assert bank.payments() == [{"amount": 3000, "reference": str(payout.uuid)}]
    assert payout.bank_response == {"http_status": 200, "data": "success", "status": 200}
    record = Transaction.objects.get(pk=payout.transaction_id)
    assert record.confirmed
    assert (
        record.entry_id
        == Posting.objects.get(idempotency_key=f"payout:{payout.uuid}:settle").entry_id
    )
    assert confirmed == [record.pk]


def test_others_are_told(payout, bank):
    execute_payout(payout.pk)
    told = Event.objects.filter(data__payout=str(payout.uuid)).order_by("pk")
    assert {one.subject for one in told} == {f"wallet:{payout.transaction.wallet.uuid}"}
    assert [one.type for one in told] == ["payout.requested", "payout.sent", "payout.settled"]
    assert told[2].data | {"wallet": "", "transaction": ""} == {
        "payout": str(payout.uuid),
        "wallet": "",
        "transaction": "",
        "amount": "30.00",
        "asset": "USD",
        "bank": "default",
        "status": "settled",
    }


@pytest.mark.django_db(transaction=True)
def test_while_the_bank_is_asked_the_money_is_held_and_no_row_is_locked(payout, scripted_bank):
    seen: list[Any] = []

    def watch(handler: Any) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("set lock_timeout = '1s'")
                cursor.execute("update dj_wallet_account set is_frozen = is_frozen")
                cursor.execute("update dj_wallet_payouts_payout set lookups = lookups")
            seen.append(look(Payout.objects.get()))
            seen.append(Payout.objects.get().sent_at is not None)
        finally:
            connection.close()
        reply(handler, 200, SUCCESS)

    scripted_bank(watch)
    execute_payout(payout.pk)
    assert seen == [("processing", "pending", 70, 30), True]
    assert look(payout)[0] == "settled"


def test_a_refused_payout_gives_the_money_back(payout, keyed_bank):
    keyed_bank.break_down("reject")
    execute_payout(payout.pk)
    assert look(payout) == ("failed", "failed", 100, 0)
    assert list_postings(payout) == [HOLD, REFUND]
    assert payout.failure_code == "bank_refused"
    assert payout.bank_response["code"] == "account_closed"
    assert Event.objects.filter(type="payout.refused").count() == 1


def test_funds_are_checked_when_it_executes(wallet, bank):
    """Seed 004: two of 80 are scheduled against 100; the first to execute gets it."""
    first, second = (schedule_payout(wallet=wallet, amount=80).payout for _ in range(2))
    execute_payout(first.pk)
    execute_payout(second.pk)
    assert look(first) == ("settled", "completed", 20, 0)
    assert look(second) == ("failed", "failed", 20, 0)
    assert (second.failure_code, second.sent_at, second.held_at) == (
        "insufficient_funds",
        None,
        None,
    )
    assert list_postings(second) == []
    assert len(bank.payments()) == 1


def test_a_wallet_frozen_meanwhile_pays_nothing(wallet, payout, bank):
    wallet.freeze()
    execute_payout(payout.pk)
    assert look(payout) == ("failed", "failed", 100, 0)
    assert payout.failure_code == "wallet_frozen"
    assert bank.payments() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("answer", "expected"),
    [(SUCCESS, ("settled", "completed", 70, 0)), (FAILED, ("failed", "failed", 100, 0))],
)
def test_money_on_its_way_arrives_though_the_wallet_was_frozen(
    wallet, payout, scripted_bank, payouts_setting, answer, expected
):
    def freeze(handler: Any) -> None:
        try:
            Wallet.objects.get().freeze()
        finally:
            connection.close()
        reply(handler, 200, answer)

    payouts_setting(MAX_RETRIES=0)
    scripted_bank(freeze)
    execute_payout(payout.pk)
    assert look(payout) == expected


def test_a_wallet_frozen_between_two_tries_gets_its_money_back(wallet, payout, no_bank, request):
    execute_payout(payout.pk)
    assert look(payout) == ("retrying", "pending", 70, 30)
    wallet.freeze()
    bank = request.getfixturevalue("bank")
    run(payout)
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


@pytest.mark.django_db(transaction=True)
def test_a_message_delivered_many_times_at_once_pays_once(payout, bank):
    at_once([lambda: execute_payout(payout.pk)] * 8)
    assert look(payout) == ("settled", "completed", 70, 0)
    assert len(bank.payments()) == 1


@pytest.mark.django_db(transaction=True)
def test_sweeps_that_overlap_pay_each_once(wallet, bank):
    payouts = [schedule_payout(wallet=wallet, amount=7).payout for _ in range(20)]
    at_once([tasks.execute_due_payouts] * 4)
    states = sorted(look(payout)[0] for payout in payouts)
    assert states == ["failed"] * 6 + ["settled"] * 14
    assert len({payment["reference"] for payment in bank.payments()}) == len(bank.payments()) == 14
    assert Wallet.objects.get().balance == 2


def test_the_books_balance_after_every_outcome(wallet, bank):
    for mode, amount in (("ok", 30), ("paid_503", 20), ("garbage", 10), ("ok", 500)):
        bank.break_down(mode)
        execute_payout(schedule_payout(wallet=wallet, amount=amount).payout.pk)
    wallet.refresh_from_db()
    assert (wallet.balance, wallet.pending_balance) == (40, 30)
    assert get_balance(system_account("external:bank", "USD")) == 30
    assert audit_ledger().is_clean


def test_many_payouts_are_claimed_and_held_by_one_statement_each(wallet, bank):
    for _ in range(20):
        schedule_payout(wallet=wallet, amount=1)
    with CaptureQueriesContext(connection) as queries:
        execute_due_payouts_of("default", 20)
    texts = [query["sql"] for query in queries]
    assert sum("SKIP LOCKED" in text for text in texts) == 1
    assert sum('"order_hash" = ' in text for text in texts) == 1
    assert Payout.objects.filter(status="settled").count() == len(bank.payments()) == 20


def test_settling_many_takes_as_many_queries_as_settling_one(
    wallet, keyed_bank, django_assert_num_queries
):
    """Lock and write the rows, post, the records, the timeline, the events."""
    keyed_bank.break_down("accept")
    made = [schedule_payout(wallet=wallet, amount=1).payout for _ in range(22)]
    execute_due_payouts_of("default", 22)
    accepted = [outcomes.lock_payout(one.pk) for one in made]
    outcomes.settle(accepted[0])  # makes the account of the bank
    for batch in (accepted[1:2], accepted[2:]):
        with django_assert_num_queries(6):
            outcomes.settle_all([outcomes.Payment(one, [], {}) for one in batch])
    assert Payout.objects.filter(status="settled").count() == 22
    wallet.refresh_from_db()
    assert (wallet.balance, wallet.pending_balance) == (78, 0)


def test_an_adapter_that_breaks_leaves_its_payout_in_doubt_and_stops_no_other(
    wallet, bank, payouts_setting
):
    payouts_setting(bank="broken", ADAPTER=f"{__name__}.BrokenBank", URL=f"{bank.url}/")
    made = [schedule_payout(wallet=wallet, amount=n, bank="broken").payout for n in (1, 13, 2)]
    execute_due_payouts_of("broken", 3)
    assert [look(payout)[0] for payout in made] == ["settled", "review", "settled"]
    assert made[1].bank_response == {"error": "ZeroDivisionError"}


@pytest.mark.django_db(transaction=True)
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
    assert (payout.bank_response, list_postings(payout)) == (None, [HOLD])


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
    assert look(payout) == ("retrying", "pending", 70, 30)
    assert audit_ledger().is_clean
    Payout.objects.filter(pk=payout.pk).update(status="settled", due_at=None)
    (problem,) = audit_ledger().problems
    assert (problem.code, problem.account_id) == (
        "payout_hold_mismatch",
        payout.transaction.wallet_id,
    )
