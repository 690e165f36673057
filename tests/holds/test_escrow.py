"""Escrows: opened or converted, released, refunded, disputed, divided; what is refused moves nothing."""

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import DatabaseError, transaction
from django.db.models.signals import post_save
from django.utils import timezone

from dj_wallet.exceptions import (
    AccountNotFound,
    AmountInvalid,
    AssetMismatch,
    EscrowNotFound,
    EscrowStateInvalid,
    HoldEnded,
    HoldExceeded,
    HoldExpired,
    HoldNotFound,
    IdempotencyConflict,
    InsufficientFunds,
    MovementInvalid,
    OrderConflict,
    WalletFrozen,
)
from dj_wallet.hold_queries import explain_hold
from dj_wallet.ledger.queries import get_balance
from dj_wallet.models import Account, Escrow, Hold, Posting, Transaction, Transfer
from dj_wallet.services import TransferService
from dj_wallet.services.escrow import (
    convert_hold,
    convert_to_escrow,
    dispute_escrow,
    get_escrow,
    open_escrow,
    pay_order,
    refund_escrow,
    release_escrow,
    resolve_escrow,
)
from dj_wallet.services.holds import lock_funds, place_hold, release_hold, unlock_funds
from dj_wallet.signals import escrow_changed, pre_deposit
from tests.holds.conftest import parts

pytestmark = pytest.mark.django_db


def list_kinds():
    rows = Posting.objects.exclude(kind="DEPOSIT").order_by("pk")
    return [(row.kind, row.amount) for row in rows]


def get_fees():
    return get_balance(Account.objects.get(code="fees", asset="USD").pk)


# Opening


def test_an_order_is_paid_into_escrow(wallet, escrow):
    assert (wallet.balance, wallet.locked_balance) == (40, 60)
    assert parts(wallet) == (40, 60, 0)
    assert (escrow.status, escrow.amount, escrow.fee_amount) == ("LOCKED", 60, 3)
    assert list_kinds() == [("ESCROW_LOCK", 60)]
    posting = Posting.objects.get(pk=escrow.entry_id)
    assert (posting.reference_type, posting.reference_id) == ("order", "1")


def test_buyer_and_seller_are_the_holders(alice, bob, escrow):
    assert (escrow.buyer_id, escrow.seller_id) == (alice.pk, bob.pk)


def test_what_is_returned_is_what_is_stored(escrow):
    def check():
        stored = Escrow.objects.get(pk=escrow.pk)
        for field in Escrow._meta.concrete_fields:
            assert getattr(escrow, field.attname) == getattr(stored, field.attname), field

    check()
    release_escrow(escrow, reason="delivered")
    check()


def test_the_same_order_again_is_the_same_escrow(wallet, seller, escrow, unmoved):
    before = unmoved()
    again = open_escrow(buyer=wallet, seller=seller, order_id=1, amount="60.00", fee_amount=3)
    assert (again.pk, again.replayed, escrow.replayed) == (escrow.pk, True, False)
    assert unmoved() == before


@pytest.mark.parametrize("other", [{"amount": 59}, {"fee_amount": 2}, {"seller": "charlie"}])
def test_an_order_has_one_escrow(wallet, seller, charlie, escrow, unmoved, other):
    if "seller" in other:
        other = {"seller": charlie.wallet}
    given = {"buyer": wallet, "seller": seller, "order_id": 1, "amount": 60, "fee_amount": 3}
    before = unmoved()
    with transaction.atomic():
        with pytest.raises(OrderConflict):
            open_escrow(**{**given, **other})
        assert unmoved() == before


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"amount": "100.01"}, InsufficientFunds),
        ({"amount": 0}, AmountInvalid),
        ({"fee_amount": -1}, AmountInvalid),
        ({"fee_amount": "10.01"}, AmountInvalid),
        ({"fee_amount": "x"}, AmountInvalid),
        ({"order_id": ""}, MovementInvalid),
        ({"order_id": "x" * 256}, MovementInvalid),
        ({"seller": "self"}, MovementInvalid),
        ({"seller": "own other"}, MovementInvalid),
        ({"seller": "gold"}, AssetMismatch),
        ({"idempotency_key": "x" * 256}, MovementInvalid),
    ],
)
def test_what_cannot_be_paid_is_refused(alice, bob, wallet, seller, unmoved, options, refusal):
    sellers = {
        "self": wallet,
        "own other": alice.create_wallet("other"),
        "gold": bob.create_wallet("gold", currency="GOLD"),
    }
    given = {"buyer": wallet, "seller": seller, "order_id": 1, "amount": 10, **options}
    given["seller"] = sellers.get(options.get("seller"), seller)
    before = unmoved()
    with transaction.atomic():
        with pytest.raises(refusal):
            open_escrow(**given)
        assert unmoved() == before


