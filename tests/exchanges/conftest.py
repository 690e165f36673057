"""A sandbox of exchanges and a Redis, one of each for all tests, put back to their beginnings after each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from dj_wallet.exchanges import runtime
from tests.exchanges.stand import Sandbox
from wallet_service.embedded import RedisServer, free_port


@pytest.fixture(scope="session")
def running_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    sandbox = Sandbox(tmp_path_factory.mktemp("exchanges") / "tls")
    yield sandbox
    sandbox.stop()


@pytest.fixture(scope="session")
def running_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("redis")
    for part in (folder, *folder.parents):
        if part.name.startswith("pytest-"):
            part.chmod(0o711)  # Redis runs as another user where root runs the tests
    with RedisServer(folder / "data", free_port()) as server:
        yield server.url(5)


@pytest.fixture
def limits(running_redis: str) -> Iterator["redis.Redis[bytes]"]:
    """What Redis holds, empty at the start."""
    client = redis.Redis.from_url(running_redis)
    client.flushdb()
    yield client
    client.close()


@pytest.fixture
def sandbox(running_sandbox: Sandbox, running_redis: str, limits, settings) -> Iterator[Sandbox]:
    """The sandbox, to which a fresh runtime of this process is pointed."""
    runtime.close()  # one that other tests began knows no sandbox
    settings.EXCHANGES_REDIS_URL = running_redis
    settings.EXCHANGES_SANDBOX_ADDRESS = running_sandbox.address
    settings.EXCHANGES_SANDBOX_CA_FILE = str(running_sandbox.ca_file)
    # What is in time for a user may be late on a machine that does other things.
    settings.EXCHANGES_FETCH_SECONDS = settings.EXCHANGES_TEST_SECONDS = 30
    running_sandbox.set("reset")
    yield running_sandbox
    runtime.close()
