"""Who may call what: every route of the URLconf, asked by everybody.

A new route of the API needs one row in ROWS and a `scope` on its view (and `internal`, if it is for services).
What is asked, and what must come back, follows from these.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from dj_wallet.identity.access import GROUPS, INTERNAL, SCOPES, find_needs
from dj_wallet.identity.models import User
from dj_wallet.identity.services import create_api_key
from dj_wallet.rest.views import ApiView
from tests.rest.api import Api
from tests.rest.conftest import open_api

Ids = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A route and a method: what its owner sends, and what comes back."""

    method: str
    route: str
    status: int
    # The ids in the path, of things of this user.
    ids: Callable[[User], Ids] = lambda user: {}
    body: Callable[[User], Any] = lambda user: None
    # What another user and staff get with the owner's ids and body. Without ids everybody asks for their own.
    stranger: int | None = None
    staff: int | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.route}"


def wallet_of(user: User) -> Ids:
    return {"uuid": user.get_wallet().uuid}


def deposit_of(user: User) -> Ids:
    record = user.get_wallet().deposit(5)
    return {"uuid": user.get_wallet().uuid, "transaction_id": record.pk}


def transfer_of(user: User) -> Ids:
    other, _ = User.objects.get_or_create(username="payee")
    user.deposit(5)
    return {"uuid": user.transfer(other, 1).uuid}


def transfer_from(user: User) -> Any:
    user.deposit(5)
    other, _ = User.objects.get_or_create(username="payee")
    ends = {"from": str(user.get_wallet().uuid), "to": str(other.get_wallet().uuid)}
    return {**ends, "amount": "1.00"}


def batch_from(user: User) -> Any:
    return {"items": [{"type": "transfer", "idempotency_key": str(uuid4()), **transfer_from(user)}]}


def key_of(user: User) -> Ids:
    return {"prefix": create_api_key(user=user, name="old", scopes=["wallets:read"])[0].prefix}


KEY = {"Idempotency-Key": "walk"}

# Reading others' things: 404 for strangers, 200 for staff. Using them: 404 for both.
ROWS = [
    Row("GET", "wallets/", 200),
    Row("POST", "wallets/", 201),
    Row("GET", "wallets/<uuid:uuid>/", 200, wallet_of, stranger=404, staff=200),
    Row(
        "POST", "wallets/<uuid:uuid>/deposit", 201, wallet_of, lambda user: {"amount": 1}, 404, 404
    ),
    Row(
        "POST", "wallets/<uuid:uuid>/withdraw", 201, wallet_of, lambda user: {"amount": 1}, 404, 404
    ),
    Row("GET", "wallets/<uuid:uuid>/transactions/", 200, wallet_of, stranger=404, staff=200),
    Row(
        "GET",
        "wallets/<uuid:uuid>/transactions/<int:transaction_id>/",
        200,
        deposit_of,
        stranger=404,
        staff=200,
    ),
    Row("GET", "api/v1/transfers", 200),
    Row("POST", "api/v1/transfers", 201, body=transfer_from, stranger=404, staff=404, headers=KEY),
    Row("GET", "api/v1/transfers/<uuid:uuid>", 200, transfer_of, stranger=404, staff=200),
    # Each item is refused on its own: `test_batches` has who may move what.
    Row("POST", "api/v1/batches", 200, body=batch_from, stranger=200, staff=200),
    Row("GET", "api/v1/api-keys", 200),
    Row("POST", "api/v1/api-keys", 201, body=lambda user: {"name": "new"}),
    Row("GET", "api/v1/api-keys/<slug:prefix>", 200, key_of, stranger=404, staff=404),
    Row("DELETE", "api/v1/api-keys/<slug:prefix>", 200, key_of, stranger=404, staff=404),
    Row("POST", "api/v1/api-keys/<slug:prefix>/roll", 201, key_of, lambda user: {}, 404, 404),
]

# Open to everybody, and nothing of anybody's is in them.
PUBLIC = {"healthz", "readyz", "api/schema/", "api/docs/"}
# Pages of people and of the issuer, with rules of their own, asked below.
PAGES = ("admin", "accounts/", "_allauth/", "identity/o/", ".well-known/")


def list_routes(
    patterns: list[URLPattern | URLResolver], start: str = ""
) -> Iterator[tuple[str, Any]]:
    """Return every route with its view; not its twin with or without the last slash."""
    for pattern in patterns:
        route = start + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from list_routes(pattern.url_patterns, route)
        else:
            yield route, pattern.callback


ROUTES = dict(list_routes(get_resolver().url_patterns))


def is_page(route: str) -> bool:
    return route.startswith(PAGES)


def is_twin(route: str, view: Any) -> bool:
    other = route.removesuffix("/") if route.endswith("/") else f"{route}/"
    return getattr(view, "initkwargs", {}).get("schema", "") is None and other in ROUTES


API_ROUTES = {
    route: view.view_class
    for route, view in ROUTES.items()
    if not is_page(route) and route not in PUBLIC and not is_twin(route, view)
}


def list_methods(view: Any) -> set[str]:
    return {
        name.upper() for name in ("get", "post", "put", "patch", "delete") if hasattr(view, name)
    }


def test_every_route_has_its_row():
    asked = {(route, method) for route, view in API_ROUTES.items() for method in list_methods(view)}
    assert {(row.route, row.method) for row in ROWS} == asked


@pytest.mark.parametrize("route", API_ROUTES)
def test_every_view_says_who_it_is_for(route):
    view = API_ROUTES[route]
    assert issubclass(view, ApiView), "Views of the API extend ApiView, which asks for scopes."
    needs = find_needs(group=view.scope, is_internal=view.internal, method="POST")
    assert needs.scopes


