"""Holds: placed, released, settled, expired; what is refused moves nothing."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from dj_wallet.exceptions import (
    AccountNotFound,
    AmountInvalid,
    AssetMismatch,
    HoldEnded,
    HoldExceeded,
    HoldExpired,
    HoldNotFound,
    IdempotencyConflict,
    InsufficientFunds,
    MovementInvalid,
    WalletFrozen,
)
from dj_wallet.hold_queries import explain_hold, explain_locked, list_holds
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.engine import Bucket, Entry, Kind, Movement
from dj_wallet.ledger.post import post_one
from dj_wallet.ledger.queries import get_balance
from dj_wallet.models import Account, Hold, HoldStep, Posting, Transaction, Transfer
from dj_wallet.services.escrow import open_escrow
from dj_wallet.services.holds import (
    expire_due_holds,
    expire_hold,
    find_hold,
    place_hold,
    release_hold,
    settle_hold,
)
from dj_wallet.signals import hold_changed
from tests.holds.conftest import parts

pytestmark = pytest.mark.django_db

AUCTION = {"reference_type": "auction", "reference_id": "1"}
LATER = timezone.now() + timedelta(days=1)


def let_pass(hold, **ago):
    """Make the hold's time over."""
    past = timezone.now() - timedelta(seconds=1)
    Hold.objects.filter(pk=hold.pk).update(expires_at=past)


# Placing


def test_a_hold_moves_money_to_the_locked_part(wallet):
    hold = place_hold(wallet=wallet, amount="60.5", expires_at=LATER, **AUCTION)
    assert (wallet.balance, wallet.locked_balance) == (Decimal("39.5"), Decimal("60.5"))
    assert parts(wallet) == (Decimal("39.5"), Decimal("60.5"), 0)
    assert (hold.amount, hold.remaining, hold.status) == (Decimal("60.5"), Decimal("60.5"), "open")
    posting = Posting.objects.get(pk=hold.step.entry_id)
    assert (posting.kind, posting.reference_type, posting.reference_id) == (
        "BID_LOCK",
        "auction",
        "1",
    )


def test_what_is_returned_is_what_is_stored(wallet):
    hold = place_hold(wallet=wallet, amount=60, expires_at=LATER, **AUCTION)
    for record in (hold, hold.step):
        stored = type(record).objects.get(pk=record.pk)
        for field in record._meta.concrete_fields:
            assert getattr(record, field.attname) == getattr(stored, field.attname), field
    release_hold(hold, amount=20)
    for record in (hold, hold.step):
        stored = type(record).objects.get(pk=record.pk)
        for field in record._meta.concrete_fields:
            assert getattr(record, field.attname) == getattr(stored, field.attname), field


def test_a_second_hold_for_the_same_reference_is_added(wallet, hold):
    again = place_hold(wallet=wallet, amount=15, **AUCTION)
    assert (again.pk, again.amount, again.remaining) == (hold.pk, 75, 75)
    assert parts(wallet) == (25, 75, 0)
    assert [(step.amount, step.remaining) for step in explain_hold(again)] == [(60, 60), (15, 75)]


def test_other_references_and_other_wallets_have_their_own_holds(wallet, hold, bob):
    bob.deposit(10)
    others = [
        place_hold(wallet=wallet, amount=1, reference_type="auction", reference_id="2"),
        place_hold(wallet=wallet, amount=1, reference_type="offer", reference_id="1"),
        place_hold(wallet=bob.wallet, amount=1, **AUCTION),
    ]
    assert len({hold.pk, *(other.pk for other in others)}) == 4


def test_a_total_adds_only_what_is_missing(wallet, hold, unmoved):
    raised = place_hold(wallet=wallet, amount=75, is_total=True, **AUCTION)
    assert (raised.pk, raised.remaining, raised.step.amount) == (hold.pk, 75, 15)
    before = unmoved()
    same = place_hold(wallet=wallet, amount=75, is_total=True, **AUCTION)
    assert (same.remaining, same.step) == (75, None)
    with pytest.raises(MovementInvalid):
        place_hold(wallet=wallet, amount=74, is_total=True, **AUCTION)
    assert unmoved() == before


