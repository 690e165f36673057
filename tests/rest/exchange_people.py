"""Alice and Bob with programs and exchange accounts in the sandbox."""

from typing import Any

from tests.exchanges.stand import credentials_of
from tests.rest.api import Answer, Api

EXCHANGES = "/api/v1/wallet/exchanges"
ADDRESSES = "/api/v1/wallet/addresses"
ADMIN = "/api/v1/admin/wallet"


def credentials_body(venue: str, person: str) -> dict[str, Any]:
    key = credentials_of(venue, person)
    body = {"api_key": key.api_key, "api_secret": key.api_secret}
    return {**body, "api_passphrase": key.passphrase} if key.passphrase else body


def post_account(api: Api, venue: str = "binance", person: str = "alice", **changes: Any) -> Answer:
    body = {"exchange_id": venue, "account_name": f"{person} at {venue}", "sandbox_mode": True}
    return api.post(EXCHANGES, {**body, **credentials_body(venue, person), **changes})


def connect(api: Api, venue: str = "binance", person: str = "alice", **changes: Any) -> str:
    """Connect an account; return its id."""
    answer = post_account(api, venue, person, **changes)
    assert answer.status == 201, answer.body
    return str(answer.body["id"])


def post_address(api: Api, account: str, currency: str = "BTC", **changes: Any) -> Answer:
    return api.post(ADDRESSES, {"exchange_account_id": account, "currency": currency, **changes})


def fetch(api: Api, account: str, currency: str = "BTC", **changes: Any) -> str:
    """Fetch an address; return its id."""
    answer = post_address(api, account, currency, **changes)
    assert answer.status in {200, 201}, answer.body
    return str(answer.body["id"])
