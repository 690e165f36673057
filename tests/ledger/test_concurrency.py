"""Callers at the same time, and processes and servers that die: on a real PostgreSQL."""

import json
import random
import signal
import threading
import time
from collections import Counter
from contextlib import nullcontext
from decimal import Decimal

import psycopg
import pytest
from django.db import connection, connections, transaction

from dj_wallet.bulk import DepositItem, deposit_many
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.engine import Posted
from dj_wallet.ledger.errors import (
    IdempotencyConflict,
    InsufficientFunds,
    OutcomeUnknown,
    WalletException,
    WalletFrozen,
)
from dj_wallet.ledger.group import GroupCommitter
from dj_wallet.ledger.models import Account, Posting
from dj_wallet.ledger.post import group_commit, post, post_one
from dj_wallet.ledger.queries import list_trial_balances
from dj_wallet.models import Transaction, Transfer, Wallet
from dj_wallet.services import WalletService
from tests.ledger.together import (
    Background,
    raise_errors,
    read_lines,
    run_together,
    run_writer,
    writer,
)
from tests.ledger.worlds import BANK, Role, make_wallet, transfer_entry
from tests.testapp.models import Person

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

RICH = Role(balances=(1000, 0, 0))


def make_rich(count):
    return [make_wallet(RICH, slug=f"w{number}") for number in range(count)]


def balances_of(wallets):
    found = Account.objects.in_bulk([wallet.pk for wallet in wallets])
    return [found[wallet.pk].balance for wallet in wallets]


def assert_clean():
    assert audit_ledger().problems == []
    assert all(row.difference == 0 for row in list_trial_balances())


# Threads


@pytest.mark.parametrize("door", [post_one, group_commit], ids=["post_one", "group_commit"])
def test_opposing_transfers_disturb_nobody(door):
    one, other = make_rich(2)

    def run(position):
        source, destination = (one, other) if position % 2 else (other, one)
        for _ in range(25):
            door(transfer_entry(source, destination, 1))

    raise_errors(run_together(*[lambda p=position: run(p) for position in range(8)]))
    assert balances_of([one, other]) == [1000, 1000]
    assert Posting.objects.filter(kind="TRANSFER").count() == 200
    assert_clean()


@pytest.mark.parametrize("context", [nullcontext, transaction.atomic], ids=["alone", "in_atomic"])
def test_opposing_transfers_of_holders_disturb_nobody(alice, bob, context):
    """In a transaction of the caller's nothing is tried again: it must not come to a deadlock."""
    alice.deposit(1000)
    bob.deposit(1000)

    def run(position):
        sender, receiver = (
            Person.objects.get(pk=pk)
            for pk in ((alice.pk, bob.pk) if position % 2 else (bob.pk, alice.pk))
        )
        for _ in range(10):
            with context():
                sender.transfer(receiver, 1)

    raise_errors(run_together(*[lambda p=position: run(p) for position in range(8)]))
    assert (alice.balance, bob.balance) == (1000, 1000)
    assert Transfer.objects.count() == 80
    assert_clean()


def test_opposing_batches_disturb_nobody():
    wallets = make_rich(6)

    def run(position):
        dice = random.Random(position)
        for _ in range(10):
            pairs = [dice.sample(wallets, 2) for _ in range(20)]
            outcomes = post([transfer_entry(source, other, 1) for source, other in pairs])
            assert all(isinstance(outcome, Posted) for outcome in outcomes)

    raise_errors(run_together(*[lambda p=position: run(p) for position in range(6)]))
    assert sum(balances_of(wallets)) == 6000
    assert_clean()


def catch(call):
    try:
        return call()
    except WalletException as refusal:
        return refusal


