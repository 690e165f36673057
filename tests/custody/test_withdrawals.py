"""Withdrawals: asked for, planned, signed, sent, confirmed. The money is always in exactly one place."""

from decimal import Decimal

import pytest
from django.db import transaction

from dj_wallet.custody.errors import (
    ApprovalRefused,
    BelowMinimum,
    DestinationInvalid,
    DestinationIsInternal,
    DestinationOfOtherNetwork,
    PolicyDenied,
    ReplacementRefused,
    WithdrawalsFrozen,
    WithdrawalsPaused,
)
from dj_wallet.custody.models import AllowedAddress, Chain, ChainTransaction, WithdrawalRequest
from dj_wallet.custody.services.spending import (
    ask_again,
    bump_withdrawal,
    plan_next_withdrawal,
    plan_sweep,
)
from dj_wallet.custody.services.withdrawals import (
    allow_address,
    approve_withdrawal,
    cancel_withdrawal,
    fail_withdrawal,
    request_withdrawal,
)
from dj_wallet.identity.models import User
from dj_wallet.ledger.errors import (
    AmountInvalid,
    IdempotencyConflict,
    InsufficientFunds,
    TransactionAlreadyProcessed,
    WalletFrozen,
)
from dj_wallet.models import Transaction
from dj_wallet.services.common import WalletService
from tests.custody.conftest import DOGE, get_address, list_events, look, system_balance, withdraw

pytestmark = pytest.mark.django_db

FEE = Decimal("0.00374")


def status(withdrawal: WithdrawalRequest) -> str:
    withdrawal.refresh_from_db()
    return str(withdrawal.status)


def test_a_withdrawal_goes_its_way(world, rich):
    withdrawal = withdraw(rich, world.outside)
    assert (withdrawal.status, withdrawal.fee) == ("PENDING", FEE)
    assert look(rich) == (90 - FEE, 10 + FEE)
    assert plan_next_withdrawal(DOGE) == withdrawal
    assert status(withdrawal) == "PROCESSING"
    world.sign()
    assert status(withdrawal) == "PROCESSING"
    world.send()
    assert status(withdrawal) == "BROADCAST"
    assert withdrawal.txid in world.chain.mempool
    world.mine(5)
    assert (status(withdrawal), look(rich)) == ("BROADCAST", (90 - FEE, 10 + FEE))
    world.check_books()
    world.mine()
    assert (status(withdrawal), look(rich)) == ("CONFIRMED", (90 - FEE, 0))
    network_fee = ChainTransaction.objects.get().network_fee
    assert (system_balance("fees"), system_balance("network_fees")) == (FEE, -network_fee)
    assert system_balance("external:chain:DOGE") == -(90 - network_fee)
    record = Transaction.objects.get(type="withdraw")
    assert (record.status, record.amount, record.meta["txid"]) == (
        "completed",
        10,
        withdrawal.txid,
    )
    assert list_events("withdrawal.requested", "withdrawal.broadcast", "withdrawal.confirmed") == [
        "withdrawal.requested",
        "withdrawal.broadcast",
        "withdrawal.confirmed",
    ]
    world.check_books()


def test_the_fee_can_be_taken_out_of_the_amount(world, rich):
    withdrawal = withdraw(rich, world.outside, "100", subtract_fee=True)
    assert (withdrawal.amount, withdrawal.fee) == (100 - FEE, FEE)
    assert look(rich) == (0, 100)


def test_a_repeated_request_is_one_withdrawal(world, rich):
    first, second = (
        request_withdrawal(
            wallet=rich, network=DOGE, amount="10", address=world.outside, idempotency_key="k"
        )
        for _ in range(2)
    )
    assert (first[1], second) == (False, (first[0], True))
    assert look(rich) == (90 - FEE, 10 + FEE)


def test_a_repeated_request_is_answered_though_withdrawals_are_frozen_and_fees_rose(world, rich):
    first = withdraw(rich, world.outside, subtract_fee=True, idempotency_key="k")
    Chain.objects.update(frozen_because="a test", fee_rate_per_kb=1)
    assert withdraw(rich, world.outside, subtract_fee=True, idempotency_key="k") == first


@pytest.mark.parametrize(
    "other",
    [{"amount": "11"}, {"subtract_fee": True}, {"address": "moneyqMan7uh8FqdCA2BV5yZ8qVrc9ikLP"}],
)
def test_a_key_stands_for_one_request(world, rich, snapshot, other):
    given = {"wallet": rich, "network": DOGE, "amount": "10", "address": world.outside}
    request_withdrawal(**given, idempotency_key="k")
    before = snapshot()
    with pytest.raises(IdempotencyConflict):
        request_withdrawal(**{**given, **other}, idempotency_key="k")
    assert snapshot() == before


