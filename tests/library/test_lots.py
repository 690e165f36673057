"""Lots: what is spent first, where it may go, how it comes back, and when it expires."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dj_wallet import signals
from dj_wallet.exceptions import (
    AmountInvalid,
    IdempotencyConflict,
    InsufficientFunds,
    MovementInvalid,
    TransactionAlreadyProcessed,
    WalletFrozen,
)
from dj_wallet.ledger.accounts import system_account
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.engine import Bucket, Entry, Kind, Movement
from dj_wallet.ledger.models import Account, Posting
from dj_wallet.ledger.post import post_one
from dj_wallet.ledger.queries import get_balance
from dj_wallet.models import Lot, LotUse, Transaction
from dj_wallet.services import ExchangeService, PurchaseService, TransferService, WalletService
from dj_wallet.services.lots import (
    expire_lots,
    explain_spending,
    grant_credit,
    list_lots,
    revoke_credit,
)
from dj_wallet.tasks import expire_lots as expire_lots_task
from tests.ledger.together import raise_errors, run_together
from tests.ledger.worlds import BANK, undone
from tests.testapp.models import Course, Person, Shop

pytestmark = pytest.mark.django_db


def soon(days=1):
    return timezone.now() + timedelta(days=days)


def grant(holder, amount, **options):
    return grant_credit(wallet=holder.wallet, amount=amount, **options)


def pay(holder, price):
    """Let the holder buy something of that price from us; return the purchase."""
    return holder.pay(Course.objects.create(price=price)).purchase


def left(*lots):
    """Return what the lots still hold, in units."""
    found = dict(Lot.objects.values_list("pk", "remaining"))
    return [int(found[lot.pk]) for lot in lots]


def let_expire(*lots):
    Lot.objects.filter(pk__in=[lot.pk for lot in lots]).update(
        expires_at=timezone.now() - timedelta(seconds=1)
    )


def balance_of(code):
    return get_balance(system_account(code, "USD"))


def move(wallet, amount, source, destination, *, kind=Kind.BID_LOCK, to=None, reference="7"):
    place = wallet.pk if to is None else to
    movement = Movement(wallet.pk, place, Decimal(amount), "USD", source, destination)
    return post_one(Entry(kind, (movement,), None, "hold" if reference else "", reference))


@pytest.fixture(autouse=True)
def audited(db):
    """After each test the books balance, and the lots are part of them."""
    yield
    assert audit_ledger().problems == []


# Granting


def test_granted_credit_is_part_of_the_balance_and_comes_from_promotions(alice):
    lot = grant(alice, 20, expires_at=soon(), meta={"campaign": "spring"})
    assert alice.balance == 20
    assert (lot.amount, lot.remaining, lot.source, lot.origin) == (
        20,
        20,
        "promotional",
        "promotions",
    )
    assert balance_of("promotions") == -20
    record = Transaction.objects.get()
    assert (record.type, record.entry_id) == ("deposit", lot.entry_id)
    assert record.meta == {"campaign": "spring", "action": "credit_granted", "lot": str(lot.uuid)}


def test_a_repeated_grant_returns_the_first_lot_and_moves_nothing(alice, snapshot):
    expires_at = soon()
    first = grant(alice, 20, expires_at=expires_at, idempotency_key="k")
    before = snapshot()
    again = grant(alice, 20, expires_at=expires_at, idempotency_key="k")
    assert (again.pk, again.replayed, first.replayed) == (first.pk, True, False)
    assert snapshot() == before


@pytest.mark.parametrize(
    "terms",
    [
        {"amount": 21},
        {"priority": 1},
        {"source": "paid"},
        {"origin": "other"},
        {"is_withdrawable": True},
        {"expires_at": datetime(2099, 1, 1, tzinfo=UTC)},
    ],
)
def test_the_same_key_for_other_terms_is_a_conflict(alice, snapshot, terms):
    grant(alice, 20, idempotency_key="k")
    before = snapshot()
    with pytest.raises(IdempotencyConflict):
        grant(alice, **{"amount": 20, "idempotency_key": "k", **terms})
    assert snapshot() == before


def test_a_key_that_was_used_for_a_deposit_grants_nothing(alice, snapshot):
    alice.deposit(20, idempotency_key="k")
    before = snapshot()
    with pytest.raises(IdempotencyConflict):
        grant(alice, 20, idempotency_key="k")
    assert snapshot() == before
    assert not Lot.objects.exists()


@pytest.mark.parametrize(
    ("terms", "refusal"),
    [
        ({"amount": 0}, AmountInvalid),
        ({"amount": "0.000000001"}, AmountInvalid),
        ({"source": ""}, MovementInvalid),
        ({"source": "x" * 33}, MovementInvalid),
        ({"origin": ""}, MovementInvalid),
        ({"origin": "\x00"}, MovementInvalid),
        ({"priority": 2**15}, MovementInvalid),
        ({"priority": True}, MovementInvalid),
        ({"expires_at": datetime(2001, 1, 1, tzinfo=UTC)}, MovementInvalid),
        ({"expires_at": datetime(2099, 1, 1)}, MovementInvalid),  # noqa: DTZ001
        ({"expires_at": "tomorrow"}, MovementInvalid),
        ({"idempotency_key": ""}, MovementInvalid),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(alice, snapshot, terms, refusal):
    wallet = alice.wallet
    before = snapshot()
    with pytest.raises(refusal):
        grant_credit(**{"wallet": wallet, "amount": 20, **terms})
    assert snapshot() == before
    assert not Account.objects.get(pk=wallet.pk).has_rules


def test_a_frozen_wallet_is_granted_nothing(alice, snapshot):
    alice.freeze_wallet()
    before = snapshot()
    with pytest.raises(WalletFrozen):
        grant(alice, 20)
    assert snapshot() == before


def test_credit_for_an_overdrawn_wallet_repays_what_it_lacks_first(alice):
    alice.force_withdraw(15)
    lot = alice.grant_credit(20)
    assert (alice.balance, lot.remaining) == (5, 5)
    (part,) = explain_spending(wallet=alice.wallet, entry_id=lot.entry_id)
    assert (part.lot, part.amount) == (lot, 15)


# Spending


def test_lots_are_spent_by_priority_then_by_expiry_then_by_age(alice):
    alice.deposit(100)
    oldest, youngest = grant(alice, 10), grant(alice, 10)
    late, early = grant(alice, 10, expires_at=soon(9)), grant(alice, 10, expires_at=soon(2))
    first = grant(alice, 10, priority=1)
    order = [first, early, late, oldest, youngest]
    assert list(list_lots(wallet=alice.wallet)) == order
    for spent in range(5):
        pay(alice, 10)
        assert left(*order) == [0] * (spent + 1) + [10] * (4 - spent)
    pay(alice, 100)
    assert alice.balance == 0


def test_one_payment_takes_from_several_lots_and_the_rest_is_ordinary_money(alice):
    alice.deposit(100)
    first, second = grant(alice, 10, expires_at=soon()), grant(alice, 5)
    purchase = pay(alice, 22)
    spent = explain_spending(wallet=alice.wallet, entry_id=purchase.entry_id)
    assert [(part.lot, part.amount, part.returned) for part in spent] == [
        (first, 10, 0),
        (second, 5, 0),
        (None, 7, 0),
    ]


def test_every_movement_of_a_cart_is_explained_together(alice):
    shop = Shop.objects.create(price=4)
    grant(alice, 6)
    alice.deposit(10)
    record = alice.pay(shop, 2)
    parts = explain_spending(wallet=alice.wallet, entry_id=record.purchase.entry_id)
    assert [part.amount for part in parts] == [6, 2]
    assert shop.balance == 8


def test_what_somebody_receives_is_ordinary_money(alice, bob):
    grant(alice, 10, is_withdrawable=True)
    alice.transfer(bob, 10)
    assert bob.balance == 10
    assert not list_lots(wallet=bob.wallet).exists()
    bob.withdraw(10)


@pytest.mark.parametrize("verb", ["withdraw", "transfer", "exchange", "pending"])
def test_credit_that_is_not_withdrawable_leaves_by_purchases_only(alice, bob, snapshot, verb):
    alice.deposit(5)
    alice.create_wallet("eur", currency="EUR")
    bob.deposit(1)
    lot = grant(alice, 20)
    pending = alice.withdraw(6, confirmed=False)
    calls = {
        "withdraw": alice.withdraw,
        "transfer": lambda amount: alice.transfer(bob, amount),
        "exchange": lambda amount: ExchangeService.exchange(alice, "default", "eur", amount, 1),
        "pending": lambda amount: WalletService.confirm_transaction(
            pending if amount == 6 else alice.withdraw(amount, confirmed=False)
        ),
    }
    before = snapshot()
    with pytest.raises(InsufficientFunds):
        calls[verb](6)
    assert snapshot() == before
    calls[verb](5)
    assert left(lot) == [20]
    pay(alice, 20)
    assert left(lot) == [0]


def test_withdrawable_credit_is_taken_before_ordinary_money(alice):
    alice.deposit(10)
    paid = grant(alice, 10, source=Lot.PAID, is_withdrawable=True)
    promotional = grant(alice, 10, priority=1)
    alice.withdraw(12)
    assert left(paid, promotional) == [0, 10]
    assert alice.balance == 18


def test_an_overdraft_is_not_withdrawn_beside_credit_that_may_not_be(alice):
    alice.wallet.set_limits(overdraft_limit=50)
    lot = grant(alice, 10)
    with pytest.raises(InsufficientFunds):
        alice.withdraw(1)
    pay(alice, 30)
    assert left(lot) == [0]
    alice.withdraw(30)
    assert alice.balance == -50


def test_force_withdraw_takes_credit_only_after_everything_else(alice):
    alice.deposit(10)
    promotional, paid = grant(alice, 10), grant(alice, 10, is_withdrawable=True)
    alice.force_withdraw(20)
    assert left(promotional, paid) == [10, 0]
    alice.force_withdraw(15)
    assert left(promotional) == [0]
    assert alice.balance == -5


def test_a_repeated_payment_takes_from_lots_once(alice):
    lot, course = grant(alice, 30), Course.objects.create(price=10)
    for _ in range(2):
        alice.pay(course, idempotency_key="k")
    assert left(lot) == [20]


def test_a_refused_payment_takes_from_no_lot(alice, snapshot):
    lot = grant(alice, 10)
    before = snapshot()
    with transaction.atomic(), pytest.raises(InsufficientFunds):
        pay(alice, 11)
    assert snapshot() == before
    assert left(lot) == [10]


# Giving back


def test_a_refund_returns_units_to_the_lots_they_came_from_with_their_expiry(alice):
    alice.deposit(5)
    expires_at = soon(3)
    first, second = grant(alice, 10, expires_at=expires_at), grant(alice, 10)
    purchase = pay(alice, 25)
    PurchaseService.refund(purchase)
    assert left(first, second) == [10, 10]
    first.refresh_from_db()
    assert first.expires_at == expires_at
    assert alice.balance == 25
    with pytest.raises(InsufficientFunds):
        alice.withdraw(6)


def test_a_partial_refund_returns_credit_before_ordinary_money_the_last_spent_first(alice):
    alice.deposit(5)
    first, second = grant(alice, 10, expires_at=soon()), grant(alice, 10)
    line = pay(alice, 25).lines.get()
    expected = {4: [0, 4], 8: [2, 10], 8.5: [10, 10], 4.5: [10, 10]}
    for amount, lots in expected.items():
        PurchaseService.refund(line, amount=amount)
        assert left(first, second) == lots
        line.refresh_from_db()
    assert alice.balance == 25


def test_a_purchase_from_a_shop_and_its_fee_come_back_to_the_lots(alice):
    from dj_wallet.pricing import Fee

    shop = Shop.objects.create(price=10)
    shop.fee = Fee(fixed=Decimal(1))
    lot = grant(alice, 11)
    record = alice.pay(shop)
    assert left(lot) == [0]
    TransferService.refund(record)
    assert left(lot) == [11]


def test_a_transfer_that_is_taken_back_returns_to_its_lots(alice, bob):
    lot = grant(alice, 10, is_withdrawable=True)
    record = alice.transfer(bob, 6)
    TransferService.refund(record, amount=2)
    assert left(lot) == [6]
    other = alice.transfer(bob, 5)
    WalletService.reverse_transaction(other.withdraw)
    assert left(lot) == [6]


def test_a_withdrawal_that_is_reversed_returns_to_its_lots(alice):
    lot = grant(alice, 10, is_withdrawable=True)
    record = alice.withdraw(4)
    WalletService.reverse_transaction(record)
    assert left(lot) == [10]
    assert LotUse.objects.get().returned == 4


def test_a_refund_to_an_overdrawn_wallet_repays_what_it_lacks_first(alice):
    lot = grant(alice, 10)
    purchase = pay(alice, 10)
    alice.force_withdraw(7)
    PurchaseService.refund(purchase)
    assert (left(lot), alice.balance) == ([3], 3)


def test_units_that_return_to_a_lot_that_has_expired_expire_with_the_next_sweep(alice):
    lot = grant(alice, 10, expires_at=soon())
    purchase = pay(alice, 10)
    let_expire(lot)
    PurchaseService.refund(purchase)
    assert (left(lot), alice.balance) == ([10], 10)
    with pytest.raises(InsufficientFunds):
        pay(alice, 1)
    assert expire_lots() == 1
    assert alice.balance == 0


def test_a_grant_is_reversed_out_of_its_own_lot_while_that_is_whole(alice):
    alice.deposit(50)
    other, lot = grant(alice, 10, priority=1), grant(alice, 10)
    deposit = Transaction.objects.get(entry_id=lot.entry_id)
    WalletService.reverse_transaction(deposit)
    assert left(other, lot) == [10, 0]
    spent = grant(alice, 10, priority=0)
    pay(alice, 1)
    with pytest.raises(InsufficientFunds):
        WalletService.reverse_transaction(Transaction.objects.get(entry_id=spent.entry_id))
    assert left(other, spent) == [10, 9]


# Reserving


def test_reserved_credit_comes_back_to_its_lot(alice):
    alice.deposit(10)
    lot = grant(alice, 10)
    wallet = alice.wallet
    move(wallet, 15, Bucket.AVAILABLE, Bucket.LOCKED)
    assert left(lot) == [0]
    move(wallet, 6, Bucket.LOCKED, Bucket.AVAILABLE, kind=Kind.BID_UNLOCK)
    assert left(lot) == [6]
    move(wallet, 9, Bucket.LOCKED, Bucket.AVAILABLE, kind=Kind.BID_UNLOCK)
    assert left(lot) == [10]


def test_reserved_credit_that_is_paid_out_is_spent_by_that_entry(alice):
    lot = grant(alice, 10)
    wallet = alice.wallet
    move(wallet, 10, Bucket.AVAILABLE, Bucket.LOCKED)
    paid = move(wallet, 7, Bucket.LOCKED, Bucket.AVAILABLE, kind=Kind.SALE_CREDIT, to=BANK)
    move(wallet, 3, Bucket.LOCKED, Bucket.AVAILABLE, kind=Kind.BID_UNLOCK)
    assert left(lot) == [3]
    (part,) = explain_spending(wallet=wallet, entry_id=paid.entry_id)
    assert (part.lot, part.amount) == (lot, 7)


def test_reserved_credit_of_one_reference_does_not_come_back_with_another(alice):
    alice.deposit(10)
    lot, wallet = grant(alice, 10), alice.wallet
    move(wallet, 10, Bucket.AVAILABLE, Bucket.LOCKED, reference="credit")
    move(wallet, 10, Bucket.AVAILABLE, Bucket.LOCKED, reference="money")
    move(wallet, 10, Bucket.LOCKED, Bucket.AVAILABLE, reference="money")
    assert left(lot) == [0]
    move(wallet, 10, Bucket.LOCKED, Bucket.AVAILABLE, reference="credit")
    assert left(lot) == [10]


@pytest.mark.parametrize("reference", ["other", ""])
def test_reserving_makes_no_ordinary_money_of_credit(alice, reference):
    lot, wallet = grant(alice, 10), alice.wallet
    move(wallet, 10, Bucket.AVAILABLE, Bucket.LOCKED, reference="credit")
    move(wallet, 4, Bucket.LOCKED, Bucket.PENDING, reference=reference)
    move(wallet, 6, Bucket.LOCKED, Bucket.AVAILABLE, reference=reference)
    move(wallet, 4, Bucket.PENDING, Bucket.AVAILABLE, reference=reference)
    assert left(lot) == [10]
    with pytest.raises(InsufficientFunds):
        alice.withdraw(1)


def test_credit_that_is_not_withdrawable_is_not_reserved_for_a_withdrawal(alice, snapshot):
    grant(alice, 10)
    wallet = alice.wallet
    before = snapshot()
    with pytest.raises(InsufficientFunds):
        move(wallet, 1, Bucket.AVAILABLE, Bucket.PENDING, kind=Kind.WITHDRAWAL)
    assert snapshot() == before


# Expiry


def test_what_is_left_of_an_expired_lot_goes_back_to_where_it_came_from(alice):
    alice.deposit(5)
    lot = grant(alice, 10, expires_at=soon(), origin="campaign:spring")
    pay(alice, 4)
    let_expire(lot)
    assert expire_lots() == 1
    assert (alice.balance, left(lot), balance_of("campaign:spring")) == (5, [0], -4)
    record = Transaction.objects.order_by("pk").last()
    assert (record.type, record.amount) == ("withdraw", 6)
    assert record.meta == {"action": "credit_expired", "lot": str(lot.uuid)}
    assert Posting.objects.get(pk=record.entry_id).kind == "EXPIRY"


def test_expiring_again_does_nothing(alice, snapshot):
    let_expire(grant(alice, 10, expires_at=soon()))
    assert expire_lots() == 1
    before = snapshot()
    assert expire_lots() == 0
    assert snapshot() == before


def test_a_lot_may_expire_as_often_as_units_return_to_it(alice):
    lot = grant(alice, 10, expires_at=soon())
    line = pay(alice, 4).lines.get()
    let_expire(lot)
    assert expire_lots() == 1
    for _ in range(2):
        PurchaseService.refund(line, amount=2)
        line.refresh_from_db()
        assert expire_lots() == 1
    assert (alice.balance, balance_of("promotions")) == (0, 0)


def test_lots_that_have_not_expired_stay(alice):
    lots = grant(alice, 10, expires_at=soon(2)), grant(alice, 10)
    assert expire_lots() == 0
    assert expire_lots(now=soon(3)) == 1
    assert left(*lots) == [0, 10]


def test_credit_that_has_expired_is_not_spent_before_the_sweep(alice, snapshot):
    alice.deposit(5)
    lot = grant(alice, 10, expires_at=soon())
    let_expire(lot)
    before = snapshot()
    with pytest.raises(InsufficientFunds):
        pay(alice, 6)
    assert Account.objects.filter(has_rules=True).count() == 1
    pay(alice, 5)
    assert left(lot) == [10]
    assert snapshot() != before


def test_lots_of_a_frozen_wallet_wait_and_stop_no_others(alice, bob):
    frozen, other = grant(alice, 10, expires_at=soon()), grant(bob, 10, expires_at=soon())
    let_expire(frozen, other)
    alice.freeze_wallet()
    assert expire_lots() == 1
    assert left(frozen, other) == [10, 0]
    alice.unfreeze_wallet()
    assert expire_lots(wallet=alice.wallet) == 1


def test_a_receiver_that_raises_keeps_its_lot_and_stops_no_others(alice, bob, caplog):
    lots = grant(alice, 10, expires_at=soon()), grant(bob, 10, expires_at=soon())
    let_expire(*lots)

    def veto(wallet, **arguments):
        if wallet.pk == alice.wallet.pk:
            raise ZeroDivisionError

    signals.pre_withdraw.connect(veto)
    try:
        assert expire_lots() == 1
    finally:
        signals.pre_withdraw.disconnect(veto)
    assert left(*lots) == [10, 0]
    assert f"Lot {lots[0].pk} could not be taken back" in caplog.text
    assert expire_lots() == 1


def test_a_sweep_that_has_no_time_leaves_the_rest_to_the_next(alice):
    let_expire(grant(alice, 10, expires_at=soon()))
    assert expire_lots(seconds=-1) == 0
    expire_lots_task()
    assert alice.balance == 0


def test_a_lot_without_expiry_is_taken_back_by_revoking_it(alice):
    lot = grant(alice, 10)
    purchase = pay(alice, 4)
    revoked = revoke_credit(lot=lot, reason="granted by mistake")
    assert (alice.balance, left(lot)) == (0, [0])
    assert revoked.revoked_reason == "granted by mistake"
    assert revoke_credit(lot=lot, reason="again").revoked_reason == "granted by mistake"
    PurchaseService.refund(purchase)
    assert expire_lots() == 1
    assert alice.balance == 0
    with pytest.raises(MovementInvalid):
        revoke_credit(lot=lot, reason=" ")


def test_a_revoked_grant_still_answers_its_key(alice):
    lot = grant(alice, 10, idempotency_key="k")
    revoke_credit(lot=lot, reason="mistake")
    assert grant(alice, 10, idempotency_key="k").replayed
    assert alice.balance == 0


# What it costs


@pytest.mark.postgres
def test_a_wallet_without_lots_never_asks_for_them(alice, bob, django_assert_num_queries):
    grant(bob, 10)
    alice.deposit(10)
    bob.get_wallet()
    with transaction.atomic(), django_assert_num_queries(1):
        alice.transfer(bob, 1)


@pytest.mark.postgres
def test_the_statements_of_a_payment_do_not_depend_on_the_number_of_lots(alice):
    course = Course.objects.create(price=1)
    alice.deposit(10)
    alice.pay(course)
    counts = []
    for number in (1, 20):
        for _ in range(number):
            grant(alice, 5)
        with transaction.atomic(), CaptureQueriesContext(connection) as asked:
            alice.pay(course)
        counts.append(len(asked))
    assert counts[0] == counts[1]


# The audit


def find_problems():
    return [problem.code for problem in audit_ledger().problems]


def test_a_lot_that_is_not_what_was_left_of_it_is_found(alice):
    lot = grant(alice, 10)
    with undone():
        Lot.objects.filter(pk=lot.pk).update(remaining=9)
        assert find_problems() == ["lot_mismatch"]


def test_lots_that_hold_more_than_their_wallet_are_found(alice):
    grant(alice, 10)
    with undone():
        Account.objects.filter(pk=alice.wallet.pk).update(balance=9)
        assert "lots_exceed_balance" in find_problems()


def test_reserved_units_that_are_not_in_the_bucket_are_found(alice):
    grant(alice, 10)
    move(alice.wallet, 10, Bucket.AVAILABLE, Bucket.LOCKED)
    with undone():
        LotUse.objects.update(bucket=Bucket.PENDING.value)
        assert find_problems() == ["lots_exceed_balance"]


@pytest.mark.parametrize("rule", ["lot", "limit"])
def test_rules_that_nobody_asks_for_are_found(alice, rule):
    if rule == "lot":
        grant(alice, 10)
    else:
        alice.set_limits(per_day=1)
    with undone():
        Account.objects.update(has_rules=False)
        assert find_problems() == ["rules_not_asked"]


# What the database refuses


@pytest.mark.parametrize("remaining", [-1, 11])
def test_a_lot_holds_between_nothing_and_what_was_granted(alice, remaining):
    lot = grant(alice, 10)
    with pytest.raises(IntegrityError), transaction.atomic():
        Lot.objects.filter(pk=lot.pk).update(remaining=remaining)


def test_an_account_with_lots_is_not_deleted(alice):
    grant(alice, 10)
    with pytest.raises(Exception, match="history"):
        alice.wallet.delete()


# At the same time


@pytest.mark.django_db(transaction=True)
def test_spending_and_expiring_at_once_use_each_unit_once(alice):
    lots = [grant(alice, 10, expires_at=soon()) for _ in range(3)]
    let_expire(*lots[:2])
    course = Course.objects.create(price=10)

    def buy():
        try:
            Person.objects.get(pk=alice.pk).pay(Course.objects.get(pk=course.pk))
        except InsufficientFunds:
            return 0
        return 1

    results = raise_errors(run_together(expire_lots, buy, expire_lots, buy, expire_lots, buy))
    assert results[1] + results[3] + results[5] == 1
    assert results[0] + results[2] + results[4] == 2
    assert (alice.balance, left(*lots)) == (0, [0, 0, 0])


@pytest.mark.django_db(transaction=True)
def test_callers_at_once_spend_a_lot_once(alice):
    lot = grant(alice, 25)
    course = Course.objects.create(price=10)

    def buy():
        try:
            return Person.objects.get(pk=alice.pk).pay(Course.objects.get(pk=course.pk))
        except InsufficientFunds:
            return None

    results = raise_errors(run_together(*[buy] * 6))
    assert sum(result is not None for result in results) == 2
    assert left(lot) == [5]


@pytest.mark.django_db(transaction=True)
def test_one_key_from_many_callers_grants_once(alice):
    wallet = alice.wallet

    def ask():
        return grant_credit(
            wallet=type(wallet).objects.get(pk=wallet.pk), amount=5, idempotency_key="k"
        )

    lots = raise_errors(run_together(*[ask] * 4))
    assert len({lot.pk for lot in lots}) == 1
    assert alice.balance == 5


@pytest.mark.django_db(transaction=True)
def test_refunds_and_payments_at_once_lose_no_unit(alice):
    lot = grant(alice, 20)
    purchases = [pay(alice, 5) for _ in range(4)]
    course = Course.objects.create(price=5)

    def refund(purchase):
        try:
            return PurchaseService.refund(purchase)
        except TransactionAlreadyProcessed:
            return None

    def buy():
        try:
            return Person.objects.get(pk=alice.pk).pay(Course.objects.get(pk=course.pk))
        except InsufficientFunds:
            return None

    calls = [lambda purchase=purchase: refund(purchase) for purchase in purchases]
    results = raise_errors(run_together(*calls, buy, *calls[:2], buy))
    bought = sum(results[at] is not None for at in (4, 7))
    assert alice.balance == 20 - 5 * bought
    assert left(lot) == [20 - 5 * bought]
