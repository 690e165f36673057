"""Products, carts, fees, discounts, gifts: what is quoted is what is paid is what is stored."""

from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from dj_wallet.cart import Cart
from dj_wallet.exceptions import (
    AmountInvalid,
    AssetMismatch,
    IdempotencyConflict,
    InsufficientFunds,
    MovementInvalid,
    PriceChanged,
    ProductNotAvailable,
    WalletFrozen,
)
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.models import Account, Posting
from dj_wallet.ledger.queries import get_balance
from dj_wallet.models import Purchase, PurchaseLine, Transaction, Transfer
from dj_wallet.pricing import BUYER, MERCHANT, Fee, Line, price_line
from dj_wallet.services import PurchaseService, TransferService
from tests.ledger.together import run_together
from tests.testapp.models import Course, Person, Shop


@pytest.fixture
def rich(alice):
    alice.deposit(1000)
    return alice


@pytest.fixture
def shop(db):
    return Shop.objects.create(price=10)


@pytest.fixture
def course(db):
    return Course.objects.create(price=30)


def system_balance(code):
    account = Account.objects.filter(code=code, asset="USD").first()
    return 0 if account is None else get_balance(account.pk)


# Paying


def test_a_purchase_says_who_bought_what_and_how_many(rich, course):
    record = rich.pay(course, quantity=3)
    purchase = record.purchase
    assert (purchase.customer, purchase.wallet_id, purchase.total) == (rich, rich.wallet.pk, 90)
    (line,) = purchase.lines.all()
    assert (line.product, line.quantity, line.unit_price, line.name) == (course, 3, 30, "Django")
    assert line.payment == record
    assert purchase.entry_id == record.entry_id
    assert system_balance("sales") == 90
    assert rich.count_bought(course) == 3
    assert Posting.objects.get(pk=purchase.entry_id).kind == "PURCHASE"


def test_a_payment_is_a_transfer_that_says_paid(rich, shop):
    record = rich.pay(shop, 2)
    assert (record.status, record.fee, record.discount) == ("paid", 0, 0)
    assert record.purchase.lines.get().transfer == record


def test_the_receiver_may_be_any_holder_or_wallet(rich, bob, course):
    rich.pay(course, receiver=bob)
    rich.pay(course, receiver=bob.get_wallet("savings"))
    assert (bob.balance, bob.get_wallet("savings").balance) == (30, 30)


def test_a_product_may_name_its_receiver(rich, bob, course, monkeypatch):
    monkeypatch.setattr(Course, "get_wallet_product", lambda self: bob)
    rich.pay(course)
    assert bob.balance == 30


def test_another_wallet_may_pay(rich, course):
    rich.get_wallet("savings").deposit(50)
    rich.pay(course, wallet=rich.get_wallet("savings"))
    rich.wallet.pay(course)
    assert (rich.get_wallet("savings").balance, rich.balance) == (20, 970)


def test_the_wallets_that_take_part_show_their_new_balances(rich, shop):
    wallet, till = rich.wallet, shop.wallet
    wallet.pay(shop, receiver=till)
    assert (wallet.balance, till.balance) == (990, 10)


@pytest.mark.parametrize("quantity", [0, -1, 1.5, True, "2", 10**9 + 1])
def test_a_quantity_is_a_positive_whole_number(rich, course, quantity, snapshot):
    before = snapshot()
    with pytest.raises(AmountInvalid):
        rich.pay(course, quantity)
    assert snapshot() == before


def test_a_payment_that_is_refused_leaves_nothing(rich, course, shop, snapshot):
    before = snapshot()
    refused = [
        (InsufficientFunds, lambda: rich.pay(course, 100)),
        (ProductNotAvailable, lambda: rich.pay(course, 1001)),
        (MovementInvalid, lambda: rich.pay(course, receiver=rich)),
        (MovementInvalid, lambda: rich.pay_cart(Cart())),
        (
            AssetMismatch,
            lambda: rich.pay(course, receiver=rich.create_wallet("points", currency="POINTS")),
        ),
    ]
    for error, call in refused:
        with pytest.raises(error):
            call()
    assert {**snapshot()[0]}.items() >= before[0].items()
    assert snapshot()[1:] == before[1:]
    assert Purchase.objects.count() == 0
    course.refresh_from_db()
    assert course.seats == 1000
    shop.freeze_wallet()
    with pytest.raises(WalletFrozen):
        rich.pay(shop)


