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

from dj_wallet.custody.chain.keys import AccountKey
from dj_wallet.custody.chain.networks import get_network
from dj_wallet.custody.models import Chain
from dj_wallet.custody.services.users import get_or_create_coin_wallet
from dj_wallet.custody.services.withdrawals import request_withdrawal
from dj_wallet.events.models import Delivery
from dj_wallet.events.services import create_webhook, fan_out_events, publish_event
from dj_wallet.exchanges.models import AddressSyncLog, DepositAddress, ExchangeAccount
from dj_wallet.exchanges.services.addresses import make_seal
from dj_wallet.identity.access import GROUPS, INTERNAL, SCOPES, find_needs
from dj_wallet.identity.models import User
from dj_wallet.identity.services import create_api_key
from dj_wallet.ledger_service.services import open_account
from dj_wallet.models import Escrow
from dj_wallet.payouts.services import schedule_payout
from dj_wallet.rest.services import get_asset
from dj_wallet.rest.views import ApiView
from dj_wallet.services.escrow import dispute_escrow, open_escrow
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
    # A body that is no JSON.
    raw: Callable[[User], bytes] | None = None

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


def webhook_of(user: User) -> Ids:
    return {"uuid": create_webhook(user=user, url="https://example.com/hook")[0].uuid}


def dead_letter_of(user: User) -> Ids:
    webhook = webhook_of(user)
    subject = f"wallet:{user.get_wallet().uuid}"
    publish_event(event_type="test", subject=subject, data={})
    fan_out_events()
    delivery = Delivery.objects.get(destination__uuid=webhook["uuid"])
    Delivery.objects.update(status=Delivery.Status.DEAD)
    return {**webhook, "delivery_id": delivery.pk}


def hold_of(user: User) -> Ids:
    user.deposit(5)
    hold = user.get_wallet().hold(5, reference_type="auction", reference_id="1")
    return {"uuid": hold.uuid}


def escrow_of(user: User) -> Ids:
    user.deposit(5)
    order = {"order_id": str(uuid4()), "amount": 5, "fee_amount": 1}
    return {"uuid": open_escrow(buyer=user.get_wallet(), seller=payee_wallet(), **order).uuid}


def payee_wallet() -> Any:
    return User.objects.get_or_create(username="payee")[0].get_wallet()


def bid_of(user: User) -> Any:
    user.deposit(5)
    return {"user_id": str(user.pk), "coin": "USD", "amount": "5", **AUCTION}


def held_bid_of(user: User) -> Any:
    hold_of(user)
    return {"user_id": str(user.pk), "coin": "USD", **AUCTION}


def hold_body(user: User) -> Any:
    user.deposit(5)
    return {"wallet": str(user.get_wallet().uuid), "amount": "5", **AUCTION}


def escrow_body(user: User) -> Any:
    user.deposit(5)
    ends = {"buyer": str(user.get_wallet().uuid), "seller": str(payee_wallet().uuid)}
    return {**ends, "order_id": "o", "amount": "5"}


def order_of(user: User) -> Any:
    user.deposit(5)
    ends = {"user_id": str(user.pk), "seller_id": str(payee_wallet().holder_id)}
    return {**ends, "coin": "USD", "order_id": "o", "amount": "5"}


def converted_of(user: User) -> Any:
    hold_of(user)
    ends = {"buyer_id": str(user.pk), "seller_id": str(payee_wallet().holder_id)}
    return {**ends, "coin": "USD", "order_id": "o", **AUCTION}


def kept_order_of(user: User) -> Any:
    return {"escrow_id": str(escrow_of(user)["uuid"])}


def disputed_of(user: User) -> Ids:
    ids = escrow_of(user)
    dispute_escrow(Escrow.objects.get(uuid=ids["uuid"]))
    return ids


def payout_of(user: User) -> Ids:
    return {"uuid": schedule_payout(wallet=user.get_wallet(), amount=5).payout.uuid}


def payout_body(user: User) -> Any:
    return {"wallet": str(user.get_wallet().uuid), "amount": "5"}


