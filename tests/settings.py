"""The service's settings on a PostgreSQL of our own, with the models of a user's project.

The server starts here because pytest-django reads the settings before any fixture runs. It ends with the process.
Each process of pytest-xdist starts its own: names of databases, and which transactions run, are those of a whole server.
"""

import atexit
import os
from contextlib import ExitStack

from wallet_service.embedded import temporary_postgres
from wallet_service.stack import make_signing_key

CONTROLLERS = "TESTS_CONTROLLERS_URL"  # what processes of pytest-xdist inherit and must not use

if os.environ.get("DATABASE_URL") == os.environ.get(CONTROLLERS):
    stack = ExitStack()
    server = stack.enter_context(temporary_postgres())
    atexit.register(stack.close)
    server.create_database("wallet")
    os.environ["DATABASE_URL"] = server.url("wallet")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        os.environ[CONTROLLERS] = os.environ["DATABASE_URL"]

# Whatever else runs on this machine, a bank and a Redis at their usual ports too: tests start what they need, and nobody
# listens at port 1. The bell for workers rings in memory.
os.environ["BANK_URL"] = "http://127.0.0.1:1/"
os.environ["REDIS_URL"] = "redis://127.0.0.1:1/0"
os.environ["BROKER_URL"] = "memory://"
os.environ["WALLET_EVENTS_AMQP_URL"] = "amqp://guest:guest@127.0.0.1:1//"
os.environ.setdefault("WALLET_SIGNING_KEYS", make_signing_key() + make_signing_key())

from wallet_service.settings import *
from wallet_service.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.testapp"]
# Threads of tests come and go: a pool would keep their connections and block the drop of the test database.
del DATABASES["default"]["OPTIONS"]["pool"]
# Tests of the limits start a Redis of their own.
API_REQUESTS_PER_MINUTE = 0
# So do those of the cache.
WALLET_CACHE_SECONDS = 0
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# What is counted in Redis is counted in the process.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
