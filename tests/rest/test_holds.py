"""/api/v1/holds, /api/v1/escrows, and the internal paths of seed 001."""

from uuid import uuid4

import pytest

from dj_wallet.events.models import Event
from dj_wallet.identity.services import create_api_key
from dj_wallet.models import Escrow, Hold
from dj_wallet.services.escrow import dispute_escrow, open_escrow
from dj_wallet.services.holds import place_hold
from tests.rest.api import Api

HOLDS, ESCROWS, INTERNAL = "/api/v1/holds", "/api/v1/escrows", "/api/v1/wallet/internal"
PATHS = "lock unlock pay-order convert-to-escrow release-escrow refund-escrow dispute-escrow resolve-escrow"


@pytest.fixture
def service(staff):
    """A program of ours, with a key of the scope `internal`."""
    return Api(create_api_key(user=staff, name="auctions", scopes=["internal", "holds:read"])[1])


@pytest.fixture
def hold(wallet):
    return place_hold(wallet=wallet, amount=60, reference_type="auction", reference_id="1")


@pytest.fixture
def escrow(wallet, bobs_wallet):
    return open_escrow(buyer=wallet, seller=bobs_wallet, order_id="o1", amount=60, fee_amount=3)


@pytest.fixture
def kept(snapshot):
    """A function that returns all that a refusal must leave alone."""
    return lambda: (snapshot(), list(Hold.objects.values()), list(Escrow.objects.values()))


def bid(user, amount="60.00", **more):
    return {
        "user_id": str(user.pk),
        "amount": amount,
        "reference_type": "auction",
        "reference_id": "1",
        **more,
    }


# The internal paths of seed 001


def test_funds_are_locked_and_unlocked(service, alice, wallet):
    answer = service.post(f"{INTERNAL}/lock/", bid(alice), key="k1")
    hold = Hold.objects.get()
    assert (answer.status, answer.headers["Location"]) == (201, f"{HOLDS}/{hold.uuid}")
    assert answer.body == {
        "lock_id": str(hold.uuid),
        "user_id": str(alice.pk),
        "coin": "USD",
        "reference_type": "auction",
        "reference_id": "1",
        "amount": "60.00",
        "remaining": "60.00",
        "expires_at": None,
        "balance": {"available": "40.00", "locked": "60.00"},
    }
    answer = service.post(f"{INTERNAL}/unlock/", bid(alice, "25"), key="k2")
    assert (answer.status, answer.body["amount"], answer.body["remaining"]) == (
        200,
        "25.00",
        "35.00",
    )
    assert answer.body["balance"] == {"available": "65.00", "locked": "35.00"}
    rest = bid(alice)
    del rest["amount"]
    assert service.post(f"{INTERNAL}/unlock/", rest, key="k3").body["remaining"] == "0.00"


def test_a_repeated_lock_or_unlock_gets_the_first_answer(service, alice, wallet, kept):
    expiry = {"expires_at": "2099-01-01T00:00:00Z"}
    first = service.post(f"{INTERNAL}/lock/", bid(alice, **expiry), key="k1")
    second = service.post(f"{INTERNAL}/unlock/", bid(alice, "25"), key="k2")
    service.post(f"{INTERNAL}/unlock/", bid(alice, "35"), key="k3")
    before = kept()
    for path, body, key, answer in (
        ("lock", bid(alice, "60", **expiry), "k1", first),
        ("unlock", bid(alice, "25.0"), "k2", second),
    ):
        again = service.post(f"{INTERNAL}/{path}/", body, key=key)
        assert (again.status, again.body) == (answer.status, answer.body)
        assert again.headers["Idempotent-Replayed"] == "true"
        conflict = service.post(f"{INTERNAL}/{path}/", bid(alice, "1"), key=key)
        assert (conflict.status, conflict.code) == (409, "idempotency_conflict")
    assert kept() == before


def test_a_bid_is_raised_to_a_total(service, alice, wallet):
    service.post(f"{INTERNAL}/lock/", bid(alice), key="k1")
    raised = service.post(f"{INTERNAL}/lock/", bid(alice, "75", mode="set"), key="k2").body
    assert (raised["amount"], raised["remaining"]) == ("15.00", "75.00")


