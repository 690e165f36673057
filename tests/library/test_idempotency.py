"""One key, one fact: the same call again gives the first record, anything else conflicts."""

from itertools import permutations

import pytest
from django.db import transaction

from dj_wallet.exceptions import IdempotencyConflict, InsufficientFunds, MovementInvalid
from dj_wallet.ledger.engine import Kind
from dj_wallet.ledger.post import post_one
from dj_wallet.models import Transaction
from dj_wallet.services import WalletService
from dj_wallet.services.movements import OUTSIDE, Request, move_many
from tests.ledger.worlds import transfer_entry, undone

pytestmark = pytest.mark.django_db

CALLS = {
    "deposit": lambda me, other, amount, key: me.deposit(amount, idempotency_key=key),
    "withdraw": lambda me, other, amount, key: me.withdraw(amount, idempotency_key=key),
    "pending deposit": lambda me, other, amount, key: me.deposit(
        amount, confirmed=False, idempotency_key=key
    ),
    "pending withdrawal": lambda me, other, amount, key: me.withdraw(
        amount, confirmed=False, idempotency_key=key
    ),
    "transfer": lambda me, other, amount, key: me.transfer(other, amount, idempotency_key=key),
    "transfer back": lambda me, other, amount, key: other.transfer(me, amount, idempotency_key=key),
    "deposit of another": lambda me, other, amount, key: other.deposit(amount, idempotency_key=key),
    "deposit from elsewhere": lambda me, other, amount, key: me.deposit(
        amount, source="external:bank", idempotency_key=key
    ),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


@pytest.fixture
def pair(alice, bob):
    alice.deposit(100)
    bob.deposit(100)
    return alice, bob


@every_call
def test_a_repeated_call_gives_the_first_record_and_moves_nothing(pair, call, snapshot):
    first = call(*pair, 5, "k")
    assert first.replayed is False
    before = snapshot()
    again = call(*pair, "5.00", "k")
    assert again == first
    assert again.replayed is True
    assert again.idempotency_key == "k"
    assert snapshot() == before


@every_call
def test_the_same_key_with_another_amount_conflicts(pair, call, snapshot):
    call(*pair, 5, "k")
    before = snapshot()
    with pytest.raises(IdempotencyConflict):
        call(*pair, 6, "k")
    assert snapshot() == before


@pytest.mark.parametrize(("first", "second"), list(permutations(CALLS, 2)))
def test_the_same_key_for_another_call_conflicts(pair, first, second, snapshot):
    record = CALLS[first](*pair, 5, "k")
    before = snapshot()
    with transaction.atomic():
        try:
            found = CALLS[second](*pair, 5, "k")
        except IdempotencyConflict:
            pass
        else:
            # A pending call finds the record of the same movement, which is done already.
            assert found == record
            assert found.replayed
            assert second in {"pending deposit", "pending withdrawal"}
        assert snapshot() == before


@pytest.mark.parametrize("end", ["confirm_transaction", "reject_transaction"])
@pytest.mark.parametrize("verb", ["deposit", "withdraw"])
def test_the_key_of_a_pending_record_stays_its_own(pair, verb, end, snapshot):
    alice, _ = pair
    record = getattr(alice, verb)(5, confirmed=False, idempotency_key="k")
    getattr(WalletService, end)(record)
    before = snapshot()
    with transaction.atomic(), pytest.raises(IdempotencyConflict):
        getattr(alice, verb)(5, idempotency_key="k")
    again = getattr(alice, verb)(5, confirmed=False, idempotency_key="k")
    assert again == record
    assert again.replayed
    assert again.status == {"confirm_transaction": "completed"}.get(end, "failed")
    assert snapshot() == before


def test_the_key_of_a_pending_record_stays_its_own_in_a_bulk_call(pair, snapshot):
    alice, _ = pair
    for number, end in enumerate((None, "confirm_transaction", "reject_transaction")):
        record = alice.deposit(5, confirmed=False, idempotency_key=f"k{number}")
        if end:
            getattr(WalletService, end)(record)
    before = snapshot()
    requests = [
        Request(Kind.DEPOSIT, OUTSIDE, alice.wallet, 5, idempotency_key=f"k{number}")
        for number in range(3)
    ]
    outcomes = move_many(requests, sender=WalletService)
    assert [type(outcome) for outcome in outcomes] == [IdempotencyConflict] * 3
    assert snapshot() == before


def test_a_key_used_in_the_ledger_is_not_free_for_a_record(pair, snapshot):
    alice, _ = pair
    post_one(transfer_entry(OUTSIDE, alice.wallet, 5, key="k")._replace(kind=Kind.DEPOSIT))
    before = snapshot()
    for confirmed in (True, False):
        with pytest.raises(IdempotencyConflict):
            alice.deposit(5, confirmed=confirmed, idempotency_key="k")
    assert snapshot() == before


def test_other_meta_does_not_make_another_fact(pair):
    alice, _ = pair
    alice.deposit(5, {"note": "first"}, idempotency_key="k")
    assert alice.deposit(5, {"note": "second"}, idempotency_key="k").meta == {"note": "first"}


def test_a_refused_call_does_not_use_up_its_key(pair):
    alice, _ = pair
    with pytest.raises(InsufficientFunds):
        alice.withdraw(1000, idempotency_key="k")
    alice.deposit(900)
    assert alice.withdraw(1000, idempotency_key="k").replayed is False
    assert alice.balance == 0


def test_a_call_that_was_rolled_back_does_not_use_up_its_key(pair):
    alice, _ = pair
    with undone():
        alice.deposit(5, idempotency_key="k")
    assert alice.deposit(6, idempotency_key="k").replayed is False
    assert alice.balance == 106


def test_a_replay_succeeds_although_the_wallet_is_frozen_now(pair):
    alice, bob = pair
    first = alice.transfer(bob, 5, idempotency_key="k")
    alice.freeze_wallet()
    assert alice.transfer(bob, 5, idempotency_key="k") == first


def test_calls_without_a_key_are_never_replays(pair):
    alice, _ = pair
    assert alice.deposit(5) != alice.deposit(5)
    assert alice.balance == 110


@pytest.mark.parametrize("key", ["", "k" * 256, "a\x00b", "\ud800", 5, b"k"])
@pytest.mark.parametrize("confirmed", [True, False])
def test_a_key_that_cannot_be_kept_is_refused(pair, key, confirmed, snapshot):
    alice, _ = pair
    before = snapshot()
    with transaction.atomic(), pytest.raises(MovementInvalid):
        alice.deposit(5, confirmed=confirmed, idempotency_key=key)
    assert snapshot() == before


def test_the_longest_key_is_kept(pair):
    alice, _ = pair
    key = "é" * 255
    record = alice.deposit(5, idempotency_key=key)
    assert Transaction.objects.get(idempotency_key=key) == record
    assert alice.deposit(5, idempotency_key=key).replayed
