"""Random sequences of all the verbs of holders against a model of a few dictionaries and fractions."""

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

from dj_wallet.cart import Cart
from dj_wallet.exceptions import (
    InsufficientFunds,
    LimitExceeded,
    MovementInvalid,
    RefundTooLarge,
    TransactionAlreadyProcessed,
    WalletFrozen,
)
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.models import Account
from dj_wallet.ledger.queries import get_balance
from dj_wallet.ledger.store.rules import find_period
from dj_wallet.models import Lot, PurchaseLine, Transaction, Transfer
from dj_wallet.pricing import BUYER, MERCHANT, Fee
from dj_wallet.services import ExchangeService, PurchaseService, TransferService, WalletService
from dj_wallet.services.limits import get_limits, set_limits
from dj_wallet.services.lots import expire_lots, grant_credit
from tests.depth import examples
from tests.testapp.models import Course, Person, Shop

NAMES = ("alice", "bob")
PEOPLE = st.sampled_from(NAMES)
PLACES = st.sampled_from([(name, slug) for name in NAMES for slug in ("default", "gold")])
AMOUNTS = st.integers(1, 20000).map(lambda cents: Decimal(cents).scaleb(-2))
QUANTITIES = st.integers(1, 3)
SALES, FEES, PROMOTIONS = ("sales",), ("fees",), ("promotions",)
BUYING, LEAVING, GOING_BACK = "buying", "leaving", "going back"
RULES = st.sampled_from(
    [
        None,
        Fee(percent=Decimal("3.3")),
        Fee(percent=Decimal("3.3"), is_refundable=False),
        Fee(fixed=Decimal("0.07"), payer=MERCHANT),
        Fee(fixed=Decimal("0.07"), payer=MERCHANT, is_refundable=False),
    ]
)
UNIT = Decimal("0.00000001")


@dataclass
class Credit:
    """What the model knows of a lot."""

    pk: int
    priority: int
    expires_at: Any
    is_withdrawable: bool
    remaining: Decimal

    @property
    def is_expired(self):
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def order(self):
        return self.priority, self.expires_at is None, self.expires_at, self.pk


@dataclass
class Taken:
    """Units that a payment took from a lot and that have not come back."""

    credit: Credit
    amount: Decimal


@dataclass
class Limit:
    """What may leave a wallet."""

    minimum: Decimal | None = None
    per_transaction: Decimal | None = None
    per_day: Decimal | None = None

    def refuses(self, amount, spent, left):
        return (
            (self.per_transaction is not None and amount > self.per_transaction)
            or (self.per_day is not None and spent + amount > self.per_day)
            or (self.minimum is not None and left < self.minimum)
        )


@dataclass
class Payment:
    """What the model knows of something that can be given back."""

    payer: Any
    receiver: Any
    net: Decimal
    fee: Decimal = Decimal(0)
    rule: Fee | None = None
    received: Decimal | None = None  # of an exchange
    transfer: int | None = None
    transaction: int | None = None
    line: int | None = None
    refunded: Decimal = Decimal(0)
    taken: list = field(default_factory=list)

    @property
    def keeps_fee(self):
        return self.rule is not None and self.rule.payer == BUYER and not self.rule.is_refundable

    @property
    def refundable(self):
        return self.net if self.keeps_fee else self.net + self.fee

    def fee_given_back_at(self, refunded):
        if self.keeps_fee:
            return Decimal(0)
        if refunded == self.refundable:
            return self.fee
        exact = Fraction(self.fee) * Fraction(refunded) / Fraction(self.refundable)
        return floor(exact / Fraction(UNIT)) * UNIT

    def list_returns(self, amount):
        """Return what the receiver and our fees bring back of an amount."""
        changes = self.list_changes(amount)
        return [-changes[self.receiver], -changes.get(FEES, Decimal(0))]

    def list_changes(self, amount):
        """Return what giving back this amount moves."""
        if self.received is not None:
            return {self.receiver: -self.received, self.payer: self.net}
        fee = self.fee_given_back_at(self.refunded + amount) - self.fee_given_back_at(self.refunded)
        bears = self.rule is not None and not self.rule.is_refundable
        return {
            self.receiver: -amount if bears else fee - amount,
            self.payer: amount,
            FEES: Decimal(0) if bears else -fee,
        }