def test_the_key_may_stand_in_the_body(service, alice, wallet, kept):
    body = bid(alice, idempotency_key="k1")
    assert service.post(f"{INTERNAL}/lock/", body).status == 201
    before = kept()
    assert (
        service.post(f"{INTERNAL}/lock/", body, key="k1").headers["Idempotent-Replayed"] == "true"
    )
    assert service.post(f"{INTERNAL}/lock/", body, key="k2").code == "invalid_request"
    assert service.post(f"{INTERNAL}/lock/", bid(alice)).code == "idempotency_key_required"
    assert kept() == before


def test_a_lock_becomes_an_escrow_that_is_released(service, alice, bob, wallet, bobs_wallet, hold):
    body = {
        "buyer_id": str(alice.pk),
        "seller_id": str(bob.pk),
        "order_id": "o1",
        "amount": "45",
        "fee_amount": "2",
        "reference_type": "auction",
        "reference_id": "1",
    }
    answer = service.post(f"{INTERNAL}/convert-to-escrow/", body, key="k1")
    escrow = Escrow.objects.get()
    assert (answer.status, answer.headers["Location"]) == (201, f"{ESCROWS}/{escrow.uuid}")
    shown = answer.body
    assert (shown["id"], shown["lock_id"], shown["status"]) == (
        str(escrow.uuid),
        str(hold.uuid),
        "LOCKED",
    )
    assert (shown["buyer_id"], shown["seller_id"]) == (str(alice.pk), str(bob.pk))
    again = service.post(f"{INTERNAL}/convert-to-escrow/", body, key="k1")
    assert (again.body, again.headers["Idempotent-Replayed"]) == (answer.body, "true")
    answer = service.post(f"{INTERNAL}/release-escrow/", {"order_id": "o1"}, key="k2")
    assert (answer.status, answer.body["status"], answer.body["fee_charged"]) == (
        200,
        "RELEASED",
        "2.00",
    )
    bobs_wallet.refresh_from_db()
    assert bobs_wallet.balance == 43


def test_an_order_is_paid_and_refunded(service, alice, bob, wallet, bobs_wallet):
    body = {"user_id": str(alice.pk), "seller_id": str(bob.pk), "order_id": "o1", "amount": "60"}
    paid = service.post(f"{INTERNAL}/pay-order/", body, key="k1").body
    again = service.post(f"{INTERNAL}/pay-order/", body, key="other key, same order")
    assert (again.status, again.body, again.headers["Idempotent-Replayed"]) == (201, paid, "true")
    named = {"escrow_id": paid["id"]}
    answer = service.post(f"{INTERNAL}/refund-escrow/", named, key="k2")
    assert (answer.status, answer.body["status"]) == (200, "REFUNDED")
    again = service.post(f"{INTERNAL}/refund-escrow/", named, key="k2")
    assert (again.status, again.body) == (200, answer.body)
    wallet.refresh_from_db()
    assert (wallet.balance, wallet.locked_balance) == (100, 0)


def test_a_dispute_is_resolved_with_a_split(service, escrow):
    named = {"order_id": "o1", "reason": "broken"}
    answer = service.post(f"{INTERNAL}/dispute-escrow/", named, key="k1")
    assert (answer.status, answer.body["status"], answer.body["reason"]) == (
        200,
        "DISPUTED",
        "broken",
    )
    refused = service.post(f"{INTERNAL}/release-escrow/", {"order_id": "o1"}, key="k2")
    assert (refused.status, refused.code) == (409, "escrow_state_invalid")
    split = {"order_id": "o1", "seller_amount": "20", "buyer_amount": "40"}
    answer = service.post(f"{INTERNAL}/resolve-escrow/", split, key="k3")
    assert (answer.body["released_amount"], answer.body["refunded_amount"]) == ("20.00", "40.00")


