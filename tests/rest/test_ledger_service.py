"""The ledger service: accounts of owners that live elsewhere, for services only."""

import threading
from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import connection

from dj_wallet.identity.services import create_api_key
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger_service.models import Owner
from dj_wallet.models import Transaction, Wallet
from tests.rest.api import Answer, Api

pytestmark = pytest.mark.django_db

MOVES = ["deposit", "withdraw", "transfer"]


@pytest.fixture
def service(alice) -> Api:
    """Another service, with its key."""
    return Api(create_api_key(user=alice, name="shop", scopes=["internal"])[1])


def open_account(service: Api, owner: str = "customer-7", currency: str = "USD") -> str:
    body = {"external_owner_id": owner, "currency": currency}
    return str(service.post("/v1/accounts", body).body["account_id"])


def move(service: Api, verb: str, key: str | None = "k", **body: str) -> Answer:
    return service.post(f"/v1/transactions/{verb}", {"reference_id": "order-1", **body}, key=key)


def read_balance(service: Api, account: str) -> str:
    return str(service.get(f"/v1/accounts/{account}").body["balance"])


@pytest.fixture
def account(service: Api) -> str:
    """With 100.00 USD."""
    account = open_account(service)
    move(service, "deposit", "first", account_id=account, amount="100.00")
    return account


def test_an_account_is_opened_once_for_an_owner_and_a_currency(service):
    body = {"external_owner_id": "customer-7", "currency": "USD"}
    first, again = service.post("/v1/accounts", body), service.post("/v1/accounts", body)
    assert (first.status, again.status) == (201, 200)
    assert first.body == again.body
    assert (first.body["balance"], first.body["external_owner_id"]) == ("0.00", "customer-7")
    assert open_account(service, currency="DOGE") != first.body["account_id"]
    assert open_account(service, owner="customer-8") != first.body["account_id"]


def test_an_account_of_an_unknown_currency_is_refused(service):
    answer = service.post("/v1/accounts", {"external_owner_id": "x", "currency": "NOPE"})
    assert (answer.status, answer.code) == (422, "asset_not_found")
    assert not Owner.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_asked_for_by_many_at_once_it_is_opened_once(service):
    answers: list[int] = []

    def ask() -> None:
        try:
            answers.append(service.post("/v1/accounts", {"external_owner_id": "x"}).status)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] * 7 + [201]
    assert Wallet.objects.count() == 1


def test_accounts_are_listed_by_owner(service, account):
    other = open_account(service, owner="customer-8")
    every = service.get("/v1/accounts").body["results"]
    assert {one["account_id"] for one in every} == {account, other}
    (found,) = service.get("/v1/accounts?external_owner_id=customer-8").body["results"]
    assert found["account_id"] == other
    assert service.get("/v1/accounts?external_owner_id=nobody").body["results"] == []
    assert service.get("/v1/accounts?owner=x").code == "invalid_request"


def test_listing_many_accounts_takes_as_many_queries_as_one(service, django_assert_num_queries):
    for number in range(10):
        open_account(service, owner=f"customer-{number}")
    service.get("/v1/accounts")
    with django_assert_num_queries(3):
        assert len(service.get("/v1/accounts").body["results"]) == 10


def test_money_comes_in_and_goes_out(service, account):
    paid = move(service, "withdraw", account_id=account, amount="30.5", metadata={"a": "b"})
    assert paid.status == 201
    assert paid.body == {
        "transaction_id": str(Transaction.objects.get(type="withdraw").uuid),
        "account_id": account,
        "balance": "69.50",
        "reference_id": "order-1",
        "idempotency_key": "k",
    }
    assert read_balance(service, account) == "69.50"
    record = Transaction.objects.get(type="withdraw")
    assert record.meta == {"reference_id": "order-1", "metadata": {"a": "b"}}


def test_money_moves_between_accounts(service, account):
    other = open_account(service, owner="customer-8")
    moved = move(
        service, "transfer", from_account_id=account, to_account_id=other, amount="40"
    ).body
    assert (moved["from_balance"], moved["to_balance"]) == ("60.00", "40.00")
    assert (read_balance(service, account), read_balance(service, other)) == ("60.00", "40.00")