@pytest.mark.parametrize(
    ("amount", "refusal"),
    [
        ("0", AmountInvalid),
        ("-1", AmountInvalid),
        ("1e-9", AmountInvalid),
        ("0.000000001", AmountInvalid),
        ("NaN", AmountInvalid),
        ("Infinity", AmountInvalid),
        ("0.99", BelowMinimum),
        ("100", InsufficientFunds),
        ("10000000001", AmountInvalid),
    ],
)
def test_amounts_that_cannot_leave_are_refused(world, rich, snapshot, amount, refusal):
    before = snapshot()
    with pytest.raises(refusal):
        withdraw(rich, world.outside, amount)
    assert snapshot() == before


@pytest.mark.parametrize(
    ("address", "refusal"),
    [
        ("", DestinationInvalid),
        ("nonsense", DestinationInvalid),
        ("DBus3bamQjgJULBJtYXpEzDWQRwF5iwxgC", DestinationOfOtherNetwork),
        ("1LqBGSKuX5yYUonjxT5qGfpUsXKYYWeabA", DestinationOfOtherNetwork),
        ("bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu", DestinationOfOtherNetwork),
        ("DBus3bamQjgJULBJtYXpEzDWQRwF5iwxgD", DestinationInvalid),
    ],
)
def test_destinations_that_would_lose_the_money_are_refused(
    world, rich, snapshot, address, refusal
):
    before = snapshot()
    with pytest.raises(refusal):
        withdraw(rich, address)
    assert snapshot() == before


def test_an_address_of_ours_is_no_destination(world, rich, bob, snapshot):
    address, before = get_address(bob), snapshot()
    with pytest.raises(DestinationIsInternal):
        withdraw(rich, address)
    assert snapshot() == before


def test_a_frozen_wallet_withdraws_nothing(world, rich, snapshot):
    rich.freeze()
    before = snapshot()
    with pytest.raises(WalletFrozen):
        withdraw(rich, world.outside)
    assert snapshot() == before


def test_a_refusal_leaves_the_callers_transaction_usable(world, rich):
    with transaction.atomic():
        with pytest.raises(InsufficientFunds):
            withdraw(rich, world.outside, "1000")
        withdraw(rich, world.outside)
    assert WithdrawalRequest.objects.count() == 1
    assert Transaction.objects.filter(type="withdraw").count() == 1


@pytest.mark.parametrize(
    ("policy", "refusal"),
    [
        ({"frozen_because": "a test"}, WithdrawalsFrozen),
        ({"is_paused": True}, WithdrawalsPaused),
        ({"pause_below": 101}, WithdrawalsPaused),
        ({"max_withdrawal": 9}, PolicyDenied),
        ({"daily_limit": 9}, PolicyDenied),
        ({"hourly_count": 0}, PolicyDenied),
        ({"only_allowed_addresses": True}, PolicyDenied),
    ],
)
def test_what_the_policy_forbids_does_not_move(world, rich, snapshot, policy, refusal):
    Chain.objects.update(**policy)
    before = snapshot()
    with pytest.raises(refusal):
        withdraw(rich, world.outside)
    assert snapshot() == before


def test_the_limit_of_a_day_counts_what_left_and_not_what_failed(world, rich):
    Chain.objects.update(daily_limit=20)
    cancel_withdrawal(withdrawal_id=withdraw(rich, world.outside, "15").pk)
    withdraw(rich, world.outside, "15")
    with pytest.raises(PolicyDenied):
        withdraw(rich, world.outside, "6")
    withdraw(rich, world.outside, "5")


def test_an_allowed_address_can_be_used_after_its_cooling_off(world, rich):
    Chain.objects.update(only_allowed_addresses=True)
    allow_address(wallet=rich, network=DOGE, address=world.outside)
    with pytest.raises(PolicyDenied):
        withdraw(rich, world.outside)
    AllowedAddress.objects.update(usable_at="2020-01-01T00:00:00Z")
    assert allow_address(wallet=rich, network=DOGE, address=world.outside).usable_at.year == 2020
    withdraw(rich, world.outside)


# Four eyes


@pytest.fixture
def staff(db) -> list[User]:
    return [User.objects.create(username=f"staff{number}", is_staff=True) for number in range(3)]