def test_a_refusal_inside_the_callers_transaction_undoes_what_the_hook_wrote(rich, course):
    with transaction.atomic():
        with pytest.raises(InsufficientFunds):
            rich.pay(course, 50)
        rich.pay(course)
    course.refresh_from_db()
    assert (course.seats, rich.balance) == (999, 970)


def test_a_product_that_costs_nothing_is_a_purchase_without_money(rich, snapshot):
    before = snapshot()
    purchase = rich.pay(Course.objects.create(price=0))
    assert isinstance(purchase, Purchase)
    assert (purchase.total, purchase.entry_id) == (0, None)
    assert snapshot() == before


def test_a_product_may_be_had_for_nothing(rich, course):
    purchase = rich.pay_free(course, 2)
    assert purchase.total == 0
    assert rich.balance == 1000
    assert rich.count_bought(course) == 2
    assert system_balance("sales") == 0


def test_a_repeated_payment_with_a_key_is_made_once(rich, course, shop):
    for product in (course, shop):
        first = rich.pay(product, 2, idempotency_key=f"order-{product}")
        again = rich.pay(product, 2, idempotency_key=f"order-{product}")
        assert (first, again.replayed, first.replayed) == (again, True, False)
        assert again.purchase == first.purchase
        with pytest.raises(IdempotencyConflict):
            rich.pay(product, 3, idempotency_key=f"order-{product}")
    assert rich.balance == 1000 - 60 - 20
    with pytest.raises(IdempotencyConflict):
        rich.deposit(1, idempotency_key=f"order-{shop}")


def test_a_product_need_not_be_a_product_mixin(rich):
    class Tip:
        def get_amount_product(self, customer):
            return "2.50"

    record = rich.pay(Tip())
    assert (record.amount, rich.balance) == (Decimal("2.50"), Decimal("997.50"))
    assert record.purchase.lines.get().product is None


# Carts


def test_a_cart_is_paid_as_one_entry(rich, shop, course, bob):
    cart = (
        Cart()
        .with_item(shop, 2)
        .with_item(course, 1, receiver=bob)
        .with_item(course, 2, unit_price=5)
        .with_items([shop])
        .with_meta(order=7)
    )
    purchase = rich.pay_cart(cart)
    assert cart.quantity == 6
    assert purchase.total == 70
    assert purchase.meta == {"order": 7}
    assert (shop.balance, bob.balance, system_balance("sales"), rich.balance) == (30, 30, 10, 930)
    postings = Posting.objects.of_entries([purchase.entry_id])
    assert [posting.amount for posting in postings.order_by("pk")] == [20, 30, 10, 10]
    assert Transfer.objects.filter(entry_id=purchase.entry_id).count() == 3
    assert Transaction.objects.filter(entry_id=purchase.entry_id, meta__order=7).count() == 7
    assert audit_ledger().problems == []


def test_the_records_of_a_cart_say_what_is_stored(rich, shop, course, bob):
    payer = rich.wallet
    cart = Cart().with_item(shop, 2).with_item(course, 1, receiver=bob).with_item(course)
    purchase = rich.pay_cart(cart, wallet=payer, idempotency_key="cart")
    lines = purchase.bought
    transfers = [line.transfer for line in lines if line.transfer]
    payments = [line.payment for line in lines]
    records = [purchase, *lines, *transfers, *payments, *(one.deposit for one in transfers), payer]
    assert len(records) == 1 + 3 + 2 + 3 + 2 + 1
    for record in records:
        stored = type(record).objects.get(pk=record.pk)
        for field in record._meta.concrete_fields:
            assert getattr(record, field.attname) == getattr(stored, field.attname), field
    assert rich.pay_cart(cart, wallet=payer, idempotency_key="cart") == purchase


def test_a_cart_is_paid_whole_or_not_at_all(rich, shop, course, snapshot):
    before = snapshot()
    with pytest.raises(ProductNotAvailable):
        rich.pay_cart(Cart().with_item(shop).with_item(course, 1001))
    assert snapshot() == before
    assert PurchaseLine.objects.count() == 0


