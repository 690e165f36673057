"""What all endpoints have in common, asked of each: keys on what moves money, bodies, duplicates in flight."""

from typing import Any

import pytest
from django.urls import resolve

from dj_wallet.identity.access import ALL_SCOPES
from tests.rest.api import find_operation, get_document, simplify
from tests.rest.conftest import open_api

# Operations that change something and move no money: what they do is done once however often it is asked, or what
# comes of doing it twice can be seen and undone.
MOVES_NOTHING = {
    *("open_coin_wallet", "open_account", "create_api_key", "roll_api_key", "create_webhook"),
    *("replay_events", "replay_delivery", "rotate_webhook_secret", "rotate_deposit_address"),
    *("allow_address", "connect_exchange", "test_exchange_account", "fetch_deposit_addresses"),
    *("sync_deposit_addresses", "force_sync"),
}
# Each item has a key of its own, in the body; a file's rows too.
KEYS_INSIDE = {"create_batch", "upload_payouts"}
# A state that is entered once: the same request again finds it so.
ENDS_A_STATE = {
    *("cancel_coin_withdrawal", "approve_coin_withdrawal", "dispute_escrow"),
    *("internal_dispute_escrow", "cancel_payout", "cancel_recurring_payout"),
}
# What banks say: signed by them, known again by what they name (`tests/payouts`).
TOLD_BY_OTHERS = {"hear_bank"}
POSTS = {
    operation["operationId"]: (path, operation)
    for path, operations in get_document()["paths"].items()
    for method, operation in operations.items()
    if method == "post"
}
MOVES_MONEY = sorted(set(POSTS) - MOVES_NOTHING - KEYS_INSIDE - ENDS_A_STATE - TOLD_BY_OTHERS)
HUGE = b'{"amount": "' + b"1" * 1_200_000 + b'"}'
DEEP = b'{"a":' * 5_000 + b"1" + b"}" * 5_000
TRICKS = [
    '{"amount": "\u0661\u0662"}',  # digits of another script
    '{"amount": "\uff11\uff12"}',  # wide ones
    '{"amount": "1\u200b"}',  # with nothing in it
    '{"\u0430mount": "1"}',  # a letter that looks like another
    '{"amount": "1", "amount": "2"}',
    '{"amount": "\\ud800"}',
]


def test_the_lists_name_operations_that_there_are():
    assert set(POSTS) >= MOVES_NOTHING | KEYS_INSIDE | ENDS_A_STATE | TOLD_BY_OTHERS


@pytest.mark.parametrize("name", MOVES_MONEY)
def test_what_moves_money_takes_a_key_and_says_when_it_replays(name):
    _, operation = POSTS[name]
    parameters = {one["name"] for one in operation["parameters"] if one["in"] == "header"}
    assert "Idempotency-Key" in parameters
    successes = [answer for status, answer in operation["responses"].items() if status < "300"]
    assert all("Idempotent-Replayed" in answer["headers"] for answer in successes)
    assert "409" in operation["responses"]


def fill(path: str) -> str:
    """Return a path of things that are not there."""
    parts = path.split("/")
    return "/".join("0d3f5a1c-6e52-4c7e-9a6b-1f2c3d4e5f60" if "{" in one else one for one in parts)


@pytest.mark.parametrize("name", MOVES_MONEY)
def test_a_body_that_is_too_much_moves_nothing(alice, name, unchanged):
    path, _ = POSTS[name]
    api = open_api(alice, ALL_SCOPES)
    headers = {"Idempotency-Key": "k"}
    assert api.send("POST", fill(path), HUGE, **headers).status in {404, 413}
    assert api.send("POST", fill(path), DEEP, **headers).status in {400, 404}
    for trick in TRICKS:
        assert api.send("POST", fill(path), trick.encode(), **headers).status in {400, 404}


def list_pages() -> list[str]:
    found: list[str] = []
    for path, operations in get_document()["paths"].items():
        names = {one["name"] for one in operations.get("get", {}).get("parameters", ())}
        if {"cursor", "limit"} <= names and "{" not in path:
            found.append(path)
    return found


@pytest.mark.parametrize("path", list_pages())
def test_a_cursor_that_is_not_ours_is_refused(alice, path):
    api = open_api(alice, ALL_SCOPES)
    for query in ("cursor=x", "cursor=cD0xOyBkcm9w", "limit=0", "limit=-1", "limit=x", "limit=1e3"):
        answer = api.get(f"{path}?{query}")
        # Without a node the paths of coins refuse their coin first; those of staff refuse Alice.
        codes = {"invalid_request", "network_not_served", "permission_denied"}
        assert answer.code in codes, query


def test_every_operation_has_a_view():
    missing: list[Any] = []
    for path in get_document()["paths"]:
        number = path.replace("{id}", "1").replace("{transaction_id}", "1")
        route = resolve(fill(number.replace("{delivery_id}", "1"))).route
        if simplify(route) != simplify(path):
            missing.append(path)
    assert missing == []
    assert find_operation("wallets/", "GET")["operationId"] == "list_wallets"
