"""Several threads on one SQLite file: nobody sees "database is locked"."""

import pytest

from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.models import Posting
from dj_wallet.ledger.post import group_commit, post_one
from dj_wallet.ledger.queries import list_trial_balances
from tests.ledger.together import raise_errors, run_together
from tests.ledger.worlds import BANK, Role, make_wallet, transfer_entry
from tests.testapp.models import Person

pytestmark = [pytest.mark.sqlite, pytest.mark.django_db(transaction=True)]

THREADS = 8


def run_threads(call):
    return raise_errors(run_together(*[lambda p=position: call(p) for position in range(THREADS)]))


def assert_clean():
    assert audit_ledger().problems == []
    assert all(row.difference == 0 for row in list_trial_balances())


def test_deposits_and_transfers_at_once_all_succeed(alice, bob):
    alice.deposit(1000)
    bob.deposit(1000)

    def run(position):
        me, other = (
            Person.objects.get(pk=pk)
            for pk in ((alice.pk, bob.pk) if position % 2 else (bob.pk, alice.pk))
        )
        for number in range(10):
            me.deposit(1, idempotency_key=f"{position}-{number}")
            me.transfer(other, 1)

    run_threads(run)
    assert alice.balance + bob.balance == 2000 + 10 * THREADS
    assert Posting.objects.count() == 2 + 20 * THREADS
    assert_clean()


def test_pending_withdrawals_at_once_all_succeed(alice):
    alice.deposit(1000)

    def run(position):
        from dj_wallet.services import WalletService

        me = Person.objects.get(pk=alice.pk)
        for _ in range(5):
            WalletService.confirm_transaction(me.withdraw(1, confirmed=False))

    run_threads(run)
    assert alice.balance == 1000 - 5 * THREADS
    assert_clean()


@pytest.mark.parametrize("door", [post_one, group_commit], ids=["post_one", "group_commit"])
def test_single_entries_at_once_all_succeed(door):
    wallet = make_wallet(Role())

    def run(position):
        for _ in range(10):
            door(transfer_entry(BANK, wallet, 1))

    run_threads(run)
    wallet.refresh_from_db()
    assert wallet.balance == 10 * THREADS
    assert_clean()


def test_one_key_from_many_callers_moves_once():
    wallet = make_wallet(Role())
    entry = transfer_entry(BANK, wallet, 5, key="k")
    outcomes = run_threads(lambda position: post_one(entry))
    assert len({outcome.entry_id for outcome in outcomes}) == 1
    assert sorted(outcome.replayed for outcome in outcomes) == [False] + [True] * (THREADS - 1)
    assert_clean()


def test_many_first_uses_of_a_holder_make_one_wallet(alice):
    wallets = run_threads(lambda position: Person.objects.get(pk=alice.pk).wallet.pk)
    assert len(set(wallets)) == 1
    run_threads(lambda position: Person.objects.get(pk=alice.pk).deposit(1))
    assert alice.balance == THREADS
    assert_clean()
