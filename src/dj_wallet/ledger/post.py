"""The one place where balances change. One write path, three doors:

- `post(entries)`: a batch, a result for each entry;
- `post_one(entry)`: a single entry, raising its refusal, made for use inside the caller's `atomic()`;
- `group_commit(entry)`: a single entry that shares its commit with those of concurrent callers.

A refusal is a result and not a database error: the caller's transaction stays usable.
"""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Final, TypeVar

from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connections,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper

from .engine import Accepted, Entry, Outcome, Posted, Repeated, decide, find_malformation
from .errors import OutcomeUnknown, WalletException
from .group import GroupCommitter
from .models import Account
from .store import get_store
from .store.generic import GenericStore

MAX_ATTEMPTS: Final = 6
# serialization_failure and deadlock_detected: the database undid the transaction and asks for another try.
RETRYABLE_SQLSTATES: Final = frozenset({"40001", "40P01"})

R = TypeVar("R")


def post(entries: Sequence[Entry], *, using: str | None = None) -> list[Outcome]:
    """Post the entries one after the other, each all or nothing; return `Posted` or the refusal for each.

    Idempotent for entries with a key. Joins the caller's transaction, in which the wallets stay locked until it ends;
    without one it commits, and tries again after deadlocks.

    :raises OutcomeUnknown: the database did not confirm the commit
    """
    alias = using or DEFAULT_DB_ALIAS
    store = get_store(alias)
    if connections[alias].in_atomic_block:
        return _post(store, entries)
    if any(entry.meta for entry in entries):
        return run_in_transaction(lambda: _post(store, entries), using=alias)
    posted = run_statement(lambda: store.post_fast(entries), using=alias)
    if posted is not None:
        return list(posted)
    return run_in_transaction(lambda: _post_carefully(store, entries), using=alias)


def post_one(entry: Entry, *, using: str | None = None) -> Posted:
    """Post one entry and return where it stands; see `post`.

    :raises WalletException: the entry was refused and nothing moved
    """
    return _raise_refusal(post([entry], using=using)[0])


def group_commit(entry: Entry, *, using: str | None = None) -> Posted:
    """Post one entry in a commit shared with the concurrent callers of this process; see `post`.

    :raises WalletException: the entry was refused and nothing moved
    """
    alias = using or DEFAULT_DB_ALIAS
    if connections[alias].in_atomic_block:
        return post_one(entry, using=alias)
    return _raise_refusal(_get_committer(alias).submit(entry))


@cache
def _get_committer(alias: str) -> GroupCommitter[Entry, Outcome]:
    return GroupCommitter(partial(post, using=alias))


def _raise_refusal(outcome: Outcome) -> Posted:
    if isinstance(outcome, WalletException):
        raise outcome
    return outcome


def run_in_transaction(work: Callable[[], R], *, using: str | None = None) -> R:
    """Run `work` in a transaction: the caller's if there is one, else our own, tried again after deadlocks.

    :raises OutcomeUnknown: the database did not confirm the commit
    """
    alias = using or DEFAULT_DB_ALIAS
    if connections[alias].in_atomic_block:
        return work()
    return _retry(lambda: _commit(alias, work))


def run_statement(work: Callable[[], R], *, using: str) -> R:
    """Run `work`, a single statement: in the caller's transaction if there is one, else it commits by itself.

    Saves the two round trips of BEGIN and COMMIT; tried again after deadlocks as in `run_in_transaction`.

    :raises OutcomeUnknown: the database did not confirm the commit
    """
    connection = connections[using]
    if connection.in_atomic_block:
        return work()
    return _retry(lambda: _autocommit(connection, work))


def start_writing(using: str) -> None:
    """Take SQLite's one write lock now: two transactions that read before they write cannot wait for each other."""
    if connections[using].vendor == "sqlite":
        Account.objects.using(using).filter(pk=0).update(version=0)


def _retry(work: Callable[[], R]) -> R:
    for attempt in range(1, MAX_ATTEMPTS):
        try:
            return work()
        except DatabaseError as error:
            if not _asks_for_another_try(error):
                raise
            time.sleep(random.uniform(0, 0.005 * 2**attempt))  # noqa: S311 - no secret
    return work()


