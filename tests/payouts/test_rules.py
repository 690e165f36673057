"""Payouts of wallets with limits and lots: what is held for the bank counts, and comes back with its credit and its room."""

import pytest
from django.utils import timezone

from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.models import Lot, LotUse, Wallet
from dj_wallet.payouts.models import Payout
from dj_wallet.payouts.services import execute_payout, schedule_payout
from dj_wallet.services.limits import get_limits, set_limits
from dj_wallet.services.lots import grant_credit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def audited(db):
    """After each test the books balance, lots and payouts included."""
    yield
    assert audit_ledger().problems == []


@pytest.fixture
def credit(wallet):
    """20 beside the 100.00, to be withdrawn or spent."""
    return grant_credit(wallet=wallet, amount=20, is_withdrawable=True)


def pay_out(wallet, amount):
    payout = schedule_payout(wallet=wallet, amount=amount).payout
    execute_payout(payout.pk)
    payout.refresh_from_db()
    return payout


def look(wallet, *lots):
    """Return what is available and pending, and what the lots hold, in units."""
    found = Wallet.objects.get(pk=wallet.pk)
    left = dict(Lot.objects.values_list("pk", "remaining"))
    return int(found.balance), int(found.pending_balance), *(int(left[lot.pk]) for lot in lots)


def spent_today(wallet):
    return get_limits(wallet=wallet).spent_today


def test_credit_that_may_not_be_withdrawn_is_not_paid_out(wallet, bank):
    lot = grant_credit(wallet=wallet, amount=20)
    payout = pay_out(wallet, 101)
    assert (payout.status, payout.failure_code) == ("failed", "insufficient_funds")
    assert look(wallet, lot) == (120, 0, 20)
    assert bank.payments() == []
    assert pay_out(wallet, 100).status == "settled"
    assert look(wallet, lot) == (20, 0, 20)


def test_a_payout_spends_withdrawable_credit_first(wallet, credit, bank):
    assert pay_out(wallet, 30).status == "settled"
    assert look(wallet, credit) == (90, 0, 0)
    use = LotUse.objects.order_by("pk").last()
    assert (use.amount, use.held, use.returned) == (20, 0, 0)


def test_a_payout_that_the_bank_refuses_gives_credit_and_room_back(wallet, credit, bank):
    set_limits(wallet=wallet, per_day=30)
    bank.break_down("refuse")
    payout = pay_out(wallet, 30)
    while payout.status == "retrying":
        Payout.objects.update(due_at=timezone.now())
        execute_payout(payout.pk)
        payout.refresh_from_db()
    assert payout.status == "failed"
    assert look(wallet, credit) == (120, 0, 20)
    assert spent_today(wallet) == 0


def test_while_the_outcome_is_unknown_credit_and_room_stay_taken(wallet, credit, bank):
    set_limits(wallet=wallet, per_day=30)
    bank.break_down("down")
    assert pay_out(wallet, 30).status == "unknown"
    assert look(wallet, credit) == (90, 30, 0)
    assert spent_today(wallet) == 30


def test_a_settled_payout_counts_once(wallet, bank):
    set_limits(wallet=wallet, per_day=30)
    assert pay_out(wallet, 30).status == "settled"
    assert spent_today(wallet) == 30


def test_a_payout_that_a_limit_refuses_fails_and_the_bank_is_not_asked(wallet, bank):
    set_limits(wallet=wallet, per_transaction=29)
    payout = pay_out(wallet, 30)
    assert (payout.status, payout.failure_code) == ("failed", "limit_exceeded")
    assert look(wallet) == (100, 0)
    assert spent_today(wallet) == 0
    assert bank.payments() == []


def test_a_payout_that_is_tried_again_counts_once_and_holds_its_credit_once(
    wallet, credit, no_bank
):
    set_limits(wallet=wallet, per_day=30)
    payout = schedule_payout(wallet=wallet, amount=30).payout
    for _ in range(2):
        execute_payout(payout.pk)
        assert look(wallet, credit) == (90, 30, 0)
        assert spent_today(wallet) == 30


def test_a_wallet_frozen_between_two_tries_gets_its_credit_and_its_room_back(
    wallet, credit, no_bank
):
    set_limits(wallet=wallet, per_day=30)
    payout = schedule_payout(wallet=wallet, amount=30).payout
    execute_payout(payout.pk)
    wallet.freeze("fraud")
    execute_payout(payout.pk)
    assert Payout.objects.get(pk=payout.pk).failure_code == "wallet_frozen"
    assert look(wallet, credit) == (120, 0, 20)
    assert spent_today(wallet) == 0
