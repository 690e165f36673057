"""The library with models, a mixin and services of the project's; with DATABASE_URL on that PostgreSQL."""

import os
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

SECRET_KEY = "test"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "dj_wallet",
    "tests.customapp",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
if "DATABASE_URL" in os.environ:
    url = urlsplit(os.environ["DATABASE_URL"])
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": url.path.lstrip("/"),
            "USER": unquote(url.username or ""),
            "PASSWORD": unquote(url.password or ""),
            "HOST": url.hostname,
            "PORT": url.port,
            "TEST": {"NAME": "test_customapp"},
        }
    }
else:
    folder = Path(tempfile.mkdtemp(prefix="dj-wallets-"))
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "db.sqlite3"}}

DJ_WALLET = {
    "WALLET_MODEL": "customapp.MyWallet",
    "TRANSACTION_MODEL": "customapp.MyTransaction",
    "TRANSFER_MODEL": "customapp.MyTransfer",
}
if "WITH_SERVICES" in os.environ:
    DJ_WALLET |= {
        "WALLET_MIXIN_CLASS": "tests.customapp.mixins.MyCustomMixin",
        "WALLET_SERVICE_CLASS": "tests.customapp.services.MyWalletService",
        "TRANSFER_SERVICE_CLASS": "tests.customapp.services.MyTransferService",
        "EXCHANGE_SERVICE_CLASS": "tests.customapp.services.MyExchangeService",
        "PURCHASE_SERVICE_CLASS": "tests.customapp.services.MyPurchaseService",
    }
