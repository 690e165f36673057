"""POST /wallets/<uuid>/deposit (seed 004)."""

from decimal import Decimal

import pytest

from dj_wallet.models import Transaction
from dj_wallet.signals import balance_changed


def test_a_deposit_is_completed_at_once(api, wallet):
    answer = api.post(f"/wallets/{wallet.uuid}/deposit", {"amount": 2550})
    record = Transaction.objects.latest("id")
    wallet.refresh_from_db()
    assert wallet.balance == Decimal("125.50")
    assert answer.status == 201
    assert answer.headers["Location"] == f"/wallets/{wallet.uuid}/transactions/{record.pk}/"
    assert answer.body == {
        "id": record.pk,
        "uuid": str(record.uuid),
        "wallet": str(wallet.uuid),
        "type": "DEPOSIT",
        "status": "COMPLETED",
        "amount": 2550,
        "asset": "USD",
        "decimal_places": 2,
        "meta": {},
        "created_at": record.created_at.isoformat().replace("+00:00", "Z"),
        "scheduled_for": None,
        "retry_count": 0,
        "bank_response": None,
        "failure_code": None,
        "payout_status": None,
    }


def test_the_smallest_unit_is_the_assets(api, alice):
    for slug, asset, amount in (
        ("doge", "DOGE", Decimal("0.00000007")),
        ("points", "PTS", Decimal(7)),
    ):
        uuid = api.post("/wallets/", {"slug": slug, "asset": asset}).body["uuid"]
        assert api.post(f"/wallets/{uuid}/deposit", {"amount": 7}).body["amount"] == 7
        assert alice.get_wallet(slug).balance == amount


def test_without_a_key_every_call_is_a_new_deposit(api, wallet):
    for _ in range(2):
        assert api.post(f"/wallets/{wallet.uuid}/deposit", {"amount": 100}).status == 201
    wallet.refresh_from_db()
    assert wallet.balance == 102


def test_the_same_key_deposits_once_and_answers_the_same(api, wallet):
    first = api.post(f"/wallets/{wallet.uuid}/deposit", {"amount": 100}, key="k1")
    again = api.post(f"/wallets/{wallet.uuid}/deposit", {"amount": 100}, key="k1")
    wallet.refresh_from_db()
    assert wallet.balance == 101
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.status, again.body) == (first.status, first.body)


def test_the_same_key_for_another_amount_is_a_conflict_that_does_not_show_our_keys(
    api, wallet, snapshot
):
    api.post(f"/wallets/{wallet.uuid}/deposit", {"amount": 100}, key="k1")
    before = snapshot()
    answer = api.post(f"/wallets/{wallet.uuid}/deposit", {"amount": 101}, key="k1")
    assert (answer.status, answer.code) == (409, "idempotency_conflict")
    assert "rest:" not in answer.body["error"]["message"]
    assert snapshot() == before


def test_keys_of_different_users_are_different_keys(api, bobs_api, wallet, bobs_wallet):
    api.post(f"/wallets/{wallet.uuid}/deposit", {"amount": 100}, key="k1")
    answer = bobs_api.post(f"/wallets/{bobs_wallet.uuid}/deposit", {"amount": 100}, key="k1")
    assert answer.status == 201
    assert "Idempotent-Replayed" not in answer.headers


def test_a_foreign_wallet_cannot_be_deposited_into(charlies_api, staffs_api, wallet, unchanged):
    for stranger in (charlies_api, staffs_api):
        answer = stranger.post(f"/wallets/{wallet.uuid}/deposit", {"amount": 100})
        assert (answer.status, answer.code) == (404, "not_found")


def test_a_frozen_wallet_takes_nothing(api, wallet, unchanged):
    wallet.freeze("suspicion")
    answer = api.post(f"/wallets/{wallet.uuid}/deposit", {"amount": 100})
    assert (answer.status, answer.code) == (422, "wallet_frozen")


def test_more_than_the_columns_hold_is_refused(api, wallet, unchanged):
    answer = api.post(f"/wallets/{wallet.uuid}/deposit", {"amount": 10**70})
    assert (answer.status, answer.code) == (422, "amount_invalid")


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_raises_undoes_the_deposit_and_is_a_500_without_a_trace(
    api, wallet, snapshot
):
    def break_down(**_):
        raise RuntimeError("secret detail")

    before = snapshot()
    balance_changed.connect(break_down)
    try:
        answer = api.post(f"/wallets/{wallet.uuid}/deposit", {"amount": 100})
    finally:
        balance_changed.disconnect(break_down)
    assert (answer.status, answer.code) == (500, "internal_error")
    assert "secret" not in str(answer.body)
    assert snapshot() == before


def test_a_deposit_takes_few_queries(api, wallet, django_assert_max_num_queries):
    path = f"/wallets/{wallet.uuid}/deposit"
    api.post(path, {"amount": 100})
    # Key, wallet, and what the library's deposit takes; two more for the savepoint of the test's transaction.
    with django_assert_max_num_queries(6):
        api.post(path, {"amount": 100}, key="k")
