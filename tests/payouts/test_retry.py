"""What happens after an answer that is not a clear yes: it depends on what the bank can do."""

from datetime import timedelta

import pytest
from django.utils import timezone

from dj_wallet.payouts.backoff import draw_wait
from dj_wallet.payouts.models import Circuit, Payout
from dj_wallet.payouts.services import execute_due_payouts_of, execute_payout, schedule_payout
from tests.payouts.conftest import HOLD, REFUND, SETTLE, list_postings, list_steps, look, run

pytestmark = pytest.mark.django_db


@pytest.fixture
def payout(wallet) -> Payout:
    """30.00 of the 100.00, due."""
    return schedule_payout(wallet=wallet, amount=30).payout


def test_the_wait_is_drawn_from_zero_to_a_bound_that_doubles():
    bounds = [draw_wait(tries, 10, 600, lambda _, most: most) for tries in range(9)]
    assert bounds == [10, 10, 20, 40, 80, 160, 320, 600, 600]
    assert draw_wait(10**6, 10, 600, lambda least, _: least) == 0


def test_a_failing_bank_is_tried_three_more_times_and_then_the_money_goes_back(payout, blind_bank):
    """Seed 004, to the letter: the contract's word is all there is."""
    blind_bank.break_down("refuse")
    run(payout)
    assert look(payout) == ("failed", "failed", 100, 0)
    assert (payout.failure_code, payout.attempts) == ("bank_refused", 4)
    assert list_postings(payout) == [HOLD, REFUND]
    assert len(blind_bank.requests()) == 4


def test_a_failure_that_passes_is_forgotten(payout, blind_bank):
    blind_bank.break_down("ok", script=["refuse", "failing_200", "refuse"])
    run(payout)
    assert look(payout) == ("settled", "completed", 70, 0)
    assert payout.attempts == 4
    assert len(blind_bank.payments()) == 1


def test_a_bank_that_cannot_be_reached_is_given_up_after_as_many_tries(payout, no_bank):
    run(payout)
    assert look(payout) == ("failed", "failed", 100, 0)
    assert (payout.failure_code, payout.attempts, payout.sent_at) == ("bank_unreachable", 4, None)


def test_a_bank_that_comes_back_is_paid_with_the_money_held_once(payout, no_bank, request):
    execute_payout(payout.pk)
    assert look(payout) == ("retrying", "pending", 70, 30)
    bank = request.getfixturevalue("bank")
    run(payout)
    assert look(payout) == ("settled", "completed", 70, 0)
    assert list_postings(payout) == [HOLD, SETTLE]
    assert len(bank.payments()) == 1
    assert list_steps(payout)[:3] == ["held", "sent", "not_sent"]


def test_retries_are_as_many_as_configured(payout, blind_bank, payouts_setting):
    payouts_setting(MAX_RETRIES=1)
    blind_bank.break_down("refuse")
    run(payout)
    assert payout.attempts == 2


def test_the_next_try_waits(payout, blind_bank, payouts_setting):
    payouts_setting(BACKOFF_SECONDS=3600)
    blind_bank.break_down("refuse")
    execute_payout(payout.pk)
    payout.refresh_from_db()
    assert payout.status == "retrying"
    assert timezone.now() - timedelta(seconds=1) < payout.due_at
    assert payout.due_at < timezone.now() + timedelta(seconds=3601)
    Payout.objects.update(due_at=timezone.now() + timedelta(hours=1))
    assert execute_payout(payout.pk) is None
    assert list(Payout.objects.get_failed_retryable_withdrawals()) == []
    Payout.objects.update(due_at=timezone.now())
    assert list(Payout.objects.get_failed_retryable_withdrawals()) == [payout]
    assert list(Payout.objects.get_due_pending_withdrawals()) == []


@pytest.mark.parametrize("mode", ["paid_503", "paid_cut", "garbage"])
def test_with_a_lookup_the_bank_is_asked_and_nothing_is_sent_twice(payout, bank, mode):
    bank.break_down(mode)
    execute_payout(payout.pk)
    assert look(payout)[1:] == ("pending", 70, 30)
    run(payout)
    assert look(payout) == ("settled", "completed", 70, 0)
    assert payout.attempts == 1
    assert [one["method"] for one in bank.requests()] == ["POST", "GET"]
    assert list_steps(payout)[-2:] == ["looked_up", "settled"]


