"""Many movements in one call: each item stands on its own, unless all or nothing was asked for."""

import pytest
from django.db import connection, transaction
from django.db.models.signals import post_save
from django.test.utils import CaptureQueriesContext

from dj_wallet import signals
from dj_wallet.bulk import (
    DepositItem,
    PaymentItem,
    Status,
    TransferItem,
    WithdrawalItem,
    deposit_many,
    pay_many,
    transfer_many,
    withdraw_many,
)
from dj_wallet.exceptions import InsufficientFunds, WalletFrozen
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.models import Posting
from dj_wallet.models import Purchase, Transaction, Transfer
from dj_wallet.services import PurchaseService
from tests.testapp.models import Course, Organization, Person, Shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def rich(alice):
    alice.deposit(1000)
    return alice


@pytest.fixture
def shop(db):
    return Shop.objects.create(price=10)


def show(results):
    return [(str(result.status), result.code) for result in results]


OK = ("ok", "")


# Deposits, withdrawals, transfers


def test_holders_and_wallets_of_any_model_are_credited(alice, bob):
    team = Organization.objects.create()
    savings = bob.get_wallet("savings")
    results = deposit_many(
        [
            DepositItem(alice, 5, {"why": "bonus"}),
            DepositItem(team, "2.5"),
            DepositItem(savings, 7),
            DepositItem(alice, 1, source="external:bank"),
        ]
    )
    assert show(results) == [OK] * 4
    assert (alice.balance, team.balance, savings.balance) == (6, 2.5, 7)
    record = Transaction.objects.get(pk=results[0].record.pk)
    assert (record.type, record.amount, record.meta) == ("deposit", 5, {"why": "bonus"})
    assert record.entry_id == results[0].record.entry_id
    assert results[0].record.wallet.holder == alice
    assert audit_ledger().problems == []


def test_a_refused_item_does_not_undo_the_others(rich, bob, charlie):
    charlie.freeze_wallet()
    results = transfer_many(
        [
            TransferItem(rich, bob, 10),
            TransferItem(rich, bob, "0.000000001"),
            TransferItem(bob, rich, 11),
            TransferItem(rich, charlie, 1),
            TransferItem(rich, rich, 1),
            TransferItem(bob, rich, 4),
        ]
    )
    assert show(results) == [
        OK,
        ("refused", "amount_invalid"),
        ("refused", "insufficient_funds"),
        ("refused", "wallet_frozen"),
        ("refused", "movement_invalid"),
        OK,
    ]
    assert isinstance(results[2].error, InsufficientFunds)
    assert results[2].record is None
    assert (rich.balance, bob.balance) == (994, 6)
    assert Transfer.objects.count() == 2


def test_items_see_what_those_before_them_moved(alice, bob):
    assert show(withdraw_many([WithdrawalItem(alice, 5)])) == [("refused", "insufficient_funds")]
    deposit_many([DepositItem(alice, 5)])
    assert show(transfer_many([TransferItem(alice, bob, 5), TransferItem(bob, alice, 5)])) == [
        OK,
        OK,
    ]
    results = withdraw_many([WithdrawalItem(alice, 3), WithdrawalItem(alice, 3)])
    assert show(results) == [OK, ("refused", "insufficient_funds")]
    assert alice.balance == 2


def test_the_wallets_that_were_passed_in_are_fresh_afterwards(alice):
    wallet = alice.wallet
    deposit_many([DepositItem(wallet, 5), DepositItem(wallet, 6)])
    assert wallet.balance == 11


def test_a_repeated_call_gives_the_first_records_and_moves_nothing(alice, bob, snapshot):
    items = [DepositItem(alice, 5, idempotency_key="a"), DepositItem(bob, 6, idempotency_key="b")]
    first = deposit_many(items)
    before = snapshot()
    again = deposit_many([*items, DepositItem(alice, 7, idempotency_key="b")])
    assert show(again) == [("replayed", ""), ("replayed", ""), ("refused", "idempotency_conflict")]
    assert [one.record.pk for one in again[:2]] == [one.record.pk for one in first]
    assert snapshot() == before


