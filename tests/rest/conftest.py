"""The cast as users of the service, with keys and wallets."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import redis

from dj_wallet.identity import kept
from dj_wallet.identity.access import SCOPES
from dj_wallet.identity.models import User
from dj_wallet.identity.services import create_api_key
from dj_wallet.ledger import watch
from dj_wallet.ledger.models import Asset
from dj_wallet.models import Transaction, Transfer, Wallet
from dj_wallet.payouts.models import Payout
from dj_wallet.rest import wallet_cache
from tests.exchanges.conftest import limits, running_redis, running_sandbox, sandbox
from tests.exchanges.fixtures import keys
from tests.rest.api import Api
from wallet_service.embedded import RedisServer, free_port

__all__ = ["keys", "limits", "running_redis", "running_sandbox", "sandbox"]


@pytest.fixture(autouse=True)
def assets(db: None) -> None:
    for code, decimal_places in (("USD", 2), ("DOGE", 8), ("PTS", 0)):
        Asset.objects.get_or_create(code=code, defaults={"decimal_places": decimal_places})


@pytest.fixture
def alice(assets: None) -> User:
    return User.objects.create(username="alice")


@pytest.fixture
def bob(assets: None) -> User:
    return User.objects.create(username="bob")


@pytest.fixture
def charlie(assets: None) -> User:
    return User.objects.create(username="charlie")


@pytest.fixture
def staff(assets: None) -> User:
    return User.objects.create(username="staff", is_staff=True)


@pytest.fixture
def wallet(alice: User) -> Wallet:
    """Alice's, with 100.00 USD."""
    wallet = alice.get_wallet()
    wallet.deposit("100.00")
    return wallet


@pytest.fixture
def bobs_wallet(bob: User) -> Wallet:
    return bob.get_wallet()


@pytest.fixture
def api(alice: User) -> Api:
    """Alice's program."""
    return open_api(alice)


@pytest.fixture
def bobs_api(bob: User) -> Api:
    return open_api(bob)


@pytest.fixture
def charlies_api(charlie: User) -> Api:
    return open_api(charlie)


@pytest.fixture
def staffs_api(staff: User) -> Api:
    return open_api(staff)


def open_api(user: User, scopes: Iterable[str] = SCOPES) -> Api:
    """Return the API for a program of the user that may do everything but call internal endpoints."""
    return Api(create_api_key(user=user, name="test", scopes=scopes)[1])


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of the tests' own, which is given more time to answer than the service gives one."""
    folder = tmp_path_factory.mktemp("redis")
    with RedisServer(folder / "data", free_port(), log=folder / "log") as server:
        yield f"{server.url()}?socket_timeout=60&socket_connect_timeout=60"


@pytest.fixture
def cached(redis_url: str, settings: Any) -> Iterator[None]:
    """Wallets and keys are kept in Redis, which is empty."""
    redis.Redis.from_url(redis_url).flushall()
    settings.REDIS_URL, settings.WALLET_CACHE_SECONDS = redis_url, 60
    wallet_cache.register()
    kept.register()
    yield
    watch.watchers.clear()


@pytest.fixture
def unchanged(snapshot: Callable[[], object]) -> Iterator[None]:
    """Nothing that money is made of, and no record of it, may differ after the test."""

    def take() -> object:
        counts = [model.objects.count() for model in (Wallet, Transaction, Transfer, Payout)]
        return snapshot(), counts

    before = take()
    yield
    assert take() == before