def test_a_seller_that_does_not_exist_is_refused(wallet, seller, unmoved):
    seller.pk = 2**62
    before = unmoved()
    with pytest.raises(AccountNotFound):
        open_escrow(buyer=wallet, seller=seller, order_id=1, amount=10)
    assert unmoved() == before


def test_a_frozen_buyer_pays_nothing(wallet, seller, unmoved):
    wallet.freeze()
    before = unmoved()
    with pytest.raises(WalletFrozen):
        open_escrow(buyer=wallet, seller=seller, order_id=1, amount=10)
    assert unmoved() == before


# Converting


def test_a_hold_becomes_an_escrow_and_the_rest_is_released(wallet, hold, seller):
    escrow = convert_hold(hold, seller=seller, order_id=7, amount=45, fee_amount=2)
    assert (escrow.hold_id, escrow.amount, hold.status, hold.remaining) == (
        hold.pk,
        45,
        "converted",
        0,
    )
    assert parts(wallet) == (55, 45, 0)
    assert (hold.wallet.balance, hold.wallet.locked_balance) == (55, 45)
    assert list_kinds() == [
        ("BID_LOCK", 60),
        ("BID_UNLOCK", 15),
        ("BID_UNLOCK", 45),
        ("ESCROW_LOCK", 45),
    ]
    steps = [(step.action, step.amount, step.remaining) for step in explain_hold(hold)]
    assert steps == [("placed", 60, 60), ("released", 15, 45), ("converted", 45, 0)]


def test_the_rest_can_stay_held(wallet, hold, seller):
    convert_hold(hold, seller=seller, order_id=7, amount=45, keep_remainder=True)
    assert (hold.status, hold.remaining, parts(wallet)) == ("open", 15, (40, 60, 0))


def test_without_an_amount_all_of_it_is_converted(wallet, hold, seller, unmoved):
    escrow = convert_hold(hold, seller=seller, order_id=7)
    assert (escrow.amount, hold.status, parts(wallet)) == (60, "converted", (40, 60, 0))
    before = unmoved()
    assert convert_hold(hold, seller=seller, order_id=7).replayed
    assert convert_hold(Hold.objects.get(), seller=seller, order_id=7, amount=60).replayed
    with pytest.raises(OrderConflict):
        convert_hold(hold, seller=seller, order_id=7, amount=59)
    with pytest.raises(HoldEnded):
        convert_hold(hold, seller=seller, order_id=8)
    assert unmoved() == before


def test_conversion_is_refused_like_a_release(wallet, hold, seller, unmoved):
    before = unmoved()
    for options, refusal in (
        ({"amount": 61}, HoldExceeded),
        ({"amount": 0}, AmountInvalid),
        ({"fee_amount": 61}, AmountInvalid),
        ({"seller": wallet}, MovementInvalid),
    ):
        with transaction.atomic(), pytest.raises(refusal):
            convert_hold(hold, **{"seller": seller, "order_id": 7, **options})
    wallet.freeze()
    with pytest.raises(WalletFrozen):
        convert_hold(hold, seller=seller, order_id=7)
    wallet.unfreeze()
    assert unmoved() == before


