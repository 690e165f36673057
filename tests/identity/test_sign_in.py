"""People at the pages: signing up and in, second factors, sessions, throttles, and what is written down of it."""

import json
import logging
import re
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.auth import get_user

from dj_wallet.identity.models import AuditEvent, User
from tests.identity.authenticator import Passkey
from tests.identity.conftest import PASSWORD, Browser


def list_events(*fields: str) -> list[Any]:
    return list(
        AuditEvent.objects.order_by("pk").values_list(*(fields or ("event",)), flat=len(fields) < 2)
    )


def is_signed_in(browser: Browser) -> bool:
    return bool(get_user(browser.client).is_authenticated)


# Signing up and in


def test_a_person_signs_up_and_is_signed_in(db):
    browser = Browser()
    fields = {"username": "dora", "email": "", "password1": PASSWORD, "password2": PASSWORD}
    answer = browser.post("/accounts/signup/", fields)
    assert (answer.status_code, answer["Location"]) == (302, "/accounts/")
    assert "dora" in browser.get("/accounts/").content.decode()
    assert list_events("event", "username", "address") == [
        ("signed_up", "dora", "127.0.0.1"),
        ("signed_in", "dora", "127.0.0.1"),
    ]


@pytest.mark.parametrize("field", ["is_staff", "is_superuser", "groups", "user_permissions", "id"])
def test_nobody_signs_up_as_more_than_a_person(db, field):
    fields = {"username": "dora", "password1": PASSWORD, "password2": PASSWORD, field: "1"}
    Browser().post("/accounts/signup/", fields)
    user = User.objects.get(username="dora")
    assert not user.is_staff
    assert not user.is_superuser
    assert not user.groups.exists()


@pytest.mark.parametrize("password", ["short", "password123", "dora-dora-dora"])
def test_a_weak_password_is_refused(db, password):
    fields = {"username": "dora-dora", "password1": password, "password2": password}
    assert Browser().post("/accounts/signup/", fields).status_code == 200
    assert not User.objects.exists()


def test_sign_up_can_be_closed(db, settings):
    settings.WALLET_SIGNUP_OPEN = False
    fields = {"username": "dora", "password1": PASSWORD, "password2": PASSWORD}
    Browser().post("/accounts/signup/", fields)
    assert not User.objects.exists()


def test_a_person_signs_in_and_out(browser):
    assert browser.sign_in()["Location"] == "/accounts/"
    assert is_signed_in(browser)
    browser.post("/accounts/logout/")
    assert not is_signed_in(browser)
    assert list_events() == ["signed_in", "signed_out"]


def test_a_wrong_password_opens_nothing_and_is_written_down(browser, caplog):
    assert browser.sign_in("wrong password").status_code == 200
    assert not is_signed_in(browser)
    event = AuditEvent.objects.get()
    assert (event.event, event.username, event.user) == ("sign_in_failed", "alice", None)
    assert (event.address, event.user_agent) == ("127.0.0.1", "Test browser")
    assert event.request_id
    assert "wrong password" not in caplog.text + str(vars(event))


def test_a_name_that_nobody_has_is_answered_like_one_that_somebody_has(browser, db):
    texts = []
    for name in ("alice", "nobody"):
        page = browser.post("/accounts/login/", {"login": name, "password": "wrong password"})
        texts.append(
            re.findall(r'class="errorlist[^"]*".*?</ul>', page.content.decode(), re.DOTALL)
        )
    assert texts[0] == texts[1] != []


def test_a_disabled_user_does_not_sign_in(browser, alice):
    User.objects.filter(pk=alice.pk).update(is_active=False)
    browser.sign_in()
    assert not is_signed_in(browser)


def test_a_name_with_line_breaks_cannot_forge_log_lines(db, caplog):
    name = "x\nINFO signed_in: user 'admin'\x1b[31m"
    Browser().post("/accounts/login/", {"login": name, "password": "wrong password"})
    assert all("\n" not in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    "back", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"]
)
def test_nobody_is_sent_elsewhere_after_signing_in(browser, back):
    fields = {"login": "alice", "password": PASSWORD, "next": back}
    assert browser.post("/accounts/login/", fields)["Location"] == "/accounts/"


# Guessing


def test_guessing_a_password_ends_with_429_and_then_even_the_right_one_waits(browser, caplog):
    statuses = [browser.sign_in(f"guess {number}").status_code for number in range(6)]
    assert statuses == [200, 200, 200, 200, 200, 429]
    answer = browser.sign_in()
    assert answer.status_code == 429
    assert "Too many tries" in answer.content.decode()
    assert not is_signed_in(browser)
    assert list_events() == ["sign_in_failed"] * 5 + ["sign_in_throttled"] * 2
    assert "sign_in_throttled: user 'alice' from 127.0.0.1" in caplog.text


