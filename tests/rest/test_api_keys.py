"""API keys over HTTP: shown once, never more than their maker may do, and only to their owner."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from dj_wallet.identity.access import DEFAULT_KEY_SCOPES
from dj_wallet.identity.models import ApiKey, AuditEvent, User
from dj_wallet.identity.services import create_api_key
from dj_wallet.models import Wallet
from tests.identity.conftest import PASSWORD, Browser
from tests.rest.api import Api
from tests.rest.conftest import open_api

KEYS = "/api/v1/api-keys"


def test_a_key_is_shown_once_and_works(api, wallet):
    answer = api.post(KEYS, {"name": "shop", "scopes": ["wallets:read"]})
    assert answer.status == 201
    assert answer.headers["Cache-Control"] == "no-store"
    text = answer.body["text"]
    assert Api(text).get(f"/wallets/{wallet.uuid}/").status == 200
    assert Api(text).post("/wallets/").code == "scope_missing"
    shown = api.get(answer.headers["Location"])
    assert "text" not in shown.body
    assert shown.body["scopes"] == ["wallets:read"]
    assert shown.body["last_used_at"] is not None


def test_without_scopes_a_key_gets_the_usual_ones_as_far_as_its_maker_has_them(alice):
    api = open_api(alice, ["keys:write", "wallets:read", "deposits:write"])
    assert api.post(KEYS, {"name": "shop"}).body["scopes"] == ["wallets:read"]
    assert set(open_api(alice).post(KEYS, {"name": "x"}).body["scopes"]) == DEFAULT_KEY_SCOPES


@pytest.mark.parametrize("scope", ["deposits:write", "internal", "operations:read"])
def test_nobody_gives_a_scope_that_they_have_not(alice, scope):
    api = open_api(alice, ["keys:write", "wallets:read"])
    answer = api.post(KEYS, {"name": "shop", "scopes": ["wallets:read", scope]})
    assert (answer.status, answer.code) == (422, "scopes_invalid")
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x" * 101},
        {"name": 1},
        {"name": "x", "scopes": "wallets:read"},
        {"name": "x", "scopes": [1]},
        {"name": "x", "is_signing": "yes"},
        {"name": "x", "is_signing": 1},
        {"name": "x", "expires_at": "tomorrow"},
        {"name": "x", "allowed_addresses": ["x" * 51]},
        {"name": "x", "user": "00000000-0000-0000-0000-000000000000"},
        {"name": "x", "prefix": "aaaaaaaaaaaa"},
        {"name": "x", "secret_hash": "0" * 64},
        {"name": "x", "last_used_at": "2030-01-01T00:00:00Z"},
    ],
    ids=str,
)
def test_a_field_that_is_wrong_or_not_for_clients_is_refused(api, body):
    answer = api.post(KEYS, body)
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert ApiKey.objects.count() == 1


def test_an_address_that_is_none_is_refused(api):
    answer = api.post(KEYS, {"name": "x", "allowed_addresses": ["10.0.0.1/8"]})
    assert (answer.status, answer.code) == (422, "addresses_invalid")
    assert ApiKey.objects.count() == 1


def test_a_key_works_from_its_addresses_only(alice):
    _, text = create_api_key(user=alice, name="x", allowed_addresses=["10.0.0.0/8"])
    api = Api(text)
    answer = api.get("/wallets/")
    assert (answer.status, answer.code) == (403, "address_not_allowed")
    assert ApiKey.objects.get().last_used_at is None
    api.client = Client(REMOTE_ADDR="10.1.2.3")
    assert api.get("/wallets/").status == 200


def test_the_list_has_all_of_ones_keys_and_none_of_others(api, alice, bob):
    create_api_key(user=bob, name="bobs")
    create_api_key(user=alice, name="old", expires_at=timezone.now() - timedelta(days=1))
    assert [key["name"] for key in api.get(KEYS).body["results"]] == ["old", "test"]


def test_the_list_costs_the_same_however_long(api, alice, django_assert_num_queries):
    for _ in range(3):
        create_api_key(user=alice, name="x")
    api.get(KEYS)
    with django_assert_num_queries(2):
        api.get(KEYS)


def test_a_revoked_key_opens_nothing_and_stays_in_the_list(api, alice):
    key, text = create_api_key(user=alice, name="old")
    for _ in range(2):
        assert api.send("DELETE", f"{KEYS}/{key.prefix}", b"").body["revoked_at"]
    assert Api(text).get("/wallets/").code == "api_key_invalid"
    assert len(api.get(KEYS).body["results"]) == 2
    assert AuditEvent.objects.filter(event="key_revoked").count() == 1


def test_another_users_key_is_neither_seen_nor_revoked_nor_rolled(api, bob):
    key, text = create_api_key(user=bob, name="bobs")
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/roll")):
        assert api.send(method, f"{KEYS}/{key.prefix}{path}", b"{}").status == 404
    assert Api(text).get("/wallets/").status == 200
    assert ApiKey.objects.filter(user=bob).count() == 1


def test_a_rolled_key_and_its_successor_both_work(api, alice):
    key, text = create_api_key(user=alice, name="old", scopes=["wallets:read"])
    answer = api.post(f"{KEYS}/{key.prefix}/roll", {"overlap_seconds": 60})
    assert (answer.status, answer.body["replaces"]) == (201, key.prefix)
    assert [Api(one).get("/wallets/").status for one in (text, answer.body["text"])] == [200, 200]
    assert api.get(f"{KEYS}/{key.prefix}").body["replaced_by"] == answer.body["prefix"]


def test_a_key_is_rolled_once(api, alice):
    key, _ = create_api_key(user=alice, name="old")
    assert api.post(f"{KEYS}/{key.prefix}/roll", {}).status == 201
    answer = api.post(f"{KEYS}/{key.prefix}/roll", {})
    assert (answer.status, answer.code) == (409, "key_ended")


def test_a_small_key_does_not_roll_a_great_one(alice):
    great, _ = create_api_key(user=alice, name="great", scopes=["deposits:write"])
    answer = open_api(alice, ["keys:write"]).post(f"{KEYS}/{great.prefix}/roll", {})
    assert (answer.status, answer.code) == (422, "scopes_invalid")
    assert ApiKey.objects.filter(name="great").count() == 1


@pytest.mark.parametrize("seconds", [-1, 30 * 24 * 60 * 60 + 1, "60", True, 1.5])
def test_an_overlap_is_a_sound_number_of_seconds(api, alice, seconds):
    key, _ = create_api_key(user=alice, name="old")
    answer = api.post(f"{KEYS}/{key.prefix}/roll", {"overlap_seconds": seconds})
    assert (answer.status, answer.code) == (400, "invalid_request")


# In the browser


@pytest.fixture
def person(db):
    user = User.objects.create_user(username="person", password=PASSWORD)
    browser = Browser(user)
    browser.client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    return browser


def use_session(browser, method, path, body="{}", **headers):
    answer = browser.client.generic(method, path, body, "application/json", headers=headers)
    return answer.status_code, answer.json().get("error", {}).get("code")


def sign_in(browser):
    token = browser.get("/accounts/login/").context["csrf_token"]
    browser.post(
        "/accounts/login/",
        {"login": "person", "password": PASSWORD, "csrfmiddlewaretoken": str(token)},
    )
    return browser.client.cookies["csrftoken"].value


def test_a_session_reads_without_and_writes_with_a_csrf_token(person):
    token = sign_in(person)
    assert use_session(person, "GET", "/wallets/") == (200, None)
    assert use_session(person, "POST", "/wallets/") == (403, "csrf_failed")
    assert use_session(person, "POST", "/wallets/", **{"X-CSRFToken": "x" * 32}) == (
        403,
        "csrf_failed",
    )
    assert not Wallet.objects.held_by(person.user).exists()
    assert use_session(person, "POST", "/wallets/", **{"X-CSRFToken": token}) == (201, None)


def test_a_session_deposits_nothing(person, snapshot):
    token = sign_in(person)
    wallet = person.user.get_wallet()
    before = snapshot()
    sent = use_session(
        person, "POST", f"/wallets/{wallet.uuid}/deposit", '{"amount": 1}', **{"X-CSRFToken": token}
    )
    assert sent == (403, "scope_missing")
    assert snapshot() == before


def test_a_bad_key_is_not_helped_by_a_session(person):
    sign_in(person)
    assert use_session(person, "GET", "/wallets/", Authorization="Bearer wk_x") == (
        401,
        "api_key_invalid",
    )


def test_a_person_with_a_second_factor_proves_it_before_making_a_key(person):
    person.set_up_second_factor()
    token = sign_in(person)
    person.post(
        "/accounts/2fa/authenticate/", {"code": person.make_code(), "csrfmiddlewaretoken": token}
    )
    token = person.client.cookies["csrftoken"].value
    made = {"body": '{"name": "shop"}', "X-CSRFToken": token}
    assert use_session(person, "POST", KEYS, **made) == (201, None)
    person.age_proofs(301)
    answer = person.client.post(
        KEYS, {"name": "x"}, "application/json", headers={"X-CSRFToken": token}
    )
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (403, "step_up_required")
    assert error["details"] == {"url": "/accounts/2fa/reauthenticate/"}
    assert ApiKey.objects.count() == 1


def test_in_production_a_password_alone_makes_no_key(person, settings):
    settings.WALLET_REQUIRE_MFA = True
    token = sign_in(person)
    made = {"body": '{"name": "shop"}', "X-CSRFToken": token}
    assert use_session(person, "POST", KEYS, **made) == (403, "step_up_required")
    assert not ApiKey.objects.exists()


def test_a_key_of_a_person_never_gets_more_than_people_may(person):
    token = sign_in(person)
    made = {"body": '{"name": "x", "scopes": ["deposits:write"]}', "X-CSRFToken": token}
    assert use_session(person, "POST", KEYS, **made) == (422, "scopes_invalid")
