"""POST /wallets/, GET /wallets/, GET /wallets/<uuid>/ (seed 004)."""

import re
from uuid import uuid4

import pytest

from dj_wallet.ledger.models import Asset
from dj_wallet.models import Wallet
from dj_wallet.signals import wallet_created


def test_creating_a_wallet_without_a_body_gives_an_empty_one_in_the_default_asset(api, alice):
    answer = api.post("/wallets/")
    assert answer.status == 201
    wallet = Wallet.objects.get(uuid=answer.body["uuid"])
    assert answer.headers["Location"] == f"/wallets/{wallet.uuid}/"
    assert wallet.holder == alice
    assert answer.body == {
        "uuid": str(wallet.uuid),
        "slug": wallet.slug,
        "asset": "USD",
        "decimal_places": 2,
        "balance": 0,
        "locked_balance": 0,
        "pending_balance": 0,
        "is_frozen": False,
        "meta": {},
        "created_at": wallet.created_at.isoformat().replace("+00:00", "Z"),
    }


def test_wallets_without_a_slug_get_different_ones(api):
    slugs = {api.post("/wallets/").body["slug"] for _ in range(3)}
    assert len(slugs) == 3
    assert all(re.fullmatch(r"wallet-[0-9a-f]{16}", slug) for slug in slugs)


def test_slug_asset_and_meta_are_the_callers_choice(api):
    body = {
        "slug": "savings",
        "asset": "DOGE",
        "meta": {"goal": "moon", "steps": [1, 2], "on": True},
    }
    answer = api.post("/wallets/", body)
    assert answer.status == 201
    assert {name: answer.body[name] for name in body} == body
    assert answer.body["decimal_places"] == 8


def test_a_wallet_tells_its_receivers(api, alice):
    seen = []

    def remember(wallet, holder, **_):
        seen.append((wallet.slug, holder))

    wallet_created.connect(remember)
    try:
        api.post("/wallets/", {"slug": "savings"})
    finally:
        wallet_created.disconnect(remember)
    assert seen == [("savings", alice)]


def test_a_slug_can_be_taken_once_per_user(api, bobs_api):
    assert api.post("/wallets/", {"slug": "savings"}).status == 201
    answer = api.post("/wallets/", {"slug": "savings"})
    assert (answer.status, answer.code) == (409, "wallet_exists")
    assert bobs_api.post("/wallets/", {"slug": "savings"}).status == 201


def test_an_unknown_asset_is_refused_and_not_made(api, unchanged):
    answer = api.post("/wallets/", {"asset": "UDS"})
    assert (answer.status, answer.code) == (422, "asset_not_found")
    assert not Asset.objects.filter(pk="UDS").exists()


def test_meta_cannot_choose_the_asset(api):
    assert api.post("/wallets/", {"meta": {"currency": "DOGE"}}).body["asset"] == "USD"


def test_the_same_key_answers_the_same_wallet_as_it_was(api, alice):
    first = api.post("/wallets/", {"asset": "PTS"}, key="k1")
    assert "Idempotent-Replayed" not in first.headers
    Wallet.objects.get(uuid=first.body["uuid"]).deposit(5)
    again = api.post("/wallets/", {"asset": "PTS"}, key="k1")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.status, again.body) == (first.status, first.body)
    assert Wallet.objects.held_by(alice).count() == 1


@pytest.mark.parametrize("body", [{"asset": "DOGE"}, {"slug": "other"}, {"meta": {"a": 1}}])
def test_the_same_key_for_another_wallet_is_a_conflict(api, body):
    api.post("/wallets/", {"asset": "PTS"}, key="k1")
    answer = api.post("/wallets/", {"asset": "PTS"} | body, key="k1")
    assert (answer.status, answer.code) == (409, "idempotency_conflict")
    assert Wallet.objects.count() == 1


def test_keys_of_different_users_are_different_keys(api, bobs_api):
    assert (
        api.post("/wallets/", key="k").body["uuid"]
        != bobs_api.post("/wallets/", key="k").body["uuid"]
    )


def test_the_owner_sees_balances_in_the_smallest_unit(api, wallet):
    answer = api.get(f"/wallets/{wallet.uuid}/")
    assert answer.status == 200
    assert answer.body["balance"] == 10000
    assert answer.body["slug"] == "default"


def test_a_foreign_wallet_does_not_exist(charlies_api, wallet):
    answer = charlies_api.get(f"/wallets/{wallet.uuid}/")
    assert (answer.status, answer.code) == (404, "not_found")
    assert answer.body["error"] | {"timestamp": ""} == charlies_api.get(
        f"/wallets/{uuid4()}/"
    ).body["error"] | {"timestamp": ""}


def test_staff_see_every_wallet(staffs_api, wallet, bobs_wallet):
    assert staffs_api.get(f"/wallets/{wallet.uuid}/").body["balance"] == 10000
    listed = {one["uuid"] for one in staffs_api.get("/wallets/").body["results"]}
    assert listed == {str(wallet.uuid), str(bobs_wallet.uuid)}


def test_the_list_holds_own_wallets_only_newest_first(api, alice, wallet, bobs_wallet):
    newer = alice.get_wallet("savings")
    listed = [one["uuid"] for one in api.get("/wallets/").body["results"]]
    assert listed == [str(newer.uuid), str(wallet.uuid)]


def test_pages_lead_to_each_other(api, alice):
    made = [str(alice.get_wallet(f"w{number}").uuid) for number in range(5)]
    first = api.get("/wallets/?limit=2").body
    second = api.get(first["next"].removeprefix("http://testserver")).body
    third = api.get(second["next"].removeprefix("http://testserver")).body
    pages = [[one["uuid"] for one in page["results"]] for page in (first, second, third)]
    assert pages == [made[:2:-1], made[2:0:-1], made[:1]]
    assert (first["previous"], third["next"]) == (None, None)
    back = api.get(third["previous"].removeprefix("http://testserver")).body
    assert [one["uuid"] for one in back["results"]] == pages[1]


@pytest.mark.parametrize(
    "cursor", ["x", "cD1hYmM=", "cD0lMDA=", "cj14", "cD05OTk5OTk5OTk5OTk5OTk5OTk5OTk="]
)
def test_a_cursor_that_is_not_ours_is_refused(api, cursor):
    answer = api.get(f"/wallets/?cursor={cursor}")
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", "", "%C2%B2", "9" * 30])
def test_a_limit_that_is_no_count_is_refused(api, limit):
    answer = api.get(f"/wallets/?limit={limit}")
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert list(answer.body["error"]["details"]) == ["limit"]


@pytest.mark.parametrize(
    "path",
    [
        "/wallets",
        "/wallets/{uuid}",
        "/wallets/{uuid}/transactions",
        "/wallets/{uuid}/transactions/{id}",
    ],
)
def test_the_last_slash_may_be_missing(api, wallet, path):
    transaction = wallet.transactions.get()
    assert api.get(path.format(uuid=wallet.uuid, id=transaction.pk)).status == 200


def test_listing_takes_the_same_few_queries_for_many_wallets(api, alice, django_assert_num_queries):
    for number in range(20):
        alice.get_wallet(f"w{number}")
    api.get("/wallets/")
    with django_assert_num_queries(2):
        api.get("/wallets/")