def payouts_file(user: User) -> bytes:
    return f"wallet,amount,idempotency_key\n{user.get_wallet().uuid},5.00,a\n".encode()


def plan_body(user: User) -> Any:
    time = {"first_date": "2100-01-31", "local_time": "09:00", "time_zone": "UTC"}
    return {**payout_body(user), "frequency": "monthly", **time}


def plan_of(user: User) -> Ids:
    answer = open_api(user).post("/api/v1/recurring-payouts", plan_body(user), key=str(uuid4()))
    return {"uuid": answer.body["uuid"]}


def coins_of(user: User) -> Any:
    """A wallet with 100 DOGE on a chain that is followed."""
    wallet = get_or_create_coin_wallet(user=user, asset="DOGE")
    wallet.deposit(100)
    Chain.objects.update(state=Chain.State.READY)
    return wallet


def coin_body(user: User) -> Any:
    coins_of(user)
    return {"amount": "5", "address": OUTSIDE}


def withdrawal_of(user: User) -> Ids:
    withdrawal, _ = request_withdrawal(
        wallet=coins_of(user), network=NETWORK.name, amount="5", address=OUTSIDE
    )
    return {"uuid": withdrawal.pk}


def venue_account_of(user: User) -> Ids:
    """An account at an exchange whose credentials nobody can open."""
    account = ExchangeAccount.objects.create(
        user=user,
        exchange_id="binance",
        account_name=str(uuid4()),
        sealed_key="none",
        sealed_credentials="none",
        fingerprint=uuid4().hex,
    )
    return {"uuid": account.pk}


def address_of(user: User) -> Ids:
    address = DepositAddress.objects.create(
        user=user,
        exchange_account_id=venue_account_of(user)["uuid"],
        exchange_id="binance",
        currency="BTC",
        network="bitcoin",
        network_source="exchange",
        address="1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
    )
    address.seal = make_seal(address)
    address.save()
    return {"uuid": address.pk}


def sync_of(user: User) -> Ids:
    log = AddressSyncLog.objects.create(
        user=user, exchange_account_id=venue_account_of(user)["uuid"], sync_type="full"
    )
    return {"uuid": log.pk}


def words(**values: str) -> Callable[[User], Ids]:
    return lambda user: values


@pytest.fixture(autouse=True)
def served(settings):
    """Dogecoin's test network, with a key that is nobody's."""
    settings.CUSTODY_XPUBS = [f"{NETWORK.name}={KEYS.public.export()}"]


NETWORK = get_network("DOGE:regtest")
KEYS = AccountKey.from_seed(bytes(range(64)), NETWORK)
OUTSIDE = AccountKey.from_seed(bytes(range(1, 65)), NETWORK).public.get_address(0, 0)


def coin_of(user: User) -> Ids:
    return {"pk": get_or_create_coin_wallet(user=user, asset="DOGE").pk}


def account_of(user: User) -> Ids:
    account, _ = open_account(external_owner_id=str(user.pk), asset=get_asset("USD"))
    account.deposit(5)
    return {"uuid": account.uuid}


def money_of(user: User) -> Any:
    return {"account_id": str(account_of(user)["uuid"]), "amount": "1.00", "reference_id": "1"}


def accounts_of(user: User) -> Any:
    other, _ = open_account(external_owner_id="other", asset=get_asset("USD"))
    ends = {"from_account_id": str(account_of(user)["uuid"]), "to_account_id": str(other.uuid)}
    return {**ends, "amount": "1.00", "reference_id": "1"}


