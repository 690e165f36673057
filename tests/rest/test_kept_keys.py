"""Keys and users that are kept in Redis: who is asking costs no query, and who is locked out is out at once."""

import time
from datetime import timedelta

import jwt
import pytest
import redis
from allauth.idp.oidc.models import Client
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from dj_wallet.identity.models import ApiKey, User
from dj_wallet.identity.queries import find_api_key
from dj_wallet.identity.services import create_api_key, revoke_api_key, roll_api_key
from dj_wallet.identity.tokens import get_key_id
from dj_wallet.redis_line import RedisLine, Script
from tests.rest.api import Api

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def key(cached, alice) -> ApiKey:
    return create_api_key(user=alice, name="program")[0]


@pytest.fixture
def program(cached, alice) -> Api:
    """Alice's program, whose key is kept."""
    api = Api(create_api_key(user=alice, name="program")[1])
    for _ in range(3):
        assert api.get("/wallets/").status == 200
    return api


def get_row(api: Api) -> ApiKey:
    assert api.key is not None
    return ApiKey.objects.get(prefix=api.key.split("_")[1])


def make_token(user: User) -> str:
    """Return an access token of ours for a person."""
    return make_token_for(str(user.pk))


def make_token_for(subject: str, **more: str) -> str:
    pem, now = settings.WALLET_SIGNING_KEYS[0], int(time.time())
    claims = {
        "iss": settings.WALLET_ISSUER,
        "aud": settings.WALLET_AUDIENCE,
        "sub": subject,
        "iat": now,
        "exp": now + 600,
        "token_use": "access",
        "scope": "wallets:read",
        **more,
    }
    return jwt.encode(claims, pem, algorithm="RS256", headers={"kid": get_key_id(pem)})


def test_a_warm_request_asks_the_database_nothing(program, wallet, django_assert_num_queries):
    paths = [f"/wallets/{wallet.uuid}", "/wallets/", "/api/wallets/"]
    for path in paths * 3:
        program.get(path)
    for path in paths:
        with django_assert_num_queries(0):
            assert program.get(path).status == 200


def test_a_cold_request_asks_at_most_twice(
    cached, api, wallet, redis_url, django_assert_max_num_queries
):
    api.get("/healthz")
    create = f"/wallets/{wallet.uuid}"
    api.get("/wallets/")  # notes the use of the key
    for path in (create, "/wallets/", "/api/wallets/"):
        redis.Redis.from_url(redis_url).flushall()
        for _ in range(3):
            with django_assert_max_num_queries(2):
                assert api.get(path).status == 200


def test_a_token_of_a_person_asks_the_database_nothing(
    cached, alice, wallet, django_assert_num_queries
):
    api = Api(make_token(alice))
    for _ in range(3):
        assert api.get(f"/wallets/{wallet.uuid}").status == 200
    with django_assert_num_queries(0):
        assert api.get(f"/wallets/{wallet.uuid}").status == 200
    alice.is_active = False
    alice.save()
    assert api.get(f"/wallets/{wallet.uuid}").status == 401


def test_a_revoked_key_opens_nothing_from_then_on(program):
    revoke_api_key(get_row(program))
    assert program.get("/wallets/").code == "api_key_invalid"


def test_a_revocation_counts_when_it_is_committed(program):
    with transaction.atomic():
        revoke_api_key(get_row(program))
        transaction.set_rollback(True)
    assert program.get("/wallets/").status == 200


def test_a_key_that_is_rolled_without_overlap_opens_nothing(program):
    roll_api_key(get_row(program), overlap=timedelta(0))
    assert program.get("/wallets/").status == 401


def test_a_kept_key_ends_at_its_time(program, monkeypatch):
    row = get_row(program)
    row.expires_at = timezone.now() + timedelta(hours=1)
    row.save()
    assert program.get("/wallets/").status == program.get("/wallets/").status == 200
    later = timezone.now() + timedelta(hours=2)
    monkeypatch.setattr(timezone, "now", lambda: later)
    assert program.get("/wallets/").status == 401


def test_a_user_who_is_locked_out_is_out_with_all_keys(program, alice):
    alice.is_active = False
    alice.save()
    assert program.get("/wallets/").status == 401
    alice.is_active = True
    alice.save()
    assert program.get("/wallets/").status == 200


def test_scopes_that_an_operator_takes_away_are_gone(program):
    row = get_row(program)
    row.scopes = ["transfers:read"]
    row.save()
    assert program.get("/wallets/").code == "scope_missing"


