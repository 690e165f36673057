"""The README of release 0.1.0 (seed 003), snippet by snippet, as it is printed there.

Its models cannot be defined in a test: `User`, `Team`, `DigitalCourse` stand in tests/testapp/models.py, and the
statements that use them run as they are.
"""

import contextlib
import io
from decimal import Decimal

import pytest

from dj_wallet import signals
from dj_wallet.exceptions import InsufficientFunds, ProductNotAvailable
from dj_wallet.services.common import WalletService
from dj_wallet.services.exchange import ExchangeService
from dj_wallet.services.transfer import TransferService
from tests.testapp.models import DigitalCourse, ReadmeOrganization, ReadmeTeam, ReadmeUser

pytestmark = pytest.mark.django_db

QUICK_START = """
user = User.objects.create(username="khaled")

# Deposit: Adds to balance
user.deposit(500.00)

# Check balance
print(user.balance) # 500.00

# Withdraw: Deducts from balance
user.withdraw(100.00)

# Transfer: Deducts from one, adds to another
recipient = User.objects.create(username="friend")
user.transfer(recipient, 50.00)
"""

ORGANIZATION = """
org = Organization.objects.create(name="Acme Corp")
org.deposit(10000.00)  # Company budget

# Create multiple wallets for different purposes
marketing_wallet = org.get_wallet("marketing")
marketing_wallet.deposit(5000.00)

development_wallet = org.get_wallet("development")
development_wallet.deposit(3000.00)

# Allocate resources from organization to team
team = Team.objects.create(name="Backend Team", organization=org)
org.transfer(team, 2000.00)  # Transfer budget to team

print(team.balance)  # 2000.00
"""

PURCHASE = """
course = DigitalCourse.objects.get(id=1)

# This single line checks balance, validates availability, and transfers funds
try:
    transaction = user.pay(course)
    print("Course purchased successfully!")
except InsufficientFunds:
    print("Insufficient funds in wallet.")
except ProductNotAvailable:
    print("This item is currently out of stock.")
"""

SIGNALS = '''
from dj_wallet.signals import (
    balance_changed,
    transaction_created,
    wallet_created,
    transfer_completed,
    transaction_confirmed,
    pre_withdraw,
    pre_deposit,
)
from django.dispatch import receiver

@receiver(balance_changed)
def notify_user_of_balance_change(sender, wallet, transaction, **kwargs):
    """Send notification when balance changes."""
    print(f"Wallet {wallet.slug} balance changed by {transaction.amount}")

@receiver(transfer_completed)
def log_transfer(sender, transfer, from_wallet, to_wallet, **kwargs):
    """Log completed transfers for auditing."""
    print(f"Transfer from {from_wallet} to {to_wallet} completed")

@receiver(pre_withdraw)
def validate_withdrawal(sender, wallet, amount, meta, **kwargs):
    """Custom validation before withdrawal."""
    if amount > 10000:
        raise ValueError("Withdrawals over 10,000 require approval")
'''


def run(snippet, **names):
    """Run the snippet with these names; return what it leaves and what it prints."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(snippet, "README", "exec"), names)
    return names, shown.getvalue().splitlines()


def test_quick_start():
    names, shown = run(QUICK_START, User=ReadmeUser)
    assert Decimal(shown[0]) == 500
    assert (names["user"].balance, names["recipient"].balance) == (350, 50)


def test_organizations_and_teams():
    names, shown = run(ORGANIZATION, Organization=ReadmeOrganization, Team=ReadmeTeam)
    org = names["org"]
    assert Decimal(shown[0]) == 2000
    balances = [org.get_wallet(slug).balance for slug in ("default", "marketing", "development")]
    assert balances == [8000, 5000, 3000]


@pytest.mark.parametrize(
    ("money", "stock", "says"),
    [
        (100, 1, "Course purchased successfully!"),
        (1, 1, "Insufficient funds in wallet."),
        (100, 0, "This item is currently out of stock."),
    ],
)
def test_buying_a_course(money, stock, says):
    user = ReadmeUser.objects.create(username="khaled")
    user.deposit(money)
    DigitalCourse.objects.create(id=1, title="Django", price="49.90", stock=stock)
    names, shown = run(
        PURCHASE,
        DigitalCourse=DigitalCourse,
        user=user,
        InsufficientFunds=InsufficientFunds,
        ProductNotAvailable=ProductNotAvailable,
    )
    assert shown == [says]
    if says.startswith("Course"):
        assert names["transaction"].meta["course_id"] == 1
        assert user.balance == Decimal("50.10")


def test_signals_and_service_methods():
    user, friend = (ReadmeUser.objects.create(username=name) for name in ("khaled", "friend"))
    names, _ = run(SIGNALS)
    try:
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            user.deposit(20000)
            user.transfer(friend, 100)
        with pytest.raises(ValueError, match="require approval"):
            user.withdraw(10001)
    finally:
        signals.balance_changed.disconnect(names["notify_user_of_balance_change"])
        signals.transfer_completed.disconnect(names["log_transfer"])
        signals.pre_withdraw.disconnect(names["validate_withdrawal"])
    assert shown.getvalue().splitlines() == [
        "Wallet default balance changed by 20000.00000000",
        "Wallet default balance changed by 100.00000000",
        "Wallet default balance changed by 100.00000000",
        "Transfer from default (19900.00000000) to default (100.00000000) completed",
    ]
    WalletService.confirm_transaction(user.deposit(1, confirmed=False))
    WalletService.reverse_transaction(user.withdraw(1))
    TransferService.refund(user.transfer(friend, 5))
    ExchangeService.exchange(user, "default", "points", 5)
    assert (user.balance, friend.balance) == (19896, 100)


def test_holder_methods():
    user = ReadmeUser.objects.create(username="khaled")
    user.deposit(10, meta={"a": 1}, confirmed=True)
    user.force_withdraw(11)
    assert user.balance == -1
    assert user.has_wallet("gold") is False
    user.freeze_wallet("gold")
    assert user.is_wallet_frozen("gold")
    user.unfreeze_wallet("gold")
    assert list(user.get_pending_transactions("gold")) == []
