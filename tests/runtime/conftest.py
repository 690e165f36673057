"""Data folders for `wallet up`."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.runtime.wallet_up import WalletUp


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that the database's user can pass through; pytest's own belong to one user only."""
    folder = Path(tempfile.mkdtemp(prefix="wallet-up-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="package")
def wallet_up() -> Iterator[WalletUp]:
    """The one `wallet up` of all these tests, for a start takes a minute of a busy core."""
    folder = Path(tempfile.mkdtemp(prefix="wallet-up-"))
    folder.chmod(0o711)
    wallet_up = WalletUp(folder / "data")
    yield wallet_up
    wallet_up.stop()
    for process in wallet_up.members() if wallet_up.data.exists() else []:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    shutil.rmtree(folder)


@pytest.fixture
def stopped(wallet_up: WalletUp) -> WalletUp:
    """`wallet up`, not running."""
    wallet_up.stop()
    return wallet_up


@pytest.fixture
def running(wallet_up: WalletUp) -> WalletUp:
    """`wallet up`, ready; it may have run for tests before."""
    if not wallet_up.is_running:
        wallet_up.start()
    return wallet_up