def test_a_repeated_movement_gets_the_first_answer(service, account):
    other = open_account(service, owner="customer-8")
    sides = {"from_account_id": account, "to_account_id": other}
    first = move(service, "transfer", amount="40", **sides)
    deposit = move(service, "deposit", "d", account_id=account, amount="5")
    move(service, "withdraw", "w", account_id=account, amount="1")
    for verb, answer, body in (
        ("transfer", first, {**sides, "amount": "40"}),
        ("deposit", deposit, {"account_id": account, "amount": "5"}),
    ):
        again = move(service, verb, answer.body["idempotency_key"], **body)
        assert again.body == answer.body
        assert again.headers["Idempotent-Replayed"] == "true"
    assert read_balance(service, account) == "64.00"


def test_a_key_used_for_something_else_is_refused(service, account, unchanged):
    answer = move(service, "deposit", "first", account_id=account, amount="99.00")
    assert (answer.status, answer.code) == (409, "idempotency_conflict")


@pytest.mark.parametrize("verb", MOVES)
def test_a_movement_without_a_key_is_refused(service, account, unchanged, verb):
    sides = {"from_account_id": account, "to_account_id": account}
    body = sides if verb == "transfer" else {"account_id": account}
    answer = move(service, verb, None, amount="1", **body)
    assert (answer.status, answer.code) == (400, "idempotency_key_required")


@pytest.mark.parametrize(
    ("verb", "amount", "code"),
    [
        ("withdraw", "100.01", "insufficient_funds"),
        ("withdraw", "0", "amount_invalid"),
        ("deposit", "-1", "amount_invalid"),
        ("deposit", "0.001", "amount_invalid"),
        ("deposit", "NaN", "amount_invalid"),
    ],
)
def test_a_movement_that_a_rule_forbids_is_refused(service, account, unchanged, verb, amount, code):
    answer = move(service, verb, account_id=account, amount=amount)
    assert (answer.status, answer.code) == (422, code)


@pytest.mark.parametrize("verb", ["deposit", "withdraw"])
def test_an_account_that_does_not_exist_is_refused(service, account, unchanged, verb):
    answer = move(service, verb, account_id=str(uuid4()), amount="1")
    assert (answer.status, answer.code) == (422, "account_not_found")


def test_wallets_of_people_are_no_accounts(service, wallet, account, unchanged):
    assert service.get(f"/v1/accounts/{wallet.uuid}").status == 404
    for sides in (
        {"from_account_id": str(wallet.uuid), "to_account_id": account},
        {"from_account_id": account, "to_account_id": str(wallet.uuid)},
    ):
        answer = move(service, "transfer", amount="1", **sides)
        assert (answer.status, answer.code) == (422, "account_not_found")


@pytest.mark.parametrize("field", ["reference_id", "amount", "account_id"])
def test_every_field_of_a_movement_is_needed(service, account, unchanged, field):
    body = {"account_id": account, "amount": "1", "reference_id": "r"}
    del body[field]
    answer = service.post("/v1/transactions/deposit", body, key="k")
    assert (answer.status, answer.code) == (400, "invalid_request")


def test_people_do_not_reach_the_ledger_service(api, staffs_api, service, account, unchanged):
    for person in (api, staffs_api, Api(None)):
        expected = 401 if person.key is None else 403
        assert person.get("/v1/accounts").status == expected
        assert person.get(f"/v1/accounts/{account}").status == expected
        assert person.post("/v1/accounts", {"external_owner_id": "x"}).status == expected
        answer = move(person, "deposit", account_id=account, amount="1")
        assert answer.status == expected


def test_the_books_balance_afterwards(service, account):
    other = open_account(service, owner="customer-8")
    move(service, "transfer", from_account_id=account, to_account_id=other, amount="40")
    assert audit_ledger().is_clean
    assert Wallet.objects.get(uuid=other).balance == Decimal(40)
