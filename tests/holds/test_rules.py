"""Holds and escrows of wallets with limits and lots: what counts, which credit goes along, and what comes back."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dj_wallet.exceptions import (
    HoldExpired,
    InsufficientFunds,
    LimitExceeded,
    WalletFrozen,
)
from dj_wallet.ledger.accounts import system_account
from dj_wallet.ledger.queries import get_balance
from dj_wallet.models import Escrow, Hold, Lot, LotUse, Transfer, WalletLimits
from dj_wallet.services import TransferService
from dj_wallet.services.escrow import (
    convert_hold,
    dispute_escrow,
    open_escrow,
    refund_escrow,
    release_escrow,
    resolve_escrow,
)
from dj_wallet.services.holds import expire_due_holds, place_hold, release_hold, settle_hold
from dj_wallet.services.limits import get_limits, set_limits
from dj_wallet.services.lots import expire_lots, explain_spending, grant_credit
from tests.holds.conftest import parts

pytestmark = pytest.mark.django_db


def hold_of(wallet, amount, reference="1", **options):
    return place_hold(
        wallet=wallet, amount=amount, reference_type="auction", reference_id=reference, **options
    )


def order_of(wallet, seller, amount, order_id="1", **options):
    return open_escrow(buyer=wallet, seller=seller, order_id=order_id, amount=amount, **options)


def spent_today(wallet):
    return get_limits(wallet=wallet).spent_today


def left(*lots):
    """Return what the lots still hold, in units."""
    found = dict(Lot.objects.values_list("pk", "remaining"))
    return [int(found[lot.pk]) for lot in lots]


def let_expire(lot):
    Lot.objects.filter(pk=lot.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


@pytest.fixture
def credit(wallet):
    """30 of Alice's 130 that may not be withdrawn."""
    return grant_credit(wallet=wallet, amount=30, expires_at=timezone.now() + timedelta(days=1))


@pytest.fixture
def state(unmoved):
    """What a refusal must leave alone, limits and lots included."""

    def take():
        return (
            unmoved(),
            list(Lot.objects.order_by("pk").values()),
            list(LotUse.objects.order_by("pk").values()),
            list(WalletLimits.objects.order_by("pk").values()),
        )

    return take


# Limits of the one who reserves


@pytest.mark.parametrize("verb", [hold_of, order_of])
@pytest.mark.parametrize(
    ("limit", "is_left"), [("per_transaction", 59), ("per_day", 59), ("per_month", 59), (None, 40)]
)
def test_a_limit_refuses_what_is_reserved(wallet, seller, state, verb, limit, is_left):
    set_limits(wallet=wallet, **({limit: is_left} if limit else {"minimum_balance": 41}))
    sides = (wallet, seller) if verb is order_of else (wallet,)
    before = state()
    with transaction.atomic():
        with pytest.raises(LimitExceeded) as caught:
            verb(*sides, 60, idempotency_key="k")
        assert state() == before
    assert caught.value.details["limit"] == (limit or "minimum_balance")
    verb(*sides, 59, idempotency_key="k")  # the key is still free
    assert parts(wallet) == (41, 59, 0)


def test_what_is_held_counts_once_and_not_again_when_it_is_paid(wallet, seller):
    set_limits(wallet=wallet, per_day=60)
    hold = hold_of(wallet, 60)
    assert spent_today(wallet) == 60
    settle_hold(hold, to=seller, amount=25)
    settle_hold(hold, to="external:cash")
    assert spent_today(wallet) == 60
    assert parts(wallet) == (40, 0, 0)
    with pytest.raises(LimitExceeded):
        wallet.withdraw(1)


def test_what_is_in_escrow_counts_once_and_not_again_when_the_seller_is_paid(wallet, seller):
    set_limits(wallet=wallet, per_day=60)
    release_escrow(order_of(wallet, seller, 60, fee_amount=3))
    assert spent_today(wallet) == 60
    assert parts(seller) == (57, 0, 0)


def test_what_is_released_gives_its_room_back_by_parts(wallet):
    set_limits(wallet=wallet, per_day=60)
    hold = hold_of(wallet, 60)
    release_hold(hold, amount=20)
    assert spent_today(wallet) == 40
    wallet.withdraw(20)
    release_hold(hold)
    assert spent_today(wallet) == 20
    with pytest.raises(LimitExceeded):
        wallet.withdraw(41)


