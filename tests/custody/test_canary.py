"""No endpoint, log, row, event, admin page, command or error shows a key: neither private nor extended public.

The keys are looked for, in every form that leaks take, in all that can be read once money came, went and was in doubt.
"""

import json
import logging
from io import StringIO
from typing import NamedTuple

import pytest
from django.apps import apps
from django.contrib import admin
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from dj_wallet.custody.models import Chain, ChainTransaction
from dj_wallet.custody.services.spending import plan_sweep
from dj_wallet.events.models import Event
from dj_wallet.events.services import fan_out_events
from dj_wallet.identity.models import User
from dj_wallet.identity.services import create_api_key
from dj_wallet.models import Wallet
from tests.custody.conftest import DOGE, SEED, get_address, get_status, list_events, withdraw
from tests.custody.leaks import list_secrets
from tests.rest.api import Api, get_document

pytestmark = pytest.mark.django_db


@pytest.fixture
def secrets(key) -> list[str]:
    return list_secrets(key, SEED)


class Story(NamedTuple):
    """What happened to a wallet, and every line that was logged of it."""

    wallet: Wallet
    log: str


@pytest.fixture
def story(world, rich, caplog) -> Story:
    """Money came, went, was refused and was in doubt."""
    with caplog.at_level(logging.DEBUG):
        lost = world.pay((get_address(rich), "3"))
        world.mine(2)
        world.chain.reorganize(2, double_spend=[lost])
        Chain.objects.update(approval_above=50, cold_address=world.outside)
        done = withdraw(rich, world.outside)
        withdraw(rich, world.outside, "60")
        world.work()
        world.mine(6)
        world.limits = world.limits.__class__(1, 1, frozenset())
        refused = withdraw(rich, world.outside, "2")
        world.work()
        Chain.objects.update(frozen_because="a test")
        world.check_books()
        fan_out_events()
    assert (get_status(done), get_status(refused)) == ("CONFIRMED", "PROCESSING")
    return Story(rich, caplog.text)


def find(secrets: list[str], shown: str) -> list[str]:
    return [secret for secret in secrets if secret in shown]


def test_no_log_line_shows_a_key(story, secrets):
    assert "The signer refused" in story.log
    assert find(secrets, story.log) == []


def test_no_event_shows_a_key(story, secrets):
    told = set(list_events())
    assert {"deposit.orphaned", "withdrawal.refused_by_signer", "withdrawal.confirmed"} <= told
    shown = json.dumps(list(Event.objects.values_list("type", "subject", "data")))
    assert get_address(story.wallet) in shown
    assert find(secrets, shown) == []


def test_no_row_holds_a_key(story, secrets):
    """Neither as text nor as bytes: whoever reads the database learns none."""
    shown = []
    for label in ("dj_wallet", "dj_wallet_custody", "dj_wallet_events", "dj_wallet_identity"):
        for model in apps.get_app_config(label).get_models():
            for row in model._default_manager.values():
                shown += [
                    value.hex() if isinstance(value, memoryview | bytes) else str(value)
                    for value in row.values()
                ]
    assert get_address(story.wallet) in shown
    assert find(secrets, "\n".join(shown)) == []


def ask_everything(api: Api, row_id: str) -> str:
    """Return all answers of all paths: what there is, what is missing, and what is malformed."""
    shown = [json.dumps(get_document())]
    for path, operations in get_document()["paths"].items():
        for method in operations:
            for given in (row_id, "1", "nonsense"):
                filled = "/".join(given if "{" in part else part for part in path.split("/"))
                body = b"" if method == "get" else b"{}"
                response = api.client.generic(
                    method.upper(), filled, body, "application/json",
                    headers={"Authorization": f"Bearer {api.key}", "Idempotency-Key": filled},
                )  # fmt: skip
                shown.append(b"".join(response).decode(errors="replace"))
                shown.append(str(response.headers))
                if "{" not in path:
                    break
    return "\n".join(shown)


@pytest.mark.parametrize("is_service", [False, True])
def test_no_endpoint_shows_a_key(story, secrets, is_service):
    user, scopes = story.wallet.holder, None
    if is_service:
        user, scopes = User.objects.create(username="service", is_staff=True), ["internal"]
    api = Api(create_api_key(user=user, name="canary", scopes=scopes)[1])
    row_id = str(story.wallet.withdrawal_requests.earliest("pk").pk)
    shown = ask_everything(api, row_id)
    assert ("reconciliation" if is_service else get_address(story.wallet)) in shown
    assert find(secrets, shown) == []


def test_no_error_shows_a_key(served, secrets, settings, caplog, alice):
    """A key that was put into the wrong place breaks everything, and is repeated by nothing."""
    xpub = settings.CUSTODY_XPUBS[0].partition("=")[2]
    api = Api(create_api_key(user=alice.holder, name="canary")[1])
    shown = []
    for broken in (f"DOGE:regtest={xpub}x", f"LTC:main={xpub}", f"{xpub}=DOGE:regtest", xpub):
        settings.CUSTODY_XPUBS = [broken]
        answer = api.get("/api/v1/wallet/deposit-address/")
        assert answer.status >= 400
        shown.append(json.dumps(answer.body))
    assert find([*secrets, xpub[:20]], "\n".join([*shown, caplog.text])) == []


def test_no_admin_page_shows_a_key(story, secrets):
    client = Client()
    client.force_login(User.objects.create_superuser("operator", password="x"))
    shown = []
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        pages = [reverse(f"{name}_changelist")]
        if (row := model._default_manager.first()) is not None:
            pages.append(reverse(f"{name}_change", args=[row.pk]))
        for page in pages:
            response = client.get(page, follow=True)
            assert response.status_code == 200, page
            shown.append(response.content.decode())
    assert get_address(story.wallet) in "\n".join(shown)
    assert find(secrets, "\n".join(shown)) == []


def test_no_command_shows_a_key(story, secrets):
    Chain.objects.update(frozen_because="")
    plan_sweep(DOGE)
    sweep = ChainTransaction.objects.latest("pk")
    shown = StringIO()
    call_command("custody_sweep", DOGE, "--export", str(sweep.uuid), stdout=shown)
    call_command("custody_reconcile", "--full", stdout=shown)
    call_command("custody_rescan", DOGE, "--from-height", "1", stdout=shown)
    assert "unexplained 0.00000000" in shown.getvalue()
    assert find(secrets, shown.getvalue()) == []