def test_what_the_bank_does_not_know_is_sent_again_under_the_same_reference(payout, bank):
    bank.break_down("ok", script=["unavailable", "cut", "refuse"])
    run(payout)
    assert look(payout) == ("settled", "completed", 70, 0)
    methods = [one["method"] for one in bank.requests()]
    assert methods == ["POST", "GET", "POST", "GET", "POST", "GET", "POST"]
    assert {one["reference"] for one in bank.requests()} == {str(payout.uuid)}


def test_what_the_bank_never_pays_is_given_back_only_after_it_says_so(payout, bank):
    bank.break_down("unavailable")
    run(payout, times=20)
    assert look(payout) == ("failed", "failed", 100, 0)
    assert (payout.failure_code, payout.attempts) == ("bank_did_not_pay", 4)
    assert [one["method"] for one in bank.requests()][-1] == "GET"


def test_a_lookup_that_does_not_answer_leaves_the_outcome_unknown(payout, bank):
    bank.break_down("paid_cut", lookups="down")
    run(payout, times=6)
    assert look(payout) == ("unknown", "pending", 70, 30)
    assert (payout.attempts, payout.lookups) == (1, 5)
    bank.break_down("ok")
    run(payout)
    assert look(payout) == ("settled", "completed", 70, 0)


def test_an_order_is_not_repeated_while_the_first_may_still_arrive(payout, bank, payouts_setting):
    payouts_setting(
        bank="default",
        ADAPTER="dj_wallet.payouts.banks.plain.PlainBank",
        URL=f"{bank.url}/",
        LOOKUP_URL=f"{bank.url}/payments?reference={{reference}}",
        TIMEOUT_SECONDS=30,
        IN_FLIGHT_SECONDS=60,
    )
    bank.break_down("unavailable", times=1)
    run(payout, times=5)
    assert look(payout) == ("unknown", "pending", 70, 30)
    assert [one["method"] for one in bank.requests()] == ["POST", "GET", "GET", "GET", "GET"]
    Payout.objects.update(sent_at=timezone.now() - timedelta(seconds=61))
    run(payout)
    assert look(payout)[0] == "settled"
    assert len(bank.payments()) == 1


def test_with_keys_and_no_lookup_the_same_key_is_sent_again(payout, keyed_bank, payouts_setting):
    payouts_setting(
        bank="default",
        ADAPTER="dj_wallet.payouts.banks.keyed.KeyedBank",
        URL=f"{keyed_bank.url}/v1",
        TIMEOUT_SECONDS=30,
        LOOKUP=False,
    )
    keyed_bank.break_down("paid_cut")
    run(payout)
    assert look(payout) == ("settled", "completed", 70, 0)
    assert len(keyed_bank.payments()) == 1
    assert [one["key"] for one in keyed_bank.requests()] == [str(payout.uuid)] * 2


def test_with_keys_and_no_lookup_a_bank_that_never_answers_is_a_case_for_an_operator(
    payout, keyed_bank, payouts_setting
):
    payouts_setting(
        bank="default",
        ADAPTER="dj_wallet.payouts.banks.keyed.KeyedBank",
        URL=f"{keyed_bank.url}/v1",
        TIMEOUT_SECONDS=30,
        LOOKUP=False,
    )
    keyed_bank.break_down("unavailable")
    run(payout)
    assert look(payout) == ("review", "pending", 70, 30)
    assert payout.attempts == 4


@pytest.mark.parametrize("mode", ["paid_timeout", "paid_cut", "garbage", "unavailable"])
def test_without_keys_and_lookup_doubt_goes_to_an_operator_with_the_money_held(
    payout, blind_bank, impatient, mode
):
    impatient()
    blind_bank.break_down(mode, seconds=4)
    run(payout)
    assert look(payout) == ("review", "pending", 70, 30)
    assert (payout.attempts, list_steps(payout)[-1]) == (1, "review")
    assert list_postings(payout) == [HOLD]
    assert len(blind_bank.requests()) == 1


