"""Random sequences of all the verbs of holders against a model of a few dictionaries and fractions."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from django.db import transaction
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
    MovementInvalid,
    RefundTooLarge,
    TransactionAlreadyProcessed,
    WalletFrozen,
)
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.models import Account
from dj_wallet.ledger.queries import get_balance
from dj_wallet.models import PurchaseLine, Transaction, Transfer
from dj_wallet.pricing import BUYER, MERCHANT, Fee
from dj_wallet.services import ExchangeService, PurchaseService, TransferService, WalletService
from tests.testapp.models import Course, Person, Shop

NAMES = ("alice", "bob")
PEOPLE = st.sampled_from(NAMES)
PLACES = st.sampled_from([(name, slug) for name in NAMES for slug in ("default", "gold")])
AMOUNTS = st.integers(1, 20000).map(lambda cents: Decimal(cents).scaleb(-2))
QUANTITIES = st.integers(1, 3)
SALES, FEES = ("sales",), ("fees",)
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
        self.held = dict.fromkeys([*self.wallets, SALES, FEES], Decimal(0))
        self.frozen = set()
        self.waiting = {}
        self.rows = 0

    def teardown(self):
        try:
            problems = audit_ledger().problems
        finally:
            transaction.set_rollback(True)
            self.savepoint.__exit__(None, None, None)
        assert problems == []

    def attempt(self, call, changes, *, may_overdraw=False):
        """Call and compare: the refusal that the changes deserve, or the record after noting them."""
        changes = {place: change for place, change in changes.items() if change}
        # Of two reasons that lie in different movements of an entry, the first movement's is told.
        refusals: tuple[type[Exception], ...] = ()
        if any(place in self.frozen for place in changes):
            refusals = (WalletFrozen,)
        if not may_overdraw and any(
            change < 0 and place in self.wallets and self.held[place] + change < 0
            for place, change in changes.items()
        ):
            refusals += (InsufficientFunds,)
        if refusals:
            before = Transaction.objects.count()
            with pytest.raises(refusals):
                call()
            assert Transaction.objects.count() == before
            return None
        for place, change in changes.items():
            self.held[place] += change
        return call()

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
        if self.held[place] < change:  # the deposit filled what was overdrawn
            with pytest.raises(InsufficientFunds):
                WalletService.reverse_transaction(record)
        else:
            WalletService.reverse_transaction(record)
            self.held[place] -= change
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

    @rule(place=PLACES)
    def unfreeze(self, place):
        self.people[place[0]].unfreeze_wallet(place[1])
        self.frozen.discard(place)

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
        return Payment(taken, given, amount, transfer=record.pk, transaction=record.deposit_id)

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
            taken, given, amount, received=received, transfer=transfer.pk, transaction=record.pk
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
            lambda: PurchaseService.pay_cart(self.people[name], cart, recipient=recipient), changes
        )
        if purchase is None:
            return multiple()
        assert purchase.total == total
        lines = purchase.lines.order_by("pk")
        for one, line in zip(expected, lines, strict=True):
            one.line, one.transfer, one.transaction = line.pk, line.transfer_id, line.payment_id
        return multiple(*expected)

    # Giving back

    @rule(payment=payments, part=st.fractions(0, 1), by_line=st.booleans())
    def refund(self, payment, part, by_line):
        left = payment.refundable - payment.refunded
        amount = floor(Fraction(left) * part / Fraction(UNIT)) * UNIT
        if payment.received is not None or amount <= 0:
            amount = left
        given = None if amount == left else amount

        def call():
            if payment.transfer is None or (by_line and payment.line is not None):
                line = PurchaseLine.objects.get(pk=payment.line)
                return PurchaseService.refund(line, amount=given)
            return TransferService.refund(Transfer.objects.get(pk=payment.transfer), amount=given)

        self.give_back(payment, amount, call)

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
            self.give_back(payment, payment.refundable, call)

    def give_back(self, payment, amount, call):
        if payment.refunded == payment.refundable:
            with pytest.raises(TransactionAlreadyProcessed):
                call()
            return
        changes = payment.list_changes(amount)
        if not changes.get(payment.receiver):
            with pytest.raises(MovementInvalid):  # too little for the transfer to take part in
                call()
            return
        if self.attempt(call, changes) is not None:
            payment.refunded += amount

    # What always holds

    @invariant()
    def balances_are_those_of_the_model(self):
        found = dict(Account.objects.values_list("pk", "balance"))
        for place, wallet in self.wallets.items():
            assert found[wallet.pk] == self.held[place], place

    @invariant()
    def our_side_is_that_of_the_model(self):
        for place in (SALES, FEES):
            account = Account.objects.filter(code=place[0], asset="USD").first()
            assert (0 if account is None else get_balance(account.pk)) == self.held[place]


@pytest.mark.django_db
def test_any_sequence_of_verbs_ends_as_the_model_says():
    run_state_machine_as_test(Books, settings=settings(max_examples=25, stateful_step_count=30))