CSV = {"Content-Type": "text/csv"}
SPLIT = {"seller_amount": "2", "buyer_amount": "3"}
AUCTION = {"reference_type": "auction", "reference_id": "1"}
KEY = {"Idempotency-Key": "walk"}
HELD = {"stranger": 404, "staff": 200}
COINS = "api/v1/wallet/"
USERS = f"{COINS}internal/"
ADMIN = "api/v1/admin/wallet/"

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
    Row("GET", "api/v1/events", 200),
    Row("GET", "api/v1/webhooks", 200),
    Row("POST", "api/v1/webhooks", 201, body=lambda user: {"url": "https://example.com/hook"}),
    Row("GET", "api/v1/webhooks/<uuid:uuid>", 200, webhook_of, stranger=404, staff=404),
    Row("PATCH", "api/v1/webhooks/<uuid:uuid>", 200, webhook_of, stranger=404, staff=404),
    Row("DELETE", "api/v1/webhooks/<uuid:uuid>", 204, webhook_of, stranger=404, staff=404),
    Row("POST", "api/v1/webhooks/<uuid:uuid>/secret", 200, webhook_of, stranger=404, staff=404),
    Row(
        "POST",
        "api/v1/webhooks/<uuid:uuid>/replay",
        200,
        webhook_of,
        lambda user: {"after": 0},
        404,
        404,
    ),
    Row("GET", "api/v1/webhooks/<uuid:uuid>/deliveries", 200, webhook_of, stranger=404, staff=404),
    Row(
        "POST",
        "api/v1/webhooks/<uuid:uuid>/deliveries/<int:delivery_id>/replay",
        200,
        dead_letter_of,
        stranger=404,
        staff=404,
    ),
    Row("GET", "api/v1/payouts", 200),
    Row("POST", "api/v1/payouts", 201, body=payout_body, stranger=404, staff=404, headers=KEY),
    Row("GET", "api/v1/payouts/<uuid:uuid>", 200, payout_of, **HELD),
    Row("POST", "api/v1/payouts/<uuid:uuid>/cancel", 200, payout_of, stranger=404, staff=404),
    Row(
        "POST",
        "api/v1/payouts/uploads",
        201,
        raw=payouts_file,
        stranger=422,
        staff=422,
        headers=CSV,
    ),
    Row("GET", "api/wallets/", 200),
    Row("POST", "api/wallets/", 201, body=lambda user: {"coin": "DOGE"}),
    Row("GET", "api/wallets/portfolio/", 200),
    Row("GET", "api/wallets/<int:pk>/", 200, coin_of, stranger=404, staff=200),
    Row("PATCH", "api/wallets/<int:pk>/", 200, coin_of, lambda user: {"label": "x"}, 404, 404),
    Row("DELETE", "api/wallets/<int:pk>/", 204, coin_of, stranger=404, staff=404),
    Row("GET", "v1/accounts", 200),
    Row("POST", "v1/accounts", 201, body=lambda user: {"external_owner_id": "x"}),
    Row("GET", "v1/accounts/<uuid:uuid>", 200, account_of),
    Row("POST", "v1/transactions/deposit", 201, body=money_of, headers=KEY),
    Row("POST", "v1/transactions/withdraw", 201, body=money_of, headers=KEY),
    Row("POST", "v1/transactions/transfer", 201, body=accounts_of, headers=KEY),
    Row("GET", "api/v1/recurring-payouts", 200),
    Row(
        "POST",
        "api/v1/recurring-payouts",
        201,
        body=plan_body,
        stranger=404,
        staff=404,
        headers=KEY,
    ),
    Row("GET", "api/v1/recurring-payouts/<uuid:uuid>", 200, plan_of, **HELD),
    Row(
        "POST", "api/v1/recurring-payouts/<uuid:uuid>/cancel", 200, plan_of, stranger=404, staff=404
    ),
    Row("GET", f"{COINS}balance/", 200),
    Row("GET", f"{COINS}deposit-address/", 200),
    Row("GET", f"{COINS}deposit-address/qr/", 200),
    Row("POST", f"{COINS}deposit-address/rotate/", 201),
    Row("POST", f"{COINS}withdraw/", 202, body=coin_body, headers=KEY, stranger=422, staff=422),
    Row("GET", f"{COINS}withdrawals/", 200),
    Row("GET", f"{COINS}withdrawals/<uuid:uuid>/", 200, withdrawal_of, **HELD),
    Row(
        "POST",
        f"{COINS}withdrawals/<uuid:uuid>/cancel/",
        200,
        withdrawal_of,
        stranger=404,
        staff=404,
    ),
    Row("GET", f"{COINS}withdrawal-addresses/", 200),
    Row("POST", f"{COINS}withdrawal-addresses/", 201, body=lambda user: {"address": OUTSIDE}),
    Row("GET", f"{COINS}fee-quote/", 200),
    Row("GET", f"{COINS}history/", 200),
    Row("GET", f"{COINS}internal/chains/", 200),
    # Whoever is no staff approves nothing, also through a service.
    Row("POST", f"{COINS}internal/withdrawals/<uuid:uuid>/approve/", 422, withdrawal_of),
    Row("GET", f"{COINS}exchanges", 200),
    # Nothing is asked of an exchange here: what a caller may is known before.
    Row("POST", f"{COINS}exchanges", 400),
    Row("GET", f"{COINS}exchanges/supported", 200),
    Row("GET", f"{COINS}exchanges/<uuid:uuid>", 200, venue_account_of, stranger=404, staff=404),
    Row("PUT", f"{COINS}exchanges/<uuid:uuid>", 200, venue_account_of, stranger=404, staff=404),
    Row("DELETE", f"{COINS}exchanges/<uuid:uuid>", 204, venue_account_of, stranger=404, staff=404),
    Row(
        "POST", f"{COINS}exchanges/<uuid:uuid>/test", 503, venue_account_of, stranger=404, staff=404
    ),
    Row("GET", f"{COINS}exchanges/<str:exchange_id>/currencies", 200, words(exchange_id="binance")),
    Row("GET", f"{COINS}exchanges/<str:exchange_id>/info", 200, words(exchange_id="binance")),
    Row("GET", f"{COINS}addresses", 200),
    Row("POST", f"{COINS}addresses", 400),
    Row("POST", f"{COINS}addresses/sync", 202),
    Row("GET", f"{COINS}addresses/syncs", 200),
    Row("GET", f"{COINS}addresses/syncs/<uuid:uuid>", 200, sync_of, stranger=404, staff=404),
    Row("POST", f"{COINS}addresses/bulk", 400),
    Row("GET", f"{COINS}addresses/history/<uuid:uuid>", 200, address_of, stranger=404, staff=404),
    Row("GET", f"{COINS}addresses/by-currency/<str:currency>", 200, words(currency="BTC")),
    Row("GET", f"{COINS}addresses/<uuid:uuid>", 200, address_of, stranger=404, staff=404),
    Row("PUT", f"{COINS}addresses/<uuid:uuid>", 200, address_of, stranger=404, staff=404),
    Row("DELETE", f"{COINS}addresses/<uuid:uuid>", 204, address_of, stranger=404, staff=404),
    Row("PUT", f"{COINS}addresses/<uuid:uuid>/refresh", 503, address_of, stranger=404, staff=404),
    Row("GET", f"{COINS}addresses/<uuid:uuid>/qr", 200, address_of, stranger=404, staff=404),
    # For staff with the scope `operations`, and for nobody else.
    Row("GET", f"{ADMIN}exchanges", 403, staff=200),
    Row("GET", f"{ADMIN}sync-status", 403, staff=200),
    Row("POST", f"{ADMIN}sync/force", 403, staff=400),
    Row("GET", f"{ADMIN}analytics", 403, staff=200),
    Row("GET", "metrics", 200),
    Row("GET", "api/v1/holds", 200),
    Row("POST", "api/v1/holds", 201, body=hold_body, headers=KEY),
    Row("GET", "api/v1/holds/<uuid:uuid>", 200, hold_of, **HELD),
    Row("POST", "api/v1/holds/<uuid:uuid>/release", 200, hold_of, headers=KEY),
    Row(
        "POST",
        "api/v1/holds/<uuid:uuid>/settle",
        200,
        hold_of,
        lambda user: {"to": str(payee_wallet().uuid)},
        headers=KEY,
    ),
    Row(
        "POST",
        "api/v1/holds/<uuid:uuid>/convert",
        201,
        hold_of,
        lambda user: {"seller": str(payee_wallet().uuid), "order_id": "o"},
        headers=KEY,
    ),
    Row("GET", "api/v1/escrows", 200),
    Row("POST", "api/v1/escrows", 201, body=escrow_body, headers=KEY),
    Row("GET", "api/v1/escrows/<uuid:uuid>", 200, escrow_of, **HELD),
    Row("POST", "api/v1/escrows/<uuid:uuid>/release", 200, escrow_of, headers=KEY),
    Row("POST", "api/v1/escrows/<uuid:uuid>/refund", 200, escrow_of, headers=KEY),
    Row("POST", "api/v1/escrows/<uuid:uuid>/dispute", 200, escrow_of, headers=KEY),
    Row(
        "POST",
        "api/v1/escrows/<uuid:uuid>/resolve",
        200,
        disputed_of,
        lambda user: SPLIT,
        headers=KEY,
    ),
    Row("POST", f"{USERS}lock/", 201, body=bid_of, headers=KEY),
    Row("POST", f"{USERS}unlock/", 200, body=held_bid_of, headers=KEY),
    Row("POST", f"{USERS}pay-order/", 201, body=order_of, headers=KEY),
    Row("POST", f"{USERS}convert-to-escrow/", 201, body=converted_of, headers=KEY),
    Row("POST", f"{USERS}release-escrow/", 200, body=kept_order_of, headers=KEY),
    Row("POST", f"{USERS}refund-escrow/", 200, body=kept_order_of, headers=KEY),
    Row("POST", f"{USERS}dispute-escrow/", 200, body=kept_order_of, headers=KEY),
    Row(
        "POST",
        f"{USERS}resolve-escrow/",
        200,
        body=lambda user: {"escrow_id": str(disputed_of(user)["uuid"]), **SPLIT},
        headers=KEY,
    ),
]