def test_a_failure_that_is_not_to_be_believed_goes_to_an_operator(
    payout, blind_bank, payouts_setting
):
    payouts_setting(
        bank="default",
        ADAPTER="dj_wallet.payouts.banks.plain.PlainBank",
        URL=f"{blind_bank.url}/",
        FAILED_IS_UNPAID=False,
    )
    blind_bank.break_down("refuse")
    run(payout)
    assert look(payout) == ("review", "pending", 70, 30)


def test_an_outcome_that_stays_unknown_goes_to_an_operator(payout, bank, payouts_setting):
    bank.break_down("paid_cut", lookups="down")
    run(payout, times=3)
    assert look(payout)[0] == "unknown"
    payouts_setting(REVIEW_AFTER_SECONDS=0)
    run(payout, times=1)
    assert look(payout) == ("review", "pending", 70, 30)


def test_what_the_bank_accepted_is_asked_for_until_it_is_paid(payout, keyed_bank):
    keyed_bank.break_down("accept")
    run(payout, times=3)
    assert look(payout) == ("accepted", "pending", 70, 30)
    assert payout.bank_reference.startswith("B")
    assert list_steps(payout).count("accepted") == 1
    keyed_bank.client.post(f"/payments/{payout.uuid}/settle")
    run(payout)
    assert look(payout) == ("settled", "completed", 70, 0)
    assert payout.attempts == 1


def test_what_the_bank_accepted_and_then_does_not_know_goes_to_an_operator(payout, keyed_bank):
    keyed_bank.break_down("accept")
    run(payout, times=1)
    keyed_bank.client.post("/reset")
    run(payout)
    assert look(payout) == ("review", "pending", 70, 30)


# The circuit breaker


def test_a_bank_in_trouble_is_left_alone_and_then_asked_with_one_order(
    wallet, blind_bank, payouts_setting
):
    payouts_setting(CIRCUIT_FAILURES=4, CIRCUIT_SECONDS=3600, MAX_RETRIES=100, BATCH_SIZE=4)
    for _ in range(8):
        schedule_payout(wallet=wallet, amount=1)
    blind_bank.break_down("refuse")
    for _ in range(5):
        execute_due_payouts_of("default", 4)
    assert len(blind_bank.requests()) == 4
    Circuit.objects.update(open_until=timezone.now())
    assert execute_due_payouts_of("default", 4) == 1
    assert execute_due_payouts_of("default", 4) == 0
    assert len(blind_bank.requests()) == 5
    blind_bank.break_down("ok")
    Circuit.objects.update(open_until=timezone.now())
    assert execute_due_payouts_of("default", 4) == 1
    assert execute_due_payouts_of("default", 4) == 4
    assert Circuit.objects.get().failures == 0


def test_a_bank_in_trouble_costs_the_payouts_no_tries(wallet, no_bank, payouts_setting):
    payouts_setting(CIRCUIT_FAILURES=1, CIRCUIT_SECONDS=3600)
    first, second = (schedule_payout(wallet=wallet, amount=1).payout for _ in range(2))
    execute_payout(first.pk)
    run(second, times=5)
    assert look(second)[0] == "pending"
    assert second.attempts == 0


def test_each_bank_has_its_own_circuit(wallet, no_bank, sandbox, payouts_setting):
    payouts_setting(CIRCUIT_FAILURES=1, CIRCUIT_SECONDS=3600)
    payouts_setting(
        bank="other",
        ADAPTER="dj_wallet.payouts.banks.keyed.KeyedBank",
        URL=f"{sandbox.url}/v1",
        TIMEOUT_SECONDS=30,
    )
    execute_payout(schedule_payout(wallet=wallet, amount=1).payout.pk)
    other = schedule_payout(wallet=wallet, amount=1, bank="other").payout
    execute_payout(other.pk)
    assert look(other)[0] == "settled"
