"""What was, and what a request made."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from dj_wallet.models import Transfer

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_wallet_shows_what_it_held_at_a_moment(api, wallet):
    wallet.withdraw("30.00")
    then = datetime.now(UTC)
    wallet.deposit("5.00")
    path = f"/wallets/{wallet.uuid}/"
    assert api.get(path).body["balance"] == 7500
    assert api.get(f"{path}?as_of={quote(then.isoformat())}").body["balance"] == 7000
    before = (then - timedelta(days=1)).isoformat()
    assert api.get(f"{path}?as_of={quote(before)}").body["balance"] == 0


@pytest.mark.parametrize("moment", ["", "yesterday", "2030-02-15T15:00:00", "2030-13-01T00:00Z"])
def test_a_moment_that_is_none_is_refused(api, wallet, moment):
    answer = api.get(f"/wallets/{wallet.uuid}/?as_of={moment}")
    assert (answer.status, answer.code) == (400, "invalid_request")


def test_a_list_finds_what_a_key_made(api, bobs_api, wallet, bobs_wallet):
    body = {"from": str(wallet.uuid), "to": str(bobs_wallet.uuid), "amount": "1.00"}
    for key in ("first", "second"):
        api.post("/api/v1/transfers", body, key=key)
    api.post(f"/wallets/{wallet.uuid}/deposit", {"amount": 5}, key="third")
    (found,) = api.get("/api/v1/transfers?idempotency_key=second").body["results"]
    assert found["uuid"] == str(Transfer.objects.latest("pk").uuid)
    (deposit,) = api.get(f"/wallets/{wallet.uuid}/transactions/?idempotency_key=third").body["results"]  # fmt: skip
    assert deposit["amount"] == 5
    # A key is its user's alone.
    assert bobs_api.get("/api/v1/transfers?idempotency_key=second").body["results"] == []


def test_a_key_that_none_can_have_is_refused(api):
    answer = api.get(f"/api/v1/transfers?idempotency_key={'x' * 129}")
    assert (answer.status, answer.code) == (400, "idempotency_key_invalid")