def test_a_key_used_twice_in_one_call_moves_once(alice):
    item = DepositItem(alice, 5, idempotency_key="a")
    results = deposit_many([item, item])
    assert show(results) == [OK, ("replayed", "")]
    assert alice.balance == 5


def test_all_or_nothing_moves_nothing_after_a_refusal(rich, bob, snapshot):
    wallet, empty = rich.wallet, bob.wallet
    before = snapshot()
    items = [WithdrawalItem(wallet, 600), WithdrawalItem(empty, 1), WithdrawalItem(wallet, 600)]
    with pytest.raises(InsufficientFunds) as refusal:
        withdraw_many(items, is_atomic=True)
    assert refusal.value.position == 1
    assert snapshot() == before
    assert wallet.balance == 1000
    assert show(withdraw_many(items[:1], is_atomic=True)) == [OK]


def test_nothing_asked_for_is_nothing_done(db, django_assert_num_queries):
    with django_assert_num_queries(0):
        for verb in (deposit_many, withdraw_many, transfer_many, pay_many):
            assert verb([]) == []


def test_a_call_rolled_back_by_its_caller_moved_nothing(alice, snapshot):
    wallet = alice.wallet
    before = snapshot()
    with transaction.atomic():
        deposit_many([DepositItem(wallet, 5), DepositItem(wallet, 6, idempotency_key="k")])
        transaction.set_rollback(True)
    assert snapshot() == before


@pytest.mark.parametrize("count", [2, 300])
def test_the_statements_do_not_depend_on_the_number_of_items(alice, bob, count):
    deposit_many([DepositItem(alice, 1), DepositItem(bob, 1)])
    wallets = [alice.wallet, bob.wallet]
    items = [DepositItem(wallets[number % 2], 1) for number in range(count)]
    with CaptureQueriesContext(connection) as queries:
        deposit_many(items)
    if connection.vendor == "postgresql":
        assert len(queries) == 1  # the money and the records
    assert alice.balance == 1 + count / 2


# Receivers of signals


@pytest.fixture
def connected():
    """A function that connects a receiver for the time of the test."""
    undo = []

    def connect(signal, receiver):
        signal.connect(receiver, weak=False)
        undo.append((signal, receiver))

    yield connect
    for signal, receiver in undo:
        signal.disconnect(receiver)


def test_every_signal_is_sent_for_every_item(rich, bob, sent):
    bob.get_wallet()
    sent.clear()
    transfer_many([TransferItem(rich, bob, 1), TransferItem(rich, bob, 2)])
    names = [name for name, _ in sent if not name.endswith("_committed")]
    assert names[:4] == ["pre_withdraw", "pre_deposit"] * 2
    assert (
        names[4:]
        == [
            *["balance_changed", "transaction_created"] * 2,
            "transfer_completed",
        ]
        * 2
    )


def test_a_receiver_that_vetoes_one_item_leaves_the_others(alice, bob, connected):
    def refuse_large(sender, amount, **arguments):
        if amount > 10:
            raise ValueError("too much")

    connected(signals.pre_deposit, refuse_large)
    results = deposit_many([DepositItem(alice, 5), DepositItem(alice, 11), DepositItem(bob, 6)])
    assert show(results) == [OK, ("refused", "vetoed"), OK]
    assert str(results[1].error) == "too much"
    assert (alice.balance, bob.balance) == (5, 6)
    with pytest.raises(ValueError, match="too much"):
        deposit_many([DepositItem(alice, 5), DepositItem(alice, 11)], is_atomic=True)
    assert alice.balance == 5


def test_a_receiver_that_raises_undoes_its_own_item_only(alice, bob, connected):
    def break_down(sender, wallet, **arguments):
        if wallet.holder == bob:
            raise RuntimeError("broken")

    connected(signals.balance_changed, break_down)
    results = deposit_many([DepositItem(alice, 5), DepositItem(bob, 6), DepositItem(alice, 7)])
    assert show(results) == [OK, ("refused", "vetoed"), OK]
    assert (alice.balance, bob.balance) == (12, 0)
    assert Posting.objects.count() == Transaction.objects.count() == 2