def test_another_address_does_not_help_the_guesser(browser, alice):
    for number in range(5):
        Browser(alice, address=f"203.0.113.{number}").sign_in("guess")
    assert Browser(alice, address="203.0.113.9").sign_in().status_code == 429


def test_a_guesser_of_many_names_is_stopped_by_address(db):
    guesser = Browser()
    answers = [
        guesser.post("/accounts/login/", {"login": f"user{number}", "password": "guess"})
        for number in range(11)
    ]
    assert answers[9].status_code == 200
    assert answers[10].status_code == 429


def test_an_address_is_what_trusted_proxies_say(browser, settings):
    browser.client.post(
        "/accounts/login/",
        {"login": "alice", "password": "x"},
        headers={"X-Forwarded-For": "198.51.100.7"},
    )
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    browser.client.post(
        "/accounts/login/",
        {"login": "alice", "password": "x"},
        headers={"X-Forwarded-For": "6.6.6.6, 198.51.100.7"},
    )
    assert list_events("address") == ["127.0.0.1", "198.51.100.7"]


def test_guessing_codes_ends_too(browser):
    browser.set_up_second_factor()
    browser.sign_in()
    for _ in range(5):
        assert (
            "Incorrect code"
            in browser.post("/accounts/2fa/authenticate/", {"code": "000000"}).content.decode()
        )
    page = browser.post("/accounts/2fa/authenticate/", {"code": browser.make_code()})
    assert page.status_code == 200
    assert "Too many" in page.content.decode()
    assert not is_signed_in(browser)
    assert "second_factor_failed" in list_events()


# Second factors


def test_with_an_authenticator_app_a_password_is_not_enough(browser):
    browser.set_up_second_factor()
    assert browser.sign_in()["Location"].startswith("/accounts/2fa/authenticate/")
    assert not is_signed_in(browser)
    browser.post("/accounts/2fa/authenticate/", {"code": browser.make_code()})
    assert is_signed_in(browser)
    assert list_events() == ["second_factor_used", "signed_in"]


def test_a_code_works_once(browser, alice):
    browser.set_up_second_factor()
    browser.sign_in()
    code = browser.make_code()
    browser.post("/accounts/2fa/authenticate/", {"code": code})
    other = Browser(alice)
    other.sign_in()
    other.post("/accounts/2fa/authenticate/", {"code": code})
    assert not is_signed_in(other)


def test_the_secret_of_the_app_is_sealed(browser):
    browser.set_up_second_factor()
    kept = json.dumps(list(Authenticator.objects.values_list("data", flat=True)))
    assert browser.secret not in kept


def test_a_recovery_code_works_once(browser, alice):
    browser.set_up_second_factor()
    codes = Authenticator.objects.get(type="recovery_codes").wrap().get_unused_codes()
    browser.sign_in()
    browser.post("/accounts/2fa/authenticate/", {"code": codes[0]})
    assert is_signed_in(browser)
    other = Browser(alice)
    other.sign_in()
    other.post("/accounts/2fa/authenticate/", {"code": codes[0]})
    assert not is_signed_in(other)


def test_an_app_is_set_up_at_the_pages(browser, django_capture_on_commit_callbacks):
    browser.sign_in()
    page = browser.get("/accounts/2fa/totp/activate/")
    assert "/accounts/reauthenticate/" in page["Location"]
    browser.post(page["Location"], {"password": PASSWORD})
    page = browser.get("/accounts/2fa/totp/activate/")
    browser.secret = page.context["form"].secret
    with django_capture_on_commit_callbacks(execute=True):
        answer = browser.post("/accounts/2fa/totp/activate/", {"code": browser.make_code()})
    assert answer.status_code == 302
    assert set(Authenticator.objects.values_list("type", flat=True)) == {"totp", "recovery_codes"}
    assert "second_factor_added" in list_events()


def test_a_second_factor_is_not_removed_with_a_password(browser):
    browser.set_up_second_factor()
    browser.sign_in_fully()
    browser.age_proofs(400)
    answer = browser.post("/accounts/2fa/totp/deactivate/")
    assert "/accounts/2fa/reauthenticate/" in answer["Location"]
    browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
    browser.post("/accounts/2fa/totp/deactivate/")
    assert Authenticator.objects.filter(type="totp").exists()


# Sessions


