"""The same pages in a project that has the library and Django's own admin, on SQLite."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.postgres  # the service's settings start it, its own settings do not
def test_the_admin_works_without_the_service_and_without_a_theme():
    folder = Path(__file__).parent
    options = ["--ds", "tests.settings_plain_admin", "-p", "no:cacheprovider"]
    # Payouts are of the service: their tests bring its user model with them.
    options += ["--ignore", str(folder / "test_payouts.py")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
