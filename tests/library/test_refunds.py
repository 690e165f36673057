"""Giving back: whole, in part, by transfer, purchase or line; never more than was paid, whatever the order."""

from decimal import Decimal
from itertools import permutations

import pytest
from django.db import transaction

from dj_wallet.cart import Cart
from dj_wallet.exceptions import (
    AmountInvalid,
    IdempotencyConflict,
    InsufficientFunds,
    MovementInvalid,
    RefundTooLarge,
    TransactionAlreadyProcessed,
)
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.models import Account
from dj_wallet.ledger.queries import get_balance
from dj_wallet.models import Transaction, Transfer
from dj_wallet.pricing import MERCHANT, Fee
from dj_wallet.services import ExchangeService, PurchaseService, TransferService, WalletService
from tests.ledger.together import raise_errors, run_together
from tests.testapp.models import Course, Person, Shop


def system_balance(code):
    account = Account.objects.filter(code=code, asset="USD").first()
    return 0 if account is None else get_balance(account.pk)


@pytest.fixture
def transfer(alice, bob):
    """100 from alice to bob, who has 1000 more."""
    alice.deposit(100)
    bob.deposit(1000)
    return alice.transfer(bob, 100)


# Transfers


def test_a_transfer_is_given_back_in_parts(transfer, alice, bob):
    first = TransferService.refund(transfer, amount=30)
    assert Transfer.objects.get(pk=transfer.pk).status == "transfer"
    assert (first.refund_of, first.status, first.deposit.amount) == (transfer, "refund", 30)
    with pytest.raises(RefundTooLarge, match="70"):
        TransferService.refund(transfer, amount="70.01")
    rest = TransferService.refund(transfer)
    assert rest.deposit.amount == 70
    assert Transfer.objects.get(pk=transfer.pk).status == "refund"
    assert (alice.balance, bob.balance) == (100, 1000)
    assert list(transfer.refunds.order_by("pk")) == [first, rest]
    assert audit_ledger().problems == []


@pytest.mark.parametrize("amount", [0, -1, "x", "0.000000001"])
def test_an_amount_to_give_back_is_one(transfer, amount, snapshot):
    before = snapshot()
    with pytest.raises(AmountInvalid):
        TransferService.refund(transfer, amount=amount)
    assert snapshot() == before


def test_whoever_spent_the_money_cannot_give_it_back(transfer, bob, snapshot):
    bob.withdraw(1050)
    before = snapshot()
    with pytest.raises(InsufficientFunds):
        TransferService.refund(transfer)
    assert snapshot() == before
    assert Transaction.objects.get(pk=transfer.withdraw_id).refunded_amount == 0


STEPS = {
    "refund": TransferService.refund,
    "part": lambda one: TransferService.refund(one, amount=60),
    "reverse the withdrawal": lambda one: WalletService.reverse_transaction(one.withdraw),
    "reverse the deposit": lambda one: WalletService.reverse_transaction(one.deposit),
}


@pytest.mark.parametrize("order", list(permutations(STEPS, 3)))
def test_no_order_of_refunds_and_reversals_gives_back_too_much(transfer, alice, bob, order):
    refusals = 0
    for step in order:
        try:
            STEPS[step](Transfer.objects.get(pk=transfer.pk))
        except (TransactionAlreadyProcessed, RefundTooLarge):
            refusals += 1
    assert refusals >= 1
    assert alice.balance in (60, 100)
    assert alice.balance + bob.balance == 1100
    assert audit_ledger().problems == []


def test_reversing_one_leg_takes_the_whole_transfer_back(transfer, alice, bob):
    reversal = WalletService.reverse_transaction(transfer.deposit, "wrong")
    assert reversal.wallet == bob.wallet
    assert reversal.type == "withdraw"
    assert reversal.meta == {"reversal_of": str(transfer.deposit.uuid), "reason": "wrong"}
    assert (alice.balance, bob.balance) == (100, 1000)
    statuses = Transaction.objects.filter(pk__in=[transfer.withdraw_id, transfer.deposit_id])
    assert set(statuses.values_list("status", flat=True)) == {"reversed"}


