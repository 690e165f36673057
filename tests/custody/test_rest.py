"""Seed 001's paths: balance, deposit address, withdrawal, history."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db.models import F
from django.test import Client

from dj_wallet.custody.health import list_health
from dj_wallet.custody.models import Address, AllowedAddress, Chain, WithdrawalRequest
from dj_wallet.custody.services.reconciliation import reconcile
from dj_wallet.custody.services.spending import plan_next_withdrawal
from dj_wallet.custody.services.users import get_or_create_wallet
from dj_wallet.identity.models import User
from dj_wallet.identity.services import create_api_key
from dj_wallet.ledger.models import Posting
from dj_wallet.rest.bodies import show_time
from dj_wallet.services.escrow import dispute_escrow, open_escrow, refund_escrow
from dj_wallet.services.holds import place_hold
from tests.custody.conftest import DOGE, get_address, look
from tests.rest.api import Api

pytestmark = pytest.mark.django_db

FEE = "0.00374000"


def open_api(user: Any, **options: Any) -> Api:
    api_key, text = create_api_key(user=user, name="test")
    for name, value in options.items():
        setattr(api_key, name, value)
    api_key.save()
    return Api(text)


@pytest.fixture
def api(alice) -> Api:
    return open_api(alice.holder)


@pytest.fixture
def bobs_api(bob) -> Api:
    return open_api(bob.holder)


def test_the_balance_says_what_is_there_and_what_comes(world, alice, api):
    txid = world.pay((get_address(alice), "12.5"))
    world.mine(2)
    answer = api.get("/api/v1/wallet/balance/?coin=DOGE")
    assert answer.status == 200
    assert answer.body == {
        "user_id": str(alice.holder_id),
        "wallet": str(alice.uuid),
        "coin": "DOGE",
        "available": "0.00000000",
        "locked": "0.00000000",
        "locked_bids": "0.00000000",
        "locked_escrow": "0.00000000",
        "pending": "0.00000000",
        "incoming": [
            {"txid": txid, "vout": 0, "amount": "12.50000000", "confirmations": 2, "required": 6}
        ],
        "version": 0,
        "updated_at": show_time(alice.updated_at),
    }
    world.mine(4)
    body = api.get("/api/v1/wallet/balance").body
    assert (body["available"], body["incoming"]) == ("12.50000000", [])


def test_the_balance_says_what_bids_and_escrows_keep(world, rich, bob, api):
    place_hold(wallet=rich, amount=30, reference_type="auction", reference_id="1")
    place_hold(wallet=rich, amount=5, reference_type="auction", reference_id="2")
    pay = {"buyer": rich, "seller": bob, "amount": 20}
    open_escrow(order_id="kept", **pay)
    dispute_escrow(open_escrow(order_id="disputed", **pay))
    refund_escrow(open_escrow(order_id="over", **pay))
    body = api.get("/api/v1/wallet/balance/").body
    assert {
        name: body[name] for name in ("available", "locked", "locked_bids", "locked_escrow")
    } == {
        "available": "25.00000000",
        "locked": "75.00000000",
        "locked_bids": "35.00000000",
        "locked_escrow": "40.00000000",
    }
    assert body["updated_at"] == show_time(Posting.objects.latest("pk").created_at)


def test_a_balance_that_is_known_is_not_sent_again(world, alice, api):
    first = api.get("/api/v1/wallet/balance/").headers["ETag"]
    assert api.get("/api/v1/wallet/balance/", If_None_Match=first).status == 304
    world.pay((get_address(alice), "12.5"))
    world.mine()
    second = api.get("/api/v1/wallet/balance/", If_None_Match=first)
    assert (second.status, len(second.body["incoming"])) == (200, 1)
    world.mine()  # one confirmation more
    assert api.get("/api/v1/wallet/balance/", If_None_Match=second.headers["ETag"]).status == 200


def test_a_balance_costs_two_statements(served, alice, api, django_assert_num_queries):
    api.get("/api/v1/wallet/balance/")  # remembers the use of the key, and the type of users
    with django_assert_num_queries(2):
        assert api.get("/api/v1/wallet/balance/").status == 200


def test_the_first_question_opens_a_wallet(served, db):
    user = User.objects.create(username="new")
    assert open_api(user).get("/api/v1/wallet/balance/").body["available"] == "0.00000000"


def test_the_deposit_address_stays_until_it_is_rotated(served, api, alice):
    first = api.get("/api/v1/wallet/deposit-address/").body
    assert first == {
        "coin": "DOGE",
        "network": DOGE,
        "address": get_address(alice),
        "derivation_index": 0,
        "min_deposit": "1.00000000",
        "required_confirmations": 6,
        "uri": f"dogecoin:{get_address(alice)}",
    }
    assert api.get("/api/v1/wallet/deposit-address/").body == first
    rotated = api.post("/api/v1/wallet/deposit-address/rotate/", {})
    assert (rotated.status, rotated.body["derivation_index"]) == (201, 1)
    assert api.get("/api/v1/wallet/deposit-address/").body == rotated.body


def test_the_deposit_address_can_be_scanned(served, api, alice):
    headers = {"Authorization": f"Bearer {api.key}"}
    answer = Client().get("/api/v1/wallet/deposit-address/qr/", headers=headers)
    assert answer["Content-Type"] == "image/svg+xml"
    assert answer.content.startswith(b"<?xml")
    assert Address.objects.count() == 1


def withdraw(api: Api, world: Any, key: str = "k", **body: Any) -> Any:
    return api.post(
        "/api/v1/wallet/withdraw/", {"amount": "10", "address": world.outside, **body}, key=key
    )


def test_a_withdrawal_is_taken_and_found_again(world, rich, api):
    answer = withdraw(api, world)
    assert answer.status == 202
    assert {name: answer.body[name] for name in ("status", "amount", "fee", "total", "txid")} == {
        "status": "PENDING",
        "amount": "10.00000000",
        "fee": FEE,
        "total": "10.00374000",
        "txid": None,
    }
    assert answer.headers["Location"] == f"/api/v1/wallet/withdrawals/{answer.body['id']}/"
    world.work()
    again = withdraw(api, world)
    assert (again.status, again.body) == (202, answer.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    found = api.get(answer.headers["Location"]).body
    assert (found["status"], len(found["txid"])) == ("BROADCAST", 64)
    assert api.get("/api/v1/wallet/withdrawals/").body["results"] == [found]
    assert look(rich) == (Decimal("89.99626"), Decimal("10.00374"))


def test_another_request_with_the_key_is_a_conflict(world, rich, api):
    withdraw(api, world)
    answer = withdraw(api, world, amount="11")
    assert (answer.status, answer.code) == (409, "idempotency_conflict")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"amount": 10}, 400, "invalid_request"),
        ({"amount": "1e-9"}, 422, "amount_invalid"),
        ({"amount": "NaN"}, 422, "amount_invalid"),
        ({"amount": "0.5"}, 422, "amount_below_minimum"),
        ({"amount": "1000"}, 422, "insufficient_funds"),
        ({"address": "nonsense"}, 422, "destination_invalid"),
        ({"address": "DBus3bamQjgJULBJtYXpEzDWQRwF5iwxgC"}, 422, "destination_of_other_network"),
        ({"coin": "XMR"}, 422, "network_not_served"),
        ({"coin": "doge"}, 400, "invalid_request"),
        ({"subtract_fee": "yes"}, 400, "invalid_request"),
        ({"memo": "x"}, 400, "invalid_request"),
    ],
)
def test_what_cannot_leave_is_refused_and_nothing_moves(
    world, rich, api, snapshot, body, status, code
):
    before = snapshot()
    answer = withdraw(api, world, **body)
    assert (answer.status, answer.code) == (status, code)
    assert snapshot() == before


@pytest.mark.parametrize(
    ("policy", "status", "code"),
    [
        ({"frozen_because": "a test"}, 403, "withdrawals_frozen"),
        ({"max_withdrawal": 1}, 403, "policy_denied"),
        ({"is_paused": True}, 503, "withdrawals_paused"),
    ],
)
def test_the_policy_speaks_over_http(world, rich, api, snapshot, policy, status, code):
    Chain.objects.update(**policy)
    before = snapshot()
    answer = withdraw(api, world)
    assert (answer.status, answer.code) == (status, code)
    assert snapshot() == before


def test_an_address_of_ours_is_refused_over_http(world, rich, api, bob):
    answer = withdraw(api, world, address=get_address(bob))
    assert (answer.status, answer.code) == (422, "destination_is_internal")


def test_a_key_is_needed(world, rich, api):
    answer = api.post("/api/v1/wallet/withdraw/", {"amount": "10", "address": world.outside})
    assert (answer.status, answer.code) == (400, "idempotency_key_required")


def test_withdrawals_of_others_do_not_exist(world, rich, api, bobs_api):
    path = withdraw(api, world).headers["Location"]
    assert bobs_api.get(path).status == 404
    assert bobs_api.post(f"{path}cancel/").status == 404
    assert bobs_api.get("/api/v1/wallet/withdrawals/").body["results"] == []
    assert WithdrawalRequest.objects.get().status == "PENDING"


def test_a_pending_withdrawal_is_cancelled_once(world, rich, api):
    path = withdraw(api, world).headers["Location"]
    answer = api.post(f"{path}cancel/")
    assert (answer.status, answer.body["status"]) == (200, "FAILED")
    again = api.post(f"{path}cancel/")
    assert (again.status, again.code) == (409, "transaction_already_processed")
    assert look(rich) == (100, 0)


def test_the_fee_can_be_asked_for(served, api):
    assert api.get("/api/v1/wallet/fee-quote/").body == {
        "coin": "DOGE",
        "network": DOGE,
        "fee": FEE,
        "min_withdrawal": "1.00000000",
    }


def test_the_history_is_what_the_user_sees_newest_first(world, rich, api):
    withdraw(api, world)
    results = api.get("/api/v1/wallet/history/").body["results"]
    assert [(one["entry_type"], one["debit"], one["balance_after"]) for one in results] == [
        ("WITHDRAWAL", "10.00374000", "89.99626000"),
        ("DEPOSIT", "0.00000000", "100.00000000"),
    ]
    both = api.get("/api/v1/wallet/history/?account=all").body["results"]
    assert [one["account"] for one in both] == ["pending", "available", "available"]
    deposits = api.get("/api/v1/wallet/history/?entry_type=DEPOSIT").body["results"]
    assert [one["reference_type"] for one in deposits] == ["tx"]
    assert api.get("/api/v1/wallet/history/?account=nobody").status == 400
    assert api.get("/api/v1/wallet/history/?entry_type=x").status == 400
    assert api.get("/api/v1/wallet/history/?from=2999-01-01T00:00:00Z").body["results"] == []


def test_the_history_has_pages(world, rich, api):
    for number in range(3):
        withdraw(api, world, key=str(number), amount="1")
    first = api.get("/api/v1/wallet/history/?limit=3").body
    second = api.get(first["next"].partition("testserver")[2]).body
    assert [len(first["results"]), len(second["results"]), second["next"]] == [3, 1, None]


def test_an_allowed_address_waits(served, world, api):
    answer = api.post("/api/v1/wallet/withdrawal-addresses/", {"address": world.outside})
    assert answer.status == 201
    listed = api.get("/api/v1/wallet/withdrawal-addresses/").body["results"]
    assert listed == [answer.body]
    assert AllowedAddress.objects.get().usable_at > AllowedAddress.objects.get().created_at


# Internal


@pytest.fixture
def service(db) -> Api:
    """A program of ours."""
    user = User.objects.create(username="service", is_staff=True)
    return open_api(user, scopes=["internal"])


def test_bids_and_orders_are_of_the_coin_that_deposits_are(world, rich, service):
    """As in seed 001 nobody names a coin; and whoever sells for the first time gets a wallet."""
    bid = {"user_id": str(rich.holder_id), "reference_type": "auction", "reference_id": "1"}
    carol = User.objects.create(username="carol")
    sale = {"seller_id": str(carol.pk), "fee_amount": "1"}
    locked = service.post("/api/v1/wallet/internal/lock/", {**bid, "amount": "30"}, key="a")
    assert (locked.status, locked.body["coin"]) == (201, "DOGE")
    service.post("/api/v1/wallet/internal/unlock/", {**bid, "amount": "5"}, key="b")
    del bid["user_id"]
    buyer = {"buyer_id": str(rich.holder_id), "order_id": "1"}
    won = service.post(
        "/api/v1/wallet/internal/convert-to-escrow/", {**bid, **buyer, **sale}, key="c"
    )
    assert (won.status, won.body["amount"]) == (201, "25.00000000")
    order = {"user_id": str(rich.holder_id), "order_id": "2", "amount": "10", **sale}
    assert service.post("/api/v1/wallet/internal/pay-order/", order, key="d").status == 201
    for number in "12":
        path = "/api/v1/wallet/internal/release-escrow/"
        assert service.post(path, {"order_id": number}, key=number).status == 200
    assert look(get_or_create_wallet(carol.pk)) == (33, 0)
    assert look(rich) == (65, 0)


def test_who_does_not_exist_is_paid_nothing(world, rich, service, snapshot):
    before = snapshot()
    order = {"user_id": str(rich.holder_id), "seller_id": str(uuid4()), "order_id": "2"}
    answer = service.post("/api/v1/wallet/internal/pay-order/", {**order, "amount": "1"}, key="a")
    assert (answer.status, answer.code) == (422, "account_not_found")
    assert snapshot() == before


def test_monitors_see_what_waits(world, rich, api, service):
    withdraw(api, world)
    (network,) = list_health()
    assert (network.network, network.state, network.blocks_behind) == (DOGE, "ready", 0)
    assert network.look_age is not None
    for status in ("PENDING", "PROCESSING", "BROADCAST"):
        assert WithdrawalRequest.objects.get().status == status
        assert list_health()[0].withdrawal_age > timedelta(0)
        {"PENDING": plan_next_withdrawal, "PROCESSING": lambda _: world.work()}.get(
            status, lambda _: world.mine(6)
        )(DOGE)
    assert list_health()[0].withdrawal_age is None
    Chain.objects.update(node_height=F("height") + 3, frozen_because="a test")
    world.check_books()
    text = service.get("/metrics").body.decode()
    assert f'wallet_chain_frozen{{network="{DOGE}"}} 1.0' in text
    assert f'wallet_chain_liabilities{{network="{DOGE}"}} 89.99626' in text
    assert f'wallet_chain_hot_balance{{network="{DOGE}"}} 89.99774' in text
    assert 'wallet_outbox_age_seconds{for="delivery"} 0.0' in text
    body = Api(None).get("/readyz").body
    assert body["networks"] == [
        {"network": DOGE, "state": "ready", "blocks_behind": 3,
         "look_age_seconds": body["networks"][0]["look_age_seconds"]}
    ]  # fmt: skip


def test_the_health_of_networks_takes_one_query(world, rich, api, django_assert_num_queries):
    withdraw(api, world)
    with django_assert_num_queries(1):
        list_health()


@pytest.mark.parametrize(
    "path", ["chains/", f"withdrawals/{'0' * 8}-0000-0000-0000-{'0' * 12}/approve/"]
)
def test_a_users_key_opens_no_internal_path(served, api, path):
    method = api.get if path == "chains/" else api.post
    answer = method(f"/api/v1/wallet/internal/{path}")
    assert (answer.status, answer.code) == (403, "internal_only")


def test_our_services_see_how_the_networks_fare(world, rich):
    reconcile(DOGE, world.node)
    user = User.objects.create(username="monitor")
    answer = open_api(user, scopes=["internal"]).get("/api/v1/wallet/internal/chains/")
    (chain,) = answer.body["results"]
    assert (chain["network"], chain["state"], chain["frozen_because"]) == (DOGE, "ready", None)
    assert chain["reconciliation"]["ledger"] == "100.00000000"
    assert chain["reconciliation"]["unexplained"] == "0.00000000"


def test_staff_approve_through_a_service(world, rich, api):
    Chain.objects.update(approval_above=5)
    path = withdraw(api, world).headers["Location"]
    assert api.get(path).body["hold_reason"] == "awaits_approval"
    staff = User.objects.create(username="staff", is_staff=True)
    internal = path.replace("/wallet/", "/wallet/internal/") + "approve/"
    answer = open_api(staff, scopes=["internal"]).post(internal)
    assert (answer.status, answer.body["hold_reason"]) == (200, None)
    again = open_api(staff, scopes=["internal"]).post(internal)
    assert (again.status, again.code) == (422, "approval_refused")
