"""Models, mixins and services of the user's are used on every path.

Which models there are is decided when a process starts: these tests start one of their own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import override_settings

from dj_wallet.checks import check_settings
from dj_wallet.conf import wallet_settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("with_services", [False, True])
def test_classes_of_the_users_are_used_on_every_path(with_services):
    environment = {**os.environ}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    if connection.vendor != "postgresql":
        environment.pop("DATABASE_URL", None)
    if with_services:
        environment["WITH_SERVICES"] = "1"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--ds=tests.customapp.settings", "--create-db"),
            *("-p", "no:cacheprovider", "--confcutdir=tests/customapp", "tests/customapp/paths.py"),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_our_own_settings_are_sound():
    assert check_settings() == []
    assert not [one for one in run_checks() if (one.id or "").startswith("dj_wallet")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"MATH_SCALE": 19}, "dj_wallet.E001"),
        ({"DEFAULT_CURRENCY": ""}, "dj_wallet.E001"),
        ({"PENDING_TRANSACTION_EXPIRY_HOURS": 0}, "dj_wallet.E001"),
        ({"WALLET_SERVICE_CLASS": 7}, "dj_wallet.E001"),
        ({"WALLET_MODEL": "nowhere.Wallet"}, "dj_wallet.E002"),
        ({"WALLET_MODEL": "auth.User"}, "dj_wallet.E002"),
        ({"PURCHASE_SERVICE_CLASS": "nowhere.Purchases"}, "dj_wallet.E003"),
        ({"MATH_SCAEL": 2}, "dj_wallet.W002"),
    ],
)
def test_a_check_finds_a_setting_that_makes_no_sense(given, expected):
    with override_settings(DJ_WALLET=given):
        assert [one.id for one in check_settings()] == [expected]


def test_transactions_of_ones_own_need_transfers_of_ones_own():
    with override_settings(DJ_WALLET={"TRANSACTION_MODEL": "auth.User"}):
        assert "dj_wallet.E004" in [one.id for one in check_settings()]


def test_a_dictionary_that_django_does_not_read_is_named(monkeypatch, settings):
    module = sys.modules[settings.SETTINGS_MODULE]
    monkeypatch.setattr(module, "dj_wallet", {"MATH_SCALE": 2}, raising=False)
    (found,) = check_settings()
    assert found.id == "dj_wallet.W001"
    assert "MATH_SCALE" in found.msg


@pytest.mark.parametrize("key", ["MATH_SCALE", "WALLET_MATH_SCALE"])
def test_a_setting_may_carry_the_prefix(key):
    with override_settings(DJ_WALLET={key: 2}):
        assert wallet_settings.MATH_SCALE == wallet_settings.WALLET_MATH_SCALE == 2


def test_a_value_that_makes_no_sense_is_improperly_configured():
    with (
        override_settings(DJ_WALLET={"MATH_SCALE": "two"}),
        pytest.raises(ImproperlyConfigured, match="MATH_SCALE"),
    ):
        assert wallet_settings.MATH_SCALE
