"""Into the admin only by our pages, in production only with a second factor; risky actions ask for a fresh one."""

import re
from typing import Any

import pytest
from allauth.idp.oidc.models import Client as OAuthClient
from django.contrib.auth import get_user
from django.contrib.auth.models import Group, Permission
from django.urls import reverse

from dj_wallet.identity.models import ApiKey, AuditEvent, User
from dj_wallet.identity.queries import find_api_key
from dj_wallet.identity.services import create_api_key
from tests.identity.conftest import PASSWORD, Browser


@pytest.fixture
def strict(settings: Any) -> None:
    """As in production."""
    settings.WALLET_REQUIRE_MFA = True


def open_admin(browser: Browser, path: str = "/admin/") -> list[str]:
    """Return where a request to the admin leads, step by step."""
    answer = browser.get(path, follow=True)
    return [step.partition("?")[0] for step, _ in answer.redirect_chain] or [
        str(answer.status_code)
    ]


def test_a_visitor_is_sent_to_our_sign_in(db):
    assert open_admin(Browser(), "/admin/dj_wallet/wallet/") == [
        "/admin/login/",
        "/accounts/login/",
    ]


def test_the_admins_own_sign_in_takes_no_password(operators_browser):
    fields = {"username": "operator", "password": PASSWORD, "next": "/admin/"}
    answer = operators_browser.post("/admin/login/", fields)
    assert answer["Location"].startswith("/accounts/login/")
    assert not get_user(operators_browser.client).is_authenticated


def test_who_is_not_staff_is_told_so_in_html(browser):
    browser.sign_in()
    answer = browser.get("/admin/", follow=True)
    assert answer.status_code == 403
    assert answer["Content-Type"].startswith("text/html")


def test_a_password_is_enough_where_no_second_factor_is_asked(operators_browser):
    operators_browser.sign_in()
    assert open_admin(operators_browser) == ["200"]


def test_in_production_staff_without_a_second_factor_are_sent_to_set_one_up(
    strict, operators_browser
):
    operators_browser.sign_in()
    assert open_admin(operators_browser) == ["/admin/login/", "/accounts/2fa/"]


PATHS = [
    "/admin/",
    "/admin/dj_wallet/wallet/",
    "/admin/dj_wallet_identity/user/",
    "/admin/search/",
    "/admin/password_change/",
]


@pytest.mark.parametrize("path", PATHS)
def test_in_production_no_page_of_the_admin_opens_without_a_second_factor(
    strict, operators_browser, path
):
    operators_browser.sign_in()
    answer = operators_browser.get(path)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")
    assert operators_browser.post(path, {"x": 1}).status_code == 302


def test_in_production_a_forced_session_is_not_enough(strict, operators_browser, operator):
    operators_browser.set_up_second_factor()
    operators_browser.client.force_login(operator)
    assert open_admin(operators_browser) == ["/admin/login/", "/accounts/2fa/reauthenticate/"]
    code = {"code": operators_browser.make_code()}
    answer = operators_browser.post(
        "/accounts/2fa/reauthenticate/?next=/admin/", {**code, "next": "/admin/"}
    )
    assert answer["Location"] == "/admin/"
    assert open_admin(operators_browser) == ["200"]


def test_in_production_staff_with_a_second_factor_come_in(strict, operators_browser):
    operators_browser.set_up_second_factor()
    operators_browser.sign_in_fully()
    assert open_admin(operators_browser) == ["200"]


def test_a_proof_of_one_user_is_not_anothers(strict, operators_browser, operator):
    operators_browser.set_up_second_factor()
    operators_browser.sign_in_fully()
    other = User.objects.create_user(
        username="other", password=PASSWORD, is_staff=True, is_superuser=True
    )
    operators_browser.client.force_login(other)
    assert open_admin(operators_browser)[0] == "/admin/login/"


@pytest.mark.parametrize(
    "back", ["https://evil.example/", "//evil.example", "/admin/../../x", "/accounts/logout/"]
)
def test_nobody_is_sent_elsewhere_by_the_admins_sign_in(operators_browser, back):
    operators_browser.sign_in()
    location = operators_browser.get("/admin/login/", data={"next": back})["Location"]
    assert location.startswith("/admin/")


