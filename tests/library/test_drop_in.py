"""Code written for release 0.1.0 runs as it is: its names, its signatures, its messages, what its users rely on."""

import inspect
from decimal import Decimal
from uuid import UUID

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError
from django.db.models import Sum
from django.utils.module_loading import import_string

from dj_wallet import exceptions
from dj_wallet.exceptions import (
    AmountInvalid,
    InsufficientFunds,
    ProductNotAvailable,
    TransactionAlreadyProcessed,
    WalletException,
    WalletFrozen,
)
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.models import Transaction, Transfer, Wallet
from dj_wallet.services import ExchangeService, PurchaseService, TransferService, WalletService
from tests.ledger.together import raise_errors, run_together
from tests.testapp.models import Course, Person, Shop

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("dj_wallet.models", "Wallet Transaction Transfer"),
        ("dj_wallet.abstract_models", "AbstractWallet AbstractTransaction AbstractTransfer"),
        ("dj_wallet.managers", "WalletManager TransactionManager"),
        ("dj_wallet.mixins", "WalletMixin ProductMixin"),
        ("dj_wallet.services", "WalletService TransferService ExchangeService PurchaseService"),
        ("dj_wallet.services.common", "WalletService"),
        ("dj_wallet.services.transfer", "TransferService"),
        ("dj_wallet.services.exchange", "ExchangeService"),
        ("dj_wallet.services.purchase", "PurchaseService"),
        (
            "dj_wallet.exceptions",
            "WalletException AmountInvalid BalanceIsEmpty InsufficientFunds ConfirmedInvalid"
            " WalletOwnerInvalid ProductNotAvailable WalletFrozen TransactionAlreadyProcessed"
            " TransactionExpired",
        ),
        (
            "dj_wallet.signals",
            "balance_changed transaction_created wallet_created transfer_completed"
            " transaction_confirmed pre_withdraw pre_deposit",
        ),
        ("dj_wallet.conf", "WalletSettings wallet_settings"),
        (
            "dj_wallet.utils",
            "get_wallet_service get_transfer_service get_exchange_service get_purchase_service"
            " get_wallet_mixin",
        ),
    ],
)
def test_every_public_name_of_the_release_exists(module, names):
    for name in names.split():
        assert import_string(f"{module}.{name}") is not None


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (WalletService.deposit, "wallet amount meta confirmed"),
        (WalletService.withdraw, "wallet amount meta confirmed"),
        (WalletService.force_withdraw, "wallet amount meta confirmed"),
        (WalletService.confirm_transaction, "txn"),
        (WalletService.reject_transaction, "txn reason"),
        (WalletService.reverse_transaction, "txn reason"),
        (WalletService.expire_pending_transactions, "wallet before_date"),
        (TransferService.transfer, "from_holder to_holder amount meta status"),
        (TransferService.refund, "transfer reason"),
        (TransferService.gift, "from_holder to_holder amount meta"),
        (ExchangeService.exchange, "holder from_slug to_slug amount rate"),
        (PurchaseService.pay, "customer product quantity"),
    ],
)
def test_every_service_takes_the_parameters_of_the_release_by_position(method, parameters):
    positional = [
        one.name
        for one in inspect.signature(method).parameters.values()
        if one.kind == one.POSITIONAL_OR_KEYWORD
    ]
    assert positional == parameters.split()


def test_the_settings_can_be_read_under_their_old_names():
    from dj_wallet.conf import wallet_settings

    assert wallet_settings.WALLET_MATH_SCALE == wallet_settings.MATH_SCALE == 8
    assert wallet_settings.WALLET_DEFAULT_CURRENCY == "USD"
    assert wallet_settings.PENDING_TRANSACTION_EXPIRY_HOURS == 24
    assert wallet_settings.PURCHASE_SERVICE_CLASS == "dj_wallet.services.purchase.PurchaseService"