def test_a_view_in_no_group_is_called_by_nobody():
    with pytest.raises(LookupError):
        find_needs(group=None, is_internal=False, method="GET")


def find_view(row: Row) -> Any:
    return API_ROUTES[row.route]


def ask(api: Api, row: Row, owner: User) -> Any:
    """Send what the owner would send."""
    path = "/" + row.route
    for name, value in row.ids(owner).items():
        for kind in ("uuid", "int", "slug", "str"):
            path = path.replace(f"<{kind}:{name}>", str(value))
    body = row.body(owner)
    if row.method == "POST":
        return api.post(path, {} if body is None else body, **row.headers)
    return api.send(row.method, path, b"", **row.headers)


def list_scopes(row: Row) -> set[str]:
    """Return all scopes that a row's owner needs none of."""
    view = find_view(row)
    needs = find_needs(group=view.scope, is_internal=view.internal, method=row.method)
    return set(SCOPES) - set(needs.scopes)


all_rows = pytest.mark.parametrize("row", ROWS, ids=str)
PEOPLES = [row for row in ROWS if not find_view(row).internal]
INTERNALS = [row for row in ROWS if find_view(row).internal]
peoples = pytest.mark.parametrize("row", PEOPLES, ids=str)


@all_rows
def test_the_owner_may(alice, row):
    scopes = {INTERNAL, *SCOPES} if find_view(row).internal else SCOPES
    assert ask(open_api(alice, scopes), row, alice).status == row.status


@all_rows
def test_nobody_is_told_nothing(alice, row):
    answer = ask(Api(None), row, alice)
    assert (answer.status, answer.code) == (401, "not_authenticated")


@all_rows
def test_without_the_scope_nothing_is_done(alice, row):
    answer = ask(open_api(alice, list_scopes(row)), row, alice)
    expected = "internal_only" if find_view(row).internal else "scope_missing"
    assert (answer.status, answer.code) == (403, expected)


@peoples
def test_a_stranger_sees_and_moves_nothing_of_others(alice, charlie, row):
    answer = ask(open_api(charlie), row, alice)
    assert answer.status == (row.stranger or row.status)


@peoples
def test_staff_read_all_and_use_nothing(alice, staff, row):
    answer = ask(open_api(staff), row, alice)
    assert answer.status == (row.staff or row.status)


@peoples
def test_a_service_needs_the_scopes_too(alice, row):
    answer = ask(open_api(alice, [INTERNAL]), row, alice)
    assert (answer.status, answer.code) == (403, "scope_missing")


def test_groups_are_named_once():
    names = [group.name for group in GROUPS]
    assert len(names) == len(set(names))


def test_without_the_scope_for_deposits_a_batch_moves_nothing(alice, snapshot):
    ends = transfer_from(alice)
    transfer = {"type": "transfer", "idempotency_key": "a", **ends}
    deposit = {"type": "deposit", "to": ends["from"], "amount": "9", "idempotency_key": "b"}
    before = snapshot()
    api = open_api(alice, ["transfers:write"])
    answer = api.post("/api/v1/batches", {"items": [transfer, deposit]})
    assert (answer.status, answer.code) == (403, "scope_missing")
    assert snapshot() == before
    assert api.post("/api/v1/batches", {"items": [transfer]}).status == 200


# Pages


# Words for scripts, and the way out.
ADMINS = sorted(
    route
    for route in ROUTES
    if route.startswith("admin/") and not route.endswith(("jsi18n/", "logout/"))
)


@pytest.mark.parametrize("route", ADMINS)
def test_the_admin_is_closed_to_everybody_but_staff(db, route):
    path = "/" + fill(route)
    user = User.objects.create(username="user")
    visitor, member = Client(), Client()
    member.force_login(user)
    assert visitor.get(path).status_code in {302, 404}, path
    assert member.get(path).status_code in {302, 403, 404}, path


def fill(route: str) -> str:
    """Return a path of the route, with ids of things that are not there."""
    for part, value in (
        ("(?P<app_label>", "dj_wallet"),
        ("<path:object_id>", "1"),
        ("<path:content_type_id>", "1"),
        ("<int:content_type_id>", "1"),
        ("<int:object_id>", "1"),
        ("<id>", "1"),
        ("<path:url>", "x"),
        ("<path:object_id>", "1"),
    ):
        if part in route:
            route = route.replace(part, value)
    return route.replace("^", "").replace("$", "")


# What people see before they have signed in.
ENTRANCES = {
    "accounts/login/",
    "accounts/signup/",
    "accounts/inactive/",
    "accounts/confirm-email/",
    "accounts/password/reset/",
    "accounts/password/reset/done/",
    "accounts/password/reset/key/done/",
    "identity/o/authorize",
    "identity/o/logout",
    ".well-known/openid-configuration",
    ".well-known/jwks.json",
    "_allauth/browser/v1/config",
    "_allauth/browser/v1/auth/webauthn/login",
}
OTHERS = sorted(
    route
    for route in ROUTES
    if route.startswith(PAGES[1:]) and "?P<" not in route and "<int" not in route
)


@pytest.mark.parametrize("route", OTHERS)
def test_pages_send_visitors_to_sign_in(db, route):
    answer = Client().get(f"/{route}")
    if route in ENTRANCES:
        assert answer.status_code in {200, 302, 400}, answer.content
    else:
        assert answer.status_code in {302, 400, 401, 404, 405, 409}, answer.content
        assert answer.status_code != 302 or "/accounts/" in answer["Location"]
