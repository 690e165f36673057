"""`manage.py wallet_demo`: the same data each time, and curl lines that work."""

import io
import json
import shlex
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from dj_wallet.identity.models import ApiKey, User
from dj_wallet.identity.services import revoke_api_key
from dj_wallet.ledger.models import Asset
from dj_wallet.models import Wallet


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("WALLET_DEMO_FILE", str(tmp_path / "demo.json"))
    monkeypatch.setenv("WALLET_URL", "http://127.0.0.1:8765")
    return tmp_path / "demo.json"


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command("wallet_demo", *arguments, stdout=output)
    return output.getvalue()


def load() -> dict[str, Any]:
    return json.loads(run("--json"))


def test_the_second_run_finds_what_the_first_made(db, file):
    first = load()
    counts = [model.objects.count() for model in (User, ApiKey, Wallet)]
    assert load() == first
    assert [model.objects.count() for model in (User, ApiKey, Wallet)] == counts == [3, 1, 6]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    places = dict(Asset.objects.values_list("code", "decimal_places"))
    assert places == {"USD": 2, "DOGE": 8, "PTS": 0}


def test_the_passwords_open_the_accounts(db, file):
    for login in load()["users"]:
        assert User.objects.get(username=login["username"]).check_password(login["password"])


def test_the_operator_gets_into_the_admin(db, file, client):
    login = next(one for one in load()["users"] if one["username"] == "operator")
    assert client.login(**login)
    assert client.get("/admin/dj_wallet/wallet/").status_code == 200


def test_a_revoked_key_is_replaced(db, file):
    first = load()["api_key"]
    revoke_api_key(ApiKey.objects.get())
    assert load()["api_key"] != first


def test_a_key_that_is_older_than_scopes_goes_on_working(db, file):
    first = load()["api_key"]
    ApiKey.objects.update(scopes=["wallets:read"])
    assert load()["api_key"] == first
    assert {"deposits:write", "transfers:write", "wallets:write"} <= set(
        ApiKey.objects.get().scopes
    )


@pytest.mark.parametrize("content", ["", "{", "[]", '{"passwords": {}}'])
def test_a_lost_file_is_made_anew(db, file, content):
    first = load()
    file.write_text(content)
    again = load()
    assert again["api_key"] != first["api_key"]
    for login in again["users"]:
        assert User.objects.get(username=login["username"]).check_password(login["password"])


def test_without_json_it_is_for_people(db, file):
    demo = load()
    shown = run()
    assert demo["api_key"] in shown
    assert all(line in shown for line in demo["curl"])


def test_production_has_no_demo(db, file, settings):
    settings.PRODUCTION = True
    with pytest.raises(CommandError):
        run()
    assert User.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_the_curl_lines_work_in_order_and_again(live_server, file, monkeypatch):
    monkeypatch.setenv("WALLET_URL", live_server.url)
    for _ in range(2):
        answers = [send(line) for line in load()["curl"]]
        assert [status for status, _ in answers] == [201, 201, 200, 201, 201, 200]
        assert answers[3][1]["amount"] == "12.50"
        assert answers[4][1]["payout_status"] == "PENDING"
    kinds = [one["type"] for one in answers[5][1]["results"]]
    assert sorted(kinds) == ["DEPOSIT", "DEPOSIT", "WITHDRAWAL", "WITHDRAWAL"]
    assert User.objects.get(username="bob").balance == 12.5


def send(line: str) -> tuple[int, Any]:
    """Run a line and return status and body."""
    command = [*shlex.split(line), "--silent", "--noproxy", "*", "--write-out", "\n%{http_code}"]
    body, _, status = subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout.rpartition("\n")
    return int(status), json.loads(body)
