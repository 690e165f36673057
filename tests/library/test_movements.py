"""Deposits, withdrawals and transfers as holders see them."""

from decimal import Decimal

import pytest
from django.db import connection
from django.db.models import Sum

from dj_wallet.exceptions import (
    AmountInvalid,
    AssetMismatch,
    InsufficientFunds,
    MovementInvalid,
    WalletException,
)
from dj_wallet.ledger.models import Posting
from dj_wallet.models import Transaction, Transfer
from dj_wallet.services import TransferService, WalletService
from tests.testapp.models import Person

pytestmark = pytest.mark.django_db

BAD_AMOUNTS = [
    *(0, -1, "0", "-5", "abc", "", "NaN", "Infinity", "1e400", "1_000", " 1", "\uff11", None, True),
    *(float("nan"), float("inf"), 1e400, b"1", [1], 10**63, "9" * 100, "1E-9", 1e-9),
    *(Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("0.000000001")),
]
VERBS = {
    "deposit": lambda me, other, amount: me.deposit(amount),
    "withdraw": lambda me, other, amount: me.withdraw(amount),
    "force_withdraw": lambda me, other, amount: me.force_withdraw(amount),
    "pending deposit": lambda me, other, amount: me.deposit(amount, confirmed=False),
    "pending withdrawal": lambda me, other, amount: me.withdraw(amount, confirmed=False),
    "transfer": lambda me, other, amount: me.transfer(other, amount),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
def test_what_is_no_amount_is_refused_and_moves_nothing(alice, bob, verb, snapshot):
    alice.deposit(10)
    assert bob.wallet.balance == 0
    before = snapshot()
    for amount in BAD_AMOUNTS:
        with pytest.raises(AmountInvalid):
            verb(alice, bob, amount)
    assert snapshot() == before


@pytest.mark.parametrize(
    "amount", ["0.00000001", "0.12345678", "123.45678901", 99.99, 1, 10**50, "1e3", Decimal("1E+2")]
)
def test_an_amount_is_kept_exactly(alice, amount):
    record = alice.deposit(amount)
    expected = Decimal(str(amount))
    assert record.amount == expected
    record.refresh_from_db()
    assert record.amount == expected
    assert alice.balance == expected
    alice.withdraw(amount)
    assert alice.balance == 0


def test_small_amounts_add_up_exactly(alice):
    for _ in range(10):
        alice.deposit(0.1)
    assert alice.balance == 1
    alice.withdraw("0.99999999")
    assert alice.balance == Decimal("0.00000001")


@pytest.mark.postgres
def test_a_small_amount_is_not_lost_in_a_large_balance(alice):
    alice.deposit(10**50)
    alice.deposit("0.00000001")
    assert alice.balance == Decimal("1" + "0" * 50 + ".00000001")


@pytest.mark.sqlite
def test_sqlite_refuses_what_it_would_alter(alice, snapshot):
    alice.deposit(10**50)
    before = snapshot()
    for verb in (alice.deposit, alice.withdraw):
        with pytest.raises(AmountInvalid):
            verb("0.00000001")
    with pytest.raises(AmountInvalid):
        alice.deposit("12345678901.12345678", confirmed=False)
    assert snapshot() == before


@pytest.mark.parametrize("amount", [99.99, "99.99", 5, Decimal("0.00000001"), 10**50, 1e-8])
def test_an_amount_can_be_checked_without_a_wallet(amount, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert WalletService.verify_amount(amount) == Decimal(str(amount))


@pytest.mark.parametrize("amount", [0, -1, "abc", None, "NaN", True])
def test_what_is_no_amount_is_refused_without_a_wallet(amount):
    with pytest.raises(AmountInvalid):
        WalletService.verify_amount(amount)


# Records


def test_a_deposit_is_recorded(alice):
    record = alice.deposit(5, {"note": "x"})
    assert isinstance(record, Transaction)
    found = alice.wallet.transactions.get()
    assert found == record
    assert (found.type, found.amount, found.status) == ("deposit", 5, "completed")
    assert (found.confirmed, found.meta, found.wallet_id) == (True, {"note": "x"}, alice.wallet.pk)
    assert Posting.objects.get(pk=found.entry_id).destination_account_id == alice.wallet.pk
    assert str(found) == "deposit 5.00000000"


def test_a_withdrawal_is_recorded_with_a_positive_amount(alice):
    alice.deposit(5)
    record = alice.withdraw(2)
    assert (record.type, record.amount, record.meta) == ("withdraw", 2, {})
    assert Posting.objects.get(pk=record.entry_id).source_account_id == alice.wallet.pk


def test_records_add_up_to_the_balance(alice):
    for amount in (5, 6, 7):
        alice.deposit(amount)
    alice.withdraw(4)
    records = Transaction.objects.filter(wallet=alice.wallet, confirmed=True)
    deposits = records.filter(type="deposit").aggregate(total=Sum("amount"))["total"]
    withdrawals = records.filter(type="withdraw").aggregate(total=Sum("amount"))["total"]
    assert (deposits, withdrawals, alice.balance) == (18, 4, 14)


def test_the_first_record_is_the_oldest(alice):
    records = [alice.deposit(amount) for amount in (1, 2, 3)]
    assert list(alice.wallet.transactions.all()) == records
    assert alice.wallet.transactions.first() == records[0]


def test_the_callers_meta_is_not_changed(alice, bob):
    meta = {"note": "x"}
    alice.deposit(5, meta)
    alice.transfer(bob, 1, meta)
    assert meta == {"note": "x"}


def test_hundreds_of_deposits_are_hundreds_of_records(alice):
    for _ in range(100):
        alice.deposit("0.01")
    assert Transaction.objects.count() == 100
    assert alice.balance == 1


# Withdrawals


def test_a_withdrawal_of_more_than_there_is_is_refused(alice, snapshot):
    alice.deposit(5)
    before = snapshot()
    with pytest.raises(InsufficientFunds) as caught:
        alice.withdraw("5.00000001")
    assert str(caught.value) == "Insufficient funds. Balance: 5.00000000, Required: 5.00000001"
    assert snapshot() == before


def test_all_there_is_can_be_withdrawn(alice):
    alice.deposit(5)
    alice.withdraw(5)
    assert alice.balance == 0


def test_a_forced_withdrawal_may_leave_a_debt(alice):
    alice.force_withdraw(5)
    assert alice.balance == -5
    with pytest.raises(InsufficientFunds):
        alice.withdraw(1)
    alice.deposit(7)
    alice.withdraw(2)
    assert alice.balance == 0


def test_money_comes_from_and_goes_to_the_account_that_is_named(alice):
    deposit = alice.deposit(5, source="external:bank")
    withdrawal = alice.withdraw(2, destination="fees")
    assert Posting.objects.get(pk=deposit.entry_id).source_account.code == "external:bank"
    assert Posting.objects.get(pk=withdrawal.entry_id).destination_account.code == "fees"


# Transfers


def test_a_transfer_is_two_transactions_and_one_entry(alice, bob):
    alice.deposit(10)
    transfer = alice.transfer(bob, 4, {"note": "lunch"})
    assert (alice.balance, bob.balance) == (6, 4)
    assert Transaction.objects.count() == 3
    assert Posting.objects.count() == 2
    found = Transfer.objects.get()
    assert found == transfer
    assert (found.status, found.fee, found.discount) == ("transfer", 0, 0)
    assert (found.from_object, found.to_object) == (alice.wallet, bob.wallet)
    assert (found.withdraw.type, found.deposit.type) == ("withdraw", "deposit")
    assert found.withdraw.amount == found.deposit.amount == 4
    assert found.withdraw.entry_id == found.deposit.entry_id == found.entry_id
    assert found.withdraw.meta == {"note": "lunch", "action": "transfer_send"}
    assert found.deposit.meta == {"note": "lunch", "action": "transfer_receive"}


def test_a_transfer_of_more_than_there_is_is_refused(alice, bob, snapshot):
    alice.deposit(5)
    assert bob.wallet.balance == 0
    before = snapshot()
    with pytest.raises(InsufficientFunds):
        alice.transfer(bob, 6)
    assert snapshot() == before


def test_a_transfer_to_oneself_is_refused(alice, snapshot):
    alice.deposit(5)
    before = snapshot()
    with pytest.raises(MovementInvalid):
        alice.transfer(alice, 1)
    with pytest.raises(MovementInvalid):
        alice.transfer(Person.objects.get(pk=alice.pk), 1)
    assert snapshot() == before


def test_a_transfer_between_ones_own_wallets_moves_money(alice):
    alice.deposit(5)
    TransferService.transfer_between(alice.wallet, alice.get_wallet("savings"), 2)
    assert (alice.balance, alice.get_wallet("savings").balance) == (3, 2)


def test_a_transfer_between_currencies_is_refused(alice, bob, snapshot):
    alice.deposit(5)
    euros = bob.create_wallet("euros", currency="EUR")
    before = snapshot()
    with pytest.raises(AssetMismatch):
        alice.wallet.transfer(euros, 1)
    with pytest.raises(AssetMismatch):
        euros.transfer(alice.wallet, 1)
    assert snapshot() == before


def test_a_transfer_can_have_a_status_of_its_own(alice, bob):
    alice.deposit(5)
    assert TransferService.transfer(alice, bob, 1, status=Transfer.STATUS_GIFT).status == "gift"


def test_balances_read_right_after_a_transfer_are_new(alice, bob):
    alice.deposit(100)
    WalletService.deposit(bob.wallet, 50)
    alice.transfer(bob, 30)
    assert alice.wallet.balance + bob.wallet.balance == 150
    assert (alice.balance, bob.balance) == (70, 80)


def test_a_chain_of_transfers_keeps_the_total(alice, bob, charlie):
    alice.deposit(100)
    for _ in range(3):
        alice.transfer(bob, 10)
        bob.transfer(charlie, 5)
        charlie.transfer(alice, 1)
    assert (alice.balance, bob.balance, charlie.balance) == (73, 15, 12)


# Records that cannot be rewritten


@pytest.mark.parametrize(
    ("column", "value"),
    [("amount", 500), ("type", "withdraw"), ("entry_id", 7), ("idempotency_key", "other")],
)
def test_what_a_record_says_about_the_money_is_not_rewritten_by_save(alice, column, value):
    record = alice.deposit(100)
    before = Transaction.objects.filter(pk=record.pk).values().get()
    setattr(record, column, value)
    record.save()
    assert getattr(record, column) == value
    after = Transaction.objects.filter(pk=record.pk).values().get()
    assert after == before | {"updated_at": after["updated_at"]}
    assert alice.balance == 100


@pytest.mark.parametrize("column", ["amount", "type", "wallet", "uuid", "payable_id"])
def test_what_a_record_says_about_the_money_is_not_rewritten_by_name(alice, column):
    record = alice.deposit(100)
    before = Transaction.objects.filter(pk=record.pk).values().get()
    value = {"amount": 500, "type": "withdraw", "wallet": alice.get_wallet("x")}.get(column)
    setattr(record, column, value or Transaction._meta.get_field(column).get_default() or "9")
    record.save(update_fields=[column])
    assert Transaction.objects.filter(pk=record.pk).values().get() == before


def test_a_record_can_get_other_meta(alice):
    record = alice.deposit(100)
    record.meta = {"note": "later"}
    record.save()
    assert Transaction.objects.get().meta == {"note": "later"}


def test_saving_a_record_that_was_read_before_it_was_confirmed_does_not_make_it_pending(alice):
    stale = alice.deposit(100, confirmed=False)
    WalletService.confirm_transaction(stale)
    stale.meta = {"note": "x"}
    stale.save()
    found = Transaction.objects.get()
    assert (found.status, found.confirmed, found.entry_id is None) == ("completed", True, False)
    with pytest.raises(WalletException):
        WalletService.confirm_transaction(found)
    assert alice.balance == 100


def test_the_database_is_one_of_two():
    assert connection.vendor in {"postgresql", "sqlite"}