# Open to everybody, and nothing of anybody's is in them.
PUBLIC = {"healthz", "readyz", "api/schema/", "api/docs/"}
# Signed by banks with secrets of their own: `test_payouts` has who is believed.
SIGNED = {"api/v1/payouts/reports/<slug:bank>"}
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
    if not is_page(route) and route not in PUBLIC | SIGNED and not is_twin(route, view)
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
    needs = find_needs(group=view.scope, is_internal=view.is_internal_for("POST"), method="POST")
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
    if row.raw is not None:
        return api.send(row.method, path, row.raw(owner), **row.headers)
    body = row.body(owner)
    if row.method == "POST":
        return api.post(path, {} if body is None else body, **row.headers)
    return api.send(row.method, path, b"", **row.headers)


def list_scopes(row: Row) -> set[str]:
    """Return all scopes that a row's owner needs none of."""
    view = find_view(row)
    needs = find_needs(
        group=view.scope, is_internal=view.is_internal_for(row.method), method=row.method
    )
    return set(SCOPES) - set(needs.scopes)


all_rows = pytest.mark.parametrize("row", ROWS, ids=str)
PEOPLES = [row for row in ROWS if not find_view(row).is_internal_for(row.method)]
INTERNALS = [row for row in ROWS if find_view(row).is_internal_for(row.method)]
peoples = pytest.mark.parametrize("row", PEOPLES, ids=str)


@all_rows
def test_the_owner_may(alice, row):
    scopes = {INTERNAL, *SCOPES} if find_view(row).is_internal_for(row.method) else SCOPES
    assert ask(open_api(alice, scopes), row, alice).status == row.status


@all_rows
def test_nobody_is_told_nothing(alice, row):
    answer = ask(Api(None), row, alice)
    assert (answer.status, answer.code) == (401, "not_authenticated")


@all_rows
def test_without_the_scope_nothing_is_done(alice, row):
    answer = ask(open_api(alice, list_scopes(row)), row, alice)
    expected = "internal_only" if find_view(row).is_internal_for(row.method) else "scope_missing"
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
