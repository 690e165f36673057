"""A canary: secrets that are recognised wherever they come out. They must come out nowhere."""

import base64
import logging
import os
import subprocess

import pytest
from django.contrib.auth import get_user_model
from django.core import serializers
from django.db import connection
from django.test import Client
from django.urls import reverse
from psycopg.conninfo import make_conninfo

from dj_wallet.events.models import Event
from dj_wallet.exchanges import metrics
from dj_wallet.exchanges.errors import VenueError
from dj_wallet.exchanges.models import (
    AddressActivityLog,
    AddressSyncLog,
    DepositAddress,
    ExchangeAccount,
    SupportedExchange,
)
from dj_wallet.exchanges.services.accounts import check_account, update_account
from dj_wallet.exchanges.services.addresses import fetch_address
from dj_wallet.exchanges.services.syncs import request_sync, run_next_sync
from dj_wallet.exchanges.venues.contract import Credentials
from tests.exchanges.people import connect, make_key
from wallet_service.embedded import POSTGRES_TREE, POSTGRES_WHEEL, package_folder

pytestmark = pytest.mark.usefixtures("keys")

KEY, SECRET, PASSPHRASE = "canary-key-7f3a9c", "canary-secret-b81d44", "canary words e5 27"
CANARIES = (KEY, SECRET, PASSPHRASE, make_key(1))
FAULTS = (
    "unavailable",
    "garbage",
    "blocked",
    "unknown_key",
    "permission",
    "truncated",
    "suspended",
)
OURS = (
    AddressActivityLog,
    AddressSyncLog,
    DepositAddress,
    ExchangeAccount,
    SupportedExchange,
    Event,
)


def live_with_an_account(sandbox, user):
    """Do what can be done with an account, while everything goes wrong that can."""
    sandbox.set("keys", venue="kucoin", key=KEY, secret=SECRET, passphrase=PASSPHRASE)
    account = connect(user, "kucoin", credentials=Credentials(KEY, SECRET, PASSPHRASE))
    said = []
    fetch_address(account, currency="BTC")
    for fault in FAULTS:
        sandbox.break_down(fault, "kucoin", times=2)
        for act in (lambda: check_account(account), lambda: fetch_address(account, currency="LTC")):
            try:
                act()
            except VenueError as error:
                said += [str(error), repr(error), str(error.details)]
        sandbox.repair()
    wrong = Credentials(KEY + "x", SECRET + "x", PASSPHRASE)
    try:
        update_account(account, credentials=wrong)
    except VenueError as error:
        said += [str(error), repr(error), str(error.details)]
    ExchangeAccount.objects.update(is_active=True)
    request_sync(ExchangeAccount.objects.get(), currencies=["BTC", "NOPE"])
    run_next_sync()
    return said


def test_no_secret_is_in_logs_errors_rows_events_metrics_or_redis(sandbox, limits, alice, caplog):
    caplog.set_level(logging.DEBUG)
    said = live_with_an_account(sandbox, alice)
    assert said
    rows = serializers.serialize("json", [row for model in OURS for row in model.objects.all()])
    kept = [(name, limits.dump(name)) for name in limits.keys("*")]
    assert kept
    for place, text in (
        ("logs", caplog.text),
        ("errors", "\n".join(said)),
        ("rows", rows),
        ("metrics", metrics.render().decode()),
        ("redis", repr(kept)),
    ):
        for canary in CANARIES:
            assert canary not in text, place


@pytest.mark.django_db(transaction=True)
def test_no_secret_is_in_a_dump_of_the_database(sandbox, alice):
    live_with_an_account(sandbox, alice)
    server = connection.get_connection_params()
    pg_dump = package_folder(POSTGRES_WHEEL) / POSTGRES_TREE / "bin" / "pg_dump"
    address = make_conninfo(**{name: server[name] for name in ("host", "port", "user", "dbname")})
    environment = {**os.environ, "PGPASSWORD": server.get("password") or ""}
    dump = subprocess.run(
        [pg_dump, "--inserts", address], env=environment, capture_output=True, check=True, text=True
    ).stdout
    account = ExchangeAccount.objects.get()
    assert account.sealed_credentials in dump
    for canary in (*CANARIES, *(base64.b64encode(text.encode()).decode() for text in CANARIES)):
        assert canary not in dump


def test_no_secret_and_no_seal_is_in_the_admin(sandbox, alice):
    live_with_an_account(sandbox, alice)
    account, address = ExchangeAccount.objects.get(), DepositAddress.objects.first()
    root = get_user_model().objects.create_superuser(username="root", password="x")
    client = Client()
    client.force_login(root)
    names = (
        "supportedexchange",
        "exchangeaccount",
        "depositaddress",
        "addresssynclog",
        "addressactivitylog",
    )
    paths = [reverse(f"admin:dj_wallet_exchanges_{name}_changelist") for name in names]
    paths.append(reverse("admin:dj_wallet_exchanges_exchangeaccount_change", args=[account.pk]))
    paths.append(reverse("admin:dj_wallet_exchanges_depositaddress_change", args=[address.pk]))
    for path in paths:
        page = client.get(path)
        assert page.status_code == 200, path
        for secret in (*CANARIES, account.sealed_key, account.sealed_credentials, address.seal):
            assert secret not in page.content.decode(), path


def test_operators_test_synchronize_and_switch_off(sandbox, alice):
    account = connect(alice)
    root = get_user_model().objects.create_superuser(username="root", password="x")
    client = Client()
    client.force_login(root)
    page = reverse("admin:dj_wallet_exchanges_exchangeaccount_changelist")
    for action in ("test_connection", "synchronize", "switch_off"):
        answer = client.post(page, {"action": action, "_selected_action": str(account.pk)})
        assert answer.status_code == 302
    account.refresh_from_db()
    assert not account.is_active
    assert AddressSyncLog.objects.get().priority == 9