def test_a_large_withdrawal_waits_for_its_approvals(world, rich, staff):
    Chain.objects.update(approval_above=5, required_approvals=2)
    withdrawal = withdraw(rich, world.outside)
    assert withdrawal.hold_reason == "awaits_approval"
    world.work()
    assert status(withdrawal) == "PENDING"
    approve_withdrawal(withdrawal_id=withdrawal.pk, approver=staff[0])
    world.work()
    assert status(withdrawal) == "PENDING"
    approve_withdrawal(withdrawal_id=withdrawal.pk, approver=staff[1])
    world.work()
    assert status(withdrawal) == "BROADCAST"
    with pytest.raises(ApprovalRefused):
        approve_withdrawal(withdrawal_id=withdrawal.pk, approver=staff[2])


def test_nobody_approves_twice_nor_their_own(world, rich, staff):
    Chain.objects.update(approval_above=5, required_approvals=2)
    withdrawal = withdraw(rich, world.outside)
    holder = rich.holder
    with pytest.raises(ApprovalRefused):
        approve_withdrawal(withdrawal_id=withdrawal.pk, approver=holder)
    holder.is_staff = True
    holder.save()
    approve_withdrawal(withdrawal_id=withdrawal.pk, approver=staff[0])
    for approver in (holder, staff[0]):
        with pytest.raises(ApprovalRefused):
            approve_withdrawal(withdrawal_id=withdrawal.pk, approver=approver)
    world.work()
    assert status(withdrawal) == "PENDING"


# What is given up


def test_a_withdrawal_that_waits_can_be_cancelled(world, rich):
    withdrawal = withdraw(rich, world.outside)
    cancel_withdrawal(withdrawal_id=withdrawal.pk)
    assert (status(withdrawal), withdrawal.failure_code) == ("FAILED", "cancelled")
    assert look(rich) == (100, 0)
    assert Transaction.objects.get(type="withdraw").status == "failed"
    world.work()
    assert ChainTransaction.objects.count() == 0
    world.check_books()


def test_a_withdrawal_that_is_being_sent_cannot_be_given_up(world, rich, snapshot):
    withdrawal = withdraw(rich, world.outside)
    plan_next_withdrawal(DOGE)
    with pytest.raises(TransactionAlreadyProcessed):
        cancel_withdrawal(withdrawal_id=withdrawal.pk)
    world.sign()
    before = snapshot()
    with pytest.raises(TransactionAlreadyProcessed):
        fail_withdrawal(withdrawal_id=withdrawal.pk, failure_code="refused")
    with pytest.raises(TransactionAlreadyProcessed):
        WalletService.reject_transaction(withdrawal.transaction)
    assert snapshot() == before


def test_what_the_signer_refuses_can_be_given_back_once(world, rich):
    world.limits = world.limits.__class__(1, 1, frozenset())
    withdrawal = withdraw(rich, world.outside)
    world.work()
    assert (status(withdrawal), withdrawal.hold_reason) == ("PROCESSING", "refused_by_signer")
    assert list_events("withdrawal.refused_by_signer") == ["withdrawal.refused_by_signer"]
    fail_withdrawal(withdrawal_id=withdrawal.pk, failure_code="limit")
    with pytest.raises(TransactionAlreadyProcessed):
        fail_withdrawal(withdrawal_id=withdrawal.pk, failure_code="limit")
    assert look(rich) == (100, 0)
    world.check_books()


@pytest.mark.parametrize("when", ["before it is planned", "before it is signed"])
@pytest.mark.parametrize(
    "change",
    [
        {"destination_address": "moneyqMan7uh8FqdCA2BV5yZ8qVrc9ikLP"},
        {"amount": Decimal("11")},
        {"max_network_fee": Decimal("40")},
    ],
)
def test_a_row_that_was_changed_behind_our_back_is_not_signed(world, rich, when, change):
    """Pitfall 38: whoever can write to the database cannot write a seal."""
    withdrawal = withdraw(rich, world.outside)
    if when == "before it is signed":
        plan_next_withdrawal(DOGE)
    WithdrawalRequest.objects.update(**change)
    world.work()
    assert (status(withdrawal), withdrawal.hold_reason) == ("PROCESSING", "refused_by_signer")
    assert ChainTransaction.objects.get().raw is None
    assert world.chain.mempool == {}


# Outputs


