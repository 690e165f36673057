"""How many requests a caller may make, counted in a real Redis."""

import threading
import time
from typing import Any

import pytest
import redis

from dj_wallet.identity.services import create_api_key
from dj_wallet.rest.limits import Buckets, get_buckets
from tests.events.conftest import find_port
from tests.rest.api import Api

pytestmark = pytest.mark.django_db


@pytest.fixture
def limited(redis_url: str, settings: Any) -> None:
    """Two requests a minute: half a minute must pass before a third, in no test."""
    redis.Redis.from_url(redis_url).flushall()
    settings.REDIS_URL = redis_url
    settings.API_REQUESTS_PER_MINUTE = 2


def test_a_caller_is_told_what_is_left(limited, api):
    first, second = api.get("/wallets/"), api.get("/wallets/")
    assert first.headers["RateLimit-Policy"] == '"requests";q=2;w=60'
    assert first.headers["RateLimit"] == '"requests";r=1;t=30'
    assert second.headers["RateLimit"].startswith('"requests";r=0;')


def test_beyond_the_limit_a_caller_waits(limited, api):
    assert [api.get("/wallets/").status for _ in range(2)] == [200] * 2
    refused = api.get("/wallets/")
    assert (refused.status, refused.code) == (429, "throttled")
    assert 1 <= int(refused.headers["Retry-After"]) <= 30
    assert refused.headers["RateLimit"].startswith('"requests";r=0;')


def test_a_refused_request_does_nothing(limited, api, wallet, unchanged):
    for _ in range(2):
        api.get("/wallets/")
    assert api.post(f"/wallets/{wallet.uuid}/deposit", {"amount": 1}).status == 429


def test_keys_of_one_user_share_the_users_limit(limited, api, alice):
    other = Api(create_api_key(user=alice, name="other")[1])
    for _ in range(2):
        api.get("/wallets/")
    assert other.get("/wallets/").status == 429


def test_one_users_requests_are_not_anothers(limited, api, bobs_api):
    for _ in range(3):
        api.get("/wallets/")
    assert bobs_api.get("/wallets/").status == 200


def test_a_strangers_requests_cost_nobody(limited, api):
    for _ in range(10):
        assert Api("wk_nonsense").get("/wallets/").status == 401
    assert api.get("/wallets/").status == 200


def test_without_redis_nobody_is_refused(api, settings):
    settings.REDIS_URL = f"redis://127.0.0.1:{find_port()}/0"
    settings.API_REQUESTS_PER_MINUTE = 1
    answers = [api.get("/wallets/") for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert "RateLimit" not in answers[0].headers


def test_many_at_once_never_get_more_than_the_limit(redis_url):
    redis.Redis.from_url(redis_url).flushall()
    buckets = Buckets(redis_url)
    allowed: list[bool] = []

    def take() -> None:
        for _ in range(20):
            verdict = buckets.take(["user:x"], [10])
            assert verdict is not None
            allowed.append(verdict.is_allowed)

    begun = time.monotonic()
    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One comes back every six seconds.
    assert 10 <= sum(allowed) <= 11 + (time.monotonic() - begun) / 6


def test_the_buckets_of_one_server_are_made_once(redis_url):
    assert get_buckets(redis_url) is get_buckets(redis_url)
