"""Callers at the same time: exactly one wins, the others are refused, nobody deadlocks and the books balance."""

import random
from collections import Counter
from datetime import timedelta
from functools import partial

import pytest
from django.db import transaction
from django.utils import timezone

from dj_wallet.exceptions import (
    EscrowStateInvalid,
    HoldEnded,
    HoldExpired,
    InsufficientFunds,
    OrderConflict,
    WalletException,
)
from dj_wallet.models import Escrow, Hold, HoldStep, Posting, Transfer, Wallet
from dj_wallet.services.escrow import (
    convert_hold,
    dispute_escrow,
    open_escrow,
    refund_escrow,
    release_escrow,
    resolve_escrow,
)
from dj_wallet.services.holds import (
    expire_due_holds,
    expire_hold,
    place_hold,
    release_hold,
    settle_hold,
)
from tests.holds.conftest import parts
from tests.ledger.together import raise_errors, run_together

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

AUCTION = {"reference_type": "auction", "reference_id": "1"}


def attempt(call):
    """Return the name of what came of it; anything but a refusal is an error of the test."""
    try:
        call()
    except WalletException as refusal:
        return type(refusal)
    return "won"


def fresh(record):
    """Return the record as another caller has it."""
    return type(record).objects.get(pk=record.pk)


def own_wallet(wallet):
    return Wallet.objects.get(pk=wallet.pk)


def place_ten(wallet, turn):
    reference = {"reference_type": "r", "reference_id": str(turn)}
    return place_hold(wallet=own_wallet(wallet), amount=10, **reference)


def compete(*calls):
    return Counter(raise_errors(run_together(*[partial(attempt, call) for call in calls])))


def test_a_hold_is_released_settled_converted_or_expired_once(wallet, seller):

    def list_calls(hold):
        order = {"seller": own_wallet(seller), "order_id": hold.reference_id}
        return [
            lambda: release_hold(fresh(hold)),
            lambda: settle_hold(fresh(hold), to=own_wallet(seller)),
            lambda: convert_hold(fresh(hold), **order),
            lambda: release_hold(fresh(hold), amount=10),
        ]

    for turn in range(8):
        calls = list_calls(place_ten(wallet, turn))
        random.Random(turn).shuffle(calls)
        assert compete(*calls) == {"won": 1, HoldEnded: 3}
    kept = sum(escrow.amount for escrow in Escrow.objects.all())
    moved = sum(transfer.deposit.amount for transfer in Transfer.objects.all())
    assert parts(wallet) == (100 - kept - moved, kept, 0)


def test_an_overdue_hold_is_expired_or_released_once_and_never_converted(wallet, seller):

    def race(hold):
        order = {"seller": own_wallet(seller), "order_id": hold.reference_id}
        return compete(
            expire_due_holds,
            lambda: expire_hold(fresh(hold)),
            lambda: release_hold(fresh(hold)),
            lambda: convert_hold(fresh(hold), **order),
        )

    for turn in range(8):
        hold = place_ten(wallet, turn)
        past = timezone.now() - timedelta(seconds=1)
        Hold.objects.filter(pk=hold.pk).update(expires_at=past)
        outcomes = race(hold)
        assert outcomes[HoldExpired] + outcomes[HoldEnded] in {1, 2}
        assert HoldStep.objects.filter(hold=hold).count() == 2
    assert not Escrow.objects.exists()
    assert parts(wallet) == (100, 0, 0)


def test_an_escrow_is_released_refunded_or_resolved_once(wallet, seller):
    for turn in range(8):
        escrow = open_escrow(
            buyer=own_wallet(wallet), seller=seller, order_id=turn, amount=10, fee_amount=1
        )
        calls = [
            partial(call, escrow.uuid)
            for call in (release_escrow, release_escrow, refund_escrow, refund_escrow)
        ]
        random.Random(turn).shuffle(calls)
        assert compete(*calls) == {"won": 1, EscrowStateInvalid: 3}
    states = Counter(Escrow.objects.values_list("status", flat=True))
    assert sum(states.values()) == 8
    assert parts(wallet) == (100 - 10 * states["RELEASED"], 0, 0)
    assert parts(seller) == (9 * states["RELEASED"], 0, 0)


def test_a_dispute_and_a_release_exclude_each_other(wallet, seller):
    for turn in range(8):
        escrow = open_escrow(buyer=own_wallet(wallet), seller=seller, order_id=turn, amount=10)
        outcomes = compete(
            *[partial(call, escrow.uuid) for call in (release_escrow, dispute_escrow)]
        )
        assert outcomes == {"won": 1, EscrowStateInvalid: 1}
        escrow = fresh(escrow)
        if escrow.status == "DISPUTED":
            split = {"seller_amount": 5, "buyer_amount": 5}
            outcomes = compete(*[partial(resolve_escrow, escrow.uuid, **split)] * 4)
            assert outcomes == {"won": 1, EscrowStateInvalid: 3}


