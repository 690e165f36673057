"""What a movement writes beside its posting, on the fast path and on the way that works for any model."""

import pickle
from decimal import Decimal

import pytest
from django.db import transaction
from django.db.models.signals import post_save

from dj_wallet.bulk import (
    DepositItem,
    TransferItem,
    WithdrawalItem,
    deposit_many,
    transfer_many,
    withdraw_many,
)
from dj_wallet.cart import Cart
from dj_wallet.ledger.accounts import system_account
from dj_wallet.models import Posting, Purchase, PurchaseLine, Transaction, Transfer
from dj_wallet.services import TransferService
from dj_wallet.services.refunds import SALES
from dj_wallet.signals import balance_changed
from tests.testapp.models import Course, Shop

pytestmark = pytest.mark.django_db

OWN = {"id", "uuid", "entry_id", "created_at", "updated_at", "withdraw_id", "deposit_id"}


def list_rows(model):
    """Return the stored rows of a model, without what differs between any two."""
    names = [field.attname for field in model._meta.concrete_fields if field.attname not in OWN]
    return list(model.objects.order_by("pk").values(*names))


def move_and_list(alice, bob):
    Transfer.objects.all().delete()
    Transaction.objects.all().delete()
    alice.deposit("12.5", meta={"from": "a friend"})
    alice.withdraw(1)
    transfer = alice.transfer(bob, "2.25", meta={"order": 7})
    assert transfer.withdraw_id == transfer.withdraw.pk
    assert transfer.deposit_id == transfer.deposit.pk
    assert transfer.withdraw.entry_id == transfer.deposit.entry_id == transfer.entry_id
    transfer.refresh_from_db()
    assert transfer.withdraw.type == "withdraw"
    return list_rows(Transaction), list_rows(Transfer)


def test_both_ways_write_the_same_rows(alice, bob):
    seen = []

    def see(sender, instance, created, **kwargs):
        seen.append((sender, created))

    fast = move_and_list(alice, bob)
    for model in (Transaction, Transfer):
        post_save.connect(see, sender=model)
    try:
        slow = move_and_list(alice, bob)
    finally:
        for model in (Transaction, Transfer):
            post_save.disconnect(see, sender=model)
    assert seen == [(Transaction, True)] * 4 + [(Transfer, True)]
    assert slow == fast


def sell(alice, bob):
    """Pay, with a receiver and without, give away, and give a transfer back in two parts; return what was written."""
    alice.deposit(100)
    shop, course = Shop.objects.create(price=3), Course.objects.create(price=2)
    transfer = alice.transfer(bob, 5)
    last = Posting.objects.latest("pk").pk
    made = [
        alice.pay(shop, 2, meta={"order": 7}),
        alice.pay(course),
        alice.gift(bob, shop),
        TransferService.refund(transfer, amount=2, reason="half"),
        TransferService.refund(transfer),
    ]
    of_these = {"purchase_id", "payment_id", "transfer_id", "refund_of_id"}
    keys = of_these | {"wallet_id", "payable_id", "from_id", "to_id", "product_id", "name"}
    rows = [
        {name: value for name, value in row.items() if name not in keys | {"fingerprint", "meta"}}
        for model in (Purchase, PurchaseLine, Transaction, Transfer)
        for row in list_rows(model)
    ]
    postings = Posting.objects.filter(pk__gt=last).order_by("pk")
    rows += postings.values("kind", "amount", "reference_type", "source_account__code")
    return made, rows


def test_a_sale_and_a_refund_write_the_same_both_ways(alice, bob):
    def see(**kwargs):
        """Somebody who is told: the short way is not taken."""

    try:
        with transaction.atomic():
            _, short = sell(alice, bob)
            raise Undone
    except Undone:
        pass
    balance_changed.connect(see)
    try:
        _, careful = sell(alice, bob)
    finally:
        balance_changed.disconnect(see)
    assert short == careful


def move_many_and_list(alice, bob):
    """Move in bulk, pay for a cart, and take it all back; return the rows that were written and the balances."""
    shop, course = Shop.objects.create(price=3), Course.objects.create(price=2)
    wallets = [alice.get_wallet(), bob.get_wallet(), shop.get_wallet()]
    own = {str(wallet.pk): number for number, wallet in enumerate(wallets)}
    sides, differing = {"wallet_id", "payable_id", "from_id", "to_id"}, {"name", "fingerprint"}
    differing |= {"purchase_id", "payment_id", "transfer_id", "product_id"}
    with transaction.atomic():
        deposit_many([DepositItem(alice, 50, {"n": 1}, "first"), DepositItem(bob, "2.5")])
        transfer_many(
            [TransferItem(alice, bob, 4, {"n": 2}, "second"), TransferItem(bob, alice, 1)]
        )
        withdraw_many([WithdrawalItem(bob, 2, None, "third"), WithdrawalItem(alice, 2)])
        cart = Cart().with_item(shop, 2).with_item(course, 1, receiver=bob).with_item(course)
        alice.pay_cart(cart.with_meta(n=3), idempotency_key="fourth")
        rows = [
            {
                name: own[str(value)] if name in sides else value
                for name, value in row.items()
                if name not in differing
            }
            for model in (Purchase, PurchaseLine, Transaction, Transfer)
            for row in list_rows(model)
        ]
        balances = [one.balance for one in (alice, bob, shop)]
        transaction.set_rollback(True)
    return rows, balances


