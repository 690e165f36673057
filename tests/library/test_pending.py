"""Transactions that wait for confirmation: they move and reserve nothing until then."""

import pytest

from dj_wallet.exceptions import (
    IdempotencyConflict,
    InsufficientFunds,
    TransactionAlreadyProcessed,
    WalletFrozen,
)
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.models import Posting
from dj_wallet.models import Transaction
from dj_wallet.services import WalletService
from tests.ledger.worlds import undone

pytestmark = pytest.mark.django_db


def test_a_pending_deposit_moves_nothing(alice):
    record = alice.deposit(5, {"note": "x"}, confirmed=False)
    assert (record.status, record.confirmed, record.entry_id) == ("pending", False, None)
    assert record.meta == {"note": "x"}
    assert str(record) == "deposit 5.00000000 [PENDING]"
    assert (alice.balance, Posting.objects.count()) == (0, 0)


def test_a_pending_withdrawal_reserves_nothing(alice):
    alice.deposit(100)
    alice.withdraw(80, confirmed=False)
    assert alice.balance == 100
    alice.withdraw(100)
    assert alice.balance == 0


def test_a_pending_withdrawal_may_be_larger_than_the_balance(alice):
    alice.deposit(5)
    record = alice.withdraw(50, confirmed=False)
    with pytest.raises(InsufficientFunds):
        WalletService.confirm_transaction(record)
    record.refresh_from_db()
    assert record.status == "pending"
    alice.deposit(45)
    assert WalletService.confirm_transaction(record).status == "completed"
    assert alice.balance == 0


def test_confirming_moves_the_money(alice):
    record = alice.deposit(5, confirmed=False)
    done = WalletService.confirm_transaction(record)
    assert done.pk == record.pk
    assert (done.status, done.confirmed, done.amount) == ("completed", True, 5)
    assert Posting.objects.get(pk=done.entry_id).amount == 5
    assert done.wallet.balance == alice.balance == 5
    assert audit_ledger().is_clean


def test_confirming_twice_moves_once(alice, snapshot):
    record = alice.deposit(5, confirmed=False)
    WalletService.confirm_transaction(record)
    before = snapshot()
    with pytest.raises(TransactionAlreadyProcessed, match="already completed"):
        WalletService.confirm_transaction(record)
    assert snapshot() == before


def test_a_completed_transaction_is_not_confirmed_again(alice, snapshot):
    record = alice.deposit(5)
    before = snapshot()
    with pytest.raises(TransactionAlreadyProcessed, match="already completed"):
        WalletService.confirm_transaction(record)
    with pytest.raises(TransactionAlreadyProcessed, match="already completed"):
        WalletService.reject_transaction(record)
    assert snapshot() == before


def test_rejecting_ends_it_with_a_reason(alice, snapshot):
    record = alice.withdraw(5, {"note": "x"}, confirmed=False)
    before = snapshot()
    done = WalletService.reject_transaction(record, "no papers")
    assert (done.status, done.confirmed, done.entry_id) == ("failed", False, None)
    assert done.meta == {"note": "x", "rejection_reason": "no papers"}
    with pytest.raises(TransactionAlreadyProcessed, match="already failed"):
        WalletService.confirm_transaction(record)
    assert snapshot() == before


def test_confirming_on_a_frozen_wallet_is_refused_and_can_be_repeated(alice, snapshot):
    record = alice.deposit(5, confirmed=False)
    alice.freeze_wallet()
    before = snapshot()
    with pytest.raises(WalletFrozen):
        WalletService.confirm_transaction(record)
    assert snapshot() == before
    alice.unfreeze_wallet()
    WalletService.confirm_transaction(record)
    assert alice.balance == 5


def test_rejecting_works_on_a_frozen_wallet(alice):
    record = alice.deposit(5, confirmed=False)
    alice.freeze_wallet()
    assert WalletService.reject_transaction(record).status == "failed"


def test_a_tampered_object_does_not_change_what_is_confirmed(alice):
    record = alice.deposit(5, confirmed=False)
    record.amount, record.type = 500, "withdraw"
    WalletService.confirm_transaction(record)
    assert alice.balance == 5


def test_pending_forced_withdrawals_may_leave_a_debt_when_confirmed(alice):
    record = alice.force_withdraw(5, confirmed=False)
    assert WalletService.confirm_transaction(record).status == "completed"
    assert alice.balance == -5


def test_a_key_that_looks_like_ours_does_not_pay_a_pending_withdrawal(alice):
    """Somebody who guesses under which key we confirm must not have the confirmation count as a replay."""
    alice.deposit(10)
    record = alice.withdraw(5, confirmed=False)
    alice.withdraw(5, idempotency_key=f"transaction:{record.uuid}")
    assert alice.balance == 5
    with pytest.raises(IdempotencyConflict):
        WalletService.confirm_transaction(record)
    record.refresh_from_db()
    assert record.status == "pending"
    assert Transaction.objects.filter(status="completed").count() == 2
    assert audit_ledger().is_clean


def test_money_of_a_pending_deposit_comes_from_where_it_was_said(alice):
    record = alice.deposit(5, confirmed=False, source="external:bank")
    done = WalletService.confirm_transaction(record)
    assert Posting.objects.get(pk=done.entry_id).source_account.code == "external:bank"


def test_a_pending_deposit_finds_a_wallet_that_was_rolled_back(alice):
    with undone():
        alice.deposit(5)
    record = alice.deposit(5, confirmed=False)
    assert record.wallet == alice.wallet