def test_models_whose_saves_are_watched_are_saved_one_by_one(alice, bob, connected):
    seen = []

    def see(sender, instance, **arguments):
        if sender is Transaction:
            seen.append(instance.pk)

    connected(post_save, see)
    results = deposit_many([DepositItem(alice, 5), DepositItem(bob, 6)])
    assert seen == [one.record.pk for one in results]


# Payments


def test_many_buyers_pay_many_products(rich, bob, shop):
    bob.deposit(100)
    other = Shop.objects.create(price=3)
    results = pay_many(
        [
            PaymentItem(rich, shop),
            PaymentItem(bob, other, 5, meta={"order": 7}),
            PaymentItem(rich, other, 1, receiver=bob),
            PaymentItem(bob, shop, 100),
            PaymentItem(bob, shop, 0),
        ]
    )
    assert show(results) == [
        *[OK] * 3,
        ("refused", "insufficient_funds"),
        ("refused", "amount_invalid"),
    ]
    assert (rich.balance, bob.balance) == (1000 - 10 - 3, 100 - 15 + 3)
    assert (shop.balance, other.balance) == (10, 15)
    purchase = Purchase.objects.get(pk=results[1].record.pk)
    assert (purchase.customer, purchase.total) == (bob, 15)
    (line,) = purchase.lines.all()
    assert (line.product, line.quantity, line.transfer.status) == (other, 5, "paid")
    assert line.payment.meta["order"] == 7
    assert purchase.entry_id == line.transfer.entry_id == line.payment.entry_id
    assert audit_ledger().problems == []


def test_what_was_paid_in_bulk_can_be_given_back(rich, shop):
    (result,) = pay_many([PaymentItem(rich, shop, 2)])
    PurchaseService.refund(result.record)
    assert (rich.balance, shop.balance) == (1000, 0)


def test_both_ways_of_paying_write_the_same(rich, shop):
    own = {"id", "uuid", "entry_id", "created_at", "updated_at", "idempotency_key", "fingerprint"}

    def list_rows(model):
        return [
            {name: value for name, value in row.items() if name not in own and "_id" not in name}
            for row in model.objects.order_by("pk").values()
        ]

    pay_many([PaymentItem(rich, shop, 2, meta={"a": 1}, idempotency_key="k")])
    rich.pay(shop, 2, meta={"a": 1})
    for model in (Purchase, Transfer):
        one, other = list_rows(model)
        assert one == other
    assert list_rows(Transaction)[1:3] == list_rows(Transaction)[3:5]


def test_a_repeated_payment_is_made_once(rich, shop, snapshot):
    item = PaymentItem(rich, shop, idempotency_key="k")
    (first,) = pay_many([item])
    before = snapshot()
    again = pay_many([item])
    assert show(again) == [("replayed", "")]
    assert again[0].record.pk == first.record.pk
    other = pay_many([PaymentItem(rich, shop, 2, idempotency_key="k")])
    assert show(other) == [("refused", "idempotency_conflict")]
    rich.deposit(5, confirmed=False, idempotency_key="pending")
    taken = pay_many([PaymentItem(rich, shop, idempotency_key="pending")])
    assert show(taken) == [("refused", "idempotency_conflict")]
    assert (snapshot()[0], Purchase.objects.count()) == (before[0], 1)


def test_a_stock_is_sold_once(rich, bob):
    bob.deposit(100)
    course = Course.objects.create(price=30, seats=1)
    results = pay_many(
        [PaymentItem(bob, course, 9), PaymentItem(rich, course), PaymentItem(bob, course)]
    )
    assert show(results) == [
        ("refused", "product_not_available"),
        OK,
        ("refused", "product_not_available"),
    ]
    assert (rich.balance, bob.balance) == (970, 100)


def test_what_a_refused_payment_took_from_the_stock_is_back(rich, bob):
    course = Course.objects.create(price=30, seats=5)
    assert show(pay_many([PaymentItem(bob, course, 2), PaymentItem(rich, course)])) == [
        ("refused", "insufficient_funds"),
        OK,
    ]
    course.refresh_from_db()
    assert course.seats == 4