def test_an_expired_hold_is_not_converted(hold, seller, unmoved):
    past = timezone.now() - timedelta(seconds=1)
    Hold.objects.filter(pk=hold.pk).update(expires_at=past)
    before = unmoved()
    with pytest.raises(HoldExpired):
        convert_hold(hold, seller=seller, order_id=7)
    assert unmoved() == before


def test_a_hold_is_converted_in_an_overdrawn_wallet(wallet, hold, seller):
    wallet.force_withdraw(90)
    convert_hold(hold, seller=seller, order_id=7)
    assert parts(wallet) == (-50, 60, 0)


# Releasing


def test_release_credits_the_seller_with_all_and_takes_the_fee(wallet, seller, escrow):
    release_escrow(escrow)
    assert (escrow.status, escrow.released_amount, escrow.fee_charged) == ("RELEASED", 60, 3)
    assert (parts(wallet), parts(seller), get_fees()) == ((40, 0, 0), (57, 0, 0), 3)
    assert list_kinds() == [("ESCROW_LOCK", 60), ("SALE_CREDIT", 60), ("FEE_DEBIT", 3)]


def test_without_a_fee_there_is_no_fee_entry(wallet, seller):
    release_escrow(open_escrow(buyer=wallet, seller=seller, order_id=1, amount=60))
    assert list_kinds() == [("ESCROW_LOCK", 60), ("SALE_CREDIT", 60)]


def test_both_see_the_sale_among_their_transactions(wallet, seller, escrow):
    release_escrow(escrow)
    transfer = Transfer.objects.get()
    assert (transfer.status, transfer.fee) == ("paid", 3)
    shown = [
        (record.wallet_id, record.type, record.amount, record.meta["action"])
        for record in Transaction.objects.exclude(meta={}).order_by("pk")
    ]
    assert shown == [
        (wallet.pk, "withdraw", 60, "escrow"),
        (seller.pk, "deposit", 60, "escrow"),
        (seller.pk, "withdraw", 3, "escrow_fee"),
    ]


def test_wallets_at_hand_are_up_to_date(wallet, seller, escrow):
    release_escrow(escrow)
    for own in (wallet, seller):
        shown = own.balance, own.locked_balance, own.version
        own.refresh_from_db()
        assert shown == (own.balance, own.locked_balance, own.version)


def list_rows(model):
    own = {"id", "uuid", "entry_id", "created_at", "updated_at", "withdraw_id", "deposit_id"}
    own |= {"idempotency_key", "payable_id", "wallet_id", "from_id", "to_id"}
    names = [field.attname for field in model._meta.concrete_fields if field.attname not in own]
    return list(model.objects.order_by("pk").values(*names))


@pytest.mark.postgres
def test_both_ways_of_releasing_write_the_same(alice, bob):
    def release(name):
        Transfer.objects.all().delete()
        Transaction.objects.all().delete()
        alice.deposit(100)
        order = {"order_id": name, "amount": "12.5", "fee_amount": "0.5"}
        escrow = open_escrow(buyer=alice.wallet, seller=bob.wallet, **order)
        release_escrow(escrow, reason="fine")
        for rows in (list_rows(Transaction), list_rows(Transfer), list_rows(Escrow)[-1:]):
            for row in rows:
                row.pop("order_id", None)
                (row.get("meta") or {}).pop("order_id", None)
                yield row

    def see(**_):
        pass

    fast = list(release("fast"))
    post_save.connect(see, sender=Transaction)
    try:
        slow = list(release("slow"))
    finally:
        post_save.disconnect(see, sender=Transaction)
    ours = {"buyer_wallet_id", "seller_wallet_id"}
    assert [{k: v for k, v in row.items() if k not in ours} for row in slow] == [
        {k: v for k, v in row.items() if k not in ours} for row in fast
    ]