def _commit(alias: str, work: Callable[[], R]) -> R:
    reached_commit = False
    connection = connections[alias]
    _forget_doubt(connection)
    try:
        with transaction.atomic(using=alias):
            get_store(alias).wait_for_writer()
            result = work()
            reached_commit = True
    except (OperationalError, InterfaceError) as error:
        if reached_commit and _lost_the_connection(error):
            raise OutcomeUnknown(
                "The connection was lost before the commit was confirmed."
            ) from error
        raise
    _check_commit(connection)
    return result


def _autocommit(connection: BaseDatabaseWrapper, work: Callable[[], R]) -> R:
    """Run one statement that commits by itself."""
    if connection.connection is None:
        connection.ensure_connection()
    _forget_doubt(connection)
    try:
        result = work()
    except (OperationalError, InterfaceError) as error:
        if _lost_the_connection(error):
            raise OutcomeUnknown(
                "The connection was lost before the commit was confirmed."
            ) from error
        raise
    _check_commit(connection)
    return result


def _forget_doubt(connection: BaseDatabaseWrapper) -> None:
    """Leave the doubt about an earlier commit, of the caller's own, to the caller."""
    raw = connection.connection
    if getattr(raw, "dj_wallet_commit_in_doubt", False):
        raw.dj_wallet_commit_in_doubt = False


def _check_commit(connection: BaseDatabaseWrapper) -> None:
    raw = connection.connection
    if getattr(raw, "dj_wallet_commit_in_doubt", False):
        raw.dj_wallet_commit_in_doubt = False
        raise OutcomeUnknown("The commit was not confirmed by the standby.")


def _asks_for_another_try(error: DatabaseError) -> bool:
    return _get_sqlstate(error) in RETRYABLE_SQLSTATES or "database is locked" in str(error)


def _lost_the_connection(error: DatabaseError | InterfaceError) -> bool:
    """Tell whether the server went away (class 08, 57P01 to 57P05), rather than refusing the statement."""
    sqlstate = _get_sqlstate(error)
    return "locked" not in str(error) if sqlstate is None else sqlstate.startswith(("08", "57P"))


def _get_sqlstate(error: Exception) -> str | None:
    cause = error.__cause__
    return getattr(cause, "sqlstate", None) or getattr(
        cause, "pgcode", None
    )  # psycopg 3, psycopg 2


def _post(store: GenericStore, entries: Sequence[Entry]) -> list[Outcome]:
    posted = store.post_fast(entries)
    if posted is None:
        return _post_carefully(store, entries)
    _write_meta(store, zip(entries, posted, strict=True))
    return list(posted)


def _post_carefully(store: GenericStore, entries: Sequence[Entry]) -> list[Outcome]:
    """Lock, decide entry by entry, write; again if somebody took one of the keys in between."""
    for _ in range(1, MAX_ATTEMPTS):
        try:
            with transaction.atomic(using=store.using):
                outcomes = _decide_and_write(store, entries)
        except IntegrityError:
            continue
        if outcomes is not None:
            return outcomes
    raise OperationalError(
        "The idempotency keys of this batch are being used by others; try again."
    )


def _decide_and_write(store: GenericStore, entries: Sequence[Entry]) -> list[Outcome] | None:
    sound = [entry for entry in entries if find_malformation(entry) is None]
    accounts = store.lock_accounts(sound)
    keys = {entry.idempotency_key for entry in sound if entry.idempotency_key is not None}
    known = store.find_entries(keys) if keys else {}
    decisions, changed = decide(
        entries, accounts, known, significant_digits=store.significant_digits
    )
    accepted = [decision for decision in decisions if isinstance(decision, Accepted)]
    posted = store.write(accepted, changed, accounts) if accepted else []
    if posted is None:
        return None
    store.write_rules(accepted, posted, changed, accounts)
    _write_meta(
        store, ((decision.entry, place) for decision, place in zip(accepted, posted, strict=True))
    )
    outcomes: list[Outcome] = []
    remaining = iter(posted)
    for decision in decisions:
        if isinstance(decision, Accepted):
            outcomes.append(next(remaining))
        elif isinstance(decision, Repeated):
            first = outcomes[decision.position]
            outcomes.append(first._replace(replayed=True) if isinstance(first, Posted) else first)
        else:
            outcomes.append(decision)
    return outcomes


def _write_meta(store: GenericStore, pairs: Iterable[tuple[Entry, Posted]]) -> None:
    metas = {posted.entry_id: entry.meta for entry, posted in pairs if entry.meta}
    if metas:
        store.write_meta(metas)