@pytest.mark.parametrize("door", [post_one, group_commit], ids=["post_one", "group_commit"])
def test_the_last_unit_is_withdrawn_once(door):
    wallet = make_wallet(Role(balances=(1, 0, 0)))
    threads = 20

    def run():
        return [catch(lambda: door(transfer_entry(wallet, BANK, 1))) for _ in range(100 // threads)]

    outcomes = [
        outcome for found in raise_errors(run_together(*[run] * threads)) for outcome in found
    ]
    assert Counter(type(outcome) for outcome in outcomes) == {Posted: 1, InsufficientFunds: 99}
    assert balances_of([wallet]) == [0]
    assert_clean()


def test_the_last_unit_of_a_holder_is_withdrawn_once(alice):
    alice.deposit(1)

    def run():
        person = Person.objects.get(pk=alice.pk)
        return [catch(lambda: person.withdraw(1)) for _ in range(5)]

    outcomes = [outcome for found in raise_errors(run_together(*[run] * 20)) for outcome in found]
    assert Counter(type(outcome) for outcome in outcomes) == {Transaction: 1, InsufficientFunds: 99}
    assert alice.balance == 0
    assert_clean()


@pytest.mark.parametrize("door", [post_one, group_commit], ids=["post_one", "group_commit"])
def test_one_key_from_many_callers_moves_once(door):
    wallet = make_wallet(Role())
    entry = transfer_entry(BANK, wallet, 5, key="k")
    outcomes = raise_errors(run_together(*[lambda: door(entry)] * 16))
    assert len({outcome.entry_id for outcome in outcomes}) == 1
    assert Counter(outcome.replayed for outcome in outcomes) == {False: 1, True: 15}
    assert {outcome.balances for outcome in outcomes} == {((None, Decimal(5)),)}
    assert balances_of([wallet]) == [5]
    assert_clean()


def test_one_key_from_many_callers_of_batches_moves_once():
    wallet = make_wallet(Role())
    entries = [transfer_entry(BANK, wallet, 5, key=f"k{number}") for number in range(10)]
    outcomes = raise_errors(
        run_together(
            *[lambda s=seed: post(random.Random(s).sample(entries, 10)) for seed in range(8)]
        )
    )
    assert Counter(outcome.replayed for found in outcomes for outcome in found) == {
        False: 10,
        True: 70,
    }
    assert balances_of([wallet]) == [50]
    assert_clean()


@pytest.mark.parametrize("confirmed", [True, False])
def test_one_key_from_many_callers_of_deposit_is_one_record(alice, confirmed):
    assert alice.balance == 0

    def run():
        return Person.objects.get(pk=alice.pk).deposit(5, confirmed=confirmed, idempotency_key="k")

    records = raise_errors(run_together(*[run] * 16))
    assert len({record.pk for record in records}) == 1
    assert Counter(record.replayed for record in records) == {False: 1, True: 15}
    assert alice.balance == (5 if confirmed else 0)
    assert_clean()


def test_one_key_from_many_callers_of_transfer_is_one_record(alice, bob):
    alice.deposit(100)

    def run():
        sender, receiver = Person.objects.get(pk=alice.pk), Person.objects.get(pk=bob.pk)
        return sender.transfer(receiver, 5, idempotency_key="k")

    records = raise_errors(run_together(*[run] * 16))
    assert len({record.pk for record in records}) == 1
    assert (alice.balance, bob.balance) == (95, 5)
    assert_clean()


def test_one_key_for_different_things_at_once_is_a_conflict_for_all_but_one(alice):
    assert alice.balance == 0

    def run(number):
        return catch(
            lambda: Person.objects.get(pk=alice.pk).deposit(1 + number, idempotency_key="k")
        )

    outcomes = run_together(*[lambda n=number: run(n) for number in range(8)])
    assert Counter(type(outcome) for outcome in outcomes) == {
        Transaction: 1,
        IdempotencyConflict: 7,
    }
    assert_clean()


def test_one_key_for_a_pending_and_a_completed_deposit_at_once_is_a_conflict(alice):
    """Both orders, with the first one's transaction still open when the second one comes."""
    assert alice.balance == 0
    for number, first in enumerate([True, False]):
        key = f"k{number}"
        with transaction.atomic():
            alice.deposit(5, confirmed=first, idempotency_key=key)
            other = Background(
                lambda key=key, first=first: Person.objects.get(pk=alice.pk).deposit(
                    5, confirmed=not first, idempotency_key=key
                )
            )
            other._thread.join(0.3)
        found = other.wait()
        # The pending call finds the completed record of the same content: a replay.
        assert isinstance(found, IdempotencyConflict) or (first and found.replayed)
        assert Transaction.objects.filter(idempotency_key=key).count() == 1
    assert alice.balance == 5
    assert_clean()


@pytest.mark.parametrize("verb", ["deposit", "deposit_many", "transfer"])
@pytest.mark.parametrize("is_pending_first", [True, False])
def test_a_key_taken_meanwhile_leaves_the_callers_transaction_usable(
    alice, bob, verb, is_pending_first
):
    """A pending and a completed record of one key, each inside the transaction of its caller."""
    alice.deposit(100)
    assert bob.balance == 0
    calls = {
        "deposit": lambda me: me.deposit(5, idempotency_key="k"),
        "deposit_many": lambda me: deposit_many([DepositItem(me, 5, idempotency_key="k")]),
        "transfer": lambda me: me.transfer(bob, 5, idempotency_key="k"),
    }

    def wait_for_key(me):
        return me.deposit(6, confirmed=False, idempotency_key="k")

    first, second = calls[verb], wait_for_key
    if is_pending_first:
        first, second = second, first

    def run():
        me = Person.objects.get(pk=alice.pk)
        with transaction.atomic():
            me.withdraw(1)
            try:
                outcome = second(me)
            except IdempotencyConflict as refusal:
                outcome = refusal
            me.withdraw(2)
        return outcome

    with transaction.atomic():
        first(bob if verb != "transfer" else alice)
        other = Background(run)
        other._thread.join(0.3)
    outcome = other.wait()
    if verb == "deposit_many" and is_pending_first:
        outcome = outcome[0].error
    assert isinstance(outcome, IdempotencyConflict), outcome
    alice.refresh_from_db()
    taken = 5 if verb == "transfer" and not is_pending_first else 0
    assert alice.balance == 100 - 3 - taken
    assert_clean()


def test_many_first_uses_of_a_holder_make_one_wallet(alice):
    wallets = raise_errors(run_together(*[lambda: Person.objects.get(pk=alice.pk).wallet.pk] * 16))
    assert len(set(wallets)) == 1
    assert Wallet.objects.count() == 1


def test_many_first_deposits_make_one_wallet_and_one_system_account(alice):
    raise_errors(run_together(*[lambda: Person.objects.get(pk=alice.pk).deposit(1)] * 16))
    assert alice.balance == 16
    assert Account.objects.filter(kind="system").count() == 1
    assert_clean()


def test_a_pending_withdrawal_is_confirmed_once(alice):
    alice.deposit(100)
    record = alice.withdraw(10, confirmed=False)

    def run():
        return catch(
            lambda: WalletService.confirm_transaction(Transaction.objects.get(pk=record.pk))
        )

    outcomes = run_together(*[run] * 8)
    assert Counter(getattr(outcome, "code", type(outcome).__name__) for outcome in outcomes) == {
        "Transaction": 1,
        "transaction_already_processed": 7,
    }
    assert alice.balance == 90
    assert_clean()


def test_nothing_moves_after_a_freeze_that_was_committed(alice):
    alice.deposit(1000)
    wallet = alice.wallet
    frozen = threading.Event()

    def freeze():
        time.sleep(0.02)
        Wallet.objects.get(pk=wallet.pk).freeze("race")
        frozen.set()

    def withdraw():
        outcomes = []
        for _ in range(200):
            was_frozen = frozen.is_set()
            outcome = catch(lambda: post_one(transfer_entry(wallet, BANK, 1)))
            assert not (was_frozen and isinstance(outcome, Posted))
            outcomes.append(outcome)
            if isinstance(outcome, WalletFrozen):
                break
        return outcomes

    _, *found = raise_errors(run_together(freeze, *[withdraw] * 4))
    moved = sum(isinstance(outcome, Posted) for outcomes in found for outcome in outcomes)
    wallet.refresh_from_db()
    assert wallet.is_frozen
    assert wallet.balance == 1000 - moved
    assert_clean()


def test_a_freeze_waits_for_the_movement_that_is_under_way_and_stops_the_next():
    wallet = make_wallet(RICH)
    with transaction.atomic():
        post_one(transfer_entry(wallet, BANK, 1))
        freeze = Background(lambda: Wallet.objects.get(pk=wallet.pk).freeze("x"))
        freeze._thread.join(0.3)
        post_one(transfer_entry(wallet, BANK, 1))
    assert freeze.wait() is None
    with pytest.raises(WalletFrozen):
        post_one(transfer_entry(wallet, BANK, 1))
    assert balances_of([wallet]) == [998]


# Group commit


def test_each_caller_of_a_shared_commit_gets_the_result_of_its_own_entry():
    wallets = make_rich(16)

    def run(position):
        found = []
        for step in range(10):
            amount = Decimal(position + 1) + Decimal(step) / 100
            posted = group_commit(transfer_entry(BANK, wallets[position], amount))
            found.append((posted.entry_id, amount))
        return found

    results = raise_errors(run_together(*[lambda p=position: run(p) for position in range(16)]))
    rows = Posting.objects.in_bulk([entry_id for found in results for entry_id, _ in found])
    for position, found in enumerate(results):
        for entry_id, amount in found:
            assert rows[entry_id].destination_account_id == wallets[position].pk
            assert rows[entry_id].amount == amount
    assert_clean()


def test_refusals_in_a_shared_commit_do_not_disturb_the_neighbours():
    poor, *rich = [make_wallet(Role(), slug="poor"), *make_rich(8)]

    def run(position):
        outcomes = []
        for number in range(10):
            source = poor if (position + number) % 2 else rich[position]
            outcomes.append(
                (
                    source is poor,
                    catch(lambda source=source: group_commit(transfer_entry(source, BANK, 1))),
                )
            )
        return outcomes

    results = raise_errors(run_together(*[lambda p=position: run(p) for position in range(8)]))
    for found in results:
        for is_poor, outcome in found:
            assert type(outcome) is (InsufficientFunds if is_poor else Posted)
    assert balances_of(rich) == [995] * 8
    assert_clean()


def test_an_error_of_a_shared_commit_reaches_all_who_share_it_and_the_next_works():
    started, go_on = threading.Event(), threading.Event()
    batches = []

    def run(items):
        batches.append(list(items))
        if len(batches) == 1:
            started.set()
            assert go_on.wait(120)
            return items
        if len(batches) == 2:
            raise RuntimeError("the server is gone")
        return items

    committer = GroupCommitter(run)
    first = Background(lambda: committer.submit(0))
    assert started.wait(120)
    others = [Background(lambda number=number: committer.submit(number)) for number in range(1, 6)]
    while len(committer._waiting) < 5:
        time.sleep(0.01)
    go_on.set()
    assert first.wait() == 0
    assert [str(other.wait()) for other in others] == ["the server is gone"] * 5
    assert sorted(batches[1]) == [1, 2, 3, 4, 5]
    assert committer.submit(7) == 7


def test_a_shared_commit_works_after_its_server_connection_died():
    wallet = make_wallet(Role())

    def kill_own_connection():
        group_commit(transfer_entry(BANK, wallet, 1))
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
        with psycopg.connect(**connect_options()) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [pid])
        try:
            group_commit(transfer_entry(BANK, wallet, 1, key="k"))
        except OutcomeUnknown as error:
            connection.close()
            again = group_commit(transfer_entry(BANK, wallet, 1, key="k"))
            return error.code, again.replayed

    assert Background(kill_own_connection).wait() == ("outcome_unknown", False)
    assert group_commit(transfer_entry(BANK, wallet, 1)).balances == ((None, Decimal(3)),)


def connect_options(**changes):
    given = connection.settings_dict
    return {
        "host": given["HOST"],
        "port": given["PORT"],
        "user": given["USER"],
        "password": given["PASSWORD"],
        "dbname": given["NAME"],
        "autocommit": True,
    } | changes


@pytest.fixture
def dies_at_commit():
    """A connection that ends while it commits an entry with the reference "die"."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE FUNCTION test_die() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER test_die AFTER INSERT ON dj_wallet_posting
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
            WHEN (NEW.reference_type = 'die') EXECUTE FUNCTION test_die()
            """
        )
    yield
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER test_die ON dj_wallet_posting; DROP FUNCTION test_die()")