def test_payments_all_or_nothing(rich, bob, shop, snapshot):
    for holder in (bob, shop):
        holder.get_wallet()
    before = snapshot()
    with pytest.raises(InsufficientFunds) as refusal:
        pay_many([PaymentItem(rich, shop), PaymentItem(bob, shop)], is_atomic=True)
    assert refusal.value.position == 1
    assert (snapshot(), Purchase.objects.count()) == (before, 0)


def test_a_frozen_buyer_stops_only_its_own_payment(rich, bob, shop):
    bob.deposit(100)
    bob.freeze_wallet()
    results = pay_many([PaymentItem(bob, shop), PaymentItem(rich, shop)])
    assert show(results) == [("refused", "wallet_frozen"), OK]
    assert isinstance(results[0].error, WalletFrozen)


def test_something_free_is_a_purchase_without_money(rich, bob):
    gift = Shop.objects.create(price=0)
    results = pay_many([PaymentItem(rich, gift), PaymentItem(bob, gift)])
    assert show(results) == [OK, OK]
    assert [one.record.entry_id for one in results] == [None, None]
    assert Purchase.objects.count() == 2


@pytest.mark.postgres
@pytest.mark.parametrize("count", [2, 60])
def test_the_statements_of_payments_do_not_depend_on_their_number(rich, shop, count):
    shop.get_wallet()
    buyers = Person.objects.bulk_create(Person(name=str(number)) for number in range(count))
    deposit_many([DepositItem(one, 100) for one in buyers])
    pay_many([PaymentItem(buyers[0], shop)])
    with CaptureQueriesContext(connection) as queries:
        results = pay_many([PaymentItem(one, shop) for one in buyers])
    assert {one.status for one in results} == {Status.OK}
    # Buyers' wallets, the receiver's, the lock, the money, purchases, transactions, transfers, lines.
    assert len(queries) == 8


# Records of a whole call, written by one statement


def read(record):
    """Return what an object says of each column."""
    return {field.attname: getattr(record, field.attname) for field in record._meta.concrete_fields}


def is_what_is_stored(record):
    return read(record) == read(type(record).objects.get(pk=record.pk))


@pytest.mark.parametrize("key", [None, "once"])
def test_the_records_of_deposits_and_withdrawals_say_what_is_stored(rich, bob, key):
    keys = [key and f"{key}-{number}" for number in range(4)]
    into = [DepositItem(bob, "2.5", {"n": 1}, keys[0]), DepositItem(rich, 1, None, keys[1])]
    out = [WithdrawalItem(rich, 3, None, keys[2]), WithdrawalItem(rich, 4, {"n": 2}, keys[3])]
    results = deposit_many(into) + withdraw_many(out)
    assert show(results) == [OK] * 4
    assert all(is_what_is_stored(result.record) for result in results)
    assert [result.record.idempotency_key for result in results] == keys
    assert audit_ledger().problems == []


def test_the_records_of_transfers_say_what_is_stored_and_follow_each_other(rich, bob, charlie):
    wallets = [rich.wallet, bob.wallet, charlie.wallet]
    results = transfer_many(
        [
            TransferItem(wallets[0], wallets[1], 10, {"n": 1}, "first"),
            TransferItem(wallets[1], wallets[2], 4),
            TransferItem(wallets[0], wallets[2], 1, None, "third"),
        ]
    )
    transfers = [result.record for result in results]
    sides = [side for one in transfers for side in (one.withdraw, one.deposit)]
    assert all(is_what_is_stored(record) for record in [*transfers, *sides])
    assert [side.pk for side in sides] == sorted(side.pk for side in sides)
    assert sides[0].meta == {"n": 1, "action": "transfer_send"}
    assert [wallet.balance for wallet in wallets] == [989, 6, 5]
    for wallet in wallets:
        assert read(wallet) == read(type(wallet).objects.get(pk=wallet.pk))


def test_a_key_of_a_pending_deposit_stands_for_something_else_in_bulk(rich, bob, snapshot):
    rich.deposit(5, confirmed=False, idempotency_key="taken")
    bob.get_wallet()
    before = snapshot()
    results = transfer_many([TransferItem(rich, bob, 1, None, "taken")])
    assert show(results) == [("refused", "idempotency_conflict")]
    assert snapshot() == before
