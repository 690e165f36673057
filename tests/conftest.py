"""The cast: alice owns, bob shares, charlie must see nothing."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from dj_wallet.ledger.models import Account, Posting
from tests.testapp.models import Person


@pytest.fixture
def alice(db: None) -> Person:
    return Person.objects.create(name="alice")


@pytest.fixture
def bob(db: None) -> Person:
    return Person.objects.create(name="bob")


@pytest.fixture
def charlie(db: None) -> Person:
    return Person.objects.create(name="charlie")


@pytest.fixture
def snapshot(db: None) -> Callable[[], Any]:
    """A function that returns all that money is made of: a refusal test compares before and after."""

    def take() -> tuple[dict[int, tuple[Decimal, ...]], int]:
        rows = Account.objects.values_list(
            "pk", "balance", "locked_balance", "pending_balance", "version"
        )
        return {row[0]: row[1:] for row in rows}, Posting.objects.count()

    return take
