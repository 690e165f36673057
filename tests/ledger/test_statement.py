"""One cursor for each connection, which nobody notices."""

import asyncio

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DEFAULT_DB_ALIAS, ProgrammingError, connection, transaction
from django.test.utils import CaptureQueriesContext

from dj_wallet.ledger.statement import execute

pytestmark = pytest.mark.django_db


def ask(number):
    return execute("SELECT CAST(%s AS integer)", [number], DEFAULT_DB_ALIAS)


@pytest.mark.postgres
def test_a_connection_keeps_its_cursor():
    assert ask(1) is ask(2)


@pytest.mark.sqlite
def test_a_cursor_of_sqlite_is_not_kept():
    """Until it is read to its end it would hold the lock of the file."""
    assert ask(1) is not ask(2)


def test_each_statement_has_its_own_result():
    assert [ask(number).fetchone() for number in (1, 2)] == [(1,), (2,)]


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_was_made_anew_has_a_new_cursor(alice):
    alice.deposit(1)
    connection.close()
    alice.deposit(1)
    assert ask(7).fetchone() == (7,)
    assert alice.balance == 2


def test_what_watches_statements_sees_ours(alice):
    alice.deposit(1)
    seen = []

    def watch(run, sql, parameters, many, context):
        seen.append(sql)
        return run(sql, parameters, many, context)

    with connection.execute_wrapper(watch):
        alice.deposit(1)
    assert len(seen) >= 1
    assert ask(1).fetchone() == (1,)


def test_a_statement_is_logged_while_queries_are(alice):
    ask(1)
    with CaptureQueriesContext(connection) as log:
        ask(1)
    assert len(log) == 1


@pytest.mark.postgres
def test_threads_that_share_a_connection_share_no_cursor():
    connection.inc_thread_sharing()
    try:
        assert ask(1) is not ask(2)
    finally:
        connection.dec_thread_sharing()


def test_a_statement_that_fails_leaves_the_next_one_alone():
    with pytest.raises(Exception, match="no_such_table"), transaction.atomic():
        execute("SELECT * FROM no_such_table", (), DEFAULT_DB_ALIAS)
    assert ask(3).fetchone() == (3,)


@pytest.mark.postgres
def test_an_error_is_one_of_djangos():
    with pytest.raises(ProgrammingError), transaction.atomic():
        execute("SELECT * FROM no_such_table", (), DEFAULT_DB_ALIAS)


def test_a_call_in_an_event_loop_is_refused_as_djangos_own_are(alice, bob):
    alice.deposit(5)
    alice.transfer(bob, 1)

    async def move():
        alice.transfer(bob, 1)

    with pytest.raises(SynchronousOnlyOperation):
        asyncio.run(move())
    assert (alice.balance, bob.balance) == (4, 1)
