"""Every operation of the OpenAPI document, asked with what the document allows and with what it does not.

Whatever comes in: no 5xx, no status that is not documented, and no answer that is not as documented. By everybody: a
person's program, a service, staff, nobody. The requests are made up by schemathesis from the document, the same in every run.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import schemathesis
from django.db import connection
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as bounds
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.core.failures import FailureGroup

from dj_wallet.custody.chain.keys import AccountKey
from dj_wallet.custody.chain.networks import get_network
from dj_wallet.custody.services.chains import ensure_chain
from dj_wallet.events.services import create_webhook
from dj_wallet.identity.access import ALL_SCOPES, SCOPES
from dj_wallet.identity.models import User
from dj_wallet.identity.services import create_api_key
from dj_wallet.ledger.accounts import ensure_asset
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger_service.services import open_account
from dj_wallet.models import Wallet
from dj_wallet.payouts.services import schedule_payout
from dj_wallet.services.escrow import open_escrow
from dj_wallet.services.holds import place_hold
from tests.depth import examples
from wallet_service.wsgi import application

CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# How many requests of each kind an operation gets: from programs, from services and from nobody.
EXAMPLES = {"person": 4, "service": 2, "staff": 1, "nobody": 1}
# Everything that they are allowed to be away with.
UNREADY = {"GET /readyz"}


@cache
def get_document() -> Any:
    return schemathesis.openapi.from_wsgi("/api/schema/?format=json", application)


@cache
def get_operations() -> dict[str, Any]:
    return {result.ok().label: result.ok() for result in get_document().get_all_operations()}


@cache
def list_names() -> frozenset[str]:
    """List all names that a body may have somewhere: strict as we are, any other would be all that is found out."""
    schemas = get_document().raw_schema["components"]["schemas"].values()
    return frozenset(name for schema in schemas for name in schema.get("properties", ()))


class Cast:
    """Who asks, and the things that there are to ask for."""

    def __init__(self) -> None:
        ensure_asset("USD", decimal_places=2)
        ensure_asset("DOGE", decimal_places=8)
        alice, bob, shop, staff = (
            User.objects.create(username=name, is_staff=name == "staff")
            for name in ("alice", "bob", "shop", "staff")
        )
        self.wallet, other = (self.open_wallet(user) for user in (alice, bob))
        self.keys = {
            "person": create_api_key(user=alice, name="p", scopes=SCOPES)[1],
            "service": create_api_key(user=shop, name="s", scopes=ALL_SCOPES)[1],
            "staff": create_api_key(user=staff, name="t", scopes=SCOPES)[1],
            "nobody": None,
        }
        hold = place_hold(wallet=self.wallet, amount=1, reference_type="bid", reference_id="1")
        escrow = open_escrow(buyer=self.wallet, seller=other, order_id="o", amount=1)
        account, _ = open_account(
            external_owner_id="x", asset=ensure_asset("USD", decimal_places=2)
        )
        record = self.wallet.deposit(5)
        transfer = self.wallet.transfer(other, 1)
        uuids = {
            "wallets": self.wallet.uuid,
            "holds": hold.uuid,
            "escrows": escrow.uuid,
            "transfers": transfer.uuid,
            "accounts": account.uuid,
        }
        coins = alice.get_wallet("doge")
        webhook, _ = create_webhook(user=alice, url="https://example.com/hook")
        payout = schedule_payout(wallet=self.wallet, amount=5).payout
        key, _ = create_api_key(user=alice, name="old")
        uuids |= {"webhooks": webhook.uuid, "payouts": payout.uuid}
        self.ids = {"id": coins.pk, "transaction_id": record.pk, "prefix": key.prefix}
        self.uuids = {kind: str(uuid) for kind, uuid in uuids.items()}
        self.values = {
            "wallet": str(self.wallet.uuid),
            "from": str(self.wallet.uuid),
            "to": str(other.uuid),
            "buyer_wallet": str(self.wallet.uuid),
            "seller_wallet": str(other.uuid),
            "account_id": str(account.uuid),
            "from_account_id": str(account.uuid),
            "coin": "DOGE",
            "asset": "USD",
            "user_id": str(alice.pk),
            "buyer_id": str(alice.pk),
            "seller_id": str(bob.pk),
            "lock_id": str(hold.uuid),
            "order_id": "o",
            "currency": "USD",
            "amount": "0.10",
        }

    @staticmethod
    def open_wallet(user: User) -> Wallet:
        wallet = user.get_wallet()
        wallet.deposit(1_000_000)
        user.create_wallet(slug="doge", currency="DOGE").deposit(1_000_000)
        return wallet

    def aim(self, case: Any) -> None:
        """Let the request be about things that there are."""
        kind = next((one for one in self.uuids if f"/{one}/" in case.operation.path), None)
        for name in case.path_parameters or {}:
            if name == "uuid" and kind:
                case.path_parameters[name] = self.uuids[kind]
            elif name in self.ids:
                case.path_parameters[name] = self.ids[name]
        if isinstance(case.body, dict):
            case.body = {
                name: self.values.get(name, value)
                for name, value in case.body.items()
                if name in list_names()
            }


@pytest.fixture
def cast(transactional_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cast]:
    """Committed rows: each request is a transaction of its own, as in life. Dogecoin is served."""
    # The service has a pool of connections; here requests would each open one, for a quarter of the time.
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    connection.close()
    account = AccountKey.from_seed(bytes(64), get_network("DOGE:regtest")).public
    settings.CUSTODY_XPUBS = [f"DOGE:regtest={account.export()}"]
    settings.CUSTODY_APPROVAL_SECRET = "a secret of more than thirty-two letters"
    ensure_chain("DOGE:regtest")
    yield Cast()
    assert audit_ledger().is_clean
    connection.close()


def build_cases(operation: Any) -> st.SearchStrategy[Any]:
    modes = (GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    return st.one_of([operation.as_strategy(mode) for mode in modes])


@pytest.mark.parametrize("caller", EXAMPLES)
def test_every_answer_is_documented(cast, caller):
    found = []
    for label, operation in get_operations().items():
        names = CHECKED[1:] if label in UNREADY else CHECKED
        try:
            ask(operation, EXAMPLES[caller], cast, cast.keys[caller], CHECKS.get_by_names(names))
        except FailureGroup as failures:
            found += [f"{label}: {failure}" for failure in failures.exceptions]
    assert not found, "\n\n".join(found)


def ask(operation: Any, count: int, cast: Cast, key: str | None, checks: list[Any]) -> None:
    """Send so many requests with the key, half of them about things that there are."""

    @bounds(
        max_examples=examples(count),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=build_cases(operation), is_aimed=st.sampled_from([True, True, True, False]))
    def send(case: Any, is_aimed: bool) -> None:
        if is_aimed:
            cast.aim(case)
        case.headers.pop("Authorization", None)
        if key is not None:
            case.headers["Authorization"] = f"Bearer {key}"
        case.call_and_validate(checks=checks)

    send()


def test_every_operation_is_asked():
    paths = get_document().raw_schema["paths"].values()
    assert len(get_operations()) == sum(len(operations) for operations in paths)
