"""How our own statements reach the database: through one cursor for each connection, kept from call to call."""

from collections.abc import Sequence
from typing import Any, Final

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

_KEPT: Final = "_dj_wallet_cursor"


def execute(statement: str, parameters: Sequence[Any], using: str) -> CursorWrapper:
    """Run the statement as `connection.cursor().execute` does; return the cursor, to be read before the next call.

    Making a cursor is a quarter of what Django and psycopg do for a statement.
    """
    cursor = _get_cursor(connections[using])
    cursor.execute(statement, parameters)
    return cursor


def execute_function(statement: str, parameters: Sequence[Any], using: str) -> list[str] | None:
    """Run the SELECT of a function that returns a row of numbers, as text; return them, "" for NULL.

    None if the first is NULL: the function did nothing. One column costs PostgreSQL and psycopg a twentieth less than
    the six or eight of the row.
    """
    row: str = execute(statement, parameters, using).fetchone()[0]
    return None if row.startswith("(,") else row[1:-1].split(",")


def _get_cursor(connection: BaseDatabaseWrapper) -> CursorWrapper:
    # SQLite's would keep its lock until it is read to the end; one that logs, or that threads share, is made each time.
    if (
        connection.vendor != "postgresql"
        or connection.queries_logged
        or connection.allow_thread_sharing
    ):
        return connection.cursor()
    # What Django does whenever it makes a cursor. The thread is the connection's own: it asked for it by its alias.
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    kept: CursorWrapper | None = connection.__dict__.get(_KEPT)
    if kept is None or kept.connection is not connection.connection:
        kept = connection.__dict__[_KEPT] = connection.cursor()
    return kept