class Books(RuleBasedStateMachine):
    payments = Bundle("payments")
    pending = Bundle("pending")
    lots = Bundle("lots")

    def __init__(self):
        super().__init__()
        # A plain object: a generator that is collected in the middle of a query would roll back there.
        self.savepoint = transaction.atomic()
        self.savepoint.__enter__()
        self.people = {name: Person.objects.create(name=name) for name in NAMES}
        self.shop, self.course = Shop.objects.create(), Course.objects.create(seats=10**6)
        self.wallets = {}
        for name, person in self.people.items():
            self.wallets[name, "default"] = person.get_wallet()
            self.wallets[name, "gold"] = person.create_wallet("gold", currency="GOLD")
        self.wallets["shop"] = self.shop.get_wallet()
        self.held = dict.fromkeys([*self.wallets, SALES, FEES, PROMOTIONS], Decimal(0))
        self.frozen = set()
        self.credits = {place: [] for place in self.wallets}
        self.limits = {}
        self.spent = dict.fromkeys(self.wallets, Decimal(0))
        self.overdraft = dict.fromkeys(self.wallets, Decimal(0))
        self.today = find_period(timezone.now()).today
        self.taken = []
        self.waiting = {}
        self.rows = 0

    def teardown(self):
        try:
            problems = audit_ledger().problems
        finally:
            transaction.set_rollback(True)
            self.savepoint.__exit__(None, None, None)
        assert problems == []

    def attempt(self, call, changes, *, kind=LEAVING, may_overdraw=False, restored=()):
        """Call and compare: the refusal that the changes deserve, or the record after noting them.

        :param restored: what movements bring into a wallet, one by one, and from which lots it was taken
        """
        changes = {place: change for place, change in changes.items() if change}
        # Of two reasons that lie in different movements of an entry, the first movement's is told.
        refusals: tuple[type[Exception], ...] = ()
        if any(place in self.frozen for place in changes):
            refusals = (WalletFrozen,)
        takings = {}
        for place, change in changes.items():
            if change > 0 or place not in self.wallets:
                continue
            left = self.held[place] + change
            takings[place] = self.take_from_lots(place, -change, kind, may_overdraw)
            if takings[place] is None or (not may_overdraw and left < -self.overdraft[place]):
                refusals += (InsufficientFunds,)
            if kind != GOING_BACK and not may_overdraw and self.is_limited(place, -change, left):
                refusals += (LimitExceeded,)
        if refusals:
            before = Transaction.objects.count()
            with pytest.raises(refusals):
                call()
            assert Transaction.objects.count() == before
            return None
        for place, amounts, taken in restored:
            self.restore(place, amounts, taken)
        self.taken = [part for parts in takings.values() for part in parts]
        for part in self.taken:
            part.credit.remaining -= part.amount
        for place, change in changes.items():
            self.held[place] += change
            if change < 0 and kind != GOING_BACK and place in self.wallets:
                self.spent[place] -= change
        return call()

    def take_from_lots(self, place, amount, kind, is_forced):
        """Return what an amount takes from each lot, None if credit that it may not use stands in its way."""
        credits = sorted(self.credits[place], key=lambda credit: credit.order)
        taken, left = [], amount
        for credit in credits:
            may_leave = credit.is_withdrawable or kind == BUYING
            if may_leave and not credit.is_expired:
                taken.append(Taken(credit, min(credit.remaining, left)))
                left -= taken[-1].amount
        room = max(Decimal(0), self.held[place] - amount)
        excess = sum(one.remaining for one in credits) - (amount - left) - room
        if excess > 0 and not is_forced:
            return None
        for credit in credits:
            if excess > 0:
                before = sum(part.amount for part in taken if part.credit is credit)
                taken.append(Taken(credit, min(credit.remaining - before, excess)))
                excess -= taken[-1].amount
        return [part for part in taken if part.amount]

    def restore(self, place, amounts, taken):
        """Put units back into their lots, the last first, as far as the balance covers them."""
        held = self.held[place]
        for amount in amounts:
            held += amount
            left = amount
            for part in reversed(taken):
                room = max(Decimal(0), held) - sum(one.remaining for one in self.credits[place])
                covered = max(Decimal(0), min(part.amount, left, room))
                part.credit.remaining += covered
                part.amount -= covered
                left -= covered

    def is_limited(self, place, amount, left):
        """Tell whether a limit of the wallet refuses that the amount leaves."""
        today = find_period(timezone.now()).today
        if today != self.today:
            self.today = today
            self.spent = dict.fromkeys(self.wallets, Decimal(0))
        spent = self.spent[place]
        return place in self.limits and self.limits[place].refuses(amount, spent, left)

    # One wallet

    @rule(place=PLACES, amount=AMOUNTS)
    def deposit(self, place, amount):
        self.attempt(lambda: self.wallets[place].deposit(amount), {place: amount})

    @rule(place=PLACES, amount=AMOUNTS, is_forced=st.booleans())
    def withdraw(self, place, amount, is_forced):
        wallet = self.wallets[place]
        verb = wallet.force_withdraw if is_forced else wallet.withdraw
        self.attempt(lambda: verb(amount), {place: -amount}, may_overdraw=is_forced)

    @rule(place=PLACES, amount=AMOUNTS, verb=st.sampled_from(["deposit", "withdraw"]))
    def move_and_undo(self, place, amount, verb):
        change = amount if verb == "deposit" else -amount
        record = self.attempt(lambda: getattr(self.wallets[place], verb)(amount), {place: change})
        if record is None:
            return
        reversal = self.attempt(
            lambda: WalletService.reverse_transaction(record),
            {place: -change},
            kind=GOING_BACK,
            restored=[(place, [-change], self.taken)] if change < 0 else (),
        )
        if reversal is not None:
            with pytest.raises(TransactionAlreadyProcessed):
                WalletService.reverse_transaction(record)

    @rule(
        target=pending, place=PLACES, amount=AMOUNTS, verb=st.sampled_from(["deposit", "withdraw"])
    )
    def wait(self, place, amount, verb):
        if place in self.frozen:
            return multiple()
        record = getattr(self.wallets[place], verb)(amount, confirmed=False)
        self.waiting[record.pk] = place, amount if verb == "deposit" else -amount
        return record

    @rule(record=pending, is_confirmed=st.booleans())
    def end_waiting(self, record, is_confirmed):
        step = (
            WalletService.confirm_transaction if is_confirmed else WalletService.reject_transaction
        )
        if record.pk not in self.waiting:
            with pytest.raises(TransactionAlreadyProcessed):
                step(record)
            return
        place, change = self.waiting[record.pk]
        if self.attempt(lambda: step(record), {place: change} if is_confirmed else {}):
            del self.waiting[record.pk]

    @rule(place=PLACES)
    def freeze(self, place):
        self.people[place[0]].freeze_wallet(place[1])
        self.frozen.add(place)
        self.deposit(place, Decimal(1))
        self.withdraw(place, Decimal(1), True)

    @rule(place=PLACES)
    def unfreeze(self, place):
        self.people[place[0]].unfreeze_wallet(place[1])
        self.frozen.discard(place)

    # Lots and limits

    @rule(
        target=lots,
        name=PEOPLE,
        amount=AMOUNTS,
        priority=st.integers(1, 2),
        days=st.sampled_from([None, 1, 2]),
        is_withdrawable=st.booleans(),
    )
    def grant(self, name, amount, priority, days, is_withdrawable):
        place = name, "default"
        expires_at = None if days is None else timezone.now() + timedelta(days=days)
        lot = self.attempt(
            lambda: grant_credit(
                wallet=self.wallets[place],
                amount=amount,
                priority=priority,
                expires_at=expires_at,
                is_withdrawable=is_withdrawable,
            ),
            {place: amount, PROMOTIONS: -amount},
        )
        if lot is None:
            return multiple()
        kept = min(amount, max(Decimal(0), self.held[place]))
        self.credits[place].append(Credit(lot.pk, priority, expires_at, is_withdrawable, kept))
        return lot.pk

    @rule(pk=lots)
    def let_expire(self, pk):
        past = timezone.now() - timedelta(seconds=1)
        Lot.objects.filter(pk=pk).update(expires_at=past)
        for place, credits in self.credits.items():
            for credit in credits:
                if credit.pk == pk:
                    credit.expires_at = past
                    self.buy(place[0], [(False, 1, Decimal("0.01"), None)], False)

    @rule()
    def sweep(self):
        expected = 0
        for place, credits in self.credits.items():
            for credit in credits:
                if credit.is_expired and credit.remaining and place not in self.frozen:
                    self.held[place] -= credit.remaining
                    self.held[PROMOTIONS] += credit.remaining
                    credit.remaining = Decimal(0)
                    expected += 1
        assert expire_lots() == expected

    @rule(
        place=PLACES,
        minimum=st.sampled_from([None, None, Decimal(10)]),
        per_transaction=st.sampled_from([None, Decimal(90)]),
        per_day=st.sampled_from([None, Decimal(250)]),
        overdraft=st.sampled_from([Decimal(0), Decimal(20)]),
    )
    def limit(self, place, minimum, per_transaction, per_day, overdraft):
        set_limits(
            wallet=self.wallets[place],
            minimum_balance=minimum,
            per_transaction=per_transaction,
            per_day=per_day,
            overdraft_limit=overdraft,
        )
        self.overdraft[place] = overdraft
        self.limits[place] = Limit(minimum, per_transaction, per_day)
        if (minimum, per_transaction, per_day) == (None, None, None):
            del self.limits[place]

    # Between wallets

    @rule(target=payments, source=PEOPLE, amount=AMOUNTS)
    def transfer(self, source, amount):
        other = NAMES[1 - NAMES.index(source)]
        taken, given = (source, "default"), (other, "default")
        record = self.attempt(
            lambda: self.people[source].transfer(self.people[other], amount),
            {taken: -amount, given: amount},
        )
        if record is None:
            return multiple()
        return Payment(
            taken,
            given,
            amount,
            transfer=record.pk,
            transaction=record.deposit_id,
            taken=self.taken,
        )

    @rule(target=payments, name=PEOPLE, amount=AMOUNTS, rate=st.sampled_from(["2", "0.5", "0.333"]))
    def exchange(self, name, amount, rate):
        received = (amount * Decimal(rate)).quantize(UNIT, rounding="ROUND_DOWN")
        taken, given = (name, "default"), (name, "gold")
        record = self.attempt(
            lambda: ExchangeService.exchange(self.people[name], "default", "gold", amount, rate),
            {taken: -amount, given: received},
        )
        if record is None:
            return multiple()
        transfer = Transfer.objects.get(deposit=record)
        return Payment(
            taken,
            given,
            amount,
            received=received,
            transfer=transfer.pk,
            transaction=record.pk,
            taken=self.taken,
        )

    # Purchases

    @rule(
        target=payments,
        name=PEOPLE,
        items=st.lists(
            st.tuples(st.booleans(), QUANTITIES, AMOUNTS, RULES), min_size=1, max_size=3
        ),
        is_gift=st.booleans(),
    )
    def buy(self, name, items, is_gift):
        """Shops and courses of one price and fee each, because a product has one rule at a time."""
        payer, cart, expected = (name, "default"), Cart(), []
        for is_shop, quantity, price, fee_rule in items:
            product = Shop.objects.get() if is_shop else Course.objects.get()
            product.price, product.fee = price, fee_rule
            cart = cart.with_item(product, quantity)
            due = price * quantity
            fee = fee_rule.compute(due, 8) if fee_rule else Decimal(0)
            if fee_rule is not None and fee_rule.payer == MERCHANT:
                if fee > due:
                    return multiple()
                due -= fee
            receiver = "shop" if is_shop else SALES
            expected.append(Payment(payer, receiver, due, fee, fee_rule))
        total = sum(one.net + one.fee for one in expected)
        changes = {payer: -total, FEES: sum(one.fee for one in expected)}
        for one in expected:
            changes[one.receiver] = changes.get(one.receiver, Decimal(0)) + one.net
        recipient = self.people[NAMES[1 - NAMES.index(name)]] if is_gift else None
        purchase = self.attempt(
            lambda: PurchaseService.pay_cart(self.people[name], cart, recipient=recipient),
            changes,
            kind=BUYING,
        )
        if purchase is None:
            return multiple()
        assert purchase.total == total
        lines = purchase.lines.order_by("pk")
        for one, line in zip(expected, lines, strict=True):
            one.line, one.transfer, one.transaction = line.pk, line.transfer_id, line.payment_id
            one.taken = self.taken
        return multiple(*expected)

    @rule(
        target=payments,
        name=PEOPLE,
        granted=st.lists(st.integers(1, 5000), min_size=2, max_size=3),
        spent=st.fractions(0, 1),
        returned=st.fractions(0, 1),
        is_shop=st.booleans(),
        fee_rule=RULES,
    )
    def buy_with_credit_and_give_some_back(self, name, granted, spent, returned, is_shop, fee_rule):
        for cents in granted:
            self.grant(name, Decimal(cents).scaleb(-2), 1, None, False)
        price = max(1, floor(sum(granted) * spent)) * Decimal("0.01")
        bought = self.buy(name, [(is_shop, 1, price, fee_rule)], False)
        for payment in bought.values:
            self.refund(payment, returned, True)
        return bought

    # Giving back

    @rule(payment=payments, part=st.fractions(0, 1), by_line=st.booleans())
    def refund(self, payment, part, by_line):
        left = payment.refundable - payment.refunded
        amount = floor(Fraction(left) * part / Fraction(UNIT)) * UNIT
        if payment.received is not None or amount <= 0:
            amount = left
        given = None if amount == left else amount
        is_by_line = payment.transfer is None or (by_line and payment.line is not None)

        def call():
            if is_by_line:
                line = PurchaseLine.objects.get(pk=payment.line)
                return PurchaseService.refund(line, amount=given)
            return TransferService.refund(Transfer.objects.get(pk=payment.transfer), amount=given)

        self.give_back(payment, amount, call, is_by_transfer=not is_by_line)

    @rule(payment=payments)
    def ask_for_too_much(self, payment):
        left = payment.refundable - payment.refunded
        if payment.transfer is not None:
            with pytest.raises((RefundTooLarge, TransactionAlreadyProcessed)):
                TransferService.refund(
                    Transfer.objects.get(pk=payment.transfer), amount=left + UNIT
                )

    @rule(payment=payments)
    def reverse(self, payment):
        record = Transaction.objects.get(pk=payment.transaction)

        def call():
            return WalletService.reverse_transaction(record)

        if payment.refunded:
            with pytest.raises(TransactionAlreadyProcessed):
                call()
        else:
            self.give_back(payment, payment.refundable, call, is_by_transfer=False)

    def give_back(self, payment, amount, call, *, is_by_transfer):
        if payment.refunded == payment.refundable:
            with pytest.raises(TransactionAlreadyProcessed):
                call()
            return
        changes = payment.list_changes(amount)
        if is_by_transfer and not changes.get(payment.receiver):
            with pytest.raises(MovementInvalid):  # too little for the transfer to take part in
                call()
            return
        back = [payment.net] if payment.received is not None else payment.list_returns(amount)
        restored = [(payment.payer, back, payment.taken)]
        if self.attempt(call, changes, kind=GOING_BACK, restored=restored) is not None:
            payment.refunded += amount

    # What always holds

    @invariant()
    def balances_are_those_of_the_model(self):
        found = dict(Account.objects.values_list("pk", "balance"))
        for place, wallet in self.wallets.items():
            assert found[wallet.pk] == self.held[place], place

    @invariant()
    def our_side_is_that_of_the_model(self):
        for place in (SALES, FEES, PROMOTIONS):
            account = Account.objects.filter(code=place[0], asset="USD").first()
            assert (0 if account is None else get_balance(account.pk)) == self.held[place]

    @invariant()
    def lots_hold_what_the_model_says(self):
        found = dict(Lot.objects.values_list("pk", "remaining"))
        assert found == {one.pk: one.remaining for all in self.credits.values() for one in all}

    @invariant()
    def what_counts_is_what_the_model_says(self):
        for place in self.limits:
            assert get_limits(wallet=self.wallets[place]).spent_today == self.spent[place]


@pytest.mark.django_db
def test_any_sequence_of_verbs_ends_as_the_model_says():
    run_state_machine_as_test(
        Books, settings=settings(max_examples=examples(12), stateful_step_count=40)
    )
