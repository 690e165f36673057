"""POST and GET /api/v1/transfers."""

from decimal import Decimal
from uuid import uuid4

import pytest

from dj_wallet.models import Transfer
from dj_wallet.signals import pre_withdraw

PATH = "/api/v1/transfers"


def order(source, destination, amount="12.50", **more):
    return {"from": str(source.uuid), "to": str(destination.uuid), "amount": amount, **more}


def test_a_transfer_moves_money_between_holders(api, wallet, bobs_wallet):
    answer = api.post(PATH, order(wallet, bobs_wallet, meta={"note": "lunch"}), key="k1")
    transfer = Transfer.objects.get()
    assert answer.status == 201
    assert answer.headers["Location"] == f"/api/v1/transfers/{transfer.uuid}"
    assert answer.body == {
        "uuid": str(transfer.uuid),
        "from": str(wallet.uuid),
        "to": str(bobs_wallet.uuid),
        "amount": "12.50",
        "asset": "USD",
        "status": "TRANSFER",
        "meta": {"note": "lunch"},
        "created_at": transfer.created_at.isoformat().replace("+00:00", "Z"),
    }
    wallet.refresh_from_db()
    bobs_wallet.refresh_from_db()
    assert (wallet.balance, bobs_wallet.balance) == (Decimal("87.50"), Decimal("12.50"))


@pytest.mark.parametrize(
    ("given", "shown"), [("1", "1.00"), ("0.01", "0.01"), ("100.000", "100.00"), ("1e1", "10.00")]
)
def test_amounts_are_shown_with_the_places_of_the_asset(api, wallet, bobs_wallet, given, shown):
    assert api.post(PATH, order(wallet, bobs_wallet, given), key="k1").body["amount"] == shown


def test_the_same_key_moves_once_and_answers_the_same(api, wallet, bobs_wallet):
    first = api.post(PATH, order(wallet, bobs_wallet, meta={"a": 1}), key="k1")
    again = api.post(PATH, order(wallet, bobs_wallet, "12.5"), key="k1")
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.status, again.body, again.headers["Location"]) == (
        first.status,
        first.body,
        first.headers["Location"],
    )
    bobs_wallet.refresh_from_db()
    assert bobs_wallet.balance == Decimal("12.50")


def test_the_same_key_for_something_else_is_a_conflict(api, wallet, bobs_wallet, snapshot):
    api.post(PATH, order(wallet, bobs_wallet), key="k1")
    before = snapshot()
    for path, body in (
        (PATH, order(wallet, bobs_wallet, "12.51")),
        (f"/wallets/{wallet.uuid}/deposit", {"amount": 1250}),
        (f"/wallets/{wallet.uuid}/withdraw", {"amount": 1250}),
    ):
        answer = api.post(path, body, key="k1")
        assert (answer.status, answer.code) == (409, "idempotency_conflict")
    assert snapshot() == before


def test_the_key_of_a_scheduled_withdrawal_is_taken_too(api, wallet, bobs_wallet, snapshot):
    api.post(f"/wallets/{wallet.uuid}/withdraw", {"amount": 100}, key="k1")
    before = snapshot()
    answer = api.post(PATH, order(wallet, bobs_wallet), key="k1")
    assert (answer.status, answer.code) == (409, "idempotency_conflict")
    assert snapshot() == before


def test_a_key_is_required(api, wallet, bobs_wallet, unchanged):
    answer = api.post(PATH, order(wallet, bobs_wallet))
    assert (answer.status, answer.code) == (400, "idempotency_key_required")


@pytest.mark.parametrize("key", ["", "x" * 129, "\u00e9t\u00e9", "tab\there"])
def test_a_key_is_1_to_128_printable_ascii_characters(api, wallet, bobs_wallet, unchanged, key):
    answer = api.post(PATH, order(wallet, bobs_wallet), key=key)
    assert (answer.status, answer.code) == (400, "idempotency_key_invalid")


def test_the_longest_key_works(api, wallet, bobs_wallet):
    assert api.post(PATH, order(wallet, bobs_wallet), key="~" * 128).status == 201


def test_more_than_there_is_is_refused(api, wallet, bobs_wallet, unchanged):
    answer = api.post(PATH, order(wallet, bobs_wallet, "100.01"), key="k1")
    assert (answer.status, answer.code) == (422, "insufficient_funds")