def test_other_sessions_are_ended(browser, alice):
    other = Browser(alice)
    for one in (browser, other):
        one.sign_in()
        one.get("/accounts/")
    page = browser.get("/accounts/sessions/").content.decode()
    assert page.count("Test browser") == 2
    browser.post("/accounts/sessions/")
    assert is_signed_in(browser)
    assert not is_signed_in(other)
    assert UserSession.objects.count() == 1


def test_a_new_password_ends_other_sessions(browser, alice):
    other = Browser(alice)
    for one in (browser, other):
        one.sign_in()
    fields = {
        "oldpassword": PASSWORD,
        "password1": "another good one",
        "password2": "another good one",
    }
    browser.post("/accounts/password/change/", fields)
    assert is_signed_in(browser)
    assert not is_signed_in(other)
    assert "password_changed" in list_events()


def test_the_account_shows_its_own_events_only(browser, bob):
    Browser(bob, address="203.0.113.77").sign_in()
    browser.sign_in()
    page = browser.get("/accounts/").content.decode()
    assert "127.0.0.1" in page
    assert "203.0.113.77" not in page


# By scripts


def ask_script(browser: Browser, path: str, body: Any) -> Any:
    return browser.client.post(
        f"/_allauth/browser/v1/auth/{path}", body, content_type="application/json"
    )


def test_a_script_signs_in_by_the_headless_api(browser):
    answer = ask_script(browser, "login", {"username": "alice", "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.json()["meta"]["is_authenticated"]


def test_a_guessing_script_is_stopped(browser):
    wrong = {"username": "alice", "password": "guess"}
    statuses = [ask_script(browser, "login", wrong).status_code for _ in range(6)]
    assert statuses == [400] * 5 + [429]


def test_a_signed_in_page_is_not_kept_by_caches_or_framed(browser):
    browser.sign_in()
    answer = browser.get("/accounts/")
    assert answer["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in answer["Content-Security-Policy"]


def test_events_are_log_lines_too(browser, caplog):
    caplog.set_level(logging.INFO)
    browser.sign_in()
    assert "signed_in: user 'alice' from 127.0.0.1" in caplog.text


# Passkeys


@pytest.fixture
def careful(settings):
    """As in production: the address of the page is looked at."""
    settings.MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = False


def add_passkey(browser, passkey, django_capture_on_commit_callbacks):
    browser.sign_in()
    browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
    page = browser.get("/accounts/2fa/webauthn/add/")
    credential = passkey.create(page.context["js_data"]["creation_options"])
    fields = {"name": "Phone", "passwordless": "on", "credential": credential}
    with django_capture_on_commit_callbacks(execute=True):
        return browser.post("/accounts/2fa/webauthn/add/", fields)


def use_passkey(browser, passkey):
    asked = browser.get("/accounts/2fa/webauthn/login/", headers={"Accept": "application/json"})
    options = asked.json()["request_options"]
    return browser.post("/accounts/2fa/webauthn/login/", {"credential": passkey.sign(options)})


def test_a_passkey_signs_in_without_a_password(browser, alice, django_capture_on_commit_callbacks):
    passkey = Passkey()
    assert add_passkey(browser, passkey, django_capture_on_commit_callbacks).status_code == 302
    assert Authenticator.objects.filter(type="webauthn").count() == 1
    assert "second_factor_added" in list_events()
    other = Browser(alice)
    use_passkey(other, passkey)
    assert is_signed_in(other)


def test_a_passkey_is_a_second_factor_for_the_admin(
    careful, operators_browser, operator, settings, django_capture_on_commit_callbacks
):
    settings.WALLET_REQUIRE_MFA = True
    passkey = Passkey()
    add_passkey(operators_browser, passkey, django_capture_on_commit_callbacks)
    other = Browser(operator)
    use_passkey(other, passkey)
    assert other.get("/admin/").status_code == 200


def test_the_passkey_of_another_site_opens_nothing(
    careful, browser, alice, django_capture_on_commit_callbacks
):
    passkey = Passkey()
    add_passkey(browser, passkey, django_capture_on_commit_callbacks)
    passkey.origin = "https://testserver.evil.example"
    other = Browser(alice)
    use_passkey(other, passkey)
    assert not is_signed_in(other)


def test_another_key_of_the_same_name_opens_nothing(
    careful, browser, alice, django_capture_on_commit_callbacks
):
    passkey, thief = Passkey(), Passkey()
    add_passkey(browser, passkey, django_capture_on_commit_callbacks)
    thief.id, thief.user, thief.site = passkey.id, passkey.user, passkey.site
    other = Browser(alice)
    use_passkey(other, thief)
    assert not is_signed_in(other)