def test_a_bulk_call_and_a_cart_write_the_same_both_ways(alice, bob):
    def see(**kwargs):
        """Somebody who is told: the short way is not taken."""

    for code in ("external:cash", SALES):
        system_account(code, alice.get_wallet().asset_id)
    short = move_many_and_list(alice, bob)
    balance_changed.connect(see)
    try:
        careful = move_many_and_list(alice, bob)
    finally:
        balance_changed.disconnect(see)
    assert short == careful
    assert short[1] == [35, Decimal("5.5"), 6]


def test_what_a_sale_and_a_refund_return_is_what_is_stored(alice, bob):
    made, _ = sell(alice, bob)
    records = [*made, *(one.purchase for one in made[:3])]
    records += [line for one in made[:3] for line in one.purchase.bought]
    records += [
        leg for one in made if isinstance(one, Transfer) for leg in (one.withdraw, one.deposit)
    ]
    assert_stored(records)
    assert made[3].refund_of.pk == made[4].refund_of_id
    assert made[4].deposit.wallet == alice.wallet


def test_what_is_returned_is_what_is_stored(alice, bob):
    alice.deposit(10)
    transfer = alice.transfer(bob, 3)
    assert_stored([transfer, transfer.withdraw, transfer.deposit])


class Undone(Exception):
    """Ends a transaction that shall leave nothing."""


def assert_stored(records):
    for record in records:
        stored = type(record).objects.get(pk=record.pk)
        for field in record._meta.concrete_fields:
            assert getattr(record, field.attname) == getattr(stored, field.attname), field


def test_the_sides_of_a_transfer_are_those_in_the_database(alice, bob):
    """They are made when somebody looks at them."""
    alice.deposit(10)
    transfer = alice.transfer(bob, "2.25", meta={"order": 7})
    refund = TransferService.refund(transfer)
    for made in (transfer, refund):
        for side in (made.withdraw, made.deposit):
            stored = Transaction.objects.get(pk=side.pk)
            names = [field.attname for field in Transaction._meta.concrete_fields]
            # What the refund counts on the withdrawal is newer than the object.
            names.remove("refunded_amount")
            assert [getattr(side, name) for name in names] == [
                getattr(stored, name) for name in names
            ]
            assert side.wallet.holder == stored.wallet.holder
        assert made.withdraw is made.withdraw


def test_a_transfer_can_be_pickled_before_anybody_looked_at_its_sides(alice, bob):
    alice.deposit(10)
    transfer = alice.transfer(bob, 2)
    again = pickle.loads(pickle.dumps(transfer))
    assert again.withdraw == transfer.withdraw
    assert again.deposit.amount == 2


def test_a_purchase_can_be_pickled_before_anybody_looked_at_its_lines(alice, bob):
    alice.deposit(100)
    shop = Shop.objects.create(price=3)
    purchase = alice.pay_cart(Cart().with_item(shop, 2, receiver=bob), recipient=bob)
    again = pickle.loads(pickle.dumps(purchase))
    assert again == purchase
    (line,) = again.bought
    assert_stored([again, line, line.transfer, line.payment, line.transfer.deposit])


@pytest.mark.postgres
def test_looking_at_the_lines_of_a_purchase_asks_the_database_nothing(
    alice, bob, django_assert_num_queries
):
    alice.deposit(100)
    shop = Shop.objects.create(price=3)
    purchase = alice.pay_cart(Cart().with_item(shop, 2).with_item(shop, receiver=bob))
    with django_assert_num_queries(0):
        seen = [
            (line.purchase, line.product, line.payment, line.transfer.deposit.wallet, line.record)
            for line in purchase.bought
        ]
    assert [one[:2] for one in seen] == [(purchase, shop)] * 2
    assert [one[2] for one in seen] == [one[4].withdraw for one in seen]
    assert [one[3] for one in seen] == [shop.wallet, bob.wallet]


def test_a_line_that_is_looked_at_late_still_says_what_was_bought(alice):
    alice.deposit(100)
    shop = Shop.objects.create(price=3)
    bought = shop.pk
    purchase = alice.pay_cart(Cart().with_item(shop, 2).with_item(shop))
    shop.pk = shop.id = None  # as one does to save a copy
    assert [line.product_id for line in purchase.bought] == [bought, bought]
    assert_stored([purchase, *purchase.bought])