def test_in_production_a_password_does_not_open_the_api_to_staff(strict, operators_browser, alice):
    wallet = alice.get_wallet()
    operators_browser.sign_in()
    answer = operators_browser.get(f"/wallets/{wallet.uuid}/")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "second_factor_required")
    operators_browser.client.logout()
    operators_browser.set_up_second_factor()
    operators_browser.sign_in_fully()
    assert operators_browser.get(f"/wallets/{wallet.uuid}/").status_code == 200


# Risky actions


def adjust(browser: Browser, wallet: Any, **more: Any) -> Any:
    fields = {
        "amount": "5",
        "direction": "add",
        "reason": "ticket",
        "idempotency_key": "7f8d1f8e-0000-4000-8000-000000000000",
        "confirmed": "1",
    }
    return browser.post(
        reverse("admin:dj_wallet_wallet_adjust", args=[wallet.pk]), {**fields, **more}
    )


def test_an_adjustment_waits_for_a_fresh_second_factor(operators_browser, alice, snapshot):
    alice.deposit(1)
    operators_browser.set_up_second_factor()
    operators_browser.sign_in_fully()
    operators_browser.age_proofs(301)
    before = snapshot()
    answer = adjust(operators_browser, alice.wallet)
    assert answer["Location"].startswith(
        "/accounts/2fa/reauthenticate/?next=%2Fadmin%2Fdj_wallet%2Fwallet%2F"
    )
    assert snapshot() == before
    operators_browser.post(
        "/accounts/2fa/reauthenticate/", {"code": operators_browser.make_code(1)}
    )
    adjust(operators_browser, alice.wallet)
    assert alice.wallet.balance == 6


def test_in_production_an_adjustment_needs_a_second_factor_even_if_there_is_none(
    strict, operators_browser, operator, alice, snapshot, settings
):
    alice.deposit(1)
    operators_browser.sign_in()
    before = snapshot()
    assert adjust(operators_browser, alice.wallet).status_code == 302
    assert snapshot() == before


RISKY = [
    ("dj_wallet_identity_user_add", []),
    ("dj_wallet_identity_apikey_add", []),
    ("dj_wallet_identity_externalidentity_add", []),
    ("allauth_idp_oidc_client_add", []),
    ("auth_group_add", []),
]


@pytest.mark.parametrize(("name", "args"), RISKY)
def test_who_may_do_what_is_changed_with_a_fresh_second_factor_only(operators_browser, name, args):
    operators_browser.set_up_second_factor()
    operators_browser.sign_in_fully()
    path = reverse(f"admin:{name}", args=args)
    assert operators_browser.get(path).status_code == 200
    operators_browser.age_proofs(301)
    for answer in (operators_browser.get(path), operators_browser.post(path, {"name": "x"})):
        assert answer["Location"].startswith("/accounts/2fa/reauthenticate/")


def test_a_users_rights_and_password_too(operators_browser, alice):
    operators_browser.set_up_second_factor()
    operators_browser.sign_in_fully()
    operators_browser.age_proofs(301)
    change = reverse("admin:dj_wallet_identity_user_change", args=[alice.pk])
    operators_browser.post(change, {"username": "alice", "is_superuser": "on"})
    password = reverse("admin:auth_user_password_change", args=[alice.pk])
    operators_browser.post(
        password, {"password1": "owned by me now", "password2": "owned by me now"}
    )
    alice.refresh_from_db()
    assert not alice.is_superuser
    assert alice.check_password(PASSWORD)


def test_nothing_is_deleted_from_a_list_without_it(operators_browser):
    group = Group.objects.create(name="operators")
    operators_browser.set_up_second_factor()
    operators_browser.sign_in_fully()
    operators_browser.age_proofs(301)
    chosen = {"action": "delete_selected", "_selected_action": [group.pk], "post": "yes"}
    answer = operators_browser.post(reverse("admin:auth_group_changelist"), chosen)
    assert answer["Location"].startswith("/accounts/2fa/reauthenticate/")
    assert Group.objects.exists()


@pytest.fixture
def helpers_browser(db):
    """Staff who may change users, and nothing else."""
    helper = User.objects.create_user(username="helper", password=PASSWORD, is_staff=True)
    names = ["view_user", "change_user", "add_user"]
    helper.user_permissions.set(Permission.objects.filter(codename__in=names))
    browser = Browser(helper)
    browser.sign_in()
    return browser


