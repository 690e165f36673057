"""Every path uses the models and classes of the project. Run by tests/library/test_custom.py, not collected by itself."""

import os
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from dj_wallet import models as default
from dj_wallet.cart import Cart
from dj_wallet.exceptions import (
    InsufficientFunds,
    LimitExceeded,
    TransactionAlreadyProcessed,
    WalletFrozen,
)
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.models import Purchase
from dj_wallet.services.lots import expire_lots, list_lots
from dj_wallet.utils import (
    get_exchange_service,
    get_purchase_service,
    get_transfer_service,
    get_wallet_mixin,
    get_wallet_service,
)
from tests.customapp import mixins, services
from tests.customapp.models import MyTransaction, MyTransfer, MyWallet, Player, Potion, Sword

WITH_SERVICES = "WITH_SERVICES" in os.environ
pytestmark = pytest.mark.django_db


@pytest.fixture
def ann():
    return Player.objects.create(name="ann")


@pytest.fixture
def ben():
    return Player.objects.create(name="ben")


@pytest.fixture(autouse=True)
def books():
    """After each test only the project's models were used, and the books are right."""
    mixins.CALLS.clear()
    services.CALLS.clear()
    yield
    for model in (default.Wallet, default.Transaction, default.Transfer):
        assert model.objects.count() == 0
    assert audit_ledger().problems == []


def noted(*calls):
    """Tell whether the services were called like this; without them nothing is noted."""
    return (list(calls) if WITH_SERVICES else []) == services.CALLS


def test_no_migration_is_missing_and_the_checks_are_silent():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
    call_command("check", fail_level="WARNING")


def test_deposits_and_withdrawals(ann):
    record = ann.deposit(100)
    assert isinstance(record, MyTransaction)
    assert isinstance(ann.wallet, MyWallet)
    assert record.note == "noted"
    ann.withdraw(30)
    ann.wallet.deposit(5)
    assert noted("deposit", "withdraw", "deposit")
    assert ann.balance == 75
    assert ann.wallet.transactions.count() == 3
    assert list(ann.get_pending_transactions()) == []
    assert (["User is depositing 100"] if WITH_SERVICES else []) == mixins.CALLS


def test_pending_transactions(ann):
    service = get_wallet_service()
    pending = ann.deposit(100, confirmed=False)
    assert service.confirm_transaction(pending).status == "completed"
    assert service.reject_transaction(ann.deposit(1, confirmed=False)).status == "failed"
    assert isinstance(service.reverse_transaction(pending), MyTransaction)
    assert ann.balance == 0


def test_transfers_and_refunds(ann, ben):
    ann.deposit(100)
    transfer = ann.transfer(ben, 40)
    assert isinstance(transfer, MyTransfer)
    assert transfer.channel == "web"
    assert noted("deposit", "transfer", "withdraw", "deposit")
    services.CALLS.clear()
    part = get_transfer_service().refund(transfer, amount=15)
    assert isinstance(part, MyTransfer)
    assert noted("withdraw", "deposit")
    get_transfer_service().refund(transfer)
    with pytest.raises(TransactionAlreadyProcessed):
        get_transfer_service().refund(transfer)
    assert (ann.balance, ben.balance) == (100, 0)


def test_a_refused_transfer_leaves_nothing_half_done(ann, ben):
    ann.deposit(100)
    ben.freeze_wallet()
    for refused in (lambda: ann.transfer(ben, 10), lambda: ann.wallet.transfer(ben.wallet, 10)):
        with pytest.raises(WalletFrozen):
            refused()
    assert ann.balance == 100
    assert MyTransaction.objects.count() == 1
    with pytest.raises(InsufficientFunds):
        ann.transfer(Player.objects.create(name="cid"), 101)
    assert MyTransaction.objects.count() == 1


def test_a_repeated_transfer_between_wallets(ann, ben):
    ann.deposit(100)
    one, other = (
        get_transfer_service().transfer_between(ann.wallet, ben.wallet, 10, idempotency_key="k")
        for _ in range(2)
    )
    assert one == other
    assert other.replayed
    assert ben.balance == 10


def test_exchanges(ann):
    ann.deposit(100)
    services.CALLS.clear()
    deposit = get_exchange_service().exchange(ann, "default", "gold", 50, 2)
    assert isinstance(deposit, MyTransaction)
    assert noted("exchange", "withdraw", "deposit")
    assert (ann.balance, ann.get_wallet("gold").balance) == (50, 100)
    get_transfer_service().refund(MyTransfer.objects.get())
    assert (ann.balance, ann.get_wallet("gold").balance) == (100, 0)


def test_purchases(ann):
    ann.deposit(100)
    services.CALLS.clear()
    sword, potion = Sword.objects.create(), Potion.objects.create()
    transfer = ann.pay(sword, 2)
    assert isinstance(transfer, MyTransfer)
    assert transfer.status == "paid"
    assert noted("pay", "transfer", "withdraw", "deposit")
    services.CALLS.clear()
    assert isinstance(ann.pay(potion), MyTransaction)
    assert noted("pay", "withdraw")
    assert (ann.balance, sword.balance) == (77, 20)
    purchase = ann.pay_cart(Cart().with_item(sword).with_item(potion, 3))
    assert purchase.total == 19
    assert [type(line.record) for line in purchase.lines.order_by("pk")] == [
        MyTransfer,
        MyTransaction,
    ]
    services.CALLS.clear()
    get_purchase_service().refund(purchase)
    assert noted("withdraw", "deposit", "deposit")
    get_transfer_service().refund(transfer)
    assert (ann.balance, sword.balance) == (97, 0)
    assert Purchase.objects.count() == 3


def test_lots_are_granted_spent_restored_and_expire_through_the_services(ann):
    first = ann.grant_credit(20, expires_at=timezone.now() + timedelta(days=1))
    second = ann.grant_credit(10, idempotency_key="k")
    assert ann.grant_credit(10, idempotency_key="k").replayed
    assert noted("deposit", "deposit")
    with pytest.raises(InsufficientFunds):
        ann.withdraw(1)
    purchase = ann.pay_cart(
        Cart().with_item(Sword.objects.create()).with_item(Potion.objects.create())
    )
    lots = list(list_lots(wallet=ann.wallet, is_open=False))
    assert [lot.remaining for lot in lots] == [30 - purchase.total - 10, 10]
    get_purchase_service().refund(purchase)
    assert [lot.remaining for lot in list_lots(wallet=ann.wallet)] == [20, 10]
    assert expire_lots(now=timezone.now() + timedelta(days=2)) == 1
    assert list(list_lots(wallet=ann.wallet)) == [second]
    assert (ann.balance, first.source) == (10, "promotional")


def test_limits_are_those_of_what_the_services_do(ann):
    ann.deposit(100)
    ann.set_limits(per_day=12)
    purchase = ann.pay(Sword.objects.create()).purchase
    with pytest.raises(LimitExceeded):
        ann.withdraw(3)
    get_purchase_service().refund(purchase)
    assert ann.wallet.get_limits().spent_today == 10


def test_the_classes_are_those_of_the_settings():
    assert get_wallet_mixin().__name__ == ("MyCustomMixin" if WITH_SERVICES else "WalletMixin")
    assert issubclass(Player, get_wallet_mixin())