def test_verifying_an_amount_returns_it_and_needs_no_database():
    for given in (99.99, "99.99", Decimal("99.99")):
        assert WalletService.verify_amount(given) == Decimal("99.99")
    assert WalletService.verify_amount(10**50) == 10**50
    assert WalletService.verify_amount(0.00000001) == Decimal("0.00000001")
    for wrong in (0, -1, "abc", None):
        with pytest.raises(AmountInvalid):
            WalletService.verify_amount(wrong)


def test_a_wallet_looks_as_it_did(alice):
    wallet = alice.wallet
    assert wallet.holder == alice
    assert wallet.holder_id == alice.pk
    assert wallet.holder_type == ContentType.objects.get_for_model(Person)
    assert isinstance(wallet.uuid, UUID)
    assert wallet.uuid.version == 4
    assert "default" in str(wallet)
    assert "0" in str(wallet)
    assert Wallet.objects.filter(
        holder_type=wallet.holder_type, holder_id=alice.pk, slug="default"
    ).exists()
    assert Wallet.objects.count() == 1


def test_a_second_wallet_of_the_same_slug_is_an_integrity_error(alice):
    wallet = alice.create_wallet("usd", currency="USD", description="main")
    assert wallet.meta == {"currency": "USD", "description": "main"}
    with pytest.raises(IntegrityError):
        alice.create_wallet("usd")


def test_records_say_their_amount_as_a_magnitude(alice):
    deposit = alice.deposit(100)
    withdraw = alice.withdraw(30)
    wallet = alice.wallet
    assert deposit in wallet.transactions.all()
    assert withdraw.wallet_id == wallet.pk
    assert wallet.transactions.first() == deposit
    total = Transaction.objects.filter(wallet=wallet, type="withdraw", confirmed=True)
    assert total.aggregate(Sum("amount"))["amount__sum"] == 30
    assert deposit.payable == wallet
    assert "[" not in str(deposit)


def test_a_pending_withdrawal_of_more_than_the_balance_waits(alice):
    alice.deposit(10)
    pending = alice.withdraw(100, confirmed=False)
    assert alice.balance == 10
    assert "[PENDING]" in str(pending)
    with pytest.raises(InsufficientFunds):
        WalletService.confirm_transaction(pending)


def test_a_transfer_makes_two_transactions_that_carry_the_meta(alice, bob):
    alice.deposit(100)
    transfer = TransferService.transfer(alice, bob, 40, {"why": "rent"})
    assert Transaction.objects.count() == 3
    assert transfer.withdraw.amount == transfer.deposit.amount == 40
    assert transfer.withdraw.meta == {"why": "rent", "action": "transfer_send"}
    assert transfer.deposit.meta == {"why": "rent", "action": "transfer_receive"}
    assert transfer.fee == transfer.discount == 0
    assert transfer.status == "transfer"
    assert transfer.from_object == alice.wallet
    assert transfer.to_object == bob.wallet


def test_a_gift_says_so(alice, bob):
    alice.deposit(100)
    gift = TransferService.gift(alice, bob, 40)
    assert gift.status == "gift"
    assert "action" in gift.withdraw.meta


def test_a_refund_is_a_transfer_and_both_say_refund(alice, bob):
    alice.deposit(100)
    transfer = alice.transfer(bob, 40)
    refund = TransferService.refund(transfer, "wrong person")
    transfer.refresh_from_db()
    assert (transfer.status, refund.status) == ("refund", "refund")
    assert refund.pk != transfer.pk
    assert refund.from_object == bob.wallet
    assert refund.withdraw.meta == {
        "action": "refund_withdraw",
        "original_transfer": str(transfer.uuid),
        "reason": "wrong person",
    }
    assert refund.deposit.meta["action"] == "refund_deposit"
    assert (alice.balance, bob.balance) == (100, 0)
    with pytest.raises(TransactionAlreadyProcessed, match="already"):
        TransferService.refund(transfer)


def test_a_safe_transfer_refuses_whom_has_no_wallet(alice, bob):
    alice.deposit(10)
    assert alice.safe_transfer(bob, 5).deposit.amount == 5
    with pytest.raises(WalletException, match="does not have a wallet"):
        alice.safe_transfer(object(), 5)