@pytest.mark.parametrize(
    "call",
    [
        post_one,
        group_commit,
        lambda entry: post([entry, entry._replace(idempotency_key="other")]),
        lambda entry: post([entry._replace(meta={"note": "own transaction"})]),
    ],
    ids=["post_one", "group_commit", "batch", "meta"],
)
def test_a_connection_that_dies_in_the_commit_leaves_an_unknown_outcome(dies_at_commit, call):
    wallet = make_wallet(Role())
    with pytest.raises(OutcomeUnknown) as caught:
        call(transfer_entry(BANK, wallet, 1, key="k", reference_type="die"))
    assert caught.value.retryable
    connections.close_all()
    assert not post_one(transfer_entry(BANK, wallet, 1, key="k")).replayed
    assert balances_of([wallet]) == [1]


def test_a_connection_that_dies_before_the_commit_is_an_ordinary_error(alice):
    from django.db import OperationalError

    from dj_wallet.ledger.post import run_in_transaction

    wallet = make_wallet(Role())

    def work():
        post_one(transfer_entry(BANK, wallet, 1))
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(OperationalError):
        run_in_transaction(work)
    connection.close()
    assert balances_of([wallet]) == [0]


# Processes


def test_money_is_constant_under_transfers_of_several_processes():
    wallets = json.loads(json.dumps(run_writer("wallets", "6", "100")))
    processes = [writer("transfer", f"p{seed}", str(seed), "150") for seed in range(4)]
    entered = [process.__enter__() for process in processes]
    try:
        for process in entered:
            process.communicate(timeout=300)
            assert process.returncode == 0
    finally:
        for process in processes:
            process.__exit__(None, None, None)
    found = Account.objects.filter(pk__in=wallets).values_list("balance", flat=True)
    assert sum(found) == 600
    assert min(found) >= 0
    assert_clean()


def test_what_a_killed_process_had_been_told_is_there_once():
    run_writer("wallets", "6", "1000")
    told = []
    for seed in range(3):
        with writer("transfer", f"p{seed}", str(seed)) as process:
            told += read_lines(process, 40 + 13 * seed)
            process.send_signal(signal.SIGKILL)
            told += process.stdout.read().split()
    keys = Counter(
        Posting.objects.filter(idempotency_key__isnull=False).values_list(
            "idempotency_key", flat=True
        )
    )
    assert len(told) >= 120
    assert set(told) <= set(keys)
    assert set(keys.values()) == {1}
    found = Account.objects.filter(kind="wallet").values_list("balance", flat=True)
    assert sum(found) == 6000
    assert_clean()