def test_a_new_hold_is_opened_after_the_first_has_ended(wallet, hold):
    release_hold(hold)
    again = place_hold(wallet=wallet, amount=10, **AUCTION)
    assert again.pk != hold.pk
    assert [one.status for one in list_holds(wallet)] == ["open", "released"]


def test_the_time_of_a_hold_moves_with_a_later_call(wallet):
    hold = place_hold(wallet=wallet, amount=1, expires_at=LATER, **AUCTION)
    assert place_hold(wallet=wallet, amount=1, **AUCTION).expires_at == hold.expires_at
    later = LATER + timedelta(days=1)
    assert place_hold(wallet=wallet, amount=1, expires_at=later, **AUCTION).expires_at == later


def test_holders_and_wallets_have_the_verbs(alice, wallet):
    held = alice.hold(60, **AUCTION)
    wallet.hold(5, **AUCTION)
    assert alice.release_hold(1, **AUCTION).remaining == 64
    assert wallet.release_hold(**AUCTION).pk == held.pk
    assert parts(wallet) == (100, 0, 0)


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"amount": "100.01"}, InsufficientFunds),
        ({"amount": 0}, AmountInvalid),
        ({"amount": -1}, AmountInvalid),
        ({"amount": "NaN"}, AmountInvalid),
        ({"amount": "0.000000001"}, AmountInvalid),
        ({"reference_id": ""}, MovementInvalid),
        ({"reference_type": ""}, MovementInvalid),
        ({"reference_type": "x" * 33}, MovementInvalid),
        ({"reference_id": "x" * 256}, MovementInvalid),
        ({"reference_id": "nul\x00"}, MovementInvalid),
        ({"idempotency_key": ""}, MovementInvalid),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, MovementInvalid),
        ({"expires_at": LATER.replace(tzinfo=None)}, MovementInvalid),
    ],
)
def test_what_cannot_be_held_is_refused_and_the_transaction_goes_on(
    wallet, unmoved, options, refusal
):
    before = unmoved()
    with transaction.atomic():
        with pytest.raises(refusal):
            place_hold(**{"wallet": wallet, "amount": 1, **AUCTION, **options})
        assert unmoved() == before


def test_a_frozen_wallet_holds_and_releases_nothing(wallet, hold, unmoved):
    wallet.freeze("under review")
    before = unmoved()
    for call in (
        lambda: place_hold(wallet=wallet, amount=1, **AUCTION),
        lambda: release_hold(hold),
        lambda: settle_hold(hold, to="external:cash"),
    ):
        with pytest.raises(WalletFrozen, match="under review"):
            call()
    assert unmoved() == before


def test_a_wallet_that_does_not_exist_is_refused(wallet, unmoved):
    wallet.pk = 2**62
    before = unmoved()
    with pytest.raises(AccountNotFound):
        place_hold(wallet=wallet, amount=1, **AUCTION)
    assert unmoved() == before


def test_a_rollback_of_the_caller_undoes_the_hold(wallet):
    with transaction.atomic():
        place_hold(wallet=wallet, amount=60, **AUCTION)
        transaction.set_rollback(True)
    assert parts(wallet) == (100, 0, 0)
    assert not Hold.objects.exists()


# Releasing


def test_parts_and_then_the_rest_are_released(wallet, hold):
    assert release_hold(hold, amount=20).remaining == 40
    assert hold.is_open
    assert parts(hold.wallet) == (60, 40, 0)
    release_hold(hold)
    assert (hold.remaining, hold.status) == (0, "released")
    assert parts(wallet) == (100, 0, 0)
    steps = [(step.action, step.amount, step.remaining) for step in explain_hold(hold)]
    assert steps == [("placed", 60, 60), ("released", 20, 40), ("released", 40, 0)]
    kinds = Posting.objects.order_by("pk").values_list("kind", flat=True)
    assert list(kinds) == ["DEPOSIT", "BID_LOCK", "BID_UNLOCK", "BID_UNLOCK"]