def test_an_exchange_returns_the_deposit_and_makes_the_wallet(alice):
    alice.deposit(100)
    deposit = ExchangeService.exchange(alice, "default", "eur", 50, rate=0.92)
    assert deposit.type == "deposit"
    assert deposit.amount == 46
    assert deposit.meta["exchange_rate"] == "0.92"
    assert deposit.meta["source"] == "default"
    assert (alice.balance, alice.get_wallet("eur").balance) == (50, 46)
    assert ExchangeService.exchange(alice, "default", "coins", 1, rate=150).amount == 150
    assert ExchangeService.exchange(alice, "default", "same", 1).amount == 1
    assert Transfer.objects.filter(status="exchange").count() == 3
    assert audit_ledger().problems == []


def test_paying_a_product_without_a_wallet_returns_the_withdrawal(alice):
    alice.deposit(100)
    course = Course.objects.create(price=30)
    record = alice.pay(course)
    assert isinstance(record, Transaction)
    assert record.meta["product_name"] == "Django"
    assert (record.type, record.amount, alice.balance) == ("withdraw", 30, 70)


def test_paying_a_product_with_a_wallet_returns_the_transfer(alice):
    alice.deposit(100)
    shop = Shop.objects.create(price=30)
    record = PurchaseService.pay(alice, shop, 2)
    assert isinstance(record, Transfer)
    assert (shop.balance, alice.balance) == (60, 40)
    assert record.withdraw.meta["product_name"] == "thing"


def test_a_product_that_cannot_be_bought_is_not_available(alice, monkeypatch):
    alice.deposit(100)
    monkeypatch.setattr(Shop, "can_buy", lambda *given: False)
    with pytest.raises(ProductNotAvailable, match="Product is not available"):
        alice.pay(Shop.objects.create())
    assert alice.balance == 100


def test_a_frozen_wallet_refuses_everything(alice, bob):
    alice.deposit(100)
    pending = alice.deposit(1, confirmed=False)
    transfer = alice.transfer(bob, 10)
    bob.deposit(50)
    alice.freeze_wallet(reason="audit")
    assert "[FROZEN]" in str(alice.wallet)
    for refused in (
        lambda: alice.deposit(1),
        lambda: alice.deposit(1, confirmed=False),
        lambda: alice.withdraw(1),
        lambda: alice.force_withdraw(1),
        lambda: WalletService.confirm_transaction(pending),
        lambda: alice.transfer(bob, 1),
        lambda: bob.transfer(alice, 1),
        lambda: TransferService.refund(transfer),
        lambda: WalletService.reverse_transaction(transfer.withdraw),
        lambda: alice.pay(Shop.objects.create()),
    ):
        with pytest.raises(WalletFrozen, match="Wallet 'default' is frozen: audit"):
            refused()
    assert (Wallet.objects.get(pk=alice.wallet.pk).balance, bob.balance) == (90, 60)


def test_reversing_a_deposit_withdraws_it(alice):
    deposit = alice.deposit(100)
    reversal = WalletService.reverse_transaction(deposit, "mistake")
    deposit.refresh_from_db()
    assert (deposit.status, reversal.type, reversal.amount) == ("reversed", "withdraw", 100)
    assert reversal.meta == {"reversal_of": str(deposit.uuid), "reason": "mistake"}
    assert alice.balance == 0
    with pytest.raises(TransactionAlreadyProcessed, match="completed"):
        WalletService.reverse_transaction(deposit)


def test_reversing_a_withdrawal_deposits_it(alice):
    alice.deposit(100)
    reversal = WalletService.reverse_transaction(alice.withdraw(40))
    assert (reversal.type, reversal.meta["reason"]) == ("deposit", "Transaction reversal")
    assert alice.balance == 100


def test_a_spent_deposit_cannot_be_reversed(alice):
    deposit = alice.deposit(100)
    alice.withdraw(1)
    with pytest.raises(InsufficientFunds):
        WalletService.reverse_transaction(deposit)
    assert Transaction.objects.get(pk=deposit.pk).status == "completed"