def test_more_than_a_limit_lets_out_is_refused_with_what_is_left(api, wallet, bobs_wallet):
    wallet.set_limits(per_day=30)
    assert api.post(PATH, order(wallet, bobs_wallet, "20"), key="k1").status == 201
    answer = api.post(PATH, order(wallet, bobs_wallet, "11"), key="k2")
    assert (answer.status, answer.code) == (422, "limit_exceeded")
    details = answer.body["error"]["details"]
    assert (details["limit"], details["left"]) == ("per_day", "10.00000000")


def test_a_refusal_leaves_the_key_free(api, wallet, bobs_wallet):
    body = order(wallet, bobs_wallet, "100.01")
    assert api.post(PATH, body, key="k1").status == 422
    wallet.deposit("0.01")
    assert api.post(PATH, body, key="k1").status == 201


def test_money_cannot_be_taken_from_others(api, staffs_api, wallet, bobs_wallet, unchanged):
    for thief in (api, staffs_api):
        answer = thief.post(PATH, order(bobs_wallet, wallet), key="k1")
        assert (answer.status, answer.code) == (404, "not_found")


def test_wallets_that_do_not_exist(api, wallet, unchanged):
    nowhere = str(uuid4())
    answer = api.post(PATH, {"from": nowhere, "to": str(wallet.uuid), "amount": "1"}, key="k1")
    assert (answer.status, answer.code) == (404, "not_found")
    answer = api.post(PATH, {"from": str(wallet.uuid), "to": nowhere, "amount": "1"}, key="k1")
    assert (answer.status, answer.code) == (422, "account_not_found")


def test_a_frozen_side_refuses(api, wallet, bobs_wallet, unchanged):
    bobs_wallet.freeze()
    answer = api.post(PATH, order(wallet, bobs_wallet), key="k1")
    assert (answer.status, answer.code) == (422, "wallet_frozen")


def test_another_asset_is_refused(api, wallet, bob, snapshot):
    coins = bob.create_wallet("coins", currency="DOGE")
    before = snapshot()
    answer = api.post(PATH, order(wallet, coins), key="k1")
    assert (answer.status, answer.code) == (422, "asset_mismatch")
    assert snapshot() == before


def test_a_wallet_cannot_pay_itself(api, wallet, unchanged):
    answer = api.post(PATH, order(wallet, wallet), key="k1")
    assert (answer.status, answer.code) == (422, "movement_invalid")


def test_both_sides_and_staff_see_the_transfer(
    api, bobs_api, charlies_api, staffs_api, wallet, bobs_wallet
):
    made = api.post(PATH, order(wallet, bobs_wallet), key="k1").body
    for reader in (api, bobs_api, staffs_api):
        assert reader.get(f"{PATH}/{made['uuid']}").body == made
        assert reader.get(PATH).body["results"] == [made]
    answer = charlies_api.get(f"{PATH}/{made['uuid']}")
    assert (answer.status, answer.code) == (404, "not_found")
    assert charlies_api.get(PATH).body["results"] == []


def test_the_list_is_newest_first_in_pages(api, wallet, bobs_wallet):
    made = [
        api.post(PATH, order(wallet, bobs_wallet, "1"), key=f"k{n}").body["uuid"] for n in range(3)
    ]
    page = api.get(f"{PATH}?limit=2").body
    rest = api.get(page["next"].removeprefix("http://testserver")).body
    assert [one["uuid"] for one in page["results"] + rest["results"]] == made[::-1]


def test_a_transfer_takes_few_queries(api, wallet, bobs_wallet, django_assert_max_num_queries):
    api.post(PATH, order(wallet, bobs_wallet), key="k1")
    # Key, wallets, keys of pending records, the posting with its records.
    with django_assert_max_num_queries(5):
        api.post(PATH, order(wallet, bobs_wallet), key="k2")


def test_listing_takes_the_same_few_queries_for_many_transfers(
    api, wallet, bobs_wallet, django_assert_num_queries
):
    for number in range(10):
        api.post(PATH, order(wallet, bobs_wallet, "1"), key=f"k{number}")
    with django_assert_num_queries(2):
        assert len(api.get(PATH).body["results"]) == 10


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_raises_is_a_500_and_nothing_moved(api, wallet, bobs_wallet, snapshot):
    def refuse(**_):
        raise ValueError("Withdrawals over 10 need approval.")

    before = snapshot()
    pre_withdraw.connect(refuse)
    try:
        answer = api.post(PATH, order(wallet, bobs_wallet), key="k1")
    finally:
        pre_withdraw.disconnect(refuse)
    assert (answer.status, answer.code) == (500, "internal_error")
    assert snapshot() == before
