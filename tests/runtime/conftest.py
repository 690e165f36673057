"""Data folders for `wallet up`."""

import contextlib
import shutil
import signal
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


@pytest.fixture(scope="module")
def stopped(open_folder: Path) -> Iterator[WalletUp]:
    """`wallet up`, not started; whatever a test leaves running is stopped after the module."""
    wallet_up = WalletUp(open_folder / "data")
    yield wallet_up
    if wallet_up.process is not None and wallet_up.process.poll() is None:
        wallet_up.signal(signal.SIGTERM)
    for process in wallet_up.members() if wallet_up.data.exists() else []:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.fixture(scope="module")
def running(stopped: WalletUp) -> WalletUp:
    """`wallet up`, ready."""
    stopped.start()
    return stopped
