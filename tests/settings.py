"""The service's settings on a PostgreSQL of our own, with the models of a user's project.

The server starts here because pytest-django reads the settings before any fixture runs. It ends with the process.
"""

import atexit
import os
from contextlib import ExitStack

from wallet_service.embedded import temporary_postgres

if "DATABASE_URL" not in os.environ:
    stack = ExitStack()
    server = stack.enter_context(temporary_postgres())
    atexit.register(stack.close)
    server.create_database("wallet")
    os.environ["DATABASE_URL"] = server.url("wallet")

from wallet_service.settings import *
from wallet_service.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.testapp"]
# Threads of tests come and go: a pool would keep their connections and block the drop of the test database.
del DATABASES["default"]["OPTIONS"]["pool"]
# Tests of the limits start a Redis of their own.
API_REQUESTS_PER_MINUTE = 0
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