@pytest.mark.parametrize("path", PATHS.split())
def test_internal_paths_are_closed_to_users(api, staffs_api, path, alice, escrow, kept):
    before = kept()
    for user in (api, staffs_api):
        answer = user.post(f"{INTERNAL}/{path}/", bid(alice), key="k1")
        assert (answer.status, answer.code) == (403, "internal_only")
    assert Api(None).post(f"{INTERNAL}/{path}/", bid(alice), key="k1").status == 401
    assert kept() == before


@pytest.mark.parametrize(
    ("path", "change", "status", "code"),
    [
        ("lock", {"amount": "100.01"}, 422, "insufficient_funds"),
        ("lock", {"amount": "0"}, 422, "amount_invalid"),
        ("lock", {"amount": "0.001"}, 422, "amount_invalid"),
        ("lock", {"amount": "NaN"}, 422, "amount_invalid"),
        ("lock", {"amount": 60}, 400, "invalid_request"),
        ("lock", {"user_id": "alice"}, 400, "invalid_request"),
        ("lock", {"user_id": str(uuid4())}, 422, "account_not_found"),
        ("lock", {"coin": "DOGE"}, 422, "account_not_found"),
        ("lock", {"reference_id": ""}, 400, "invalid_request"),
        ("lock", {"reference_type": "x" * 33}, 400, "invalid_request"),
        ("lock", {"mode": "all"}, 400, "invalid_request"),
        ("lock", {"expires_at": "2001-01-01T00:00:00Z"}, 422, "movement_invalid"),
        ("lock", {"expires_at": "2099-01-01"}, 400, "invalid_request"),
        ("lock", {"more": 1}, 400, "invalid_request"),
        ("unlock", {"amount": "60.01"}, 409, "hold_exceeded"),
        ("unlock", {"reference_id": "2"}, 404, "hold_not_found"),
        ("unlock", {"amount": "-1"}, 422, "amount_invalid"),
    ],
)
def test_what_cannot_be_locked_is_refused(
    service, alice, wallet, hold, kept, path, change, status, code
):
    before = kept()
    answer = service.post(f"{INTERNAL}/{path}/", {**bid(alice), **change}, key="k1")
    assert (answer.status, answer.code) == (status, code)
    assert kept() == before


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"amount": "100.01"}, 422, "insufficient_funds"),
        ({"fee_amount": "60.01"}, 422, "amount_invalid"),
        ({"fee_amount": "-1"}, 422, "amount_invalid"),
        ({"seller_id": "own"}, 422, "movement_invalid"),
        ({"seller_id": str(uuid4())}, 422, "account_not_found"),
        ({"order_id": "o1", "amount": "1"}, 409, "order_conflict"),
        ({"order_id": 7}, 400, "invalid_request"),
    ],
)
def test_what_cannot_be_paid_is_refused(
    service, alice, bob, wallet, bobs_wallet, kept, change, status, code
):
    body = {
        "user_id": str(alice.pk),
        "seller_id": str(bob.pk),
        "order_id": "o2",
        "amount": "60",
        **change,
    }
    open_escrow(buyer=wallet, seller=bobs_wallet, order_id="o1", amount=2)
    if body["seller_id"] == "own":
        body["seller_id"] = str(alice.pk)
    before = kept()
    answer = service.post(f"{INTERNAL}/pay-order/", body, key="k1")
    assert (answer.status, answer.code) == (status, code)
    assert kept() == before


def test_escrows_that_cannot_be_ended(service, escrow, kept):
    before = kept()
    for path in ("release-escrow", "refund-escrow", "dispute-escrow"):
        for body, status, code in (
            ({"escrow_id": str(uuid4())}, 404, "escrow_not_found"),
            ({"order_id": "o2"}, 404, "escrow_not_found"),
            ({}, 400, "invalid_request"),
            ({"order_id": "o1", "escrow_id": str(escrow.uuid)}, 400, "invalid_request"),
            ({"escrow_id": "1"}, 400, "invalid_request"),
        ):
            answer = service.post(f"{INTERNAL}/{path}/", body, key="k1")
            assert (answer.status, answer.code) == (status, code)
    answer = service.post(
        f"{INTERNAL}/resolve-escrow/",
        {"order_id": "o1", "seller_amount": "30", "buyer_amount": "30"},
        key="k1",
    )
    assert (answer.status, answer.code) == (409, "escrow_state_invalid")
    assert kept() == before


