"""The service's settings on a PostgreSQL of our own, with the models of a user's project.

The server starts here because pytest-django reads the settings before any fixture runs. It ends with the process.
"""

import atexit
import os
from contextlib import ExitStack

from wallet_service.embedded import temporary_postgres
from wallet_service.stack import make_signing_key

if "DATABASE_URL" not in os.environ:
    stack = ExitStack()
    server = stack.enter_context(temporary_postgres())
    atexit.register(stack.close)
    server.create_database("wallet")
    os.environ["DATABASE_URL"] = server.url("wallet")

os.environ.setdefault("WALLET_SIGNING_KEYS", make_signing_key() + make_signing_key())

from wallet_service.settings import *
from wallet_service.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.testapp"]
# Threads of tests come and go: a pool would keep their connections and block the drop of the test database.
del DATABASES["default"]["OPTIONS"]["pool"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# What is counted in Redis is counted in the process.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