def test_a_cart_is_immutable(shop):
    cart = Cart()
    assert cart.with_item(shop) is not cart
    assert cart.items == ()


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_cart_of_fifty_items_takes_fifteen_statements_at_most():
    alice = Person.objects.create(name="alice")
    alice.deposit(10000)
    shops = [Shop.objects.create(price=1) for _ in range(50)]
    for shop in shops:
        shop.get_wallet()
    cart = Cart().with_items(Shop.objects.all())
    with CaptureQueriesContext(
        connection,
    ) as queries:
        alice.pay_cart(cart, idempotency_key="cart")
    assert len(queries) <= 15
    assert [shop.balance for shop in shops] == [1] * 50


@pytest.mark.postgres
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("verb", "statements"),
    # A product that has more to say than its price is asked after a lock.
    [("deposit", 1), ("transfer", 1), ("refund", 1), ("pay", 1), ("pay shop", 2)],
)
def test_statements_of_a_verb_inside_a_transaction(
    alice, bob, django_assert_num_queries, verb, statements
):
    calls = make_calls(alice, bob)
    with django_assert_num_queries(statements):
        calls[verb]()


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_verb_outside_a_transaction_is_one_statement_that_commits_by_itself(
    django_assert_num_queries,
):
    alice, bob = (Person.objects.create(name=name) for name in ("alice", "bob"))
    calls = make_calls(alice, bob)
    for verb in ("deposit", "transfer", "refund", "pay", "deposit with a key"):
        with django_assert_num_queries(1):  # BEGIN and COMMIT would count
            calls[verb]()
    assert bob.balance == 1
    assert alice.balance == 100


def make_calls(alice, bob):
    """Return calls of holders and products that have looked at their wallets once."""
    shop = Shop.objects.create(price=1)
    alice.deposit(101)
    transfer = alice.transfer(bob, 1)
    alice.pay(shop)
    return {
        "deposit": lambda: alice.deposit(1),
        "transfer": lambda: alice.transfer(bob, 1),
        "refund": lambda: TransferService.refund(transfer),
        "pay": lambda: alice.pay(Ticket(), receiver=shop),
        "pay shop": lambda: alice.pay(shop),
        "deposit with a key": lambda: alice.deposit(1, idempotency_key="salary"),
    }


class Ticket:
    """A product that has a price and nothing else to say."""

    def get_amount_product(self, customer):
        return 1


# Fees and discounts


@pytest.mark.parametrize(
    ("fee", "buyer_pays", "merchant_gets", "fees_get"),
    [
        (Fee(percent=Decimal(5)), 105, 95 + 5, 5),
        (Fee(percent=Decimal(5), payer=MERCHANT), 100, 95, 5),
        (Fee(fixed=Decimal(2)), 102, 100, 2),
        (Fee(percent=Decimal(1), minimum=Decimal(3)), 103, 100, 3),
        (Fee(percent=Decimal(50), maximum=Decimal(10)), 110, 100, 10),
        (Fee(percent=Decimal(1), fixed=Decimal(1), payer=MERCHANT), 100, 98, 2),
        (Fee(percent=Decimal(100), payer=MERCHANT), 100, 0, 100),
    ],
)
def test_a_fee_goes_to_the_platform(rich, shop, fee, buyer_pays, merchant_gets, fees_get):
    shop.price, shop.fee = 100, fee
    record = rich.pay(shop)
    assert rich.balance == 1000 - buyer_pays
    assert shop.balance == merchant_gets
    assert system_balance("fees") == fees_get
    assert record.purchase.total == buyer_pays
    assert record.purchase.fee == fees_get
    assert audit_ledger().problems == []


def test_a_discount_is_for_each_unit(rich, course):
    course.discount = Decimal("2.50")
    record = rich.pay(course, 4)
    assert record.amount == 110
    assert record.purchase.discount == 10