def test_a_refund_itself_is_not_given_back(transfer):
    refund = TransferService.refund(transfer)
    for again in (
        lambda: TransferService.refund(refund),
        lambda: WalletService.reverse_transaction(refund.deposit),
        lambda: WalletService.reverse_transaction(refund.withdraw),
    ):
        with pytest.raises(TransactionAlreadyProcessed):
            again()


def test_a_repeated_refund_with_a_key_gives_back_once(transfer, alice):
    first = TransferService.refund(transfer, amount=40, idempotency_key="r")
    again = TransferService.refund(transfer, amount=40, idempotency_key="r")
    assert first == again
    assert again.replayed
    for other in (lambda: TransferService.refund(transfer, idempotency_key="r"),
                  lambda: TransferService.refund(transfer, amount=41, idempotency_key="r")):  # fmt: skip
        with pytest.raises(IdempotencyConflict):
            other()
    assert alice.balance == 40


def test_a_refusal_leaves_the_callers_transaction_usable(transfer, alice):
    with transaction.atomic():
        TransferService.refund(transfer, amount=40)
        with pytest.raises(RefundTooLarge):
            TransferService.refund(transfer, amount=61)
        TransferService.refund(transfer, amount=60)
    assert alice.balance == 100


def test_a_refund_takes_back_what_went_where_it_came_from(alice):
    deposit = alice.deposit(100, source="external:card")
    WalletService.reverse_transaction(deposit)
    assert system_balance("external:card") == 0


# Exchanges


def test_an_exchange_is_taken_back_whole_at_its_rate(alice):
    alice.deposit(100)
    alice.create_wallet("eur", currency="EUR")
    ExchangeService.exchange(alice, "default", "eur", 50, "0.9")
    exchange = Transfer.objects.get()
    with pytest.raises(MovementInvalid):
        TransferService.refund(exchange, amount=10)
    TransferService.refund(exchange)
    assert (alice.balance, alice.get_wallet("eur").balance) == (100, 0)
    with pytest.raises(TransactionAlreadyProcessed):
        WalletService.reverse_transaction(exchange.deposit)
    assert audit_ledger().problems == []


# Purchases


@pytest.fixture
def shop(db):
    return Shop.objects.create(price=100)


@pytest.mark.parametrize(
    ("fee", "buyer_gets_back", "merchant_keeps", "fees_keep"),
    [
        (Fee(percent=Decimal(5)), 105, 0, 0),
        (Fee(percent=Decimal(5), is_refundable=False), 100, 0, 5),
        (Fee(percent=Decimal(5), payer=MERCHANT), 100, 0, 0),
        (Fee(percent=Decimal(5), payer=MERCHANT, is_refundable=False), 100, -5, 5),
    ],
)
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("how", ["transfer", "line", "purchase", "units", "reverse"])
def test_a_fee_is_given_back_by_its_rule(
    alice, shop, fee, buyer_gets_back, merchant_keeps, fees_keep, parts, how
):
    alice.deposit(1000)
    shop.deposit(50)
    shop.price, shop.fee = Decimal(100) / (4 if how == "units" else 1), fee
    record = alice.pay(shop, 4 if how == "units" else 1)
    paid = 1000 - alice.balance
    line = record.purchase.lines.get()
    if how == "units":
        for units in (1, 2, 1):
            PurchaseService.refund(line, quantity=units)
    elif how == "reverse":
        WalletService.reverse_transaction(record.withdraw)
    else:
        if parts == 3 and how != "purchase":
            for part in ("33.33", "33.33"):
                if how == "transfer":
                    TransferService.refund(record, amount=part)
                else:
                    PurchaseService.refund(line, amount=part)
        last = {
            "transfer": lambda: TransferService.refund(record),
            "line": lambda: PurchaseService.refund(line),
            "purchase": lambda: PurchaseService.refund(record.purchase),
        }
        last[how]()
    assert alice.balance - (1000 - paid) == buyer_gets_back
    assert shop.balance == 50 + merchant_keeps
    assert system_balance("fees") == fees_keep
    line.refresh_from_db()
    assert line.refunded_quantity == line.quantity
    for again in (
        lambda: TransferService.refund(record),
        lambda: PurchaseService.refund(line),
        lambda: PurchaseService.refund(record.purchase),
        lambda: WalletService.reverse_transaction(record.withdraw),
        lambda: WalletService.reverse_transaction(record.deposit),
    ):
        with pytest.raises(TransactionAlreadyProcessed):
            again()
    assert audit_ledger().problems == []


