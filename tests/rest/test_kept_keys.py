"""Keys and users that are kept in Redis: who is asking costs no query, and who is locked out is out at once."""

import time
from datetime import timedelta

import jwt
import pytest
import redis
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from dj_wallet.identity.models import ApiKey, User
from dj_wallet.identity.queries import find_api_key
from dj_wallet.identity.services import create_api_key, revoke_api_key, roll_api_key
from dj_wallet.identity.tokens import get_key_id
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
    pem, now = settings.WALLET_SIGNING_KEYS[0], int(time.time())
    claims = {
        "iss": settings.WALLET_ISSUER,
        "aud": settings.WALLET_AUDIENCE,
        "sub": str(user.pk),
        "iat": now,
        "exp": now + 600,
        "token_use": "access",
        "scope": "wallets:read",
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
