"""The signer as a process: it listens to nobody, signs what waits, and stops when it is told."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from django.db import connection

from dj_wallet.custody.signer import make_account

NETWORK = "DOGE:regtest"
SECRET = "a secret of more than thirty-two letters"


@pytest.fixture
def environment(transactional_db, tmp_path: Path) -> Mapping[str, str]:
    """Our database, and nothing of a key."""
    options = connection.settings_dict
    address = f"{options['HOST']}:{options['PORT']}/{options['NAME']}"
    make_account(NETWORK, tmp_path)
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", "src"),
        "DJANGO_SETTINGS_MODULE": "wallet_service.settings",
        "DATABASE_URL": f"postgresql://{options['USER']}:{options['PASSWORD']}@{address}",
        "CUSTODY_XPUBS": f"{NETWORK}={(tmp_path / 'account.xpub').read_text()}",
        "CUSTODY_APPROVAL_SECRET": SECRET,
    }


def start(environment: Mapping[str, str], directory: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dj_wallet.custody.signer"]
    command += ["--config", str(directory / "signer.json"), *options]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture
def signer(environment, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A signer that has found its journal and waits for work."""
    process = start(environment, tmp_path)
    deadline = time.monotonic() + 300
    while not (tmp_path / "signer.journal").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield process
    process.kill()
    process.communicate()


def test_the_signer_listens_to_nobody_and_stops_when_told(signer):
    connections = psutil.Process(signer.pid).net_connections()
    assert [one for one in connections if one.status == psutil.CONN_LISTEN] == []
    signer.send_signal(signal.SIGTERM)
    assert signer.wait(300) == 0


def test_a_second_signer_on_the_same_journal_does_not_start(signer, environment, tmp_path):
    second = start(environment, tmp_path)
    said, _ = second.communicate(timeout=300)
    assert second.returncode != 0
    assert "Another signer writes" in said


def test_a_signer_without_its_secrets_says_what_is_missing_and_no_key(environment, tmp_path):
    xprv = json.loads((tmp_path / "account.json").read_text())["xprv"]
    xpub = (tmp_path / "account.xpub").read_text()
    short = start({**environment, "CUSTODY_APPROVAL_SECRET": "short"}, tmp_path, "--once")
    said, _ = short.communicate(timeout=300)
    assert (short.returncode, said.count("\n")) == (1, 1)
    assert said.startswith("CUSTODY_APPROVAL_SECRET must have")
    mixed_up = {"network": NETWORK, "xprv": xprv, "xpub": xpub[::-1]}
    (tmp_path / "account.json").write_text(json.dumps(mixed_up))
    mixed = start(environment, tmp_path, "--once")
    said, _ = mixed.communicate(timeout=300)
    assert (mixed.returncode, said.count("\n")) == (1, 1)
    assert "is not that of the public key beside it" in said
    assert not [part for part in (xprv[:30], xpub[:30], xpub[::-1][:30]) if part in said]