@pytest.mark.parametrize("is_joined", [False, True], ids=["own", "caller's"])
def test_bidders_of_one_wallet_never_lock_more_than_there_is(wallet, is_joined):
    def bid(number):
        own = own_wallet(wallet)
        if not is_joined:
            return place_hold(
                wallet=own, amount=10, reference_type="r", reference_id=str(number % 3)
            )
        with transaction.atomic():
            return place_hold(
                wallet=own, amount=10, reference_type="r", reference_id=str(number % 3)
            )

    outcomes = compete(*[partial(bid, number) for number in range(16)])
    assert outcomes == {"won": 10, InsufficientFunds: 6}
    assert parts(wallet) == (0, 100, 0)
    assert Hold.objects.count() == 3


def test_parts_are_taken_from_one_hold_until_it_is_empty(wallet, seller):
    hold = place_hold(wallet=wallet, amount=100, **AUCTION)

    def take(number):
        for _ in range(5):
            one = fresh(hold)
            if number % 2:
                release_hold(one, amount=5)
            else:
                settle_hold(one, to=own_wallet(seller), amount=5)

    raise_errors(run_together(*[partial(take, number) for number in range(4)]))
    assert (parts(wallet), parts(seller)) == ((50, 0, 0), (50, 0, 0))
    assert not fresh(hold).is_open


def test_one_key_from_many_callers_places_and_releases_once(wallet):
    def place():
        return place_hold(wallet=own_wallet(wallet), amount=30, idempotency_key="p", **AUCTION)

    holds = raise_errors(run_together(*[place] * 8))
    assert len({hold.pk for hold in holds}) == 1
    assert sorted(hold.replayed for hold in holds) == [False] + [True] * 7
    results = raise_errors(
        run_together(*[lambda: release_hold(fresh(holds[0]), amount=10, idempotency_key="r")] * 8)
    )
    assert {hold.step.remaining for hold in results} == {20}
    assert parts(wallet) == (80, 20, 0)


def test_one_key_from_many_callers_releases_an_escrow_once(wallet, seller):
    escrow = open_escrow(buyer=wallet, seller=seller, order_id=1, amount=10, fee_amount=1)
    call = partial(release_escrow, escrow.uuid, idempotency_key="e")
    results = raise_errors(run_together(*[call] * 8))
    assert {one.status for one in results} == {"RELEASED"}
    assert parts(seller) == (9, 0, 0)
    assert Posting.objects.filter(kind="SALE_CREDIT").count() == 1


def test_one_order_from_many_buyers_has_one_escrow(alice, bob, charlie, seller):
    buyers = [alice, charlie]
    for buyer in buyers:
        buyer.deposit(100)

    def pay(buyer):
        return open_escrow(
            buyer=own_wallet(buyer.wallet), seller=own_wallet(seller), order_id="x", amount=10
        )

    outcomes = compete(*[partial(pay, buyer) for buyer in buyers * 4])
    assert outcomes == {"won": 4, OrderConflict: 4}  # the winner's own repetitions are no conflict
    assert Escrow.objects.count() == 1


def test_crossed_sales_do_not_deadlock(alice, bob):
    """Two that sell to each other, released and refunded from both sides, also inside callers' transactions."""
    wallets = []
    for person in (alice, bob):
        person.deposit(200)
        wallets.append(person.wallet)
    escrows = [
        open_escrow(
            buyer=wallets[turn % 2],
            seller=wallets[1 - turn % 2],
            order_id=turn,
            amount=5,
            fee_amount=1,
        ).uuid
        for turn in range(40)
    ]

    def end(position):
        for number, uuid in enumerate(escrows[position::8]):
            with transaction.atomic():
                (release_escrow if number % 3 else refund_escrow)(uuid)

    raise_errors(run_together(*[partial(end, position) for position in range(8)]))
    assert not Escrow.objects.filter(status="LOCKED").exists()
    assert (
        sum(sum(parts(wallet)) for wallet in wallets)
        == 400 - Escrow.objects.filter(status="RELEASED").count()
    )


def test_deposits_bids_and_conversions_of_one_wallet_do_not_deadlock(alice, seller):
    alice.deposit(100)

    def work(position):
        for turn in range(4):
            with transaction.atomic():
                wallet = own_wallet(alice.wallet)
                wallet.deposit(1)
                reference = {"reference_type": "r", "reference_id": f"{position % 2}"}
                hold = place_hold(wallet=wallet, amount=1, **reference)
                if turn % 2:
                    convert_hold(
                        hold,
                        seller=own_wallet(seller),
                        order_id=f"{position}-{turn}",
                        amount=1,
                        keep_remainder=True,
                    )

    raise_errors(run_together(*[partial(work, position) for position in range(6)]))
    wallet = own_wallet(alice.wallet)
    assert (wallet.balance, wallet.locked_balance) == (100, 24)