def test_whoever_may_change_users_does_not_become_everything(helpers_browser, alice):
    for user in (alice, helpers_browser.user):
        path = reverse("admin:dj_wallet_identity_user_change", args=[user.pk])
        fields = {"username": user.username, "is_active": "on", "date_joined_0": "2026-01-01"}
        rights = {"is_staff": "on", "is_superuser": "on", "date_joined_1": "00:00"}
        helpers_browser.post(path, {**fields, **rights})
        assert not User.objects.get(pk=user.pk).is_superuser
    assert not User.objects.get(pk=alice.pk).is_staff


def test_whoever_may_change_users_does_not_take_over_staff(helpers_browser, operator, alice):
    new = {
        "password1": "owned by me now",
        "password2": "owned by me now",
        "usable_password": "true",
    }
    for user, status in ((operator, 403), (alice, 302)):
        path = reverse("admin:auth_user_password_change", args=[user.pk])
        assert helpers_browser.post(path, new).status_code == status
    assert User.objects.get(pk=operator.pk).check_password(PASSWORD)


# Keys and clients


def test_a_key_is_made_in_the_admin_and_shown_once(operators_browser, alice):
    operators_browser.sign_in()
    fields = {
        "user": alice.pk,
        "name": "shop",
        "scopes": ["wallets:read", "deposits:write"],
        "allowed_addresses": "10.0.0.0/8\n203.0.113.9",
    }
    page = operators_browser.post(
        reverse("admin:dj_wallet_identity_apikey_add"), fields, follow=True
    ).content.decode()
    text = re.search(r"wk_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", page)
    assert text
    found = find_api_key(text[0])
    assert found
    assert (found.user, found.scopes) == (alice, ["deposits:write", "wallets:read"])
    assert found.allowed_addresses == ["10.0.0.0/8", "203.0.113.9/32"]
    again = operators_browser.get(
        reverse("admin:dj_wallet_identity_apikey_change", args=[found.pk])
    ).content.decode()
    assert found.prefix in again
    assert text[0] not in again
    event = AuditEvent.objects.get(event="key_created")
    assert (event.user, event.actor.username) == (alice, "operator")


def test_keys_are_rolled_and_revoked_in_the_admin(operators_browser, alice):
    operators_browser.sign_in()
    key, _ = create_api_key(user=alice, name="shop")
    path = reverse("admin:dj_wallet_identity_apikey_changelist")
    page = operators_browser.post(
        path, {"action": "roll", "_selected_action": [key.pk]}, follow=True
    )
    assert re.search(r"wk_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", page.content.decode())
    new = ApiKey.objects.get(replaces=key)
    operators_browser.post(path, {"action": "revoke", "_selected_action": [new.pk]})
    new.refresh_from_db()
    assert new.revoked_at


def test_a_clients_secret_is_shown_once(operators_browser):
    operators_browser.sign_in()
    path = reverse("admin:allauth_idp_oidc_client_add")
    fields = {
        "id": "shop",
        "name": "shop",
        "scopes": "wallets:read",
        "type": "confidential",
        "grant_types": "client_credentials",
        "response_types": "code",
        "created_at_0": "2026-01-01",
        "created_at_1": "00:00",
    }
    page = operators_browser.post(path, fields, follow=True).content.decode()
    secret = re.search(r'size="\d+" type="text" value="([^"]+)"', page)
    assert secret, page[:2000]
    client = OAuthClient.objects.get()
    shown = operators_browser.get(
        reverse("admin:allauth_idp_oidc_client_change", args=[client.pk])
    ).content.decode()
    assert client.secret not in shown
    assert secret[1] not in shown


@pytest.mark.parametrize("verb", ["add", "change", "delete"])
def test_what_happened_is_not_edited(operators_browser, alice, verb):
    operators_browser.sign_in()
    event = AuditEvent.objects.first()
    args = [] if verb == "add" else [event.pk]
    path = reverse(f"admin:dj_wallet_identity_auditevent_{verb}", args=args)
    assert operators_browser.post(path, {"event": "signed_in"}).status_code == 403


@pytest.mark.parametrize("path", ["/admin/nope/", "/accounts/nope/", "/admin/dj_wallet/nope/1/"])
def test_a_page_that_is_not_there_says_so_in_html(operators_browser, path):
    operators_browser.sign_in()
    answer = operators_browser.get(path)
    assert answer.status_code == 404
    assert answer["Content-Type"].startswith("text/html")
    assert answer["X-Request-ID"] in answer.content.decode()
