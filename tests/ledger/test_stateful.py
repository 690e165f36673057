"""Random sequences of the library's verbs against a model of a few dictionaries."""

from decimal import Decimal

import pytest
from django.db import transaction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from dj_wallet.exceptions import (
    IdempotencyConflict,
    InsufficientFunds,
    TransactionAlreadyProcessed,
    WalletException,
    WalletFrozen,
)
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.engine import Bucket, Entry, Kind, Movement
from dj_wallet.ledger.models import Account, Posting
from dj_wallet.ledger.post import post
from dj_wallet.ledger.queries import list_trial_balances
from dj_wallet.models import Transaction, Transfer, Wallet
from dj_wallet.services import WalletService
from tests.depth import examples
from tests.ledger.worlds import BANK, FEES, transfer_entry, undone
from tests.testapp.models import Person

NAMES = ("alice", "bob", "carol")
PEOPLE = st.sampled_from(NAMES)
AMOUNTS = st.integers(1, 20000).map(lambda cents: Decimal(cents).scaleb(-2))
KEYS = st.one_of(st.none(), st.none(), st.sampled_from(["k1", "k2", "k3", "k4"]))
VERBS = st.sampled_from(["deposit", "withdraw", "force_withdraw"])


class Books(RuleBasedStateMachine):
    """The model: what each bucket holds, who is frozen, which key stands for what, what waits."""

    pending = Bundle("pending")

    def __init__(self):
        super().__init__()
        # A plain object: a generator that is collected in the middle of a query would roll back there.
        self.savepoint = transaction.atomic()
        self.savepoint.__enter__()
        self.people = {name: Person.objects.create(name=name) for name in NAMES}
        self.ids = {name: person.wallet.pk for name, person in self.people.items()}
        self.held = {(name, bucket): Decimal(0) for name in NAMES for bucket in Bucket}
        self.frozen = set()
        self.keys = {}
        self.waiting = {}
        self.overdrawn = set()

    def teardown(self):
        try:
            problems = audit_ledger().problems
        finally:
            transaction.set_rollback(True)
            self.savepoint.__exit__(None, None, None)
        assert problems == []

    # The model's answer to a movement

    def expect(self, changes, *, taking=(), may_overdraw=False):
        """Return the refusal that the changes deserve, or None after noting them."""
        if any(name in self.frozen for name, _ in changes):
            return WalletFrozen
        for place in taking:
            if self.held[place] + changes[place] < 0 and not (
                may_overdraw and place[1] == Bucket.AVAILABLE
            ):
                return InsufficientFunds
        for place, change in changes.items():
            self.held[place] += change
            if may_overdraw and self.held[place] < 0:
                self.overdrawn.add(place)
        return None

    def check(self, call, content, key, changes, **options):
        """Call and compare with the model: moved, replayed, conflicting or refused."""
        if key in self.keys:
            rows = count_rows()
            if self.keys[key][0] == content:
                record = call()
                assert record.replayed
                assert record.pk == self.keys[key][1]
            else:
                assert_raises(IdempotencyConflict, call)
            assert count_rows() == rows
            return None
        refusal = self.expect(changes, **options)
        if refusal is not None:
            rows = count_rows()
            assert_raises(refusal, call)
            assert count_rows() == rows
            return None
        record = call()
        assert not record.replayed
        if key is not None:
            self.keys[key] = content, record.pk
        return record

    # The verbs

    @rule(verb=VERBS, name=PEOPLE, amount=AMOUNTS, key=KEYS)
    def deposit_or_withdraw(self, verb, name, amount, key):
        place = name, Bucket.AVAILABLE
        is_deposit = verb == "deposit"
        self.check(
            lambda: getattr(self.people[name], verb)(amount, idempotency_key=key),
            # The same movement, whether it was allowed to overdraw or not.
            ("deposit" if is_deposit else "withdraw", name, amount),
            key,
            {place: amount if is_deposit else -amount},
            taking=[] if is_deposit else [place],
            may_overdraw=verb == "force_withdraw",
        )

    @rule(source=PEOPLE, destination=PEOPLE, amount=AMOUNTS, key=KEYS)
    def transfer(self, source, destination, amount, key):
        sender, receiver = self.people[source], self.people[destination]
        if source == destination:
            assert_raises(WalletException, lambda: sender.transfer(receiver, amount))
            return
        taken, given = (source, Bucket.AVAILABLE), (destination, Bucket.AVAILABLE)
        self.check(
            lambda: sender.transfer(receiver, amount, idempotency_key=key),
            ("transfer", source, destination, amount),
            key,
            {taken: -amount, given: amount},
            taking=[taken],
        )

    @rule(
        target=pending, verb=st.sampled_from(["deposit", "withdraw"]), name=PEOPLE, amount=AMOUNTS
    )
    def record_pending(self, verb, name, amount):
        def call():
            return getattr(self.people[name], verb)(amount, confirmed=False)

        if name in self.frozen:
            assert_raises(WalletFrozen, call)
            return None
        record = call()
        self.waiting[record.pk] = verb, name, amount
        return record

    @rule(record=pending)
    def confirm(self, record):
        if record is None:
            return
        if record.pk not in self.waiting:
            assert_raises(
                TransactionAlreadyProcessed, lambda: WalletService.confirm_transaction(record)
            )
            return
        verb, name, amount = self.waiting[record.pk]
        place = name, Bucket.AVAILABLE
        change = amount if verb == "deposit" else -amount
        refusal = self.expect({place: change}, taking=[] if verb == "deposit" else [place])
        if refusal is not None:
            assert_raises(refusal, lambda: WalletService.confirm_transaction(record))
            return
        assert WalletService.confirm_transaction(record).status == Transaction.STATUS_COMPLETED
        del self.waiting[record.pk]

    @rule(record=pending)
    def reject(self, record):
        if record is None:
            return
        if self.waiting.pop(record.pk, None) is None:
            assert_raises(
                TransactionAlreadyProcessed, lambda: WalletService.reject_transaction(record)
            )
        else:
            assert WalletService.reject_transaction(record).status == Transaction.STATUS_FAILED

    @rule(name=PEOPLE)
    def freeze(self, name):
        self.people[name].freeze_wallet(reason="test")
        self.frozen.add(name)

    @rule(name=PEOPLE)
    def unfreeze(self, name):
        self.people[name].unfreeze_wallet()
        self.frozen.discard(name)

    @rule(
        name=PEOPLE,
        amount=AMOUNTS,
        buckets=st.permutations(list(Bucket)).map(lambda buckets: buckets[:2]),
    )
    def move_between_buckets(self, name, amount, buckets):
        source, destination = ((name, bucket) for bucket in buckets)
        movement = Movement(self.ids[name], self.ids[name], amount, "USD", *buckets)
        refusal = self.expect({source: -amount, destination: amount}, taking=[source])
        (outcome,) = post([Entry(Kind.BID_LOCK, (movement,))])
        assert isinstance(outcome, refusal) if refusal else not outcome.replayed

    @rule(
        moves=st.lists(
            st.tuples(PEOPLE, PEOPLE, AMOUNTS).filter(lambda m: m[0] != m[1]), max_size=8
        )
    )
    def post_in_bulk(self, moves):
        expected = [
            self.expect(
                {(source, Bucket.AVAILABLE): -amount, (destination, Bucket.AVAILABLE): amount},
                taking=[(source, Bucket.AVAILABLE)],
            )
            for source, destination, amount in moves
        ]
        entries = [
            transfer_entry(self.ids[source], self.ids[destination], amount)
            for source, destination, amount in moves
        ]
        for outcome, refusal in zip(post(entries), expected, strict=True):
            assert isinstance(outcome, refusal) if refusal else not outcome.replayed

    @rule(name=PEOPLE, amount=AMOUNTS, fee=AMOUNTS)
    def pay_with_a_fee(self, name, amount, fee):
        """All or nothing: the fee may be too much although the price is not."""
        wallet = self.ids[name]
        entry = Entry(
            Kind.PURCHASE,
            (
                *transfer_entry(wallet, BANK, amount).movements,
                *transfer_entry(wallet, FEES, fee).movements,
            ),
        )
        place = name, Bucket.AVAILABLE
        refusal = self.expect({place: -amount - fee}, taking=[place])
        (outcome,) = post([entry])
        assert isinstance(outcome, refusal) if refusal else not outcome.replayed

    @rule(name=PEOPLE, amount=AMOUNTS, key=KEYS)
    def change_ones_mind(self, name, amount, key):
        """What a caller rolls back never was, keys included."""
        if name in self.frozen or key in self.keys:
            return
        before = count_rows()
        with undone():
            self.people[name].deposit(amount, idempotency_key=key)
            self.people[name].force_withdraw(2 * amount)
        assert count_rows() == before

    # What always holds

    @invariant()
    def balances_are_those_of_the_model(self):
        for name, pk in self.ids.items():
            wallet = Wallet.objects.get(pk=pk)
            found = wallet.balance, wallet.locked_balance, wallet.pending_balance
            assert found == tuple(self.held[name, bucket] for bucket in Bucket)

    @invariant()
    def the_books_balance(self):
        for row in list_trial_balances():
            assert row.difference == 0

    @invariant()
    def nobody_is_overdrawn_without_permission(self):
        for (name, bucket), held in self.held.items():
            assert held >= 0 or (name, bucket) in self.overdrawn


def count_rows():
    return (
        Posting.objects.count(),
        Transaction.objects.count(),
        Transfer.objects.count(),
        list(
            Account.objects.filter(kind="wallet").order_by("pk").values_list("version", flat=True)
        ),
    )


def assert_raises(error, call):
    with pytest.raises(error):
        call()


@pytest.mark.django_db
def test_any_sequence_of_verbs_ends_as_the_model_says():
    run_state_machine_as_test(
        Books, settings=settings(max_examples=examples(12), stateful_step_count=30)
    )
