"""GET /wallets/<uuid>/transactions/ and .../<id>/ (seed 004)."""

import pytest

from dj_wallet.payouts.services import schedule_payout


@pytest.fixture
def records(wallet):
    """A deposit of 100.00, one of 5.00 and a scheduled withdrawal of 30.00, newest first."""
    wallet.deposit(5)
    schedule_payout(wallet=wallet, amount=30)
    return list(wallet.transactions.order_by("-id"))


def list_ids(api, wallet, query=""):
    answer = api.get(f"/wallets/{wallet.uuid}/transactions/{query}")
    assert answer.status == 200
    return [one["id"] for one in answer.body["results"]]


def test_the_newest_comes_first(api, wallet, records):
    assert list_ids(api, wallet) == [record.pk for record in records]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?status=PENDING", [0]),
        ("?status=pending", [0]),
        ("?status=Completed", [1, 2]),
        ("?status=FAILED", []),
        ("?type=DEPOSIT", [1, 2]),
        ("?type=deposit", [1, 2]),
        ("?type=withdrawal", [0]),
        ("?type=WITHDRAW", [0]),
        ("?type=withdrawal&status=completed", []),
        ("?type=deposit&limit=1", [1]),
        ("?type=&status=", [0, 1, 2]),
    ],
)
def test_filters_take_upper_and_lower_case(api, wallet, records, query, expected):
    assert list_ids(api, wallet, query) == [records[at].pk for at in expected]


@pytest.mark.parametrize(
    "query", ["?status=done", "?type=gift", "?type=%00", "?status=pending,failed", "?type=\u0131"]
)
def test_an_unknown_filter_value_is_refused_and_named(api, wallet, query):
    answer = api.get(f"/wallets/{wallet.uuid}/transactions/{query}")
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert list(answer.body["error"]["details"]) == [query[1:].partition("=")[0]]


def test_a_withdrawal_shows_its_payout(api, wallet, records):
    body = api.get(f"/wallets/{wallet.uuid}/transactions/{records[0].pk}/").body
    assert body["type"] == "WITHDRAWAL"
    assert body["status"] == "PENDING"
    assert body["amount"] == 3000
    assert body["scheduled_for"] == body["created_at"]
    assert body["retry_count"] == 0
    assert body["payout_status"] == "PENDING"


def test_a_transaction_of_another_wallet_does_not_exist(
    api, bobs_api, wallet, bobs_wallet, records
):
    for stranger, path in (
        (bobs_api, f"/wallets/{wallet.uuid}/transactions/{records[0].pk}/"),
        (bobs_api, f"/wallets/{bobs_wallet.uuid}/transactions/{records[0].pk}/"),
        (bobs_api, f"/wallets/{wallet.uuid}/transactions/"),
        (api, f"/wallets/{wallet.uuid}/transactions/{records[0].pk + 1}/"),
        (api, f"/wallets/{wallet.uuid}/transactions/{10**30}/"),
        (api, f"/wallets/{wallet.uuid}/transactions/-1/"),
        (api, f"/wallets/{wallet.uuid}/transactions/x/"),
    ):
        answer = stranger.get(path)
        assert (answer.status, answer.code) == (404, "not_found")


def test_staff_read_everybodys(staffs_api, wallet, records):
    assert list_ids(staffs_api, wallet) == [record.pk for record in records]


def test_listing_takes_the_same_few_queries_for_many_records(
    api, wallet, django_assert_num_queries
):
    for _ in range(20):
        schedule_payout(wallet=wallet, amount=1)
    api.get("/wallets/")
    with django_assert_num_queries(3):
        assert len(list_ids(api, wallet)) == 21
