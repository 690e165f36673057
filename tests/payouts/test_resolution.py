"""Operators: cancel, ask again, decide with four eyes."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from dj_wallet.identity.models import User
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.payouts import tasks
from dj_wallet.payouts.errors import (
    BankCannotTell,
    BankNotFound,
    OperatorNotAllowed,
    PayoutInFlight,
    PayoutNotUndecided,
)
from dj_wallet.payouts.models import Payout, Resolution
from dj_wallet.payouts.queries import list_timeline, list_undecided
from dj_wallet.payouts.services import (
    ask_bank_again,
    cancel_payout,
    decide_resolution,
    execute_payout,
    propose_resolution,
    schedule_payout,
)
from tests.payouts.conftest import HOLD, PLAIN, REFUND, list_postings, list_steps, look, run

pytestmark = pytest.mark.django_db


@pytest.fixture
def payout(wallet) -> Payout:
    return schedule_payout(wallet=wallet, amount=30).payout


@pytest.fixture
def operators(db) -> tuple[User, User]:
    return User.objects.create(username="anna"), User.objects.create(username="otto")


@pytest.fixture
def doubtful(payout, blind_bank) -> Payout:
    """A payout that was paid, of which nobody knows."""
    blind_bank.break_down("paid_cut")
    execute_payout(payout.pk)
    assert look(payout) == ("review", "pending", 70, 30)
    return payout


def test_what_waits_can_be_cancelled(payout, bank):
    cancel_payout(payout=payout, actor="alice")
    assert look(payout) == ("cancelled", "failed", 100, 0)
    assert execute_payout(payout.pk) is None
    assert bank.requests() == []
    assert cancel_payout(payout=payout).status == "cancelled"


def test_what_the_bank_was_never_reached_for_is_cancelled_with_its_money_back(payout, no_bank):
    execute_payout(payout.pk)
    assert look(payout) == ("retrying", "pending", 70, 30)
    cancel_payout(payout=payout)
    assert look(payout) == ("cancelled", "failed", 100, 0)
    assert list_postings(payout) == [HOLD, REFUND]


@pytest.mark.parametrize("mode", ["ok", "paid_503", "paid_cut", "reject"])
def test_what_the_bank_may_know_of_cannot_be_cancelled(payout, keyed_bank, mode, snapshot):
    keyed_bank.break_down(mode)
    execute_payout(payout.pk)
    before = snapshot()
    with pytest.raises(PayoutInFlight):
        cancel_payout(payout=payout)
    assert snapshot() == before


def test_the_queue_shows_the_oldest_doubt_first_with_its_evidence(doubtful):
    assert list(list_undecided()) == [doubtful]
    timeline = list_timeline(doubtful)
    assert [one.kind for one in timeline] == ["requested", "held", "sent", "answered", "review"]
    assert timeline[3].detail == {"outcome": "unknown", "error": "RemoteProtocolError"}
    assert timeline[4].detail == {"reason": "outcome_unknown"}


def test_a_bank_without_a_lookup_cannot_be_asked_again(doubtful):
    with pytest.raises(BankCannotTell):
        ask_bank_again(payout=doubtful)
    assert look(doubtful)[0] == "review"


def test_asked_again_the_bank_settles_it(doubtful, request):
    request.getfixturevalue("bank").break_down("ok")
    ask_bank_again(payout=doubtful, actor="anna")
    assert look(doubtful)[0] == "unknown"
    run(doubtful)
    assert look(doubtful) == ("settled", "completed", 70, 0)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ("paid", ("settled", "completed", 70, 0)),
        ("not_paid", ("failed", "failed", 100, 0)),
    ],
)
def test_two_operators_decide(doubtful, operators, verdict, expected):
    anna, otto = operators
    resolution = propose_resolution(
        payout=doubtful, verdict=verdict, reason="called the bank", operator=anna
    )
    assert look(doubtful)[0] == "review"
    decided = decide_resolution(resolution=resolution, approve=True, operator=otto)
    assert (decided.status, decided.decided_by) == ("approved", otto)
    assert look(doubtful) == expected
    assert list_steps(doubtful)[-3:-1] == ["proposed", "approved"]
    assert audit_ledger().is_clean


def test_nobody_approves_what_he_proposed(doubtful, operators, snapshot):
    anna, _ = operators
    before = snapshot()
    resolution = propose_resolution(payout=doubtful, verdict="paid", reason="x", operator=anna)
    with pytest.raises(OperatorNotAllowed):
        decide_resolution(resolution=resolution, approve=True, operator=anna)
    with pytest.raises(IntegrityError), transaction.atomic():
        Resolution.objects.update(status="approved", decided_by=anna)
    assert snapshot() == before
    assert look(doubtful)[0] == "review"


def test_a_rejected_proposal_leaves_it_open(doubtful, operators):
    anna, otto = operators
    first = propose_resolution(payout=doubtful, verdict="paid", reason="x", operator=anna)
    with pytest.raises(PayoutNotUndecided):
        propose_resolution(payout=doubtful, verdict="not_paid", reason="y", operator=otto)
    decide_resolution(resolution=first, approve=False, operator=otto)
    with pytest.raises(PayoutNotUndecided):
        decide_resolution(resolution=first, approve=True, operator=otto)
    assert look(doubtful)[0] == "review"
    propose_resolution(payout=doubtful, verdict="not_paid", reason="y", operator=otto)


def test_what_became_known_meanwhile_is_not_decided_again(doubtful, operators, request):
    anna, otto = operators
    late = propose_resolution(payout=doubtful, verdict="not_paid", reason="x", operator=anna)
    request.getfixturevalue("bank").break_down("ok")
    ask_bank_again(payout=doubtful)
    run(doubtful)
    with pytest.raises(PayoutNotUndecided):
        decide_resolution(resolution=late, approve=True, operator=otto)
    assert look(doubtful) == ("settled", "completed", 70, 0)


def test_what_was_never_sent_is_not_found_paid(payout, operators):
    Payout.objects.update(status="review", due_at=None)
    with pytest.raises(PayoutNotUndecided):
        propose_resolution(payout=payout, verdict="paid", reason="x", operator=operators[0])


def test_a_payout_whose_bank_is_gone_goes_to_an_operator_and_comes_back_with_it(
    wallet, bank, payouts_setting, settings
):
    payouts_setting(bank="old", ADAPTER=PLAIN, URL=f"{bank.url}/")
    kept = settings.PAYOUTS
    payout = schedule_payout(wallet=wallet, amount=30, bank="old").payout
    settings.PAYOUTS = kept | {"BANKS": {"default": kept["BANKS"]["default"]}}
    tasks.execute_due_payouts()
    assert look(payout) == ("review", "pending", 100, 0)
    assert payout.steps.get().detail == {"reason": "bank_not_found"}
    assert list(list_undecided()) == [payout]
    with pytest.raises(BankNotFound):
        ask_bank_again(payout=payout)
    settings.PAYOUTS = kept
    ask_bank_again(payout=payout)
    tasks.execute_due_payouts()
    assert look(payout) == ("settled", "completed", 70, 0)


def test_what_is_due_later_at_a_bank_that_is_gone_is_left_alone(
    wallet, bank, payouts_setting, settings
):
    payouts_setting(bank="old", ADAPTER=PLAIN, URL=f"{bank.url}/")
    kept = settings.PAYOUTS
    later = timezone.now() + timedelta(days=1)
    payout = schedule_payout(wallet=wallet, amount=30, bank="old", scheduled_for=later).payout
    settings.PAYOUTS = kept | {"BANKS": {"default": kept["BANKS"]["default"]}}
    tasks.execute_due_payouts()
    assert look(payout)[0] == "pending"