@pytest.mark.parametrize(
    ("amount", "refusal"), [("60.01", HoldExceeded), (0, AmountInvalid), ("x", AmountInvalid)]
)
def test_no_more_is_released_than_is_kept(hold, unmoved, amount, refusal):
    before = unmoved()
    with transaction.atomic():
        with pytest.raises(refusal):
            release_hold(hold, amount=amount)
        assert unmoved() == before


def test_what_another_hold_keeps_is_not_released(wallet, hold, unmoved):
    place_hold(wallet=wallet, amount=40, reference_type="auction", reference_id="2")
    before = unmoved()
    with pytest.raises(HoldExceeded):
        release_hold(hold, amount=61)
    assert unmoved() == before


def test_a_hold_that_has_ended_is_not_released_again(hold, unmoved):
    stale = Hold.objects.get(pk=hold.pk)
    release_hold(hold)
    before = unmoved()
    for one in (hold, stale):
        for amount in (None, 1):
            with pytest.raises(HoldEnded):
                release_hold(one, amount=amount)
    assert unmoved() == before


def test_a_stale_object_releases_what_there_is(wallet, hold):
    stale = Hold.objects.get(pk=hold.pk)
    release_hold(hold, amount=20)
    assert release_hold(stale).remaining == 0
    assert parts(wallet) == (100, 0, 0)


def test_nothing_held_for_a_reference_is_said(wallet, unmoved):
    before = unmoved()
    with pytest.raises(HoldNotFound):
        wallet.release_hold(**AUCTION)
    assert find_hold(wallet=wallet, **AUCTION) is None
    assert unmoved() == before


# Settling


def test_a_hold_is_settled_to_another_wallet_in_parts(wallet, hold, seller):
    settle_hold(hold, to=seller, amount=25, meta={"lot": 7})
    assert (hold.remaining, hold.status) == (35, "open")
    assert (parts(wallet), parts(seller)) == ((40, 35, 0), (25, 0, 0))
    transfer = Transfer.objects.get()
    assert (transfer.withdraw.amount, transfer.deposit.meta) == (25, {"lot": 7})
    assert transfer.entry_id == hold.step.entry_id
    settle_hold(hold, to=seller)
    assert (hold.status, parts(wallet), parts(seller)) == ("settled", (40, 0, 0), (60, 0, 0))


def test_the_wallets_at_hand_are_up_to_date_after_settling(wallet, hold, seller):
    settle_hold(hold, to=seller)
    shown = hold.wallet.balance, hold.wallet.locked_balance, hold.wallet.version
    assert shown == (40, 0, Account.objects.get(pk=wallet.pk).version)
    assert (seller.balance, seller.version) == (60, 1)


def test_a_hold_is_settled_out_of_the_system(wallet, hold):
    settle_hold(hold, to="external:cash", idempotency_key="out-1")
    record = Transaction.objects.get(type="withdraw")
    assert (record.amount, record.wallet_id, record.idempotency_key) == (60, wallet.pk, "out-1")
    assert Posting.objects.get(pk=record.entry_id).kind == "WITHDRAWAL"
    assert get_balance(Account.objects.get(code="external:cash").pk) == -40


def test_a_settlement_is_sent_to_receivers_like_any_transfer(hold, seller, sent):
    settle_hold(hold, to=seller)
    names = [name for name, _ in sent if not name.endswith("_committed")]
    assert names == [
        *("pre_withdraw", "pre_deposit"),
        *("balance_changed", "transaction_created") * 2,
        *("transfer_completed", "hold_changed"),
    ]