def test_a_frozen_wallet_is_left_alone(service, alice, wallet, hold, kept):
    wallet.freeze()
    before = kept()
    for path in ("lock", "unlock"):
        answer = service.post(f"{INTERNAL}/{path}/", bid(alice, "1"), key="k1")
        assert (answer.status, answer.code) == (422, "wallet_frozen")
    assert kept() == before


# /api/v1/holds


def test_a_service_holds_releases_and_settles(service, wallet, bobs_wallet):
    body = {
        "wallet": str(wallet.uuid),
        "amount": "60",
        "reference_type": "auction",
        "reference_id": "1",
    }
    made = service.post(HOLDS, body, key="k1")
    assert (made.status, made.body["status"], made.body["remaining"]) == (201, "OPEN", "60.00")
    path = made.headers["Location"]
    released = service.post(f"{path}/release", {"amount": "10"}, key="k2")
    assert (released.status, released.body["remaining"]) == (200, "50.00")
    paid = service.post(f"{path}/settle", {"to": str(bobs_wallet.uuid), "amount": "20"}, key="k3")
    assert (paid.status, paid.body["remaining"]) == (200, "30.00")
    again = service.post(f"{path}/settle", {"to": str(bobs_wallet.uuid), "amount": "20"}, key="k3")
    assert again.headers["Idempotent-Replayed"] == "true"
    order = {"seller": str(bobs_wallet.uuid), "order_id": "o1", "amount": "25"}
    converted = service.post(f"{path}/convert", order, key="k4")
    assert (converted.status, converted.body["amount"]) == (201, "25.00")
    steps = [(step["action"], step["amount"]) for step in service.get(path).body["steps"]]
    assert steps == [
        ("PLACED", "60.00"),
        ("RELEASED", "10.00"),
        ("SETTLED", "20.00"),
        ("RELEASED", "5.00"),
        ("CONVERTED", "25.00"),
    ]
    refused = service.post(f"{path}/release", {}, key="k5")
    assert (refused.status, refused.code) == (409, "hold_ended")


def test_owners_read_their_holds_and_change_none(api, charlies_api, staffs_api, wallet, hold, kept):
    path = f"{HOLDS}/{hold.uuid}"
    for reader in (api, staffs_api):
        [listed] = reader.get(HOLDS).body["results"]
        shown = reader.get(path).body
        assert shown.pop("steps")
        assert shown == listed
    assert charlies_api.get(HOLDS).body["results"] == []
    assert charlies_api.get(path).status == 404
    before = kept()
    body = {"wallet": str(wallet.uuid), "amount": "1", "reference_type": "a", "reference_id": "1"}
    assert api.post(HOLDS, body, key="k1").status == 403
    for step in ("release", "settle", "convert"):
        assert api.post(f"{path}/{step}", {}, key="k1").status == 403
    assert kept() == before


def test_holds_are_filtered_by_state(api, hold):
    assert len(api.get(f"{HOLDS}?status=open").body["results"]) == 1
    assert api.get(f"{HOLDS}?status=RELEASED").body["results"] == []
    assert api.get(f"{HOLDS}?status=gone").code == "invalid_request"


def test_unknown_wallets_and_holds(service, wallet, hold, kept):
    before = kept()
    body = {"wallet": str(uuid4()), "amount": "1", "reference_type": "a", "reference_id": "1"}
    assert service.post(HOLDS, body, key="k1").code == "account_not_found"
    assert service.post(f"{HOLDS}/{uuid4()}/release", {}, key="k1").code == "not_found"
    nowhere = {"to": str(uuid4())}
    assert (
        service.post(f"{HOLDS}/{hold.uuid}/settle", nowhere, key="k1").code == "account_not_found"
    )
    assert kept() == before


# /api/v1/escrows