def test_an_overdrawn_seller_is_paid_and_pays_the_fee(wallet, seller, escrow):
    seller.force_withdraw(500)
    release_escrow(escrow)
    assert (parts(seller), get_fees()) == ((-443, 0, 0), 3)


def test_a_frozen_side_is_not_paid_and_the_escrow_stays(wallet, seller, escrow, unmoved):
    for frozen in (wallet, seller):
        frozen.freeze("under review")
        before = unmoved()
        with transaction.atomic():
            with pytest.raises(WalletFrozen, match="under review"):
                release_escrow(escrow)
            assert unmoved() == before
        frozen.unfreeze()
    assert release_escrow(escrow).status == "RELEASED"


def test_the_sale_of_an_escrow_can_be_given_back(wallet, seller, escrow, bob):
    bob.deposit(3)
    release_escrow(escrow)
    TransferService.refund(Transfer.objects.get())
    assert (parts(wallet), parts(seller)) == ((100, 0, 0), (0, 0, 0))


def test_a_receiver_may_refuse_the_sale(escrow, unmoved):
    def refuse(**_):
        raise ValueError("Not on Sundays.")

    before = unmoved()
    pre_deposit.connect(refuse)
    try:
        with transaction.atomic():
            with pytest.raises(ValueError, match="Sundays"):
                release_escrow(escrow)
            assert unmoved() == before
    finally:
        pre_deposit.disconnect(refuse)


# Refunding, disputing, dividing


def test_a_refund_gives_the_buyer_everything_back(wallet, seller, escrow):
    refund_escrow(escrow)
    assert (escrow.status, escrow.refunded_amount, escrow.fee_charged) == ("REFUNDED", 60, 0)
    assert (parts(wallet), parts(seller)) == ((100, 0, 0), (0, 0, 0))
    assert list_kinds()[-1] == ("REFUND", 60)


def test_a_dispute_stops_release_and_refund(escrow, unmoved):
    dispute_escrow(escrow, reason="never arrived")
    assert (escrow.status, escrow.reason) == ("DISPUTED", "never arrived")
    before = unmoved()
    for call in (release_escrow, refund_escrow):
        with pytest.raises(EscrowStateInvalid, match="DISPUTED"):
            call(escrow)
    assert dispute_escrow(escrow).replayed
    assert unmoved() == before


@pytest.mark.parametrize(
    ("to_seller", "to_buyer", "fee", "status"),
    [
        (60, 0, "3", "RELEASED"),
        (0, 60, "0", "REFUNDED"),
        (20, 40, "1", "RELEASED"),
        ("0.01", "59.99", "0.0005", "RELEASED"),
        ("59.99999999", "0.00000001", "2.99999999", "RELEASED"),
    ],
)
def test_a_dispute_is_resolved_with_a_split(
    wallet, seller, escrow, to_seller, to_buyer, fee, status
):
    dispute_escrow(escrow)
    resolve_escrow(escrow, seller_amount=to_seller, buyer_amount=to_buyer, reason="half each")
    to_seller, to_buyer, fee = Decimal(to_seller), Decimal(to_buyer), Decimal(fee)
    assert (escrow.status, escrow.fee_charged) == (status, fee)
    assert (escrow.released_amount, escrow.refunded_amount) == (to_seller, to_buyer)
    assert parts(wallet) == (40 + to_buyer, 0, 0)
    assert parts(seller) == (to_seller - fee, 0, 0)


def test_a_split_adds_up(escrow, unmoved):
    dispute_escrow(escrow)
    before = unmoved()
    for to_seller, to_buyer in ((30, 29), (30, 31), (61, -1), (-1, 61), ("x", 1)):
        with pytest.raises(AmountInvalid):
            resolve_escrow(escrow, seller_amount=to_seller, buyer_amount=to_buyer)
    assert unmoved() == before


def test_only_a_dispute_is_resolved(escrow, unmoved):
    before = unmoved()
    with pytest.raises(EscrowStateInvalid):
        resolve_escrow(escrow, seller_amount=30, buyer_amount=30)
    assert unmoved() == before


