"""Who may ask at all."""

from datetime import timedelta

import pytest
from django.utils import timezone

from dj_wallet.identity.models import ApiKey
from dj_wallet.identity.services import create_api_key, revoke_api_key
from tests.rest.api import Api

PRIVATE = [
    ("GET", "/wallets/"),
    ("POST", "/wallets/"),
    ("GET", "/wallets/00000000-0000-0000-0000-000000000000/"),
    ("POST", "/wallets/00000000-0000-0000-0000-000000000000/deposit"),
    ("POST", "/wallets/00000000-0000-0000-0000-000000000000/withdraw"),
    ("GET", "/wallets/00000000-0000-0000-0000-000000000000/transactions/"),
    ("GET", "/wallets/00000000-0000-0000-0000-000000000000/transactions/1/"),
    ("GET", "/api/v1/transfers"),
    ("POST", "/api/v1/transfers"),
    ("GET", "/api/v1/transfers/00000000-0000-0000-0000-000000000000"),
    ("POST", "/api/v1/batches"),
]


@pytest.mark.parametrize(("method", "path"), PRIVATE)
def test_without_a_key_nothing_is_shown(unchanged, method, path):
    answer = Api(None).send(method, path, b"{}")
    assert (answer.status, answer.code) == (401, "not_authenticated")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="wallets"'


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer wk_"},
        {"Authorization": "Bearer wk_aaaaaaaaaaaa_" + "a" * 43},
        {"Authorization": "bearer wk_\u00e9"},
        {"X-API-Key": ""},
        {"X-API-Key": "x"},
        {"X-API-Key": "wk_aaaaaaaaaaaa_" + "a" * 100_000},
    ],
)
def test_a_key_that_opens_nothing_is_refused(db, unchanged, headers):
    answer = Api(None).get("/wallets/", **headers)
    assert (answer.status, answer.code) == (401, "api_key_invalid")


@pytest.mark.parametrize("credentials", ["Basic YTpi", "Bearer", "Token x", ""])
def test_other_credentials_are_no_api_key(db, credentials):
    answer = Api(None).get("/wallets/", Authorization=credentials)
    assert (answer.status, answer.code) == (401, "not_authenticated")


def test_both_headers_carry_a_key(api):
    for headers in ({"X-API-Key": api.key}, {"Authorization": f"bearer  {api.key}"}):
        assert Api(None).get("/wallets/", **headers).status == 200


def test_a_wrong_secret_is_refused(api):
    wrong = api.key[:-1] + ("A" if api.key[-1] != "A" else "B")
    assert Api(wrong).get("/wallets/").status == 401


def test_a_revoked_key_is_refused_at_once(api):
    revoke_api_key(ApiKey.objects.get())
    answer = api.get("/wallets/")
    assert (answer.status, answer.code) == (401, "api_key_invalid")


def test_an_expired_key_is_refused(alice):
    now = timezone.now()
    _, past = create_api_key(user=alice, name="old", expires_at=now - timedelta(seconds=1))
    _, future = create_api_key(user=alice, name="new", expires_at=now + timedelta(minutes=1))
    assert Api(past).get("/wallets/").status == 401
    assert Api(future).get("/wallets/").status == 200


def test_the_key_of_a_disabled_user_is_refused(api, alice):
    alice.is_active = False
    alice.save()
    assert api.get("/wallets/").status == 401