def test_units_give_back_exactly_what_was_paid(alice):
    alice.deposit(100)
    course = Course.objects.create(price="3.33")
    course.fee = Fee(fixed=Decimal("0.10"))
    line = alice.pay(course, 3).purchase.lines.get()
    given = [PurchaseService.refund(line, quantity=1) for _ in range(3)]
    assert len(given) == 3
    assert alice.balance == 100
    with pytest.raises(TransactionAlreadyProcessed):
        PurchaseService.refund(line, quantity=1)
    assert alice.count_bought(course) == 0


def count_seats(course):
    return Course.objects.get(pk=course.pk).seats


@pytest.fixture
def seats(db):
    return Course.objects.create(price=10, seats=9)


def test_units_given_back_return_to_the_stock(alice, seats):
    alice.deposit(100)
    line = alice.pay(seats, 5).purchase.lines.get()
    assert count_seats(seats) == 4
    PurchaseService.refund(line, quantity=2)
    assert count_seats(seats) == 6
    PurchaseService.refund(line, amount=1)
    assert count_seats(seats) == 6
    PurchaseService.refund(line)
    assert count_seats(seats) == 9


def test_a_reversed_payment_returns_its_units_to_the_stock(alice, seats):
    alice.deposit(100)
    payment = alice.pay(seats, 5)
    WalletService.reverse_transaction(payment)
    assert count_seats(seats) == 9


def test_a_stock_that_takes_nothing_back_stops_the_refund(bob, seats, snapshot):
    Course.objects.update(title="no return")
    bob.deposit(100)
    line = bob.pay(seats).purchase.lines.get()
    before = snapshot()
    with transaction.atomic(), pytest.raises(ValueError, match="no return"):
        PurchaseService.refund(line)
    line.refresh_from_db()
    assert (snapshot(), line.refunded_amount, count_seats(seats)) == (before, 0, 8)


def test_more_units_than_were_bought_are_not_given_back(alice):
    alice.deposit(100)
    line = alice.pay(Course.objects.create(price=10), 3).purchase.lines.get()
    with pytest.raises(RefundTooLarge):
        PurchaseService.refund(line, quantity=4)
    PurchaseService.refund(line, quantity=2)
    with pytest.raises(RefundTooLarge):
        PurchaseService.refund(line, quantity=2)
    with pytest.raises(AmountInvalid):
        PurchaseService.refund(line, quantity=1, amount=1)


def test_a_cart_is_given_back_line_by_line_and_then_the_rest(alice, shop):
    alice.deposit(1000)
    course = Course.objects.create(price=30)
    purchase = alice.pay_cart(Cart().with_item(shop, 2).with_item(course).with_item(shop))
    PurchaseService.refund(purchase.lines.order_by("pk")[0], quantity=1)
    assert alice.balance == 770
    records = PurchaseService.refund(purchase, "gone", idempotency_key="all")
    assert len(records) == 3
    assert (alice.balance, shop.balance, system_balance("sales")) == (1000, 0, 0)
    with pytest.raises(TransactionAlreadyProcessed):
        PurchaseService.refund(purchase)
    with pytest.raises(MovementInvalid):
        PurchaseService.refund(purchase, amount=1)
    assert audit_ledger().problems == []