@pytest.mark.parametrize(
    "changes",
    [
        {"discount": 31},
        {"discount": -1},
        {"price": -1},
        {"price": "NaN"},
        {"price": "0.000000001"},
        {"fee": Fee(fixed=Decimal(-1))},
        {"fee": Fee(fixed=Decimal(31), payer=MERCHANT)},
        {"fee": Fee(fixed=Decimal("0.000000001"))},
    ],
)
def test_a_price_that_makes_no_sense_is_refused(rich, course, changes, snapshot):
    before = snapshot()
    for name, value in changes.items():
        setattr(course, name, value)
    with pytest.raises(AmountInvalid):
        rich.pay(course)
    assert snapshot() == before


def test_what_was_quoted_is_what_is_stored(rich, shop, course, bob):
    shop.fee = Fee(percent=Decimal("3.33"), minimum=Decimal("0.10"))
    course.fee, course.discount = Fee(fixed=Decimal(1), payer=MERCHANT), Decimal("0.01")
    cart = Cart().with_item(shop, 3).with_item(course, 2, receiver=bob)
    quote = rich.quote(cart)
    before = rich.balance
    purchase = rich.pay_cart(cart, quote=quote)
    assert purchase.get_breakdown() == quote
    assert (quote.total, quote.fee, quote.discount) == (
        purchase.total,
        purchase.fee,
        purchase.discount,
    )
    assert before - rich.balance == quote.total


def test_a_quote_changes_nothing(rich, course, snapshot):
    before = snapshot()
    assert rich.quote(course, 2).total == 60
    assert PurchaseService.quote(rich, course).lines[0].name == "Django"
    assert snapshot() == before


def test_a_price_that_changed_since_the_quote_stops_the_payment(rich, course, snapshot):
    quote = rich.quote(course)
    course.price = 31
    before = snapshot()
    with pytest.raises(PriceChanged):
        rich.pay(course, quote=quote)
    assert snapshot() == before


PRICES = st.decimals(0, 1000, places=2)


@given(
    price=PRICES,
    discount=PRICES,
    quantity=st.integers(1, 50),
    percent=st.decimals(0, 100, places=3),
    fixed=st.decimals(0, 5, places=2),
    payer=st.sampled_from([BUYER, MERCHANT]),
)
def test_a_line_adds_up(price, discount, quantity, percent, fixed, payer):
    def make() -> Line:
        return price_line(
            name="x",
            quantity=quantity,
            unit_price=price,
            discount=discount,
            fee=Fee(percent, fixed, payer=payer),
            decimal_places=2,
        )

    try:
        line = make()
    except AmountInvalid:
        return
    due = price * quantity - line.discount
    assert line.total == line.net + line.fee
    assert line.total == (due + line.fee if payer == BUYER else due)
    assert min(line.net, line.fee, line.total) >= 0


# Gifts


def test_a_gift_belongs_to_whom_it_was_given(rich, bob, course, shop):
    record = rich.gift(bob, course)
    assert record.purchase.is_gift
    assert record.purchase.recipient == bob
    assert (rich.count_bought(course), bob.count_bought(course)) == (0, 1)
    assert rich.gift(bob, shop).status == "gift"
    assert (rich.balance, bob.balance) == (960, 0)


def test_a_refunded_gift_returns_to_the_giver(rich, bob, course, shop):
    bob.get_wallet()
    for product in (course, shop):
        PurchaseService.refund(rich.gift(bob, product).purchase)
    TransferService.refund(rich.gift(bob, shop))
    assert (rich.balance, bob.balance, shop.balance) == (1000, 0, 0)
    assert bob.count_bought(course) == 0


# Stock


@pytest.mark.django_db(transaction=True)
def test_the_last_seat_is_sold_once():
    course = Course.objects.create(price=1, seats=3)
    people = [Person.objects.create(name=str(number)) for number in range(8)]
    for person in people:
        person.deposit(10)

    def buy(person):
        return person.pay(Course.objects.get(pk=course.pk))

    results = run_together(*[lambda person=person: buy(person) for person in people])
    refusals = [one for one in results if isinstance(one, Exception)]
    assert {type(one) for one in refusals} == {ProductNotAvailable}
    assert len(refusals) == 5
    course.refresh_from_db()
    assert course.seats == 0
    assert system_balance("sales") == 3
    assert audit_ledger().problems == []
