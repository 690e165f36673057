"""An auction, its bids, and the sale that goes through escrow: what bidders, seller and house see at each moment."""

from decimal import Decimal

import pytest

from dj_wallet.exceptions import EscrowStateInvalid, HoldExceeded, InsufficientFunds
from dj_wallet.hold_queries import explain_hold, explain_locked
from dj_wallet.ledger.accounts import system_account
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.queries import explain_balance, get_balance, list_trial_balances
from dj_wallet.services.escrow import convert_hold, dispute_escrow, release_escrow, resolve_escrow
from dj_wallet.services.holds import release_hold

pytestmark = pytest.mark.django_db

AUCTION = {"reference_type": "auction", "reference_id": "violin"}


def held(person):
    wallet = person.wallet
    return wallet.balance, wallet.locked_balance


def test_alice_outbids_charlie_and_bob_is_paid_for_the_violin(alice, bob, charlie):
    # Bob sells a violin. Charlie bids 300; Alice has 1000 and bids 350, in two calls: she raised her bid by 50.
    alice.deposit(1000)
    charlie.deposit(320)
    charlies = charlie.hold(300, idempotency_key="bid-1", **AUCTION)
    alices = alice.hold(300, idempotency_key="bid-2", **AUCTION)
    alices = alice.hold(350, is_total=True, idempotency_key="bid-3", **AUCTION)
    assert (held(alice), held(charlie)) == ((650, 350), (20, 300))

    # The auction house hears twice that Charlie was outbid. He gets his money back once.
    for _ in range(2):
        release_hold(charlies, idempotency_key="outbid-1")
    assert held(charlie) == (320, 0)

    # He would like to win after all, but has too little.
    with pytest.raises(InsufficientFunds):
        charlie.hold(360, **AUCTION)
    assert held(charlie) == (320, 0)

    # The hammer falls at 280, Alice's second price. What she held beyond it is free again.
    with pytest.raises(HoldExceeded):
        convert_hold(alices, seller=bob.wallet, order_id="violin-1", amount=351)
    escrow = convert_hold(
        alices,
        seller=bob.wallet,
        order_id="violin-1",
        amount=280,
        fee_amount=14,
        idempotency_key="hammer",
    )
    assert held(alice) == (720, 280)
    assert [(one.kind, one.amount) for one in explain_locked(alice.wallet)] == [("escrow", 280)]
    steps = [(step.action, step.amount) for step in explain_hold(alices)]
    assert steps == [("placed", 300), ("placed", 50), ("released", 70), ("converted", 280)]

    # The violin arrives. Bob is credited with the price and pays the house its 5 %. A second click changes nothing.
    release_escrow(escrow, idempotency_key="arrived")
    assert release_escrow(escrow, idempotency_key="arrived").replayed
    with pytest.raises(EscrowStateInvalid):
        dispute_escrow(escrow)
    assert (held(alice), held(bob)) == ((720, 0), (266, 0))
    assert [
        (line.entry_type, line.credit - line.debit) for line in explain_balance(bob.wallet.pk)
    ] == [
        ("SALE_CREDIT", 280),
        ("FEE_DEBIT", -14),
    ]

    # The books: 1320 came in, and every cent of it is somewhere.
    assert get_balance(system_account("fees", "USD")) == 14
    assert [row.difference for row in list_trial_balances()] == [0]
    assert audit_ledger().is_clean


def test_a_violin_that_arrives_broken_is_settled_between_the_two(alice, bob):
    alice.deposit(280)
    hold = alice.hold(280, **AUCTION)
    escrow = convert_hold(hold, seller=bob.wallet, order_id="violin-2", fee_amount=14)

    # A string is broken. Nobody gets the money until somebody has decided.
    dispute_escrow(escrow, reason="a broken string")
    with pytest.raises(EscrowStateInvalid):
        release_escrow(escrow)
    assert (held(alice), held(bob)) == ((0, 280), (0, 0))

    # The arbiter gives Alice 80 for the repair. Bob's fee shrinks with his share: 14 * 200 / 280.
    resolve_escrow(escrow, seller_amount=200, buyer_amount=80)
    assert (held(alice), held(bob)) == ((80, 0), (190, 0))
    assert escrow.fee_charged == Decimal(10)
    assert audit_ledger().is_clean