def test_a_hold_that_expires_gives_its_room_back(wallet):
    set_limits(wallet=wallet, per_day=60)
    hold = hold_of(wallet, 60, expires_at=timezone.now() + timedelta(days=1))
    Hold.objects.filter(pk=hold.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert expire_due_holds() == 1
    assert spent_today(wallet) == 0


@pytest.mark.parametrize("end", ["refund", "resolve"])
def test_what_comes_back_of_an_escrow_gives_its_room_back(wallet, seller, end):
    set_limits(wallet=wallet, per_day=60)
    escrow = order_of(wallet, seller, 60)
    if end == "refund":
        refund_escrow(escrow)
    else:
        resolve_escrow(dispute_escrow(escrow), seller_amount=20, buyer_amount=40)
    assert spent_today(wallet) == {"refund": 0, "resolve": 20}[end]


def test_a_total_that_is_raised_counts_what_was_added(wallet):
    set_limits(wallet=wallet, per_day=60, per_transaction=40)
    hold_of(wallet, 40, is_total=True)
    hold_of(wallet, 55, is_total=True)
    assert spent_today(wallet) == 55
    with pytest.raises(LimitExceeded):
        hold_of(wallet, 61, is_total=True)


def test_converting_takes_no_more_room_and_is_refused_by_no_limit(wallet, seller):
    set_limits(wallet=wallet, per_day=60)
    hold = hold_of(wallet, 60)
    set_limits(wallet=wallet, per_day=10, per_transaction=10, minimum_balance=90)
    escrow = convert_hold(hold, seller=seller, order_id="1", amount=50)
    assert (escrow.amount, spent_today(wallet)) == (50, 50)
    assert parts(wallet) == (50, 50, 0)


def test_the_fee_of_a_sale_counts_for_the_seller_and_no_limit_refuses_it(wallet, seller):
    set_limits(wallet=seller, per_day=1, per_transaction=1, minimum_balance=1000)
    release_escrow(order_of(wallet, seller, 60, fee_amount=3))
    assert parts(seller) == (57, 0, 0)
    assert spent_today(seller) == 3
    assert get_balance(system_account("fees", "USD")) == 3


def test_a_repeated_call_counts_once(wallet, seller):
    set_limits(wallet=wallet, per_day=60)
    for _ in range(2):
        hold_of(wallet, 20, idempotency_key="hold")
        order_of(wallet, seller, 20, idempotency_key="order")
    assert spent_today(wallet) == 40


# Credit that is reserved


def test_credit_that_may_not_be_withdrawn_is_held_for_an_order_and_paid_to_the_seller(
    wallet, seller, credit
):
    escrow = order_of(wallet, seller, 130, fee_amount=3)
    assert (left(credit), parts(wallet)) == ([0], (0, 130, 0))
    release_escrow(escrow)
    assert parts(seller) == (127, 0, 0)
    use = LotUse.objects.order_by("pk").last()
    assert (use.amount, use.held, use.returned) == (30, 0, 0)
    spent = explain_spending(wallet=wallet, entry_id=use.entry_id)
    assert [(part.lot, part.amount) for part in spent] == [(credit, 30), (None, 100)]
    seller.withdraw(127)  # what the seller received is ordinary money


def test_credit_that_is_held_for_a_bid_is_paid_to_another_wallet(wallet, seller, credit):
    hold = hold_of(wallet, 40)
    settle_hold(hold, to=seller, amount=35)
    release_hold(hold)
    assert (left(credit), parts(wallet)) == ([0], (95, 0, 0))


def test_credit_that_is_held_pays_for_what_we_sell(wallet, credit):
    settle_hold(hold_of(wallet, 30), to="sales")
    assert (left(credit), parts(wallet)) == ([0], (100, 0, 0))


def test_credit_that_may_not_be_withdrawn_does_not_leave_by_way_of_a_hold(wallet, credit, state):
    hold = hold_of(wallet, 40)
    before = state()
    with transaction.atomic():
        with pytest.raises(InsufficientFunds):
            settle_hold(hold, to="external:cash", amount=1)
        assert state() == before
    release_hold(hold)
    assert left(credit) == [30]


def test_withdrawable_credit_leaves_by_way_of_a_hold(wallet):
    lot = grant_credit(wallet=wallet, amount=30, is_withdrawable=True)
    settle_hold(hold_of(wallet, 30), to="external:cash")
    assert (left(lot), parts(wallet)) == ([0], (100, 0, 0))


def test_released_credit_is_in_its_lot_again_and_may_not_be_withdrawn(wallet, credit):
    hold = hold_of(wallet, 130)
    release_hold(hold, amount=20)
    assert left(credit) == [20]
    release_hold(hold)
    assert left(credit) == [30]
    with pytest.raises(InsufficientFunds):
        wallet.withdraw(101)
    wallet.withdraw(100)


def test_a_refunded_escrow_restores_the_lots(wallet, seller, credit):
    second = grant_credit(wallet=wallet, amount=5)
    escrow = order_of(wallet, seller, 50)
    assert left(credit, second) == [0, 0]
    refund_escrow(escrow)
    assert (left(credit, second), parts(wallet)) == ([30, 5], (135, 0, 0))


def test_of_a_divided_escrow_the_seller_gets_the_credit_first(wallet, seller, credit):
    escrow = dispute_escrow(order_of(wallet, seller, 100))
    resolve_escrow(escrow, seller_amount=25, buyer_amount=75)
    assert (left(credit), parts(wallet)) == ([5], (105, 0, 0))


def test_a_sale_that_is_given_back_restores_the_lots(wallet, seller, credit):
    release_escrow(order_of(wallet, seller, 50))
    transfer = Transfer.objects.get()
    TransferService.refund(transfer, amount=20)
    assert left(credit) == [20]
    TransferService.refund(transfer)
    assert (left(credit), parts(wallet)) == ([30], (130, 0, 0))


def test_two_holds_give_back_each_its_own_credit(wallet, credit):
    first, second = hold_of(wallet, 30, "1"), hold_of(wallet, 30, "2")
    release_hold(second)
    assert left(credit) == [0]
    release_hold(first)
    assert left(credit) == [30]


def test_credit_that_expires_while_it_is_held_is_still_paid(wallet, seller, credit):
    hold = hold_of(wallet, 30)
    let_expire(credit)
    assert expire_lots() == 0
    settle_hold(hold, to=seller)
    assert parts(wallet) == (100, 0, 0)


def test_credit_that_expired_while_it_was_held_is_taken_back_once_it_is_released(wallet, credit):
    hold = hold_of(wallet, 30)
    let_expire(credit)
    release_hold(hold)
    assert (left(credit), expire_lots()) == ([30], 1)
    assert parts(wallet) == (100, 0, 0)


def test_converting_takes_along_the_credit_that_was_held_though_it_has_expired(
    wallet, seller, credit
):
    hold = hold_of(wallet, 40)
    let_expire(credit)
    other = grant_credit(wallet=wallet, amount=5, priority=1)
    escrow = convert_hold(hold, seller=seller, order_id="1", amount=20, keep_remainder=True)
    assert left(credit, other) == [0, 5]
    release_escrow(escrow)
    release_hold(hold)
    assert left(credit, other) == [10, 5]
    assert expire_lots() == 1
    assert parts(wallet) == (105, 0, 0)


def test_what_is_released_by_converting_is_credit_first_and_stays_expired(wallet, seller, credit):
    hold = hold_of(wallet, 40)
    let_expire(credit)
    convert_hold(hold, seller=seller, order_id="1", amount=20)
    assert left(credit) == [20]
    assert expire_lots() == 1
    assert parts(wallet) == (90, 20, 0)


def test_credit_of_before_is_not_taken_over_with_what_was_held(wallet, seller, credit):
    """Of an expired lot only the units that were held are paid, not what came back of it earlier."""
    hold = hold_of(wallet, 30)
    release_hold(hold, amount=12)
    let_expire(credit)
    convert_hold(hold, seller=seller, order_id="1")
    assert (left(credit), parts(wallet)) == ([12], (112, 18, 0))


def test_what_repaid_an_overdraft_is_not_taken_over_as_credit(wallet, seller, credit):
    hold = hold_of(wallet, 30)
    wallet.force_withdraw(120)
    escrow = convert_hold(hold, seller=seller, order_id="1")
    assert (left(credit), parts(wallet)) == ([0], (-20, 30, 0))
    refund_escrow(escrow)
    assert (left(credit), parts(wallet)) == ([10], (10, 0, 0))


def test_the_fee_of_a_sale_is_taken_from_the_sellers_credit_first(wallet, seller):
    lot = grant_credit(wallet=seller, amount=2)
    release_escrow(order_of(wallet, seller, 60, fee_amount=3))
    assert (left(lot), parts(seller)) == ([0], (59, 0, 0))


def test_a_seller_with_lots_and_limits_is_paid_by_a_buyer_with_lots_and_limits(
    wallet, seller, credit
):
    grant_credit(wallet=seller, amount=2)
    for side in (wallet, seller):
        set_limits(wallet=side, per_day=1000)
    escrow = release_escrow(order_of(wallet, seller, 60, fee_amount=3), idempotency_key="k")
    assert (escrow.status, escrow.fee_charged) == (Escrow.Status.RELEASED, 3)
    again = release_escrow(Escrow.objects.get(), idempotency_key="k")
    assert again.replayed
    assert (parts(wallet), parts(seller)) == ((70, 0, 0), (59, 0, 0))


# Frozen wallets


def test_a_frozen_wallet_keeps_what_is_held_with_its_credit_and_its_room(
    wallet, seller, credit, state
):
    set_limits(wallet=wallet, per_day=100)
    hold, escrow = hold_of(wallet, 20), order_of(wallet, seller, 40)
    wallet.freeze("fraud")
    before = state()
    calls = [
        lambda: hold_of(wallet, 1, "2"),
        lambda: order_of(wallet, seller, 1, "2"),
        lambda: release_hold(hold),
        lambda: settle_hold(hold, to=seller),
        lambda: convert_hold(hold, seller=seller, order_id="3"),
        lambda: release_escrow(escrow),
        lambda: refund_escrow(escrow),
    ]
    for call in calls:
        with transaction.atomic(), pytest.raises(WalletFrozen):
            call()
    assert state() == before
    wallet.unfreeze()
    refund_escrow(escrow)
    release_hold(hold)
    assert (left(credit), spent_today(wallet), parts(wallet)) == ([30], 0, (130, 0, 0))


def test_a_frozen_seller_with_rules_is_not_paid(wallet, seller, credit, state):
    set_limits(wallet=seller, per_day=100)
    escrow = order_of(wallet, seller, 40, fee_amount=3)
    seller.freeze("fraud")
    before = state()
    with transaction.atomic(), pytest.raises(WalletFrozen):
        release_escrow(escrow)
    assert state() == before


# What is refused, and what it costs


@pytest.mark.parametrize("amount", ["100.00000001", 131])
def test_what_is_not_there_is_refused_whatever_the_rules_say(wallet, seller, state, amount):
    lot = grant_credit(wallet=wallet, amount=30)
    let_expire(lot)
    before = state()
    for verb in (
        lambda: hold_of(wallet, Decimal(amount)),
        lambda: order_of(wallet, seller, Decimal(amount)),
    ):
        with transaction.atomic(), pytest.raises(InsufficientFunds):
            verb()
    assert state() == before
    assert not Hold.objects.exists()
    assert not Escrow.objects.exists()


def test_an_expired_hold_of_credit_is_not_settled(wallet, seller, credit, state):
    hold = hold_of(wallet, 30, expires_at=timezone.now() + timedelta(days=1))
    Hold.objects.filter(pk=hold.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    before = state()
    with transaction.atomic(), pytest.raises(HoldExpired):
        settle_hold(hold, to=seller)
    assert state() == before
    assert expire_due_holds() == 1
    assert left(credit) == [30]


@pytest.mark.postgres
def test_the_statements_of_a_hold_do_not_depend_on_the_number_of_lots(wallet):
    counts = []
    for number in (1, 20):
        for _ in range(number):
            grant_credit(wallet=wallet, amount=5)
        with transaction.atomic(), CaptureQueriesContext(connection) as asked:
            hold_of(wallet, 1, str(number))
        counts.append(len(asked))
    assert counts[0] == counts[1]
