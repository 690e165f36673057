"""What the ledger's triggers need to know on SQLite."""

from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

# Django's `flush`, which ends every TransactionTestCase, sends exactly this; the ORM's deletes have no semicolon.
FLUSH_STATEMENTS = frozenset(
    {'DELETE FROM "dj_wallet_posting";', 'DELETE FROM "dj_wallet_account";'}
)


class FlushWatch:
    """An execute wrapper that knows whether the running statement empties a whole table of the ledger."""

    def __init__(self) -> None:
        self.is_flushing = False

    def __call__(
        self,
        execute: Callable[..., Any],
        sql: str,
        params: Any,
        many: bool,
        context: dict[str, Any],
    ) -> Any:
        self.is_flushing = sql in FLUSH_STATEMENTS
        try:
            return execute(sql, params, many, context)
        finally:
            self.is_flushing = False


def recognise_flush(connection: BaseDatabaseWrapper) -> None:
    """Define dj_wallet_is_flushing() on the connection: true while Django empties a whole table."""
    watch = next(
        (wrapper for wrapper in connection.execute_wrappers if isinstance(wrapper, FlushWatch)),
        None,
    )
    if watch is None:
        watch = FlushWatch()
        connection.execute_wrappers.append(watch)
    connection.connection.create_function("dj_wallet_is_flushing", 0, lambda: watch.is_flushing)
