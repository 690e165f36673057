"""Without Redis: nobody guesses passwords uncounted, and nothing answers as if it were a bug."""

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from dj_wallet.identity.models import AuditEvent
from dj_wallet.identity.services import create_api_key
from dj_wallet.rest.limits import get_buckets
from tests.events.conftest import find_port
from tests.identity.conftest import PASSWORD, Browser
from tests.identity.test_tokens import fetch, make_client


@pytest.fixture
def without_redis(settings) -> None:
    """Nobody listens where Redis should be."""
    url = f"redis://127.0.0.1:{find_port()}/0"
    settings.REDIS_URL, settings.API_REQUESTS_PER_MINUTE = url, 6_000
    settings.WALLET_CACHE_SECONDS = 60
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
    }
    # So that each request asks, and none passes Redis by after the failure of another.
    get_buckets.cache_clear()


def test_nobody_signs_in_by_password_and_is_told_so(browser, without_redis):
    answer = browser.sign_in()
    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert "try again" in answer.content.decode()
    assert not AuditEvent.objects.filter(event="signed_in").exists()


def test_a_script_of_a_page_is_told_in_json(browser, without_redis):
    body = {"username": "alice", "password": PASSWORD}
    answer = browser.post("/_allauth/browser/v1/auth/login", body, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "redis_unavailable")


def test_nobody_signs_up(db, without_redis):
    fields = {"username": "dora", "email": "", "password1": PASSWORD, "password2": PASSWORD}
    assert Browser().post("/accounts/signup/", fields).status_code == 503


def test_a_service_still_fetches_tokens_or_is_told_to_wait(alice, without_redis):
    client, secret = make_client(alice, "client_credentials", scopes="wallets:read")
    answer = fetch(
        grant_type="client_credentials",
        client_id=client.id,
        client_secret=secret,
        scope="wallets:read",
    )
    assert answer.status_code in {200, 503}


def list_plain_paths(patterns: list[URLPattern | URLResolver], start: str = "/") -> list[str]:
    """Return the paths of allauth's pages and scripts that have no parameters."""
    found = []
    for pattern in patterns:
        route = start + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            found += list_plain_paths(pattern.url_patterns, route)
        elif "<" not in route and "logout" not in route:
            found.append(route)
    return found


def list_people_paths() -> list[str]:
    paths = list_plain_paths(get_resolver().url_patterns)
    return sorted(
        {path for path in paths if path.startswith(("/accounts/", "/_allauth/", "/identity/"))}
    )


def test_no_path_of_people_answers_as_if_it_had_a_bug(alice, without_redis):
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    paths = list_people_paths()
    assert {"/accounts/login/", "/_allauth/browser/v1/auth/login"} <= set(paths)
    send = {"GET": client.get, "POST": client.post}
    answers = {(name, path): send[name](path).status_code for path in paths for name in send}
    assert [one for one, status in answers.items() if status == 500] == []


@pytest.mark.django_db(transaction=True)
def test_programs_go_on(without_redis, alice):
    text = create_api_key(user=alice, name="program")[1]
    answers = [
        Client().get(path, headers={"Authorization": f"Bearer {text}"}).status_code
        for path in ("/wallets/", "/api/wallets/", "/api/v1/transfers", "/api/v1/api-keys")
    ]
    assert answers == [200] * 4
