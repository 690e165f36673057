"""Fixtures that the tests of the application and of its REST interface share."""

import pytest

from dj_wallet.identity.models import User
from tests.exchanges.people import make_key


@pytest.fixture
def keys(settings) -> None:
    """A ring of one key in the environment."""
    settings.EXCHANGES_KEY_PROVIDERS = ["environment"]
    settings.EXCHANGES_KEY_OPTIONS = {"WALLET_EXCHANGE_KEYS": f"k1:{make_key(1)}"}


@pytest.fixture
def alice(db) -> User:
    return User.objects.create(username="alice")


@pytest.fixture
def bob(db) -> User:
    return User.objects.create(username="bob")