def test_a_pending_transaction_cannot_be_reversed(alice):
    with pytest.raises(TransactionAlreadyProcessed, match="completed"):
        WalletService.reverse_transaction(alice.deposit(1, confirmed=False))


def test_a_tampered_balance_is_found_and_repaired(alice):
    alice.deposit(100)
    alice.withdraw(30)
    Wallet.objects.filter(pk=alice.wallet.pk).update(balance=999)
    wallet = alice.wallet
    audit = wallet.audit_balance()
    assert audit["cached_balance"] == 999
    assert audit["calculated_balance"] == 70
    assert audit["discrepancy"] == 929
    assert audit["is_consistent"] is False
    assert audit["transaction_count"] == 2
    assert [one["type"] for one in audit["transactions"]] == ["deposit", "withdraw"]
    assert wallet.recalculate_balance() == (70, 929)
    assert wallet.sync_balance() == 70
    assert wallet.balance == alice.balance == 70
    assert alice.wallet.audit_balance()["is_consistent"] is True


@pytest.mark.postgres
def test_an_audit_without_the_transactions_adds_up_in_the_database(
    alice, django_assert_num_queries
):
    for _ in range(3):
        alice.deposit(1)
    wallet = alice.wallet
    with django_assert_num_queries(2):
        audit = wallet.audit_balance(with_transactions=False)
    assert (audit["calculated_balance"], audit["is_consistent"]) == (3, True)
    assert (audit["transaction_count"], audit["transactions"]) == (3, [])


def test_every_signal_is_sent_with_its_arguments(alice, bob, sent):
    alice.get_wallet()
    alice.deposit(100, {"a": 1})
    TransferService.transfer(alice, bob, 40)
    WalletService.confirm_transaction(alice.withdraw(1, confirmed=False))
    names = {name for name, _ in sent}
    assert names == {
        "balance_changed", "transaction_created", "wallet_created", "transfer_completed",
        "transaction_confirmed", "pre_withdraw", "pre_deposit",
    }  # fmt: skip
    arguments = {name: set(given) - {"sender"} for name, given in sent}
    assert arguments == {
        "balance_changed": {"wallet", "transaction"},
        "transaction_created": {"transaction"},
        "wallet_created": {"wallet", "holder"},
        "transfer_completed": {"transfer", "from_wallet", "to_wallet"},
        "transaction_confirmed": {"transaction"},
        "pre_withdraw": {"wallet", "amount", "meta"},
        "pre_deposit": {"wallet", "amount", "meta"},
    }
    assert [name for name, _ in sent].count("balance_changed") == 4


def test_the_whole_exception_family_is_one():
    family = [one for one in vars(exceptions).values() if inspect.isclass(one)]
    assert all(issubclass(one, WalletException) for one in family)


def test_balances_are_current_without_refresh(alice, bob):
    wallet = alice.wallet
    WalletService.deposit(wallet, 100)
    assert wallet.balance == 100
    TransferService.transfer(alice, bob, 10)
    assert alice.wallet.balance + bob.wallet.balance == 100


@pytest.mark.django_db(transaction=True)
def test_one_key_from_eight_callers_exchanges_once():
    alice = Person.objects.create(name="alice")
    alice.deposit(100)
    alice.get_wallet("eur")
    results = raise_errors(
        run_together(
            *[
                lambda: ExchangeService.exchange(alice, "default", "eur", 5, idempotency_key="k")
                for _ in range(8)
            ]
        )
    )
    assert len({one.pk for one in results}) == 1
    assert [one.replayed for one in results].count(False) == 1
    assert (alice.balance, alice.get_wallet("eur").balance) == (95, 5)


@pytest.mark.django_db(transaction=True)
def test_one_key_from_eight_callers_pays_once():
    alice, shop = Person.objects.create(name="alice"), Shop.objects.create(price=5)
    alice.deposit(100)
    shop.get_wallet()
    results = raise_errors(
        run_together(*[lambda: alice.pay(shop, idempotency_key="k") for _ in range(8)])
    )
    assert len({one.pk for one in results}) == 1
    assert (alice.balance, shop.balance) == (95, 5)