def test_an_output_is_spent_by_one_withdrawal(world, rich):
    first, second = withdraw(rich, world.outside), withdraw(rich, world.outside)
    while plan_next_withdrawal(DOGE):
        pass
    assert (status(first), status(second)) == ("PROCESSING", "PENDING")
    assert second.hold_reason == "awaits_funds"
    world.sign()
    world.send()
    world.work()
    assert status(second) == "BROADCAST"
    world.mine(6)
    assert (status(first), status(second)) == ("CONFIRMED", "CONFIRMED")
    world.check_books()


def test_change_is_not_built_on_too_deep(world, rich):
    """Pitfall 41: nodes keep chains of 25 unconfirmed transactions."""
    withdrawals = [withdraw(rich, world.outside, "1") for _ in range(12)]
    for _ in range(12):
        world.work()
    assert [status(one) for one in withdrawals] == ["BROADCAST"] * 10 + ["PENDING"] * 2
    world.mine(6)
    for _ in range(2):
        world.work()
    world.mine(6)
    assert {status(one) for one in withdrawals} == {"CONFIRMED"}
    world.check_books()


def test_change_below_the_smallest_useful_output_goes_to_the_fee(world, rich):
    """Pitfall 23."""
    world.pay((get_address(rich), "20"))
    world.mine(6)
    withdrawal = withdraw(rich, world.outside, "19.99")
    world.work()
    sent = ChainTransaction.objects.get()
    assert (sent.change_amount, sent.network_fee) == (0, Decimal("0.01"))
    world.mine(6)
    assert status(withdrawal) == "CONFIRMED"
    world.check_books()


# Replacements


def test_a_replacement_pays_once_and_costs_the_user_nothing(world, rich):
    withdrawal = withdraw(rich, world.outside)
    world.work()
    first = withdrawal_txid(withdrawal)
    bump_withdrawal(withdrawal_id=withdrawal.pk, rate_per_kb=Decimal("0.05"))
    world.work()
    second = ChainTransaction.objects.order_by("pk").last()
    assert second.txid in world.chain.mempool
    assert first not in world.chain.mempool
    world.mine(6)
    assert (status(withdrawal), withdrawal.txid) == ("CONFIRMED", second.txid)
    assert look(rich) == (90 - FEE, 0)
    assert system_balance("network_fees") == -second.network_fee
    world.check_books()


def test_the_first_of_two_may_be_mined_after_all(world, rich):
    """Pitfall 21: any form of it settles the withdrawal."""
    withdrawal = withdraw(rich, world.outside)
    world.work()
    first = ChainTransaction.objects.get()
    bump_withdrawal(withdrawal_id=withdrawal.pk, rate_per_kb=Decimal("0.05"))
    world.work()
    world.mine()
    world.chain.fall_behind(1)
    world.chain.send(bytes(first.raw))
    world.mine(8)
    assert (status(withdrawal), withdrawal.txid) == ("CONFIRMED", first.txid)
    assert system_balance("network_fees") == -first.network_fee
    world.check_books()


@pytest.mark.parametrize("when", ["unsent", "mined", "above the cap"])
def test_what_cannot_be_replaced_is_not(world, rich, rows, when):
    withdrawal = withdraw(rich, world.outside)
    if when != "unsent":
        world.work()
    if when == "mined":
        world.mine()
    before = rows()
    rate = Decimal("1000000" if when == "above the cap" else "0.05")
    Chain.objects.update(fee_rate_per_kb=1)
    WithdrawalRequest.objects.update(max_network_fee="0.01")
    with pytest.raises(ReplacementRefused):
        bump_withdrawal(withdrawal_id=withdrawal.pk, rate_per_kb=rate)
    assert rows() == before


def withdrawal_txid(withdrawal: WithdrawalRequest) -> str:
    withdrawal.refresh_from_db()
    return withdrawal.txid or ""


# Cold storage


def test_a_sweep_goes_to_cold_storage_and_to_nothing_else(world, rich):
    Chain.objects.update(cold_address=world.outside)
    swept = plan_sweep(DOGE)
    assert plan_sweep(DOGE) is None
    world.sign()
    swept.refresh_from_db()
    assert swept.status == "refused"  # the signer knows no cold address of its own
    world.limits = world.limits.__class__(10**15, 10**15, frozenset([world.outside]))
    ask_again(swept.pk)
    world.sign()
    world.send()
    world.mine(6)
    assert look(rich) == (100, 0)
    assert system_balance("cold_storage") == -swept.amount
    assert system_balance("external:chain:DOGE") == 0
    world.check_books()
