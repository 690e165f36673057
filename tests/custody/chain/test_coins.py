"""What is spent is what is paid, returned and given to miners: to the base unit, and the same every time."""

import random
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dj_wallet.custody.chain.coins import MAX_INPUTS, Plan, Unspent, bump, select, sweep
from dj_wallet.custody.chain.errors import FeeTooHigh, FundsShort, TransactionInvalid
from dj_wallet.custody.chain.networks import BASE_UNITS, get_network
from dj_wallet.custody.chain.transactions import (
    INPUT_BYTES,
    Outpoint,
    Output,
    estimate_size,
    get_fee,
    p2pkh_script,
)

DOGE = get_network("DOGE:main")
RATE = DOGE.fee_floor_per_kb
SCRIPT = p2pkh_script(bytes(20))


def hold(*amounts: int, depth: int = 0) -> list[Unspent]:
    return [
        Unspent(Outpoint(f"{number:064x}", depth), amount, depth)
        for number, amount in enumerate(amounts)
    ]


def pay(*amounts: int) -> list[Output]:
    return [Output(amount, SCRIPT) for amount in amounts]


unspents = st.lists(
    st.tuples(st.integers(1, 10**12), st.integers(0, 2)), min_size=1, max_size=40
).map(
    lambda rows: [
        Unspent(Outpoint(f"{number:064x}", 0), amount, depth)
        for number, (amount, depth) in enumerate(rows)
    ]
)
payments = st.lists(st.integers(DOGE.min_output, 10**12), min_size=1, max_size=5).map(
    lambda amounts: pay(*amounts)
)
rates = st.integers(0, 2 * DOGE.fee_cap_per_kb)


def check(plan: Plan, wanted: list[Output], rate: int) -> None:
    """Everything that holds for every plan."""
    paid = sum(output.amount for output in wanted)
    assert plan.spent == paid + plan.change + plan.fee
    assert list(plan.payments) == wanted
    assert len({unspent.outpoint for unspent in plan.inputs}) == len(plan.inputs) <= MAX_INPUTS
    assert plan.change == 0 or plan.change >= DOGE.min_output
    rate = min(max(rate, DOGE.fee_floor_per_kb), DOGE.fee_cap_per_kb)
    scripts = [output.script for output in wanted] + [SCRIPT] * (plan.change > 0)
    least = get_fee(estimate_size(len(plan.inputs), scripts), rate)
    assert least <= plan.fee <= DOGE.max_fee
    if plan.change:
        assert plan.fee == least
    else:
        with_change = get_fee(estimate_size(len(plan.inputs), [*scripts, SCRIPT]), rate)
        assert plan.fee < with_change + DOGE.min_output


@given(unspents, payments, rates)
def test_inputs_are_payments_and_change_and_fee(held, wanted, rate):
    try:
        plan = select(held, wanted, rate_per_kb=rate, network=DOGE)
    except (FundsShort, FeeTooHigh):
        return
    assert set(plan.inputs) <= set(held)
    check(plan, wanted, rate)


@given(unspents, payments, rates, st.randoms(use_true_random=False))
def test_the_choice_depends_on_nothing_but_what_is_held(held, wanted, rate, order):
    def choose() -> object:
        try:
            return select(held, wanted, rate_per_kb=rate, network=DOGE)
        except (FundsShort, FeeTooHigh) as error:
            return type(error)

    first = choose()
    order.shuffle(held)
    assert choose() == first


@given(unspents, payments)
def test_what_can_be_paid_is_paid(held, wanted):
    usable = [unspent.amount for unspent in held if unspent.amount > get_fee(INPUT_BYTES, RATE)]
    paid = sum(output.amount for output in wanted)
    fee = get_fee(estimate_size(len(usable), [SCRIPT] * len(wanted)), RATE)
    assume(sum(usable) >= paid + fee)
    check(select(held, wanted, rate_per_kb=RATE, network=DOGE), wanted, RATE)


@given(unspents, payments)
def test_more_than_is_held_is_never_spent(held, wanted):
    assume(sum(unspent.amount for unspent in held) < sum(output.amount for output in wanted))
    with pytest.raises(FundsShort):
        select(held, wanted, rate_per_kb=RATE, network=DOGE)


def test_the_smallest_output_that_suffices_is_taken_alone():
    held = hold(100 * BASE_UNITS, 6 * BASE_UNITS, 3 * BASE_UNITS, 9 * BASE_UNITS)
    plan = select(held, pay(5 * BASE_UNITS), rate_per_kb=RATE, network=DOGE)
    assert [unspent.amount for unspent in plan.inputs] == [6 * BASE_UNITS]


