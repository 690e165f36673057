"""The audit finds what does not agree, and nothing where everything does."""

import json
from contextlib import contextmanager
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from hypothesis import given, settings

from dj_wallet.ledger.audit import MAX_PROBLEMS, audit_ledger
from dj_wallet.ledger.engine import Bucket, Entry, Kind, Movement
from dj_wallet.ledger.models import Account, Asset, Checkpoint, Posting
from dj_wallet.ledger.post import post, post_one
from dj_wallet.models import Transaction
from tests.ledger.worlds import (
    BANK,
    BATCHES,
    FEES,
    Role,
    make_wallet,
    make_world,
    place,
    transfer_entry,
    undone,
)
from tests.testapp.models import Person

pytestmark = pytest.mark.django_db


@contextmanager
def without_triggers():
    """Let history be changed, as somebody with the rights to do so could."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Events that wait for the end of the transaction would forbid the change.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("ALTER TABLE dj_wallet_posting DISABLE TRIGGER USER")
            yield cursor
            cursor.execute("ALTER TABLE dj_wallet_posting ENABLE TRIGGER USER")
            return
        cursor.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'dj_wallet_posting'"
        )
        triggers = cursor.fetchall()
        for name, _ in triggers:
            cursor.execute(f"DROP TRIGGER {name}")
        yield cursor
        for _, sql in triggers:
            cursor.execute(sql)


def tamper(sql, *parameters):
    with without_triggers() as cursor:
        cursor.execute(sql, parameters)
        assert cursor.rowcount == 1


def codes():
    return {problem.code for problem in audit_ledger().problems}


@pytest.fixture
def wallet(db):
    """Three deposits, a purchase with a fee, a lock."""
    wallet = make_wallet(Role())
    for amount in (10, 20, 30):
        post_one(transfer_entry(BANK, wallet, amount))
    post_one(
        Entry(
            Kind.PURCHASE,
            (
                *transfer_entry(wallet, BANK, 5).movements,
                *transfer_entry(wallet, FEES, 1).movements,
            ),
        )
    )
    lock = Movement(wallet.pk, wallet.pk, Decimal(4), "USD", Bucket.AVAILABLE, Bucket.LOCKED)
    post_one(Entry(Kind.BID_LOCK, (lock,)))
    assert codes() == set()
    return wallet


def find_posting(amount):
    return Posting.objects.get(amount=amount).pk


def test_an_empty_ledger_is_clean(db):
    assert audit_ledger() == (0, 0, [])


def test_the_report_says_what_was_looked_at(wallet):
    report = audit_ledger()
    assert (report.accounts, report.postings, report.is_clean) == (3, 6, True)


@settings(max_examples=15)
@given(batch=BATCHES)
def test_whatever_was_posted_is_clean(batch):
    with undone():
        post(place(batch, make_world()))
        assert audit_ledger().problems == []


# Each kind of tampering


@pytest.mark.parametrize("column", ["balance", "locked_balance", "pending_balance"])
def test_a_changed_balance_is_found(wallet, column):
    before = getattr(Account.objects.get(pk=wallet.pk), column)
    Account.objects.filter(pk=wallet.pk).update(**{column: before + 1})
    report = audit_ledger()
    assert f"{column}_mismatch" in codes()
    (problem,) = (one for one in report.problems if one.code == f"{column}_mismatch")
    assert (problem.account_id, Decimal(problem.expected), Decimal(problem.found)) == (
        wallet.pk,
        before,
        before + 1,
    )


def test_a_balance_changed_by_the_smallest_part_is_found(wallet):
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE dj_wallet_account SET balance = balance + 0.00000001 WHERE id = {wallet.pk}"
        )
    assert {"balance_mismatch", "trial_balance"} <= codes()


def test_two_balances_changed_so_that_the_books_balance_are_found(wallet):
    other = make_wallet(Role(), slug="other")
    Account.objects.filter(pk=wallet.pk).update(balance=49)
    Account.objects.filter(pk=other.pk).update(balance=1)
    assert codes() == {"balance_mismatch"}
    assert {problem.account_id for problem in audit_ledger().problems} == {wallet.pk, other.pk}


def test_a_balance_without_any_posting_is_found(wallet):
    other = make_wallet(Role(), slug="other")
    Account.objects.filter(pk=other.pk).update(balance=7)
    assert codes() == {"balance_mismatch", "trial_balance"}


def test_a_balance_on_a_system_account_is_found(wallet):
    Account.objects.filter(code=BANK).update(balance=7)
    assert codes() == {"balance_mismatch"}


@pytest.mark.parametrize("change", [1, -1])
def test_a_changed_version_is_found(wallet, change):
    Account.objects.filter(pk=wallet.pk).update(version=wallet.version + 7 + change)
    assert codes() == {"version_mismatch"}


def test_a_changed_amount_is_found(wallet):
    tamper("UPDATE dj_wallet_posting SET amount = 21 WHERE amount = 20")
    assert codes() == {"balance_mismatch", "balance_after_mismatch", "trial_balance"}


def test_a_deleted_posting_is_found(wallet):
    tamper("DELETE FROM dj_wallet_posting WHERE amount = 20")
    assert {"balance_mismatch", "version_mismatch", "version_gap"} <= codes()


def test_the_deletion_of_the_last_posting_is_found(wallet):
    tamper("DELETE FROM dj_wallet_posting WHERE amount = 4")
    assert {"balance_mismatch", "locked_balance_mismatch", "version_mismatch"} <= codes()


def test_a_deletion_with_the_balance_put_right_is_found(wallet):
    """The thief knows the sums, but not the chain."""
    tamper("DELETE FROM dj_wallet_posting WHERE amount = 20")
    Account.objects.filter(pk=wallet.pk).update(balance=30, version=6)
    assert codes() == {"version_gap", "balance_after_mismatch"}


def test_a_changed_balance_after_is_found(wallet):
    tamper("UPDATE dj_wallet_posting SET destination_balance_after = 31 WHERE amount = 20")
    assert codes() == {"balance_after_mismatch"}


def test_a_balance_after_that_was_removed_is_found(wallet):
    tamper("UPDATE dj_wallet_posting SET destination_balance_after = NULL WHERE amount = 20")
    assert {"side_mismatch", "balance_after_mismatch"} <= codes()


def test_a_balance_after_on_a_system_account_is_found(wallet):
    tamper("UPDATE dj_wallet_posting SET source_balance_after = 1 WHERE amount = 20")
    assert codes() == {"side_mismatch"}


def test_a_changed_version_of_a_posting_is_found(wallet):
    tamper("UPDATE dj_wallet_posting SET destination_version = 77 WHERE amount = 20")
    assert "version_gap" in codes()


def test_a_posting_that_was_moved_to_another_wallet_is_found(wallet):
    other = make_wallet(Role(), slug="other")
    tamper(f"UPDATE dj_wallet_posting SET destination_account_id = {other.pk} WHERE amount = 20")
    assert {"balance_mismatch", "version_mismatch", "version_gap"} <= codes()


def test_a_posting_that_was_moved_to_another_bucket_is_found(wallet):
    tamper("UPDATE dj_wallet_posting SET destination_bucket = 2 WHERE amount = 20")
    assert {"balance_mismatch", "pending_balance_mismatch"} <= codes()


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_posting_of_an_account_that_is_not_there_is_found(wallet, side):
    tamper(f"UPDATE dj_wallet_posting SET {side}_account_id = 987654 WHERE amount = 20")
    assert "account_missing" in codes()
    assert "asset_mismatch" not in codes()


def test_a_posting_between_two_assets_is_found(wallet):
    Asset.objects.create(code="EUR")
    euro = Account.objects.create(kind="system", code=BANK, asset_id="EUR")
    tamper(f"UPDATE dj_wallet_posting SET source_account_id = {euro.pk} WHERE amount = 20")
    assert codes() == {"asset_mismatch", "trial_balance"}


def test_a_wallet_whose_asset_was_changed_is_found(wallet):
    Asset.objects.create(code="EUR")
    Account.objects.filter(pk=wallet.pk).update(asset="EUR")
    assert {"asset_mismatch", "trial_balance"} <= codes()


def test_an_entry_without_its_first_posting_is_found(wallet):
    tamper("DELETE FROM dj_wallet_posting WHERE amount = 5")
    assert "entry_without_head" in codes()


def test_a_posting_that_was_put_into_another_entry_is_found(wallet):
    tamper(
        f"UPDATE dj_wallet_posting SET entry_id = {find_posting(20)} WHERE id = {find_posting(1)}"
    )
    assert "entry_without_head" in codes()


def test_an_invented_posting_is_found(wallet):
    bank = Account.objects.get(code=BANK).pk
    Posting.objects.bulk_create(
        [
            Posting(
                entry_id=10**6,
                id=10**6,
                kind="DEPOSIT",
                source_account_id=bank,
                destination_account_id=wallet.pk,
                amount=100,
                destination_balance_after=150,
                destination_version=8,
                created_at=Posting.objects.first().created_at,
            )
        ]
    )
    assert {"balance_mismatch", "version_mismatch"} <= codes()


def test_a_wrong_checkpoint_is_found(wallet):
    bank = Account.objects.get(code=BANK)
    last = Posting.objects.latest("pk").pk
    checkpoint = Checkpoint.objects.create(account=bank, posting_id=last, balance=-55)
    assert codes() == set()
    checkpoint.balance = -54
    checkpoint.save()
    assert codes() == {"checkpoint_mismatch"}


@pytest.mark.parametrize(
    "change",
    [{"entry_id": None}, {"entry_id": 987654}, {"amount": 6}],
    ids=["none", "unknown", "amount"],
)
def test_a_completed_transaction_without_its_entry_is_found(alice, change):
    record = alice.deposit(5)
    assert codes() == set()
    Transaction.objects.filter(pk=record.pk).update(**change)
    assert codes() == {"transaction_without_entry"}


def test_a_transaction_that_points_at_the_entry_of_somebody_else_is_found(alice, bob):
    record, other = alice.deposit(5), bob.deposit(5)
    Transaction.objects.filter(pk=record.pk).update(entry_id=other.entry_id)
    assert codes() == {"transaction_without_entry"}


def test_a_deposit_that_points_at_a_withdrawal_is_found(alice):
    deposit, withdrawal = alice.deposit(5), alice.withdraw(5)
    Transaction.objects.filter(pk=deposit.pk).update(entry_id=withdrawal.entry_id)
    assert codes() == {"transaction_without_entry"}


def test_a_pending_transaction_needs_no_entry(alice):
    alice.withdraw(5, confirmed=False)
    assert codes() == set()


def test_no_more_than_a_thousand_problems_are_listed(wallet):
    Account.objects.bulk_create(
        Account(asset_id="USD", balance=1, version=1) for _ in range(MAX_PROBLEMS + 1)
    )
    assert len(audit_ledger().problems) == MAX_PROBLEMS


# The command


def run_command(*arguments):
    output = StringIO()
    try:
        call_command("wallet_audit", *arguments, stdout=output)
    except CommandError as error:
        return error.returncode, output.getvalue()
    return 0, output.getvalue()


def test_the_command_ends_well_when_the_books_balance(wallet):
    status, output = run_command()
    assert status == 0
    assert output == "3 accounts, 6 postings: 0 problems\n"


def test_the_command_ends_with_status_1_and_names_what_is_wrong(wallet):
    Account.objects.filter(pk=wallet.pk).update(version=1)
    status, output = run_command()
    assert status == 1
    assert output == (
        f"version_mismatch: account {wallet.pk}: expected 7, found 1\n"
        "3 accounts, 6 postings: 1 problems\n"
    )


def test_the_command_prints_a_report_for_machines(wallet):
    assert run_command("--json")[0] == 0
    Account.objects.filter(pk=wallet.pk).update(version=1)
    status, output = run_command("--json")
    assert status == 1
    assert json.loads(output) == {
        "accounts": 3,
        "postings": 6,
        "is_clean": False,
        "problems": [
            {
                "code": "version_mismatch",
                "account_id": wallet.pk,
                "entry_id": None,
                "expected": "7",
                "found": "1",
            }
        ],
    }


def test_the_command_takes_a_database(wallet):
    assert run_command("--database", "default")[0] == 0


def test_people_are_no_accounts(db):
    Person.objects.create(name="x")
    assert audit_ledger().accounts == 0
