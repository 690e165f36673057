"""Bulk calls for wallets with limits, lots and held money: each item is decided as the single verb would decide it."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dj_wallet.bulk import (
    DepositItem,
    PaymentItem,
    TransferItem,
    WithdrawalItem,
    deposit_many,
    pay_many,
    transfer_many,
    withdraw_many,
)
from dj_wallet.exceptions import InsufficientFunds, LimitExceeded
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.models import Lot, LotUse
from dj_wallet.services import PurchaseService
from dj_wallet.services.limits import get_limits
from dj_wallet.services.lots import explain_spending, grant_credit
from tests.ledger.worlds import undone
from tests.testapp.models import Course, Shop

pytestmark = pytest.mark.django_db

OK = ("ok", "")
SHORT = ("refused", "insufficient_funds")
LIMITED = ("refused", "limit_exceeded")


@pytest.fixture(autouse=True)
def audited(db):
    """After each test the books balance."""
    yield
    assert audit_ledger().problems == []


@pytest.fixture
def rich(alice):
    alice.deposit(100)
    return alice


@pytest.fixture
def shop(db):
    return Shop.objects.create(price=10)


def show(results):
    return [(str(result.status), result.code) for result in results]


def grant(holder, amount, **options):
    return grant_credit(wallet=holder.wallet, amount=amount, **options)


def left(*lots):
    found = dict(Lot.objects.values_list("pk", "remaining"))
    return [int(found[lot.pk]) for lot in lots]


# Limits


def test_items_count_one_after_the_other(rich, bob):
    rich.set_limits(per_day=50, per_transaction=30)
    results = withdraw_many([WithdrawalItem(rich, amount) for amount in (30, 31, 15, 6, 5, 1)])
    assert show(results) == [OK, LIMITED, OK, LIMITED, OK, LIMITED]
    assert (rich.balance, get_limits(wallet=rich.wallet).left_today) == (50, 0)


def test_one_limited_wallet_does_not_stop_the_others(rich, bob, charlie):
    bob.deposit(100)
    rich.set_limits(per_day=5)
    results = transfer_many(
        [TransferItem(rich, charlie, 6), TransferItem(bob, charlie, 6), TransferItem(bob, rich, 6)]
    )
    assert show(results) == [LIMITED, OK, OK]
    assert (rich.balance, bob.balance, charlie.balance) == (106, 88, 6)


def test_what_comes_in_counts_for_no_limit(rich):
    rich.set_limits(per_day=5, minimum_balance=1000)
    assert show(deposit_many([DepositItem(rich, 50)] * 2)) == [OK, OK]
    assert get_limits(wallet=rich.wallet).spent_today == 0


def test_a_minimum_balance_is_looked_at_after_each_item(rich):
    rich.set_limits(minimum_balance=85)
    results = withdraw_many([WithdrawalItem(rich, 10)] * 2 + [WithdrawalItem(rich, 5)])
    assert show(results) == [OK, LIMITED, OK]


def test_all_or_nothing_counts_nothing_after_a_refusal(rich, snapshot):
    rich.set_limits(per_day=50)
    before = snapshot()
    with pytest.raises(LimitExceeded) as caught:
        withdraw_many([WithdrawalItem(rich, 30)] * 2, is_atomic=True)
    assert caught.value.position == 1
    assert snapshot() == before
    assert get_limits(wallet=rich.wallet).spent_today == 0


def test_a_repeated_item_counts_once(rich):
    rich.set_limits(per_day=50)
    items = [WithdrawalItem(rich, 30, idempotency_key="k")]
    assert show(withdraw_many(items)) == [OK]
    assert show(withdraw_many(items)) == [("replayed", "")]
    assert get_limits(wallet=rich.wallet).spent_today == 30


def test_payments_count(rich, shop):
    rich.set_limits(per_day=15)
    assert show(pay_many([PaymentItem(rich, shop)] * 2)) == [OK, LIMITED]
    assert shop.balance == 10


# Lots


def test_items_spend_lots_one_after_the_other(rich):
    first, second = (
        grant(rich, 10, is_withdrawable=True, priority=1),
        grant(rich, 10, is_withdrawable=True),
    )
    withdraw_many([WithdrawalItem(rich, 8), WithdrawalItem(rich, 8)])
    assert left(first, second) == [0, 4]


def test_credit_that_may_not_be_withdrawn_is_paid_with_and_not_withdrawn(rich, bob, shop):
    lot = grant(rich, 30)
    assert show(withdraw_many([WithdrawalItem(rich, 101), WithdrawalItem(rich, 95)])) == [SHORT, OK]
    assert show(transfer_many([TransferItem(rich, bob, 6)])) == [SHORT]
    results = pay_many([PaymentItem(rich, shop)] * 3 + [PaymentItem(rich, shop)])
    assert show(results) == [OK, OK, OK, SHORT]
    assert (left(lot), rich.balance) == ([0], 5)
    (spent,) = explain_spending(wallet=rich.wallet, entry_id=results[0].record.entry_id)
    assert (spent.lot, spent.amount) == (lot, 10)


def test_a_payment_of_many_is_given_back_to_the_lots(rich, shop):
    lot = grant(rich, 15)
    first, second = pay_many([PaymentItem(rich, shop)] * 2)
    assert left(lot) == [0]
    PurchaseService.refund(second.record)
    assert left(lot) == [5]
    PurchaseService.refund(first.record)
    assert left(lot) == [15]


def test_a_product_that_takes_stock_is_paid_with_credit_too(rich):
    lot = grant(rich, 15)
    course = Course.objects.create(price=10, seats=1)
    results = pay_many([PaymentItem(rich, course)] * 2)
    assert show(results) == [OK, ("refused", "product_not_available")]
    assert left(lot) == [5]


def test_all_or_nothing_spends_no_credit_after_a_refusal(rich, shop, snapshot):
    lot = grant(rich, 15)
    before = snapshot()
    with pytest.raises(InsufficientFunds):
        pay_many([PaymentItem(rich, shop)] * 12, is_atomic=True)
    assert snapshot() == before
    assert (left(lot), LotUse.objects.count()) == ([15], 0)


# Held money


def test_what_is_held_is_not_there_for_the_items(rich, bob):
    rich.hold(60, reference_type="auction", reference_id="1")
    assert show(withdraw_many([WithdrawalItem(rich, 25)] * 2)) == [OK, SHORT]
    assert show(transfer_many([TransferItem(rich, bob, 16)])) == [SHORT]
    rich.release_hold(reference_type="auction", reference_id="1")
    assert show(withdraw_many([WithdrawalItem(rich, 75)])) == [OK]


def test_held_credit_comes_back_after_a_batch_spent_the_rest(rich):
    lot = grant(rich, 20, expires_at=timezone.now() + timedelta(days=1))
    rich.hold(15, reference_type="auction", reference_id="1")
    assert show(withdraw_many([WithdrawalItem(rich, 100), WithdrawalItem(rich, 1)])) == [OK, SHORT]
    rich.release_hold(reference_type="auction", reference_id="1")
    assert (left(lot), rich.balance) == ([20], 20)


def test_a_frozen_wallet_with_rules_is_refused_item_by_item(rich, bob, shop):
    bob.deposit(50)
    lot = grant(rich, 20)
    rich.set_limits(per_day=1000)
    rich.freeze_wallet()
    items = [WithdrawalItem(rich, 1), WithdrawalItem(bob, 1)]
    assert show(withdraw_many(items)) == [("refused", "wallet_frozen"), OK]
    results = pay_many([PaymentItem(rich, shop), PaymentItem(bob, shop)])
    assert show(results) == [("refused", "wallet_frozen"), OK]
    assert left(lot) == [20]


# What it costs, and what is remembered


@pytest.mark.postgres
def test_the_statements_do_not_depend_on_the_number_of_items(rich):
    rich.set_limits(per_day=1000)
    counts = []
    for number in (1, 30):
        with CaptureQueriesContext(connection) as asked:
            withdraw_many([WithdrawalItem(rich, 1)] * number)
        counts.append(len(asked))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("verb", ["deposit", "transfer", "pay"])
def test_a_wallet_that_was_rolled_back_is_made_anew(rich, bob, shop, verb):
    """Holders remember their wallets; a rollback that takes a new wallet along does not tell them."""
    with undone():
        bob.deposit(5)
        shop.deposit(5)
    results = {
        "deposit": lambda: deposit_many([DepositItem(bob, 10)]),
        "transfer": lambda: transfer_many([TransferItem(rich, bob, 10)]),
        "pay": lambda: pay_many([PaymentItem(rich, shop)]),
    }[verb]()
    assert show(results) == [OK]
    assert (shop if verb == "pay" else bob).balance == 10