def test_a_service_opens_disputes_and_resolves(service, wallet, bobs_wallet):
    body = {
        "buyer": str(wallet.uuid),
        "seller": str(bobs_wallet.uuid),
        "order_id": "o1",
        "amount": "60",
        "fee_amount": "3",
    }
    made = service.post(ESCROWS, body, key="k1")
    path = made.headers["Location"]
    assert (made.status, service.get(path).body) == (201, made.body)
    assert service.post(f"{path}/dispute", {"reason": "late"}).body["status"] == "DISPUTED"
    split = {"seller_amount": "20", "buyer_amount": "40"}
    ended = service.post(f"{path}/resolve", split, key="k2")
    assert (ended.status, ended.body["fee_charged"]) == (200, "1.00")


@pytest.mark.parametrize(("step", "status"), [("release", "RELEASED"), ("refund", "REFUNDED")])
def test_a_service_ends_an_escrow(service, escrow, step, status):
    answer = service.post(f"{ESCROWS}/{escrow.uuid}/{step}", {}, key="k1")
    assert (answer.status, answer.body["status"]) == (200, status)
    again = service.post(f"{ESCROWS}/{escrow.uuid}/{step}", {}, key="k2")
    assert (again.status, again.code) == (409, "escrow_state_invalid")


def test_both_sides_read_their_escrows(api, bobs_api, charlies_api, staffs_api, escrow, kept):
    path = f"{ESCROWS}/{escrow.uuid}"
    shown = api.get(path).body
    for reader in (api, bobs_api, staffs_api):
        assert reader.get(path).body == shown
        assert reader.get(f"{ESCROWS}?status=locked").body["results"] == [shown]
    assert charlies_api.get(path).status == 404
    assert charlies_api.get(ESCROWS).body["results"] == []
    before = kept()
    for step in ("release", "refund", "dispute", "resolve"):
        assert bobs_api.post(f"{path}/{step}", {}, key="k1").status == 403
    assert kept() == before


def test_listing_takes_few_queries(
    api, wallet, bobs_wallet, hold, escrow_again, django_assert_num_queries
):
    api.get(HOLDS)  # notes that the key is used
    with django_assert_num_queries(2):
        api.get(HOLDS)
    with django_assert_num_queries(2):
        api.get(ESCROWS)


@pytest.fixture
def escrow_again(wallet, bobs_wallet):
    for number in range(5):
        open_escrow(buyer=wallet, seller=bobs_wallet, order_id=number, amount=1)


# Events, in the transaction of the fact


def test_every_change_is_an_event_of_the_wallet(service, alice, bob, wallet, bobs_wallet):
    service.post(f"{INTERNAL}/lock/", bid(alice), key="k1")
    service.post(f"{INTERNAL}/unlock/", bid(alice, "10"), key="k2")
    order = {"seller": str(bobs_wallet.uuid), "order_id": "o1", "amount": "45"}
    service.post(f"{HOLDS}/{Hold.objects.get().uuid}/convert", order, key="k3")
    escrow = Escrow.objects.get()
    dispute_escrow(escrow)
    events = Event.objects.filter(subject=f"wallet:{wallet.uuid}").order_by("pk")
    assert list(events.exclude(type__startswith="wallet").values_list("type", flat=True)) == [
        "lock.placed",
        "lock.released",
        "lock.released",
        "lock.converted",
        "escrow.locked",
        "escrow.disputed",
    ]
    placed = events.get(type="lock.placed")
    assert placed.data == {
        "lock_id": str(Hold.objects.get().uuid),
        "user_id": str(alice.pk),
        "coin": "USD",
        "amount": "60.00",
        "remaining": "60.00",
        "reference_type": "auction",
        "reference_id": "1",
        "ledger_journal_id": Hold.objects.get().steps.order_by("pk")[0].entry_id,
    }
    disputed = events.get(type="escrow.disputed").data
    assert (disputed["escrow_id"], disputed["seller_id"], disputed["status"]) == (
        str(escrow.uuid),
        str(bob.pk),
        "DISPUTED",
    )


def test_a_refusal_is_no_event(service, alice, wallet):
    before = Event.objects.count()
    service.post(f"{INTERNAL}/lock/", bid(alice, "100.01"), key="k1")
    assert Event.objects.count() == before