def test_settling_is_refused_like_releasing(hold, alice, seller, bob, unmoved):
    gold = bob.create_wallet("gold", currency="GOLD")
    before = unmoved()
    for options, refusal in (
        ({"to": seller, "amount": 61}, HoldExceeded),
        ({"to": gold}, AssetMismatch),
        ({"to": ""}, AccountNotFound),
    ):
        with pytest.raises(refusal):
            settle_hold(hold, **options)
    seller.freeze()
    with pytest.raises(WalletFrozen):
        settle_hold(hold, to=seller)
    assert unmoved() == before


# Time


def test_a_hold_gives_its_money_back_when_its_time_is_over(wallet, hold):
    place_hold(
        wallet=wallet, amount=10, reference_type="auction", reference_id="2", expires_at=LATER
    )
    let_pass(hold)
    assert expire_due_holds() == 1
    hold.refresh_from_db()
    assert (hold.status, parts(wallet)) == ("expired", (90, 10, 0))
    posting = Posting.objects.get(idempotency_key=f"hold:{hold.uuid}:expire")
    assert posting.kind == "BID_UNLOCK"
    assert expire_due_holds() == 0


def test_a_command_gives_back_whatever_is_due(wallet, hold, capsys):
    let_pass(hold)
    call_command("expire_holds")
    assert capsys.readouterr().out == "1 holds expired\n"
    assert parts(wallet) == (100, 0, 0)
    call_command("expire_holds")
    assert capsys.readouterr().out == "0 holds expired\n"


def test_a_hold_whose_time_is_not_over_is_left_alone(wallet, unmoved):
    hold = place_hold(wallet=wallet, amount=60, expires_at=LATER, **AUCTION)
    before = unmoved()
    assert expire_hold(hold).is_open
    assert expire_due_holds() == 0
    assert unmoved() == before


def test_an_expired_hold_can_be_released_but_not_settled(wallet, hold, seller, unmoved):
    let_pass(hold)
    before = unmoved()
    with pytest.raises(HoldExpired):
        settle_hold(hold, to=seller)
    assert unmoved() == before
    release_hold(hold)
    assert (hold.status, parts(wallet)) == ("released", (100, 0, 0))


def test_placing_ends_a_hold_whose_time_is_over_and_opens_another(wallet, hold):
    let_pass(hold)
    again = place_hold(wallet=wallet, amount=100, **AUCTION)
    hold.refresh_from_db()
    assert (hold.status, again.remaining, parts(wallet)) == ("expired", 100, (0, 100, 0))


def test_a_refused_placement_leaves_an_overdue_hold_as_it_was(wallet, hold, unmoved):
    let_pass(hold)
    before = unmoved()
    with pytest.raises(InsufficientFunds):
        place_hold(wallet=wallet, amount=101, **AUCTION)
    assert unmoved() == before


def test_the_overdue_hold_of_a_frozen_wallet_waits(wallet, hold):
    let_pass(hold)
    wallet.freeze()
    assert expire_due_holds() == 0
    with pytest.raises(WalletFrozen):
        expire_hold(hold)
    wallet.unfreeze()
    assert expire_due_holds() == 1


def test_a_receiver_that_raises_keeps_one_hold_and_no_other(wallet, hold, caplog):
    let_pass(hold)
    other = place_hold(
        wallet=wallet, amount=10, reference_type="auction", reference_id="2", expires_at=LATER
    )
    let_pass(other)

    def refuse(sender, hold, **_):
        if hold.pk == first.pk:
            raise RuntimeError("not now")

    first = hold
    hold_changed.connect(refuse)
    try:
        assert expire_due_holds() == 1
    finally:
        hold_changed.disconnect(refuse)
    assert "could not be ended" in caplog.text
    hold.refresh_from_db()
    assert hold.is_open
    assert parts(wallet)[1] == hold.remaining
    assert expire_due_holds() == 1


