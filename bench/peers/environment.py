"""The peers' own virtual environment, from a hash-locked list; rebuilt when the list changes.

To renew the list:
uv pip compile --generate-hashes --no-emit-index-url --no-header --no-annotate peers.in -o peers.txt
"""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
LOCK = BENCH / "peers.txt"
HOME = BENCH / ".venv-peers"
PYTHON = HOME / "bin" / "python"


def ensure() -> Path:
    """Install the peers if this has not been done for the present lock; return their Python."""
    stamp = HOME / "lock.sha256"
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if not (stamp.exists() and stamp.read_text() == digest):
        _install()
        stamp.write_text(digest)
    return PYTHON


def _install() -> None:
    print(f"Installing the peers into {HOME} ...", flush=True)
    venv.create(HOME, clear=True, with_pip=False)
    options = ["--python", PYTHON, "-qq", "--disable-pip-version-check"]
    subprocess.run(
        [_find_pip_owner(), "-m", "pip", *options, "install", "--require-hashes", "-r", LOCK],
        check=True,
    )


def _find_pip_owner() -> str:
    """Return a Python that has pip: this environment's or, without ensurepip, the one below it."""
    for python in (sys.executable, sys._base_executable):
        attempt = subprocess.run([python, "-c", "import pip"], check=False, capture_output=True)
        if attempt.returncode == 0:
            return python
    raise SystemExit("Neither this environment nor its base Python has pip.")
