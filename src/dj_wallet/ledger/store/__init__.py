"""How entries are written on each database. One interface, two implementations, the same conformance tests."""

from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from . import postgres, sqlite
from .generic import GenericStore


def get_store(using: str) -> GenericStore:
    """Return the store for a database alias."""
    if connections[using].vendor == "postgresql":
        return postgres.PostgresStore(using)
    return GenericStore(using)


def prepare_connection(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Give a new connection what the ledger needs on it; a receiver of `connection_created`."""
    if connection.vendor == "postgresql":
        postgres.watch_commits(connection)
    elif connection.vendor == "sqlite":
        sqlite.recognise_flush(connection)