def test_expiring_what_has_ended_changes_nothing(hold, unmoved):
    let_pass(hold)
    stale = Hold.objects.get(pk=hold.pk)
    expire_hold(hold)
    before = unmoved()
    expire_hold(stale)
    expire_hold(hold)
    assert unmoved() == before


# Keys


def test_a_repeated_placement_gives_the_first_hold_and_moves_nothing(wallet, unmoved):
    first = place_hold(wallet=wallet, amount=60, idempotency_key="k", expires_at=LATER, **AUCTION)
    release_hold(first, amount=10)
    before = unmoved()
    again = place_hold(
        wallet=wallet, amount="60.0", idempotency_key="k", expires_at=LATER, **AUCTION
    )
    assert (again.replayed, first.replayed) == (True, False)
    assert (again.pk, again.remaining, again.step.remaining) == (first.pk, 50, 60)
    assert again.posted.balances == ((40, 60),)
    assert unmoved() == before


def test_a_repeated_release_gives_the_first_result(wallet, hold, unmoved):
    release_hold(hold, amount=20, idempotency_key="r1")
    release_hold(hold, idempotency_key="r2")
    before = unmoved()
    again = release_hold(hold, amount=20, idempotency_key="r1")
    assert (again.replayed, again.step.remaining, again.remaining) == (True, 40, 0)
    again = wallet.release_hold(idempotency_key="r2", **AUCTION)
    assert (again.replayed, again.step.amount) == (True, 40)
    assert unmoved() == before


def test_a_repeated_settlement_gives_the_first_result(hold, seller, unmoved):
    settle_hold(hold, to=seller, amount=20, idempotency_key="s1")
    before = unmoved()
    assert settle_hold(hold, to=seller, amount=20, idempotency_key="s1").replayed
    with pytest.raises(IdempotencyConflict):
        settle_hold(hold, to="external:cash", amount=20, idempotency_key="s1")
    assert unmoved() == before


def test_a_repeated_total_gives_the_first_result(wallet, hold, unmoved):
    place_hold(wallet=wallet, amount=75, is_total=True, idempotency_key="t1", **AUCTION)
    place_hold(wallet=wallet, amount=80, is_total=True, idempotency_key="t2", **AUCTION)
    before = unmoved()
    again = place_hold(wallet=wallet, amount=75, is_total=True, idempotency_key="t1", **AUCTION)
    assert (again.replayed, again.step.remaining, again.remaining) == (True, 75, 80)
    assert unmoved() == before


@pytest.mark.parametrize(
    "other",
    [
        {"amount": 59},
        {"reference_id": "2"},
        {"reference_type": "offer"},
        {"expires_at": LATER},
    ],
)
def test_a_key_stands_for_one_placement(wallet, unmoved, other):
    given = {"wallet": wallet, "amount": 60, "idempotency_key": "k", **AUCTION}
    place_hold(**given)
    before = unmoved()
    with transaction.atomic():
        with pytest.raises(IdempotencyConflict):
            place_hold(**{**given, **other})
        assert unmoved() == before


def test_the_key_of_anything_else_is_taken(alice, wallet, hold, seller, unmoved):
    alice.deposit(5, idempotency_key="deposit")
    alice.deposit(5, idempotency_key="pending", confirmed=False)
    release_hold(hold, amount=1, idempotency_key="release")
    before = unmoved()
    for key in ("deposit", "pending", "release"):
        with pytest.raises(IdempotencyConflict):
            place_hold(wallet=wallet, amount=1, idempotency_key=key, **AUCTION)
    for key in ("deposit", "pending"):
        with pytest.raises(IdempotencyConflict):
            release_hold(hold, amount=1, idempotency_key=key)
    with pytest.raises(IdempotencyConflict):
        settle_hold(hold, to=seller, amount=1, idempotency_key="release")
    assert unmoved() == before


def test_a_refusal_leaves_the_key_free(alice, wallet):
    with pytest.raises(InsufficientFunds):
        place_hold(wallet=wallet, amount=101, idempotency_key="k", **AUCTION)
    alice.deposit(1)
    assert not place_hold(wallet=wallet, amount=101, idempotency_key="k", **AUCTION).replayed