def test_no_secret_is_kept(program, alice, redis_url):
    alice.set_password("a long password")
    alice.save()
    program.get("/wallets/")
    assert program.key is not None
    secret = program.key.split("_")[2]
    client = redis.Redis.from_url(redis_url)
    entries = [client.hgetall(key) for key in client.scan_iter("*:key:*")]
    assert entries
    assert secret not in str(entries)
    assert alice.password not in str(entries)


def test_what_is_left_out_can_still_be_had(program, alice):
    alice.set_password("a long password")
    alice.save()
    assert program.key is not None
    for _ in range(2):
        found = find_api_key(program.key)
    assert found is not None
    assert found.user.check_password("a long password")
    assert (found.user, found.scopes) == (alice, get_row(program).scopes)


# One question: counted only if what this process knew is still so


@pytest.fixture
def counted(cached, settings) -> None:
    """Ten requests a minute: what is counted stays for six seconds at least."""
    settings.API_REQUESTS_PER_MINUTE = 10


def read_left(answer) -> int:
    return int(answer.headers["RateLimit"].split("r=")[1].split(";")[0])


def test_a_warm_request_is_counted_once(cached, program, wallet, settings):
    settings.API_REQUESTS_PER_MINUTE = 4
    paths = (f"/wallets/{wallet.uuid}", "/wallets/", "/api/wallets/", "/api/v1/transfers")
    # One comes back every 15 s, so that more may be left than this, never less.
    left = [read_left(program.get(path)) for path in paths]
    assert all(now >= least for now, least in zip(left, (3, 2, 1, 0), strict=True))


def test_a_known_key_is_refused_beyond_the_limit(cached, program, settings):
    settings.API_REQUESTS_PER_MINUTE = 1
    assert program.get("/wallets/").status == 200
    refused = program.get("/wallets/")
    assert (refused.status, refused.code) == (429, "throttled")


def test_a_revoked_key_costs_its_owner_nothing(counted, program, alice, redis_url):
    revoke_api_key(get_row(program))
    forget_buckets(redis_url)
    assert [program.get("/wallets/").status for _ in range(3)] == [401] * 3
    assert list_buckets(redis_url) == []


def forget_buckets(redis_url: str) -> None:
    for bucket in list_buckets(redis_url):
        redis.Redis.from_url(redis_url).delete(bucket)


def list_buckets(redis_url: str) -> list[bytes]:
    return list(redis.Redis.from_url(redis_url).scan_iter("dj_wallet:rate:*"))


def test_a_wrong_secret_of_a_known_key_costs_its_owner_nothing(counted, program, redis_url):
    forget_buckets(redis_url)
    stranger = Api(program.key[:-4] + "AAAA")
    assert stranger.get("/wallets/").status == 401
    assert list_buckets(redis_url) == []


def make_service_token(client: Client) -> str:
    return make_token_for(client.id, client_id=client.id)


def test_a_token_of_a_service_asks_the_database_nothing(
    cached, alice, wallet, django_assert_num_queries
):
    client = Client.objects.create(name="shop", owner=alice)
    api = Api(make_service_token(client))
    for _ in range(3):
        assert api.get(f"/wallets/{wallet.uuid}").status == 200
    with django_assert_num_queries(0):
        assert api.get(f"/wallets/{wallet.uuid}").status == 200


def test_a_service_is_out_when_its_client_or_its_owner_is(cached, alice, bob, wallet):
    client = Client.objects.create(name="shop", owner=alice)
    api = Api(make_service_token(client))
    for _ in range(3):
        assert api.get(f"/wallets/{wallet.uuid}").status == 200
    alice.is_active = False
    alice.save()
    assert api.get(f"/wallets/{wallet.uuid}").status == 401
    client.owner = bob
    client.save()
    assert api.get(f"/wallets/{wallet.uuid}").status == 404
    client.delete()
    assert api.get(f"/wallets/{wallet.uuid}").status == 401


def test_an_answer_that_nobody_read_is_not_taken_for_the_next(redis_url):
    line = RedisLine(redis_url)
    echo = Script("return ARGV[1]")
    assert line.run(echo, [], ["first"]) == b"first"
    line._own.connection.send_command("EVALSHA", echo.sha, 0, "lost")
    line._own.is_waiting = True  # as for somebody who was interrupted before the answer came
    assert line.run(echo, [], ["second"]) == b"second"


def test_a_connection_that_redis_closed_is_made_anew(redis_url):
    line = RedisLine(redis_url)
    echo = Script("return ARGV[1]")
    line.run(echo, [], ["first"])
    redis.Redis.from_url(redis_url).client_kill_filter(_type="normal", skipme=True)
    assert line.run(echo, [], ["second"]) == b"second"