@pytest.mark.parametrize("end", [release_escrow, refund_escrow])
def test_what_has_ended_stays(escrow, unmoved, end):
    stale = Escrow.objects.get(pk=escrow.pk)
    end(escrow)
    before = unmoved()
    for one in (escrow, stale):
        for call in (release_escrow, refund_escrow, dispute_escrow):
            with transaction.atomic(), pytest.raises(EscrowStateInvalid):
                call(one)
        with pytest.raises(EscrowStateInvalid):
            resolve_escrow(one, seller_amount=60, buyer_amount=0)
    assert unmoved() == before


# Keys


@pytest.mark.parametrize("end", [release_escrow, refund_escrow])
def test_the_same_key_ends_it_once_and_answers_the_same(escrow, unmoved, end):
    end(escrow, idempotency_key="e1")
    before = unmoved()
    again = end(escrow.uuid, idempotency_key="e1")
    assert (again.pk, again.replayed, again.status) == (escrow.pk, True, escrow.status)
    other = refund_escrow if end is release_escrow else release_escrow
    with pytest.raises(IdempotencyConflict):
        other(escrow, idempotency_key="e1")
    assert unmoved() == before


def test_a_repeated_resolution_answers_the_same(escrow, unmoved):
    dispute_escrow(escrow)
    split = {"seller_amount": 20, "buyer_amount": 40, "idempotency_key": "e1"}
    resolve_escrow(escrow, **split)
    before = unmoved()
    assert resolve_escrow(escrow, **split).replayed
    with pytest.raises(IdempotencyConflict):
        resolve_escrow(escrow, seller_amount=30, buyer_amount=30, idempotency_key="e1")
    assert unmoved() == before


def test_the_key_of_anything_else_is_taken(alice, wallet, seller, escrow, unmoved):
    alice.deposit(1, idempotency_key="deposit")
    alice.deposit(1, idempotency_key="pending", confirmed=False)
    open_escrow(buyer=wallet, seller=seller, order_id=2, amount=1, idempotency_key="order-2")
    before = unmoved()
    for key in ("deposit", "pending", "order-2"):
        for call in (
            lambda key=key: open_escrow(
                buyer=wallet, seller=seller, order_id=3, amount=1, idempotency_key=key
            ),
            lambda key=key: release_escrow(escrow, idempotency_key=key),
            lambda key=key: refund_escrow(escrow, idempotency_key=key),
        ):
            with transaction.atomic(), pytest.raises(IdempotencyConflict):
                call()
    assert unmoved() == before


# The names of seed 001


@pytest.fixture
def users(db):
    if not apps.is_installed("dj_wallet.identity"):
        pytest.skip("users without wallets")
    made = [get_user_model().objects.create(username=name) for name in ("buyer", "seller")]
    made[0].deposit(100)
    made[1].get_wallet()
    return made


def test_the_functions_of_the_seed_take_users(users):
    buyer, seller = users
    hold = lock_funds(buyer.pk, 30, "auction", "1")
    assert unlock_funds(str(buyer.pk), 10, "auction", "1").remaining == 20
    converted = convert_to_escrow(
        buyer.pk, seller.pk, "o1", 15, 1, reference_type="auction", reference_id="1"
    )
    paid = pay_order(buyer.pk, 40, "o2", seller_id=seller.pk, fee_amount=2)
    assert parts(buyer.wallet) == (45, 55, 0)
    assert (converted.hold_id, paid.buyer_id, paid.seller_id) == (hold.pk, buyer.pk, seller.pk)
    release_escrow(paid.uuid)
    refund_escrow(str(converted.uuid))
    assert (parts(buyer.wallet), parts(seller.wallet)) == ((60, 0, 0), (38, 0, 0))


