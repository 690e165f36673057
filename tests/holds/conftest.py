"""Alice has 100, Bob nothing; what is held is looked at from outside."""

from decimal import Decimal

import pytest

from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.models import Escrow, Hold, HoldStep
from dj_wallet.services.escrow import open_escrow
from dj_wallet.services.holds import place_hold


@pytest.fixture
def wallet(alice):
    alice.deposit(100)
    return alice.wallet


@pytest.fixture
def seller(bob):
    return bob.wallet


@pytest.fixture
def hold(wallet):
    """60 of Alice's for auction 1."""
    return place_hold(wallet=wallet, amount=60, reference_type="auction", reference_id="1")


@pytest.fixture
def escrow(wallet, seller):
    """60 of Alice's for order 1; the fee is 3."""
    return open_escrow(buyer=wallet, seller=seller, order_id="1", amount=60, fee_amount=3)


@pytest.fixture
def unmoved(snapshot):
    """A function that returns all that a refusal must leave alone."""

    def take():
        return (
            snapshot(),
            list(Hold.objects.order_by("pk").values()),
            list(Escrow.objects.order_by("pk").values()),
            HoldStep.objects.count(),
        )

    return take


@pytest.fixture(autouse=True)
def clean(request, db):
    """After every test the books balance."""
    yield
    if not request.node.get_closest_marker("tampers"):
        assert audit_ledger().problems == []


def parts(wallet):
    """Return what is available, locked and pending, as the database says."""
    wallet.refresh_from_db()
    return wallet.balance, wallet.locked_balance, wallet.pending_balance


def as_decimals(*numbers):
    return tuple(Decimal(number) for number in numbers)
