"""The library alone, on SQLite: nothing but what its README asks for."""

import tempfile
from pathlib import Path

SECRET_KEY = "test"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "dj_wallet",
    "tests.testapp",
]
FOLDER = Path(tempfile.mkdtemp(prefix="dj-wallets-"))
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "db.sqlite3",
        # A file, so that threads of the concurrency tests share it.
        "TEST": {"NAME": FOLDER / "test.sqlite3"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