def test_the_functions_of_the_seed_find_the_wallet_of_a_coin(users):
    buyer, _ = users
    buyer.create_wallet("dogs", currency="DOGE").deposit(5)
    assert lock_funds(buyer.pk, 1, "auction", "1", coin="DOGE").wallet.slug == "dogs"
    assert lock_funds(buyer.pk, 1, "auction", "1", coin="USD").wallet.slug == "default"
    with pytest.raises(AccountNotFound):
        lock_funds(buyer.pk, 1, "auction", "1", coin="BTC")


def test_users_and_locks_that_do_not_exist(users, unmoved):
    buyer, seller = users
    before = unmoved()
    for nobody in (uuid4(), "nobody", None):
        with pytest.raises(AccountNotFound):
            lock_funds(nobody, 1, "auction", "1")
    with pytest.raises(HoldNotFound):
        unlock_funds(buyer.pk, 1, "auction", "1")
    with pytest.raises(HoldNotFound):
        convert_to_escrow(buyer.pk, seller.pk, "o", reference_type="a", reference_id="1")
    for nothing in (uuid4(), "nothing"):
        with pytest.raises(EscrowNotFound):
            release_escrow(nothing)
    with pytest.raises(EscrowNotFound):
        get_escrow(order_id="nothing")
    assert unmoved() == before


# What is told, what it costs, what the database refuses


def test_every_step_is_told_once(wallet, seller, escrow, sent):
    dispute_escrow(escrow)
    dispute_escrow(escrow)
    resolve_escrow(escrow, seller_amount=60, buyer_amount=0)
    other = open_escrow(buyer=wallet, seller=seller, order_id=2, amount=1)
    open_escrow(buyer=wallet, seller=seller, order_id=2, amount=1)
    refund_escrow(other)
    told = [arguments["action"] for name, arguments in sent if name == "escrow_changed"]
    assert told == ["disputed", "resolved", "locked", "refunded"]


@pytest.mark.postgres
def test_paying_and_releasing_take_one_statement_each(wallet, seller, django_assert_num_queries):
    release_escrow(open_escrow(buyer=wallet, seller=seller, order_id=0, amount=1, fee_amount=1))
    receivers, escrow_changed.receivers = escrow_changed.receivers, []
    try:
        with django_assert_num_queries(1):
            escrow = open_escrow(
                buyer=wallet,
                seller=seller,
                order_id=1,
                amount=60,
                fee_amount=3,
                idempotency_key="k",
            )
        with django_assert_num_queries(1):
            release_escrow(escrow, idempotency_key="r")
    finally:
        escrow_changed.receivers = receivers


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 0},
        {"fee_amount": 61},
        {"fee_amount": -1},
        {"released_amount": 1},
        {"status": "RELEASED"},
        {"status": "REFUNDED"},
        {"status": "GONE"},
    ],
)
def test_the_database_refuses_an_escrow_that_cannot_be(escrow, change):
    with pytest.raises(DatabaseError), transaction.atomic():
        Escrow.objects.filter(pk=escrow.pk).update(**change)


@pytest.mark.postgres
def test_the_database_refuses_an_escrow_that_does_not_add_up(escrow):
    with pytest.raises(DatabaseError), transaction.atomic():
        Escrow.objects.filter(pk=escrow.pk).update(
            status="RELEASED", released_amount=30, refunded_amount=29
        )


def test_buyer_and_seller_differ_in_the_database(wallet, escrow):
    with pytest.raises(DatabaseError), transaction.atomic():
        Escrow.objects.filter(pk=escrow.pk).update(seller_wallet=wallet)


def test_a_hold_of_which_a_part_was_released_is_converted_as_it_is(wallet, hold, seller):
    stale = Hold.objects.get(pk=hold.pk)
    release_hold(hold, amount=10)
    assert convert_hold(stale, seller=seller, order_id=7).amount == 50
    assert parts(wallet) == (50, 50, 0)


def test_adding_to_a_hold_counts_at_conversion(wallet, hold, seller):
    place_hold(wallet=wallet, amount=40, reference_type="auction", reference_id="1")
    assert convert_hold(hold, seller=seller, order_id=7).amount == 100
