"""What operators do: sweeps by PSBT, commands, the admin, and the service on its own."""

import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from embit import bip32
from embit.psbt import PSBT

from dj_wallet.custody.admin import GIVEN_UP, ChainAdmin, WithdrawalAdmin
from dj_wallet.custody.chain.errors import TransactionInvalid
from dj_wallet.custody.models import Chain, ChainTransaction, Output
from dj_wallet.custody.services.cold import export_psbt, import_psbt
from dj_wallet.custody.services.spending import plan_sweep
from dj_wallet.custody.services.withdrawals import CANCELLED, allow_address
from dj_wallet.identity.models import User
from tests.custody.conftest import (
    DOGE,
    SEED,
    get_address,
    get_status,
    look,
    open_wallet,
    system_balance,
    withdraw,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def cold(world) -> str:
    """Cold storage: an address whose key is not here."""
    Chain.objects.update(cold_address=world.outside)
    return world.outside


def sign_offline(text: str) -> str:
    psbt = PSBT.from_string(text)
    psbt.sign_with(bip32.HDKey.from_seed(SEED))
    return str(psbt.to_string())


def test_a_sweep_is_signed_offline(world, rich, cold):
    planned = plan_sweep(DOGE)
    fingerprint = bip32.HDKey.from_seed(SEED).my_fingerprint
    text = export_psbt(uuid=planned.uuid, master_fingerprint=fingerprint)
    with pytest.raises(TransactionInvalid):
        import_psbt(uuid=planned.uuid, psbt=text)
    signed = import_psbt(uuid=planned.uuid, psbt=sign_offline(text))
    assert signed.status == "signed"
    with pytest.raises(ChainTransaction.DoesNotExist):
        import_psbt(uuid=planned.uuid, psbt=sign_offline(text))
    world.send()
    world.mine(6)
    assert (look(rich), system_balance("cold_storage")) == ((100, 0), -planned.amount)
    world.check_books()


def test_many_small_outputs_become_one(world, alice, cold):
    """Pitfall 40."""
    address = get_address(alice)
    for _ in range(2):
        world.pay(*[(address, "1.5")] * 150)
    world.mine(6)
    planned = plan_sweep(DOGE)
    assert Output.objects.filter(spend=planned.spend).count() == 250
    world.limits = world.limits.__class__(10**15, 10**15, frozenset([cold]))
    world.sign()
    world.send()
    world.mine(6)
    assert look(alice) == (450, 0)
    world.check_books()


def test_the_commands_do_one_round(world, rich, capsys):
    withdrawal = withdraw(rich, world.outside)
    call_command("custody_send", "--once")
    world.sign()
    call_command("custody_send", "--once")
    world.chain.mine(6)
    call_command("custody_scan", "--once")
    assert get_status(withdrawal) == "CONFIRMED"
    shown = StringIO()
    Chain.objects.update(frozen_because="a test")
    call_command("custody_reconcile", "--full", "--unfreeze", stdout=shown)
    assert "unexplained 0.00000000" in shown.getvalue()
    assert Chain.objects.get().frozen_because == ""
    call_command("custody_rescan", DOGE, "--from-height", str(world.chain.height - 3), stdout=shown)
    assert f"{DOGE}: 4 blocks." in shown.getvalue()
    height = world.chain.height
    call_command("custody_rescan", DOGE, "--from-height", str(height), "--rewind", stdout=shown)
    assert Chain.objects.get().height == height - 1
    world.scan()
    world.check_books()


def test_a_difference_ends_the_command_with_an_error_and_stays_frozen(world, rich):
    Output.objects.update(amount="100.5")
    with pytest.raises(CommandError):
        call_command("custody_reconcile", "--unfreeze", stdout=StringIO())
    assert Chain.objects.get().frozen_because


def test_the_sweep_command_speaks_psbt(world, rich, cold, monkeypatch):
    shown = StringIO()
    call_command("custody_sweep", DOGE, stdout=shown)
    planned = ChainTransaction.objects.get()
    assert str(planned.uuid) in shown.getvalue()
    with pytest.raises(CommandError):
        call_command("custody_sweep", DOGE)
    text = StringIO()
    mark = ["--fingerprint", bip32.HDKey.from_seed(SEED).my_fingerprint.hex()]
    call_command("custody_sweep", DOGE, "--export", str(planned.uuid), *mark, stdout=text)
    monkeypatch.setattr(sys, "stdin", StringIO(sign_offline(text.getvalue().strip())))
    call_command("custody_sweep", DOGE, "--import", str(planned.uuid), stdout=shown)
    planned.refresh_from_db()
    assert f"{planned.txid} will be sent." in shown.getvalue()


# The admin


@pytest.fixture
def operator(db) -> Client:
    user = User.objects.create_superuser("operator", password="x")
    client = Client()
    client.force_login(user)
    return client


def test_the_operator_edits_limits_and_not_the_cursor(world, rich, operator):
    page = operator.get("/admin/dj_wallet_custody/chain/DOGE_3Aregtest/change/")
    assert page.status_code == 200
    form = page.context["adminform"].form
    assert {"daily_limit", "approval_above", "is_paused"} <= set(form.fields)
    assert not {"height", "block_hash", "frozen_because"} & set(form.fields)
    values = {name: form.initial.get(name) for name in form.fields}
    data = {name: value for name, value in values.items() if value not in (None, False)}
    before = Chain.objects.values("height", "block_hash", "frozen_because").get()
    answer = operator.post(
        "/admin/dj_wallet_custody/chain/DOGE_3Aregtest/change/", {**data, "daily_limit": "50"}
    )
    assert answer.status_code == 302
    assert Chain.objects.get().daily_limit == 50
    assert Chain.objects.values("height", "block_hash", "frozen_because").get() == before


def act(client: Client, model: str, action: str, pk: object) -> None:
    path = f"/admin/dj_wallet_custody/{model}/"
    answer = client.post(path, {"action": action, "_selected_action": [str(pk)]})
    assert answer.status_code == 302


def test_the_operator_approves_gives_up_and_lifts_the_freeze(world, rich, operator):
    Chain.objects.update(approval_above=5, frozen_because="a test")
    act(operator, "chain", ChainAdmin.lift_freeze.__name__, DOGE)
    assert Chain.objects.get().frozen_because == ""
    withdrawal = withdraw(rich, world.outside)
    act(operator, "withdrawalrequest", WithdrawalAdmin.approve.__name__, withdrawal.pk)
    withdrawal.refresh_from_db()
    assert withdrawal.hold_reason == ""
    act(operator, "withdrawalrequest", WithdrawalAdmin.give_up.__name__, withdrawal.pk)
    assert get_status(withdrawal) == "FAILED"
    assert look(rich) == (100, 0)
    done = LogEntry.objects.order_by("pk").values_list("change_message", flat=True)
    assert list(done) == ["Freeze lifted", "Approved", "Given up"]


LISTS = ["withdrawalrequest", "chaintransaction", "output", "address", "allowedaddress"]


@pytest.mark.parametrize("model", LISTS)
def test_a_list_costs_the_same_for_few_and_for_many(world, rich, bob, operator, model):
    path = f"/admin/dj_wallet_custody/{model}/"

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert operator.get(path).status_code == 200
        return len(queries)

    def fill(wallet: Any) -> None:
        world.pay((get_address(wallet), "100"))
        world.mine(6)
        allow_address(wallet=wallet, network=DOGE, address=get_address(wallet))
        withdraw(wallet, world.outside)
        world.work()

    fill(rich)
    count()
    few = count()
    for number in range(3):
        fill(open_wallet(f"user{number}"))
    assert count() == few


def test_lists_say_whose_and_how_much(world, rich, operator):
    withdrawal = withdraw(rich, world.outside)
    page = operator.get(f"/admin/dj_wallet_custody/withdrawalrequest/?q={withdrawal.pk}")
    assert "doge · user alice" in page.content.decode()
    assert ">10.00000000<" in page.content.decode()
    page = operator.get(f"/admin/dj_wallet_custody/output/?q={rich.uuid}")
    assert ">100.00000000<" in page.content.decode()
    for model, terms in {
        "withdrawalrequest": [world.outside, rich.uuid],
        "address": [get_address(rich), rich.uuid],
        "output": [Output.objects.get().txid],
    }.items():
        for term in terms:
            page = operator.get(f"/admin/dj_wallet_custody/{model}/?q={term}")
            assert page.context["cl"].result_count == 1


# The service alone


SEED_001 = {
    "get": ["balance", "deposit-address", "history"],
    "post": [
        "withdraw",
        "internal/lock",
        "internal/unlock",
        "internal/pay-order",
        "internal/convert-to-escrow",
        "internal/release-escrow",
        "internal/refund-escrow",
    ],
}


@override_settings(ROOT_URLCONF="wallet_service.urls_custody")
@pytest.mark.parametrize(
    ("method", "path"), [(method, path) for method, paths in SEED_001.items() for path in paths]
)
def test_alone_it_serves_every_path_of_its_seed(served, method, path):
    assert getattr(Client(), method)(f"/api/v1/wallet/{path}/").status_code == 401


@override_settings(ROOT_URLCONF="wallet_service.urls_custody")
def test_alone_it_serves_its_own_paths_only(served, alice):
    client = Client()
    assert client.get("/healthz").status_code == 200
    assert client.get("/wallets/").status_code == 404
    assert client.get("/admin/").status_code == 404


def test_the_start_script_names_every_program():
    script = "services/custody/start"
    answer = subprocess.run([script, "nonsense"], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (2, "start [web|work|scan|send|sign]\n")
    assert os.access(script, os.X_OK)


def test_failure_codes_of_withdrawals_are_documented():
    text = (Path(__file__).parents[2] / "docs" / "reference" / "errors.md").read_text()
    section = text.partition("## Of failed withdrawals of coins\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == {CANCELLED, GIVEN_UP}


def test_each_of_the_42_pitfalls_has_a_test_that_exists():
    root = Path(__file__).parents[2]
    guide = (root / "docs" / "guides" / "custody.md").read_text()
    rows = re.findall(r"^\| (\d+)\. [^|]+ \| (.*) \|$", guide, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 43))
    for number, cell in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", cell)
        assert named, number
        for file, name in named:
            assert f"def {name}(" in (root / file).read_text(), (number, name)