def test_a_fee_is_not_given_back_on_its_own(alice, shop):
    alice.deposit(1000)
    shop.fee = Fee(fixed=Decimal(1))
    line = alice.pay(shop).purchase.lines.get()
    with pytest.raises(MovementInvalid):
        WalletService.reverse_transaction(line.fee_payment)


def test_a_payment_without_a_receiver_is_reversed_as_a_whole(alice):
    alice.deposit(1000)
    course = Course.objects.create(price=30)
    course.fee = Fee(fixed=Decimal(1))
    record = alice.pay(course)
    WalletService.reverse_transaction(record)
    assert alice.balance == 1000
    with pytest.raises(TransactionAlreadyProcessed):
        PurchaseService.refund(record.purchase)


def test_a_free_line_has_nothing_to_give_back(alice):
    purchase = alice.pay_free(Course.objects.create())
    for refund in (purchase, purchase.lines.get()):
        with pytest.raises(TransactionAlreadyProcessed):
            PurchaseService.refund(refund)


# At the same time


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("amount", [None, 30])
def test_refunds_at_the_same_time_give_back_what_was_paid(amount):
    alice, bob = (Person.objects.create(name=name) for name in ("alice", "bob"))
    alice.deposit(100)
    bob.deposit(1000)
    transfer = alice.transfer(bob, 100)

    def refund():
        return TransferService.refund(transfer, amount=amount)

    def reverse():
        return WalletService.reverse_transaction(transfer.withdraw)

    results = run_together(*[refund, reverse] * 4)
    errors = [one for one in results if isinstance(one, Exception)]
    assert all(isinstance(one, (TransactionAlreadyProcessed, RefundTooLarge)) for one in errors)
    assert alice.balance + bob.balance == 1100
    assert alice.balance in ({100} if amount is None else {90, 100})
    assert audit_ledger().problems == []


@pytest.mark.django_db(transaction=True)
def test_opposing_exchanges_and_refunds_never_deadlock():
    alice, bob = (Person.objects.create(name=name) for name in ("alice", "bob"))
    for person in (alice, bob):
        person.deposit(1000)
        person.get_wallet("eur").deposit(1000)
    there = [alice.transfer(bob, 5) for _ in range(16)]
    back = [bob.transfer(alice, 5) for _ in range(16)]

    def exchange(from_slug, to_slug):
        for _ in range(8):
            ExchangeService.exchange(alice, from_slug, to_slug, 1, 1)

    def refund(transfers):
        for transfer in transfers:
            TransferService.refund(transfer)

    raise_errors(
        run_together(
            lambda: exchange("default", "eur"),
            lambda: exchange("eur", "default"),
            lambda: exchange("default", "eur"),
            lambda: exchange("eur", "default"),
            lambda: refund(there[:8]),
            lambda: refund(back[:8]),
            lambda: refund(there[8:]),
            lambda: refund(back[8:]),
        )
    )
    assert (alice.balance, bob.balance) == (1000, 1000)
    assert alice.get_wallet("eur").balance == 1000
    assert audit_ledger().problems == []


@pytest.mark.django_db(transaction=True)
def test_purchases_given_back_whole_and_by_line_at_the_same_time():
    alice = Person.objects.create(name="alice")
    alice.deposit(1000)
    shops = [Shop.objects.create(price=10) for _ in range(3)]
    purchase = alice.pay_cart(Cart().with_items(shops))
    lines = list(purchase.lines.order_by("-pk"))
    results = run_together(
        lambda: PurchaseService.refund(purchase),
        lambda: [PurchaseService.refund(line) for line in lines],
        lambda: [TransferService.refund(line.transfer) for line in reversed(lines)],
        lambda: PurchaseService.refund(purchase),
    )
    errors = [one for one in results if isinstance(one, Exception)]
    assert all(isinstance(one, TransactionAlreadyProcessed) for one in errors)
    assert alice.balance == 1000
    assert [shop.balance for shop in shops] == [0, 0, 0]
    assert audit_ledger().problems == []