# What is told, and what it costs


def test_every_step_is_told_once(wallet, sent):
    hold = place_hold(wallet=wallet, amount=60, idempotency_key="k", **AUCTION)
    place_hold(wallet=wallet, amount=60, idempotency_key="k", **AUCTION)
    release_hold(hold, amount=10)
    told = [arguments["step"].action for name, arguments in sent if name == "hold_changed"]
    assert told == ["placed", "released"]


def test_a_receiver_that_raises_undoes_the_hold(wallet, unmoved):
    def refuse(**_):
        raise ValueError("No bids today.")

    before = unmoved()
    hold_changed.connect(refuse)
    try:
        with transaction.atomic():
            with pytest.raises(ValueError, match="No bids"):
                place_hold(wallet=wallet, amount=60, **AUCTION)
            assert unmoved() == before
    finally:
        hold_changed.disconnect(refuse)


def test_open_holds_explain_the_locked_balance(wallet, hold, escrow_of_rest):
    found = explain_locked(wallet)
    assert [(one.kind, one.reference, one.amount) for one in found] == [
        ("hold", "auction 1", 60),
        ("escrow", "order 9", 40),
    ]
    wallet.refresh_from_db()
    assert sum(one.amount for one in found) == wallet.locked_balance


@pytest.fixture
def escrow_of_rest(wallet, hold, seller):
    return open_escrow(buyer=wallet, seller=seller, order_id=9, amount=40)


@pytest.mark.postgres
def test_placing_and_releasing_take_one_statement_each(wallet, django_assert_num_queries):
    receivers, hold_changed.receivers = hold_changed.receivers, []
    try:
        with django_assert_num_queries(1):
            hold = place_hold(wallet=wallet, amount=60, idempotency_key="k", **AUCTION)
        with django_assert_num_queries(1):
            release_hold(hold, amount=10, idempotency_key="r")
        with django_assert_num_queries(1):
            release_hold(hold)
    finally:
        hold_changed.receivers = receivers


# What the database itself refuses


@pytest.mark.parametrize(
    "change",
    [
        {"remaining": -1},
        {"remaining": 61},
        {"remaining": 0},
        {"status": "released"},
        {"amount": 0},
    ],
)
def test_the_database_refuses_a_hold_that_cannot_be(hold, change):
    with pytest.raises(IntegrityError), transaction.atomic():
        Hold.objects.filter(pk=hold.pk).update(**change)


def test_the_database_refuses_a_second_open_hold(hold):
    twin = Hold(wallet=hold.wallet, amount=1, remaining=1, **AUCTION)
    with pytest.raises(IntegrityError), transaction.atomic():
        twin.save()


def test_a_step_is_never_changed_or_deleted(hold):
    steps = HoldStep.objects.filter(hold=hold)
    for change in (lambda: steps.update(amount=1), steps.delete):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()
    assert steps.count() == 1


@pytest.mark.tampers
def test_the_audit_finds_locked_money_that_nobody_holds(wallet, hold):

    lock = Movement(wallet.pk, wallet.pk, Decimal(1), "USD", Bucket.AVAILABLE, Bucket.LOCKED)
    post_one(Entry(Kind.BID_LOCK, (lock,)))
    [problem] = audit_ledger().problems
    assert (problem.code, problem.account_id) == ("locked_money_mismatch", wallet.pk)
    assert (Decimal(problem.expected), Decimal(problem.found)) == (60, 61)


@pytest.mark.tampers
def test_the_audit_finds_a_hold_that_its_steps_do_not_explain(wallet, hold):

    Hold.objects.filter(pk=hold.pk).update(remaining=59)
    codes = {problem.code for problem in audit_ledger().problems}
    assert codes == {"locked_money_mismatch", "hold_mismatch"}
