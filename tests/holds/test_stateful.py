"""Random sequences of everything that can be done with holds and escrows, against a model of a few numbers."""

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from dj_wallet.exceptions import (
    EscrowStateInvalid,
    HoldEnded,
    HoldExceeded,
    HoldExpired,
    IdempotencyConflict,
    InsufficientFunds,
    MovementInvalid,
    WalletFrozen,
)
from dj_wallet.hold_queries import explain_locked
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.models import Account
from dj_wallet.ledger.queries import get_balance
from dj_wallet.models import Escrow, Hold, Posting
from dj_wallet.services.escrow import (
    convert_hold,
    dispute_escrow,
    open_escrow,
    refund_escrow,
    release_escrow,
    resolve_escrow,
)
from dj_wallet.services.holds import expire_due_holds, place_hold, release_hold, settle_hold
from tests.depth import examples
from tests.testapp.models import Person

NAMES = ("alice", "bob", "charlie")
PEOPLE = st.sampled_from(NAMES)
REFERENCES = st.sampled_from(["1", "2"])
AMOUNTS = st.integers(1, 8000).map(lambda cents: Decimal(cents).scaleb(-2))
UNIT = Decimal("0.00000001")


@dataclass
class Lock:
    """What the model knows of a hold."""

    owner: str
    reference: str
    remaining: Decimal
    pk: int = 0
    is_due: bool = False


@dataclass
class Sale:
    """What the model knows of an escrow."""

    buyer: str
    seller: str
    amount: Decimal
    fee: Decimal
    pk: int
    status: str = "LOCKED"


@dataclass
class Purse:
    available: Decimal = Decimal(0)
    locked: Decimal = Decimal(0)


@dataclass
class Model:
    purses: dict[str, Purse] = field(default_factory=lambda: {name: Purse() for name in NAMES})
    fees: Decimal = Decimal(0)
    frozen: set[str] = field(default_factory=set)


