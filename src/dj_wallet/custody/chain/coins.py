"""Which outputs of ours a payment spends, what goes back to us and what it costs. Pure, and the same for the same input.

Confirmed outputs come before our own unconfirmed change, the smallest single output that suffices before many, large
before small: few inputs, small fees, and the big outputs stay whole for the next payment.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from .errors import FeeTooHigh, FundsShort, TransactionInvalid
from .networks import Network
from .transactions import INPUT_BYTES, Outpoint, Output, estimate_size, get_fee

MAX_INPUTS: Final = 250
"""250 inputs are 37 kB: well within what nodes relay."""

CHANGE_SCRIPT_BYTES: Final = 25


@dataclass(frozen=True, slots=True)
class Unspent:
    """An output of ours that nothing spends yet."""

    outpoint: Outpoint
    amount: int
    depth: int = 0
    """How many unconfirmed transactions of ours it stands on: 0 is confirmed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a transaction spends, pays and costs: inputs = payments + change + fee, exactly."""

    inputs: tuple[Unspent, ...]
    payments: tuple[Output, ...]
    change: int
    """Goes to an address of ours; 0 means that there is no such output."""
    fee: int
    size: int
    """Of the signed transaction, at most."""

    @property
    def spent(self) -> int:
        return sum(unspent.amount for unspent in self.inputs)


def select(
    unspents: Iterable[Unspent], payments: Sequence[Output], *, rate_per_kb: int, network: Network
) -> Plan:
    """Return how to make the payments at this rate.

    :raises FundsShort: the unspent outputs do not carry payments and fee, or only with more than 250 inputs
    :raises FeeTooHigh: the fee passes the network's cap
    :raises TransactionInvalid: a payment that is dust, or more than any payment can be
    """
    payments = _check_payments(payments, network)
    rate = _clamp_rate(rate_per_kb, network)
    ordered = sorted(unspents, key=_by_depth)
    reach: list[Unspent] = []
    for _, tier in groupby(ordered, key=lambda unspent: unspent.depth):
        reach += tier
        plan = _select_within(reach, payments, rate, network)
        if plan is not None:
            return plan
    raise FundsShort("The hot wallet's outputs do not carry this payment and its fee.")


def sweep(
    unspents: Iterable[Unspent], script: bytes, *, rate_per_kb: int, network: Network
) -> Plan:
    """Return how to send up to 250 confirmed outputs, the smallest first, to one script: a consolidation, or cold storage.

    Outputs that cost more than they bring stay.

    :raises FundsShort: nothing is worth sweeping
    :raises FeeTooHigh: the fee passes the network's cap
    """
    rate = _clamp_rate(rate_per_kb, network)
    cost = get_fee(INPUT_BYTES, rate)
    worth = [unspent for unspent in unspents if unspent.depth == 0 and unspent.amount > cost]
    inputs = tuple(
        sorted(worth, key=lambda unspent: (unspent.amount, unspent.outpoint))[:MAX_INPUTS]
    )
    size = estimate_size(len(inputs), [script])
    fee = get_fee(size, rate)
    amount = sum(unspent.amount for unspent in inputs) - fee
    if amount < network.min_output:
        raise FundsShort("There is nothing that is worth sweeping.")
    return _check_fee(Plan(inputs, (Output(amount, script),), 0, fee, size), network)


def bump(plan: Plan, unspents: Iterable[Unspent], *, rate_per_kb: int, network: Network) -> Plan:
    """Return the plan with a higher fee: same payments, all of its inputs, less change, more inputs if it must.

    It spends all that the old one spends, so only one of the two can ever be mined. It pays more than the old one by
    what nodes ask for relaying it again.

    :raises FundsShort: change and further outputs do not carry the higher fee
    :raises FeeTooHigh: the fee passes the network's cap
    """
    rate = _clamp_rate(rate_per_kb, network)
    taken = {unspent.outpoint for unspent in plan.inputs}
    others = sorted(
        (unspent for unspent in unspents if unspent.depth == 0 and unspent.outpoint not in taken),
        key=_by_depth,
    )
    inputs = list(plan.inputs)
    while True:
        bumped = _settle(inputs, plan.payments, rate, network, least=plan)
        if bumped is not None:
            return _check_fee(bumped, network)
        if not others or len(inputs) == MAX_INPUTS:
            raise FundsShort("Nothing is left that a higher fee could be paid from.")
        inputs.append(others.pop(0))


def _select_within(
    reach: Sequence[Unspent], payments: tuple[Output, ...], rate: int, network: Network
) -> Plan | None:
    scripts = [payment.script for payment in payments]
    needed = sum(payment.amount for payment in payments) + get_fee(estimate_size(1, scripts), rate)
    sufficing = [unspent for unspent in reach if unspent.amount >= needed]
    if sufficing:
        best = min(sufficing, key=lambda unspent: (unspent.depth, unspent.amount, unspent.outpoint))
        plan = _settle([best], payments, rate, network)
        if plan is not None:
            return _check_fee(plan, network)
    inputs: list[Unspent] = []
    for unspent in sorted(reach, key=_by_depth)[:MAX_INPUTS]:
        inputs.append(unspent)
        plan = _settle(inputs, payments, rate, network)
        if plan is not None:
            return _check_fee(plan, network)
    return None


def _settle(
    inputs: Sequence[Unspent],
    payments: tuple[Output, ...],
    rate: int,
    network: Network,
    least: Plan | None = None,
) -> Plan | None:
    """Return the plan with exactly these inputs, or None if they do not suffice."""
    left = sum(unspent.amount for unspent in inputs) - sum(payment.amount for payment in payments)
    scripts = [payment.script for payment in payments]
    size = estimate_size(len(inputs), [*scripts, bytes(CHANGE_SCRIPT_BYTES)])
    fee = _get_least_fee(size, rate, network, least)
    if left - fee >= network.min_output:
        return Plan(tuple(inputs), payments, left - fee, fee, size)
    size = estimate_size(len(inputs), scripts)
    if left >= _get_least_fee(size, rate, network, least):
        return Plan(tuple(inputs), payments, 0, left, size)
    return None


def _get_least_fee(size: int, rate: int, network: Network, least: Plan | None) -> int:
    fee = get_fee(size, rate)
    if least is None:
        return fee
    return max(fee, least.fee + get_fee(size, network.fee_floor_per_kb))


def _check_payments(payments: Sequence[Output], network: Network) -> tuple[Output, ...]:
    if not payments:
        raise TransactionInvalid("There is nothing to pay.")
    for payment in payments:
        if payment.amount < network.min_output:
            raise TransactionInvalid("The payment is dust: nodes would not relay it.")
    if sum(payment.amount for payment in payments) > network.max_money:
        raise TransactionInvalid("The payments are larger than any payment can be.")
    return tuple(payments)


def _check_fee(plan: Plan, network: Network) -> Plan:
    if plan.fee > network.max_fee:
        raise FeeTooHigh(f"The fee of {plan.fee} base units passes the cap of {network.max_fee}.")
    return plan


def _clamp_rate(rate_per_kb: int, network: Network) -> int:
    """Return the rate within floor and cap: estimates of nodes are hints."""
    return min(max(rate_per_kb, network.fee_floor_per_kb), network.fee_cap_per_kb)


def _by_depth(unspent: Unspent) -> tuple[int, int, Outpoint]:
    return unspent.depth, -unspent.amount, unspent.outpoint
