"""Limits of a wallet: what they refuse, through every door, and what counts."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from django.utils import timezone

from dj_wallet.exceptions import (
    AccountNotFound,
    AmountInvalid,
    InsufficientFunds,
    LedgerReadOnly,
    LimitExceeded,
    MovementInvalid,
    WalletException,
)
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.engine import Bucket, Entry, Kind, Movement
from dj_wallet.ledger.models import Account
from dj_wallet.ledger.post import group_commit, post, post_one
from dj_wallet.ledger.store.rules import find_period, read_limits
from dj_wallet.models import Transfer, WalletLimits
from dj_wallet.services import ExchangeService, PurchaseService, TransferService, WalletService
from dj_wallet.services.adjustments import adjust_wallet
from dj_wallet.services.limits import get_limits, set_limits
from tests.ledger.together import run_together
from tests.ledger.worlds import BANK, transfer_entry, undone
from tests.testapp.models import Course, Person, Shop

pytestmark = pytest.mark.django_db

FAR = 10**6


@pytest.fixture
def wallet(alice):
    alice.deposit(1000)
    return alice.wallet


def refused(call):
    """Return the refusal of a call that a limit stops."""
    with pytest.raises(LimitExceeded) as caught:
        call()
    return caught.value


def move_between_buckets(wallet, amount, source, destination, reference="7"):
    movement = Movement(wallet.pk, wallet.pk, Decimal(amount), wallet.asset_id, source, destination)
    return post_one(Entry(Kind.BID_LOCK, (movement,), None, "hold", reference))


# Setting


def test_a_wallet_has_no_limits_at_first(alice):
    status = get_limits(wallet=alice.wallet)
    assert status.overdraft_limit == 0
    assert set(status[1:5]) == {None}
    assert not Account.objects.get(pk=alice.wallet.pk).has_rules


def test_limits_are_set_one_by_one_and_lifted_with_none(wallet):
    set_limits(wallet=wallet, per_day=50)
    status = wallet.set_limits(per_month=80, minimum_balance="0.50")
    assert (status.per_day, status.per_month, status.minimum_balance) == (50, 80, Decimal("0.5"))
    status = set_limits(wallet=wallet, per_day=None)
    assert (status.per_day, status.per_month) == (None, 80)
    assert wallet.get_limits() == status


def test_a_wallet_whose_limits_are_lifted_is_an_ordinary_one(wallet):
    set_limits(wallet=wallet, per_day=50)
    assert wallet.has_rules
    set_limits(wallet=wallet, per_day=None)
    assert not Account.objects.get(pk=wallet.pk).has_rules
    assert not WalletLimits.objects.exists()


@pytest.mark.parametrize("value", [-1, "nonsense", "NaN", "0.000000001", True])
def test_a_limit_that_is_no_amount_is_refused(wallet, value):
    with pytest.raises(AmountInvalid):
        set_limits(wallet=wallet, per_day=value)
    assert not WalletLimits.objects.exists()


def test_a_reason_is_kept_and_has_at_most_255_characters(wallet):
    set_limits(wallet=wallet, per_day=5, reason="new customer", operator="carol")
    row = WalletLimits.objects.get()
    assert (row.reason, row.operator) == ("new customer", "carol")
    with pytest.raises(MovementInvalid):
        set_limits(wallet=wallet, per_day=6, reason="x" * 256)


def test_a_wallet_that_does_not_exist_has_no_limits(alice):
    wallet = alice.wallet
    type(wallet).objects.get(pk=wallet.pk).delete()
    with pytest.raises(AccountNotFound):
        set_limits(wallet=wallet, per_day=5)


def test_a_holder_sets_the_limits_of_the_default_wallet(alice):
    assert alice.set_limits(per_day=5).per_day == 5


def test_a_stale_save_changes_no_limit(alice):
    stale = alice.wallet
    set_limits(wallet=alice.wallet, per_day=5)
    stale.save()
    assert Account.objects.get(pk=stale.pk).has_rules
    with pytest.raises(LedgerReadOnly):
        stale.save(update_fields=["has_rules"])


def test_an_empty_wallet_with_limits_can_be_deleted(alice):
    wallet = alice.wallet
    set_limits(wallet=wallet, per_day=5)
    wallet.delete()
    assert not WalletLimits.objects.exists()


# What is refused


def test_the_overdraft_limit_is_how_far_below_zero_a_wallet_goes(wallet, alice):
    set_limits(wallet=wallet, overdraft_limit=50)
    alice.withdraw(1050)
    with pytest.raises(InsufficientFunds):
        alice.withdraw("0.01")
    assert alice.balance == -50


def test_an_overdraft_limit_of_none_is_any_depth(wallet, alice):
    set_limits(wallet=wallet, overdraft_limit=None)
    alice.withdraw(FAR)
    assert alice.balance == 1000 - FAR


def test_an_overdraft_limit_alone_leaves_the_wallet_on_the_fast_path(wallet):
    set_limits(wallet=wallet, overdraft_limit=50)
    assert not Account.objects.get(pk=wallet.pk).has_rules


def test_what_would_leave_less_than_the_minimum_balance_is_refused(wallet, alice, snapshot):
    set_limits(wallet=wallet, minimum_balance=100)
    alice.withdraw(850)
    before = snapshot()
    refusal = refused(lambda: alice.withdraw("50.01"))
    assert refusal.details == {
        "limit": "minimum_balance",
        "allowed": "100.00000000",
        "left": "50.00000000",
        "renews_at": None,
    }
    assert snapshot() == before
    alice.withdraw(50)


def test_a_minimum_balance_does_not_stop_what_comes_in(alice):
    set_limits(wallet=alice.wallet, minimum_balance=100)
    alice.deposit(10)
    assert alice.balance == 10


def test_one_entry_takes_at_most_the_limit_per_transaction(wallet, alice, snapshot):
    set_limits(wallet=wallet, per_transaction=50)
    alice.withdraw(50)
    alice.withdraw(50)
    before = snapshot()
    refusal = refused(lambda: alice.withdraw("50.01"))
    assert (refusal.details["limit"], refusal.details["left"]) == ("per_transaction", "50.00000000")
    assert snapshot() == before


def test_the_movements_of_one_entry_count_together(wallet, bob):
    set_limits(wallet=wallet, per_transaction=50)
    movements = [
        Movement(wallet.pk, place, Decimal(26), "USD") for place in (bob.wallet.pk, "fees")
    ]
    refused(lambda: post_one(Entry(Kind.PURCHASE, tuple(movements))))


def test_no_more_than_the_limit_leaves_in_a_day(wallet, alice):
    set_limits(wallet=wallet, per_day=100)
    alice.withdraw(60)
    refusal = refused(lambda: alice.withdraw("40.01"))
    period = find_period(timezone.now())
    assert refusal.details == {
        "limit": "per_day",
        "allowed": "100.00000000",
        "left": "40.00000000",
        "renews_at": period.day_ends_at.isoformat(),
    }
    assert str(refusal) == "The limit per_day of 100.00000000 leaves 40.00000000, not 40.01000000."
    alice.withdraw(40)
    assert get_limits(wallet=wallet).left_today == 0


def test_no_more_than_the_limit_leaves_in_a_month(wallet, alice):
    set_limits(wallet=wallet, per_day=100, per_month=150)
    alice.withdraw(100)
    WalletLimits.objects.update(spent_today=0)
    refusal = refused(lambda: alice.withdraw(51))
    assert refusal.details["limit"] == "per_month"
    assert refusal.details["renews_at"] == find_period(timezone.now()).month_ends_at.isoformat()
    alice.withdraw(50)


def test_a_new_day_renews_the_limit_of_the_day_and_not_that_of_the_month():
    row = WalletLimits(
        per_day=100,
        spent_today=Decimal(60),
        spent_this_month=Decimal(90),
        counted_on=date(2026, 11, 29),
    )
    spent = {
        moment.day: read_limits(row, moment)[4:6]
        for moment in (
            datetime(2026, 11, 29, 12, tzinfo=UTC),
            datetime(2026, 11, 30, 12, tzinfo=UTC),
        )
    }
    assert spent == {29: (60, 90), 30: (0, 90)}
    assert read_limits(row, datetime(2026, 12, 1, 12, tzinfo=UTC))[4:6] == (0, 0)


def test_a_new_month_renews_both(wallet, alice):
    set_limits(wallet=wallet, per_day=100, per_month=100)
    alice.withdraw(100)
    WalletLimits.objects.update(counted_on=find_period(timezone.now()).today - timedelta(days=32))
    alice.withdraw(100)
    assert get_limits(wallet=wallet).spent_this_month == 100


def test_a_clock_that_goes_backwards_renews_nothing(wallet, alice):
    set_limits(wallet=wallet, per_day=100)
    alice.withdraw(100)
    WalletLimits.objects.update(counted_on=find_period(timezone.now()).today + timedelta(days=1))
    refused(lambda: alice.withdraw(1))


def test_days_begin_at_midnight_in_the_time_zone_of_the_project(settings):
    settings.TIME_ZONE = "Asia/Kolkata"
    with timezone.override("America/New_York"):
        period = find_period(datetime(2026, 12, 31, 19, tzinfo=UTC))
    assert str(period.today) == "2027-01-01"
    assert period.day_begins_at == datetime(2026, 12, 31, 18, 30, tzinfo=UTC)
    assert period.month_ends_at == datetime(2027, 1, 31, 18, 30, tzinfo=UTC)


def test_a_lack_of_money_is_told_before_a_limit(wallet, alice):
    set_limits(wallet=wallet, per_day=1)
    with pytest.raises(InsufficientFunds):
        alice.withdraw(1001)


def test_a_refusal_leaves_the_callers_transaction_usable(wallet, alice):
    set_limits(wallet=wallet, per_day=10)
    with transaction.atomic():
        refused(lambda: alice.withdraw(11))
        alice.withdraw(10)
    assert alice.balance == 990


# Every door


def doors(alice, bob, wallet):
    """Return a call for each way in which 11 leave the wallet."""
    alice.create_wallet("eur", currency="EUR")
    course, shop = Course.objects.create(price=11), Shop.objects.create(price=11)
    shop.get_wallet()
    out = Movement(wallet.pk, BANK, Decimal(11), "USD")
    lock = Movement(wallet.pk, wallet.pk, Decimal(11), "USD", Bucket.AVAILABLE, Bucket.LOCKED)

    def post_many():
        outcomes = post([Entry(Kind.WITHDRAWAL, (out,)), transfer_entry(wallet, bob.wallet, 11)])
        for outcome in outcomes:
            assert isinstance(outcome, LimitExceeded)
        raise outcomes[0]

    return {
        "withdraw": lambda: wallet.withdraw(11),
        "transfer": lambda: alice.transfer(bob, 11),
        "gift of money": lambda: TransferService.gift(alice, bob, 11),
        "pay": lambda: alice.pay(course),
        "pay a shop": lambda: alice.pay(shop),
        "gift": lambda: alice.gift(bob, course),
        "exchange": lambda: ExchangeService.exchange(alice, "default", "eur", 11, 1),
        "pending": lambda: WalletService.confirm_transaction(wallet.withdraw(11, confirmed=False)),
        "post": post_many,
        "post_one": lambda: post_one(Entry(Kind.WITHDRAWAL, (out,))),
        "group_commit": lambda: group_commit(Entry(Kind.WITHDRAWAL, (out,))),
        "reserve": lambda: post_one(Entry(Kind.BID_LOCK, (lock,))),
        "without the rule of the freeze": lambda: post_one(
            Entry(Kind.WITHDRAWAL, (out,), allow_frozen=True)
        ),
    }


@pytest.mark.parametrize(
    "door",
    [
        *("withdraw", "transfer", "gift of money", "pay", "pay a shop", "gift", "exchange"),
        *("pending", "post", "post_one", "group_commit", "reserve"),
        "without the rule of the freeze",
    ],
)
def test_no_door_lets_more_out(door, alice, bob, wallet):
    set_limits(wallet=wallet, per_day=10)
    call = doors(alice, bob, wallet)[door]
    refused(call)
    assert Account.objects.get(pk=wallet.pk).balance == 1000
    set_limits(wallet=wallet, per_day=11)
    if door != "post":
        call()
        assert get_limits(wallet=wallet).spent_today == 11


def test_a_cart_counts_with_its_fees_as_one_payment(wallet, alice):
    set_limits(wallet=wallet, per_transaction=20)
    course = Course.objects.create(price=10)
    refused(lambda: alice.pay(course, 3))
    assert alice.pay(course, 2).amount == 20


def test_a_batch_counts_entry_by_entry(wallet, bob):
    set_limits(wallet=wallet, per_day=100)
    outcomes = post([transfer_entry(wallet, bob.wallet, 40) for _ in range(3)])
    assert [getattr(outcome, "code", "posted") for outcome in outcomes] == [
        "posted",
        "posted",
        "limit_exceeded",
    ]
    assert get_limits(wallet=wallet).spent_today == 80


# What counts


def test_force_withdraw_passes_every_limit_and_counts(wallet, alice):
    set_limits(wallet=wallet, per_transaction=1, per_day=100, minimum_balance=1000)
    alice.force_withdraw(60)
    assert get_limits(wallet=wallet).left_today == 40


def test_a_repeated_call_counts_once(wallet, alice):
    set_limits(wallet=wallet, per_day=100)
    for _ in range(3):
        alice.withdraw(60, idempotency_key="k")
    assert get_limits(wallet=wallet).spent_today == 60


def test_a_refused_call_does_not_count_and_its_key_stays_free(wallet, alice):
    set_limits(wallet=wallet, per_day=100)
    refused(lambda: alice.withdraw(101, idempotency_key="k"))
    alice.withdraw(100, idempotency_key="k")


def test_what_was_rolled_back_does_not_count(wallet, alice):
    set_limits(wallet=wallet, per_day=100)
    with undone():
        alice.withdraw(100)
    assert get_limits(wallet=wallet).spent_today == 0


def test_a_pending_withdrawal_counts_when_it_is_confirmed(wallet, alice):
    set_limits(wallet=wallet, per_day=100)
    pending = alice.withdraw(60, confirmed=False)
    assert get_limits(wallet=wallet).spent_today == 0
    WalletService.confirm_transaction(pending)
    assert get_limits(wallet=wallet).spent_today == 60


def test_what_left_before_the_limit_was_set_counts(wallet, alice):
    alice.withdraw(60)
    move_between_buckets(wallet, 30, Bucket.AVAILABLE, Bucket.LOCKED)
    move_between_buckets(wallet, 20, Bucket.LOCKED, Bucket.AVAILABLE)
    assert set_limits(wallet=wallet, per_day=100).left_today == 30
    set_limits(wallet=wallet, per_day=None)
    alice.withdraw(25)
    assert set_limits(wallet=wallet, per_month=100).left_this_month == 5


def test_refunds_are_not_refused_and_give_no_room_back(wallet, alice, bob):
    bob.deposit(5)
    set_limits(wallet=wallet, per_day=100)
    set_limits(wallet=bob.wallet, per_transaction=0, minimum_balance=500)
    transfer = alice.transfer(bob, 60)
    TransferService.refund(transfer)
    assert get_limits(wallet=wallet).spent_today == 60
    assert get_limits(wallet=bob.wallet).spent_today == 0


def test_reversals_and_adjustments_are_not_refused_and_do_not_count(wallet, alice):
    deposit = alice.deposit(10)
    set_limits(wallet=wallet, per_transaction=0, minimum_balance=FAR)
    WalletService.reverse_transaction(deposit)
    adjust_wallet(wallet=wallet, change=-5, reason="error", operator="carol", idempotency_key="a")
    assert alice.balance == 995
    assert get_limits(wallet=wallet).spent_today == 0


def test_reserved_money_that_comes_back_gives_its_room_back_once(wallet, alice):
    set_limits(wallet=wallet, per_day=100)
    move_between_buckets(wallet, 60, Bucket.AVAILABLE, Bucket.LOCKED)
    assert get_limits(wallet=wallet).left_today == 40
    move_between_buckets(wallet, 50, Bucket.LOCKED, Bucket.AVAILABLE)
    assert get_limits(wallet=wallet).left_today == 90
    movement = Movement(BANK, wallet.pk, Decimal(50), "USD", destination_bucket=Bucket.LOCKED)
    post_one(Entry(Kind.DEPOSIT, (movement,)))
    move_between_buckets(wallet, 60, Bucket.LOCKED, Bucket.AVAILABLE)
    assert get_limits(wallet=wallet).left_today == 100


def test_money_that_others_locked_gives_no_room(wallet):
    set_limits(wallet=wallet, per_day=100)
    wallet.withdraw(100)
    movement = Movement(BANK, wallet.pk, Decimal(50), "USD", destination_bucket=Bucket.LOCKED)
    post_one(Entry(Kind.DEPOSIT, (movement,), None, "hold", "7"))
    move_between_buckets(wallet, 50, Bucket.LOCKED, Bucket.AVAILABLE)
    refused(lambda: wallet.withdraw(1))


def test_reserved_money_that_is_settled_counted_when_it_was_reserved(wallet):
    set_limits(wallet=wallet, per_day=100)
    move_between_buckets(wallet, 100, Bucket.AVAILABLE, Bucket.PENDING)
    movement = Movement(wallet.pk, BANK, Decimal(100), "USD", Bucket.PENDING)
    post_one(Entry(Kind.WITHDRAWAL, (movement,), None, "hold", "7"))
    assert get_limits(wallet=wallet).spent_today == 100


# At the same time


def together(*calls):
    return [
        type(result).__name__ if isinstance(result, Exception) else "moved"
        for result in run_together(*calls)
    ]


@pytest.mark.django_db(transaction=True)
def test_no_interleaving_passes_the_limit_of_the_day(wallet, alice, bob):
    bob.deposit(0.01)
    course = Course.objects.create(price=30)
    set_limits(wallet=wallet, per_day=100)
    ways = [
        lambda: Person.objects.get(pk=alice.pk).withdraw(30),
        lambda: Person.objects.get(pk=alice.pk).transfer(Person.objects.get(pk=bob.pk), 30),
        lambda: Person.objects.get(pk=alice.pk).pay(Course.objects.get(pk=course.pk)),
        lambda: group_commit(transfer_entry(wallet.pk, BANK, 30)),
    ]
    results = together(*ways, *ways)
    assert sorted(results) == ["LimitExceeded"] * 5 + ["moved"] * 3
    assert alice.balance == 910
    assert get_limits(wallet=wallet).spent_today == 90
    assert audit_ledger().is_clean


@pytest.mark.django_db(transaction=True)
def test_a_limit_that_is_set_meanwhile_holds_for_what_is_decided_later(wallet, alice):
    def withdraw():
        return Person.objects.get(pk=alice.pk).withdraw(100)

    def limit():
        return set_limits(wallet=Person.objects.get(pk=alice.pk).wallet, per_day=300)

    results = together(*[withdraw] * 4, limit, *[withdraw] * 3)
    spent = get_limits(wallet=wallet).spent_today
    assert spent == 1000 - alice.balance == 100 * (results.count("moved") - 1)
    if spent <= 300:
        refused(lambda: alice.withdraw(301 - spent))


def test_what_a_limit_says_is_told_by_the_errors_base():
    assert WalletException().details == {}
    assert LimitExceeded("x", limit="per_day").details == {"limit": "per_day"}


def test_exchanges_count_in_the_asset_that_is_paid(wallet, alice):
    alice.create_wallet("eur", currency="EUR")
    set_limits(wallet=wallet, per_day=100)
    deposit = ExchangeService.exchange(alice, "default", "eur", 100, 2)
    assert deposit.amount == 200
    assert get_limits(wallet=wallet).left_today == 0
    TransferService.refund(Transfer.objects.get(deposit=deposit))
    assert PurchaseService.quote(alice, Course.objects.create(price=1)).total == 1
