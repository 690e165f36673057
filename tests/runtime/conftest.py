"""Data folders for `wallet up`."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.wallet_up import WalletUp


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that the database's user can pass through; pytest's own belong to one user only."""
    folder = Path(tempfile.mkdtemp(prefix="wallet-up-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def stopped(open_folder: Path) -> Iterator[WalletUp]:
    """`wallet up`, not started; whatever a test leaves running is killed after the module."""
    wallet_up = WalletUp(open_folder / "data")
    yield wallet_up
    if wallet_up.process is not None:
        wallet_up.process.kill()
        wallet_up.process.wait()
    for process in wallet_up.members() if wallet_up.data.exists() else []:
        process.kill()


@pytest.fixture(scope="module")
def running(stopped: WalletUp) -> WalletUp:
    """`wallet up`, ready."""
    stopped.start()
    return stopped