class LockedMoney(RuleBasedStateMachine):
    holds = Bundle("holds")
    escrows = Bundle("escrows")

    def __init__(self):
        super().__init__()
        self.savepoint = transaction.atomic()
        self.savepoint.__enter__()
        self.people = {name: Person.objects.create(name=name) for name in NAMES}
        self.wallets = {name: person.get_wallet() for name, person in self.people.items()}
        self.model = Model()
        self.open: dict[tuple[str, str], Lock] = {}
        self.orders = 0
        self.keys: list[Any] = []

    def teardown(self):
        try:
            problems = audit_ledger().problems
        finally:
            transaction.set_rollback(True)
            self.savepoint.__exit__(None, None, None)
        assert problems == []

    def attempt(self, call, *refusals):
        """Call and expect the first of the refusals that holds; return None then, and nothing was posted."""
        expected = [refusal for is_refused, refusal in refusals if is_refused]
        before = Posting.objects.count(), Hold.objects.count(), Escrow.objects.count()
        if not expected:
            return call()
        with pytest.raises(tuple(expected)):
            call()
        assert before == (Posting.objects.count(), Hold.objects.count(), Escrow.objects.count())
        return None

    def lock(self, name, amount):
        purse = self.model.purses[name]
        purse.available -= amount
        purse.locked += amount

    def lacks(self, name, amount):
        return self.model.purses[name].available < amount

    def is_frozen(self, *names):
        return any(name in self.model.frozen for name in names)

    # Wallets

    @rule(name=PEOPLE, amount=AMOUNTS)
    def deposit(self, name, amount):
        if not self.is_frozen(name):
            self.people[name].deposit(amount)
            self.model.purses[name].available += amount

    @rule(name=PEOPLE, amount=AMOUNTS)
    def withdraw(self, name, amount):
        done = self.attempt(
            lambda: self.people[name].withdraw(amount),
            (self.is_frozen(name), WalletFrozen),
            (self.lacks(name, amount), InsufficientFunds),
        )
        if done is not None:
            self.model.purses[name].available -= amount

    @rule(name=PEOPLE, is_frozen=st.booleans())
    def freeze(self, name, is_frozen):
        (self.people[name].freeze_wallet if is_frozen else self.people[name].unfreeze_wallet)()
        (self.model.frozen.add if is_frozen else self.model.frozen.discard)(name)

    # Holds

    @rule(target=holds, name=PEOPLE, reference=REFERENCES, amount=AMOUNTS, is_total=st.booleans())
    def place(self, name, reference, amount, is_total):
        known = self.open.get((name, reference))
        overdue = known if known is not None and known.is_due else None
        kept = Decimal(0) if known is None or overdue else known.remaining
        added = amount - kept if is_total else amount
        available = self.model.purses[name].available + (overdue.remaining if overdue else 0)
        hold = self.attempt(
            lambda: place_hold(
                wallet=self.wallets[name],
                amount=amount,
                reference_type="auction",
                reference_id=reference,
                is_total=is_total,
            ),
            (added < 0, MovementInvalid),
            (self.is_frozen(name) and added != 0, WalletFrozen),
            (available < added, InsufficientFunds),
        )
        if hold is None or added == 0:
            return multiple()
        if overdue:
            self.take(overdue, overdue.remaining)
        self.lock(name, added)
        lock = self.open.get((name, reference))
        if lock is not None:
            lock.remaining += added
            assert (hold.pk, hold.remaining) == (lock.pk, lock.remaining)
            return multiple()
        lock = self.open[name, reference] = Lock(name, reference, amount, hold.pk)
        return lock

    def take(self, lock, amount, *, to=None, is_kept=False):
        lock.remaining -= amount
        if lock.remaining == 0:
            self.open.pop((lock.owner, lock.reference), None)
        purse = self.model.purses[lock.owner]
        if not is_kept:
            purse.locked -= amount
            (self.model.purses[to] if to else purse).available += amount

    @rule(lock=holds, part=st.none() | AMOUNTS, is_stale=st.booleans())
    def release(self, lock, part, is_stale):
        hold = Hold.objects.get(pk=lock.pk)
        amount = lock.remaining if part is None else part
        done = self.attempt(
            lambda: release_hold(hold, amount=part, idempotency_key=f"r{len(self.keys)}"),
            (lock.remaining == 0, HoldEnded),
            (amount > lock.remaining, HoldExceeded),
            (self.is_frozen(lock.owner), WalletFrozen),
        )
        if done is not None:
            self.keys.append((hold, part, done.step.remaining))
            self.take(lock, amount)

    @rule(at=st.integers(0, 50), other=AMOUNTS)
    def repeat(self, at, other):
        """A key that was used answers as it did, whatever has become of the hold since."""
        if at >= len(self.keys):
            return
        hold, part, remaining = self.keys[at]
        again = release_hold(hold, amount=part, idempotency_key=f"r{at}")
        assert (again.replayed, again.step.remaining) == (True, remaining)
        if other != again.step.amount:
            with pytest.raises(IdempotencyConflict):
                release_hold(hold, amount=other, idempotency_key=f"r{at}")

    @rule(lock=holds, part=st.none() | AMOUNTS, to=PEOPLE)
    def settle(self, lock, part, to):
        if to == lock.owner:
            return
        amount = lock.remaining if part is None else part
        done = self.attempt(
            lambda: settle_hold(Hold.objects.get(pk=lock.pk), to=self.wallets[to], amount=part),
            (lock.remaining == 0, HoldEnded),
            (amount > lock.remaining, HoldExceeded),
            (lock.is_due, HoldExpired),
            (self.is_frozen(lock.owner, to), WalletFrozen),
        )
        if done is not None:
            self.take(lock, amount, to=to)

    @rule(lock=holds)
    def let_time_pass(self, lock):
        if lock.remaining:
            past = timezone.now() - timedelta(seconds=1)
            Hold.objects.filter(pk=lock.pk).update(expires_at=past)
            lock.is_due = True

    @rule()
    def sweep(self):
        due = [
            lock for lock in self.open.values() if lock.is_due and not self.is_frozen(lock.owner)
        ]
        assert expire_due_holds() == len(due)
        for lock in due:
            self.take(lock, lock.remaining)

    # Escrows

    @rule(target=escrows, buyer=PEOPLE, seller=PEOPLE, amount=AMOUNTS, share=st.integers(0, 100))
    def pay(self, buyer, seller, amount, share):
        fee = (amount * share / 100).quantize(UNIT)
        self.orders += 1
        escrow = self.attempt(
            lambda: open_escrow(
                buyer=self.wallets[buyer],
                seller=self.wallets[seller],
                order_id=self.orders,
                amount=amount,
                fee_amount=fee,
            ),
            (buyer == seller, MovementInvalid),
            (self.is_frozen(buyer), WalletFrozen),
            (self.lacks(buyer, amount), InsufficientFunds),
        )
        if escrow is None:
            return multiple()
        self.lock(buyer, amount)
        return Sale(buyer, seller, amount, fee, escrow.pk)

    @rule(
        target=escrows,
        lock=holds,
        seller=PEOPLE,
        part=st.none() | AMOUNTS,
        is_kept=st.booleans(),
    )
    def convert(self, lock, seller, part, is_kept):
        if seller == lock.owner:
            return multiple()
        amount = lock.remaining if part is None else part
        self.orders += 1
        escrow = self.attempt(
            lambda: convert_hold(
                Hold.objects.get(pk=lock.pk),
                seller=self.wallets[seller],
                order_id=self.orders,
                amount=part,
                keep_remainder=is_kept,
            ),
            (lock.remaining == 0, HoldEnded),
            (amount > lock.remaining, HoldExceeded),
            (lock.is_due, HoldExpired),
            (self.is_frozen(lock.owner), WalletFrozen),
        )
        if escrow is None:
            return multiple()
        self.take(lock, amount, is_kept=True)
        if lock.remaining and not is_kept:
            self.take(lock, lock.remaining)
        return Sale(lock.owner, seller, amount, Decimal(0), escrow.pk)

    def end(self, sale, call, to_seller, *, needs):
        frozen = [sale.buyer] if to_seller == 0 else [sale.buyer, sale.seller]
        done = self.attempt(
            lambda: call(Escrow.objects.get(pk=sale.pk)),
            (sale.status != needs, EscrowStateInvalid),
            (self.is_frozen(*frozen), WalletFrozen),
        )
        if done is None:
            return
        exact = Fraction(sale.fee) * Fraction(to_seller) / Fraction(sale.amount)
        fee = floor(exact / Fraction(UNIT)) * UNIT
        buyer, seller = self.model.purses[sale.buyer], self.model.purses[sale.seller]
        buyer.locked -= sale.amount
        buyer.available += sale.amount - to_seller
        seller.available += to_seller - fee
        self.model.fees += fee
        sale.status = "RELEASED" if to_seller else "REFUNDED"

    @rule(sale=escrows)
    def release_sale(self, sale):
        self.end(sale, release_escrow, sale.amount, needs="LOCKED")

    @rule(sale=escrows)
    def refund(self, sale):
        self.end(sale, refund_escrow, Decimal(0), needs="LOCKED")

    @rule(sale=escrows)
    def dispute(self, sale):
        if sale.status == "DISPUTED":
            assert dispute_escrow(Escrow.objects.get(pk=sale.pk)).replayed
            return
        done = self.attempt(
            lambda: dispute_escrow(Escrow.objects.get(pk=sale.pk)),
            (sale.status != "LOCKED", EscrowStateInvalid),
        )
        if done is not None:
            sale.status = "DISPUTED"

    @rule(sale=escrows, part=st.fractions(0, 1))
    def resolve(self, sale, part):
        to_seller = floor(Fraction(sale.amount) * part / Fraction("0.01")) * Decimal("0.01")
        split = {"seller_amount": to_seller, "buyer_amount": sale.amount - to_seller}
        self.end(sale, lambda one: resolve_escrow(one, **split), to_seller, needs="DISPUTED")

    # What always holds

    @invariant()
    def wallets_are_those_of_the_model(self):
        found = {
            row[0]: row[1:]
            for row in Account.objects.values_list("pk", "balance", "locked_balance")
        }
        for name, purse in self.model.purses.items():
            assert found[self.wallets[name].pk] == (purse.available, purse.locked), name

    @invariant()
    def what_is_locked_is_explained(self):
        for name, purse in self.model.purses.items():
            found = explain_locked(self.wallets[name])
            assert sum((one.amount for one in found), Decimal(0)) == purse.locked

    @invariant()
    def fees_are_those_of_the_model(self):
        account = Account.objects.filter(code="fees", asset="USD").first()
        assert (0 if account is None else get_balance(account.pk)) == self.model.fees


@pytest.mark.django_db
def test_any_sequence_ends_as_the_model_says():
    run_state_machine_as_test(
        LockedMoney, settings=settings(max_examples=examples(12), stateful_step_count=30)
    )