def test_large_outputs_are_put_together_before_small_ones():
    held = hold(*(amount * BASE_UNITS for amount in (1, 4, 2, 5, 3)))
    plan = select(held, pay(8 * BASE_UNITS), rate_per_kb=RATE, network=DOGE)
    assert [unspent.amount // BASE_UNITS for unspent in plan.inputs] == [5, 4]


def test_unconfirmed_change_is_touched_only_when_confirmed_outputs_do_not_suffice():
    confirmed = hold(3 * BASE_UNITS, 3 * BASE_UNITS)
    waiting = hold(50 * BASE_UNITS, depth=1)
    plan = select([*waiting, *confirmed], pay(5 * BASE_UNITS), rate_per_kb=RATE, network=DOGE)
    assert {unspent.depth for unspent in plan.inputs} == {0}
    plan = select([*waiting, *confirmed], pay(7 * BASE_UNITS), rate_per_kb=RATE, network=DOGE)
    assert {unspent.depth for unspent in plan.inputs} == {1}


def test_change_that_is_dust_goes_to_the_fee():
    size = estimate_size(1, [SCRIPT])
    paid = 5 * BASE_UNITS
    held = hold(paid + get_fee(size, RATE) + BASE_UNITS // 200)
    plan = select(held, pay(paid), rate_per_kb=RATE, network=DOGE)
    assert (plan.change, plan.fee) == (0, get_fee(size, RATE) + BASE_UNITS // 200)


def test_change_that_is_just_no_dust_is_kept():
    fee = get_fee(estimate_size(1, [SCRIPT, SCRIPT]), RATE)
    paid = 5 * BASE_UNITS
    kept = select(hold(paid + fee + DOGE.min_output), pay(paid), rate_per_kb=RATE, network=DOGE)
    assert (kept.change, kept.fee) == (DOGE.min_output, fee)
    lost = select(hold(paid + fee + DOGE.min_output - 1), pay(paid), rate_per_kb=RATE, network=DOGE)
    assert lost.change == 0


def test_an_output_that_is_exactly_enough_is_taken_without_change():
    fee = get_fee(estimate_size(1, [SCRIPT]), RATE)
    plan = select(hold(BASE_UNITS + fee), pay(BASE_UNITS), rate_per_kb=RATE, network=DOGE)
    assert (plan.change, plan.fee) == (0, fee)
    with pytest.raises(FundsShort):
        select(hold(BASE_UNITS + fee - 1), pay(BASE_UNITS), rate_per_kb=RATE, network=DOGE)


@pytest.mark.parametrize(
    "wanted", [[], pay(DOGE.min_output - 1), pay(BASE_UNITS, 0), pay(DOGE.max_money + 1)]
)
def test_payments_that_nodes_would_not_relay_are_refused(wanted):
    with pytest.raises(TransactionInvalid):
        select(hold(10**19), wanted, rate_per_kb=RATE, network=DOGE)


def test_an_estimate_beyond_measure_is_held_at_the_cap():
    plan = select(hold(100 * BASE_UNITS), pay(BASE_UNITS), rate_per_kb=10**15, network=DOGE)
    assert plan.fee == get_fee(plan.size, DOGE.fee_cap_per_kb)
    plan = select(hold(100 * BASE_UNITS), pay(BASE_UNITS), rate_per_kb=0, network=DOGE)
    assert plan.fee == get_fee(plan.size, DOGE.fee_floor_per_kb)


def test_no_transaction_pays_more_than_the_cap_of_its_network():
    network = get_network("BTC:main")
    held = hold(*[20 * network.fee_cap_per_kb] * 200)
    with pytest.raises(FeeTooHigh):
        sweep(held, SCRIPT, rate_per_kb=network.fee_cap_per_kb, network=network)


@given(unspents)
def test_a_sweep_moves_everything_that_is_worth_it(held):
    worth = [
        unspent
        for unspent in held
        if unspent.depth == 0 and unspent.amount > get_fee(INPUT_BYTES, RATE)
    ]
    try:
        plan = sweep(held, SCRIPT, rate_per_kb=RATE, network=DOGE)
    except FundsShort:
        fee = get_fee(estimate_size(len(worth), [SCRIPT]), RATE)
        assert sum(unspent.amount for unspent in worth) - fee < DOGE.min_output
        return
    assert sorted(plan.inputs, key=lambda one: one.outpoint) == worth
    assert plan.spent == plan.payments[0].amount + plan.fee
    assert plan.change == 0


def test_a_sweep_takes_the_250_smallest():
    amounts = [BASE_UNITS + number for number in range(300)]
    random.Random(1).shuffle(amounts)
    plan = sweep(hold(*amounts), SCRIPT, rate_per_kb=RATE, network=DOGE)
    assert [unspent.amount for unspent in plan.inputs] == sorted(amounts)[:MAX_INPUTS]


@given(unspents, payments, st.lists(rates, min_size=1, max_size=4))
def test_a_bump_pays_the_same_spends_no_less_and_costs_more(held, wanted, later_rates):
    try:
        plan = select(held, wanted, rate_per_kb=RATE, network=DOGE)
    except (FundsShort, FeeTooHigh):
        return
    variants = [plan]
    for rate in later_rates:
        try:
            variants.append(bump(variants[-1], held, rate_per_kb=rate, network=DOGE))
        except (FundsShort, FeeTooHigh):
            break
    for old, new in pairwise(variants):
        assert new.payments == plan.payments
        assert set(old.inputs) <= set(new.inputs)
        assert new.spent == sum(output.amount for output in wanted) + new.change + new.fee
        assert new.fee >= old.fee + get_fee(new.size, DOGE.fee_floor_per_kb)
        assert new.change == 0 or new.change >= DOGE.min_output


def test_a_bump_adds_inputs_when_the_change_does_not_carry_it():
    fee = get_fee(estimate_size(1, [SCRIPT]), RATE)
    held = hold(BASE_UNITS + fee, 7 * BASE_UNITS)
    plan = select(held[:1], pay(BASE_UNITS), rate_per_kb=RATE, network=DOGE)
    bumped = bump(plan, held, rate_per_kb=10 * RATE, network=DOGE)
    assert bumped.inputs == tuple(held)
    with pytest.raises(FundsShort):
        bump(plan, held[:1], rate_per_kb=10 * RATE, network=DOGE)
