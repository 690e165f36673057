"""`dj_wallet_adopt`: a database of release 0.1.0 becomes ours, and says what was wrong with it."""

import io
import json
from decimal import Decimal

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections
from django.test.utils import CaptureQueriesContext

from dj_wallet.adoption.openings import adopt_wallets
from dj_wallet.adoption.report import inspect_release
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.engine import Entry, Kind, Movement
from dj_wallet.ledger.models import Account, EntryMeta, LedgerEntry, Posting
from dj_wallet.ledger.post import post_one
from dj_wallet.ledger.queries import list_trial_balances
from dj_wallet.models import Transaction, Transfer, Wallet

from .release_010 import Person, Release010, empty_database


@pytest.fixture
def old(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), empty_database() as alias:
        yield Release010(alias)


def run(old, *options):
    """Return the exit status and what was printed."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command(
            "dj_wallet_adopt", *options, database=old.alias, stdout=out, stderr=err, no_color=True
        )
    except CommandError as error:
        return error.returncode, out.getvalue()
    return 0, out.getvalue()


def list_codes(old):
    """Return what is wrong, as code, record and the amount that is too much."""
    found = inspect_release(using=old.alias).discrepancies
    return [(one.code, one.record, one.amount) for one in found]


def read_everything(old):
    """Return all that adoption could change."""
    return [
        list(model.objects.using(old.alias).order_by("pk").values())
        for model in (Account, Posting, EntryMeta, Transaction, Transfer)
    ]


def fill(old):
    """A sound database: alice 70, bob 25, carol -5 and frozen, dave 0 with history, eve 0 without."""
    alice, bob, carol, dave, eve = (
        old.wallet(name) for name in ("alice", "bob", "carol", "dave", "eve")
    )
    old.deposit(alice, 100)
    old.transfer(alice, bob, 25)
    old.withdraw(alice, 5)
    old.withdraw(carol, 5)
    carol.is_frozen = True
    carol.save()
    old.deposit(dave, "12.5")
    old.reverse(old.deposit(dave, 3))
    old.withdraw(dave, "12.5")
    old.record(bob, "deposit", 7, status="pending", confirmed=False)
    return alice, bob, carol, dave, eve


def test_nothing_is_changed_unless_it_is_asked_for(old):
    fill(old)
    old.migrate()
    before = read_everything(old)
    assert run(old)[0] == 0
    assert run(old, "--dry-run", "--json")[0] == 0
    assert read_everything(old) == before


def test_each_wallet_with_a_balance_gets_one_opening_posting(old):
    alice, bob, carol, *_ = fill(old)
    old.migrate()
    status, text = run(old, "--apply")
    assert status == 0
    assert "Adopted 4 wallets, 9 transactions, 1 transfers." in text
    for wallet, amount in ((alice, 70), (bob, 25)):
        posting = Posting.objects.using(old.alias).get(destination_account_id=wallet.pk)
        assert (posting.kind, posting.amount) == ("OPENING", amount)
        assert (posting.source_account.code, posting.destination_balance_after) == (
            "opening",
            amount,
        )
        assert (posting.destination_version, posting.idempotency_key) == (
            1,
            f"opening:wallet:{wallet.pk}",
        )
    overdrawn = Posting.objects.using(old.alias).get(source_account_id=carol.pk)
    assert (overdrawn.amount, overdrawn.source_balance_after) == (5, -5)
    assert overdrawn.destination_account.code == "opening"


def test_balances_stay_and_the_books_balance(old):
    fill(old)
    old.migrate()
    balances = dict(Wallet.objects.using(old.alias).values_list("pk", "balance"))
    assert not audit_ledger(using=old.alias).is_clean
    run(old, "--apply")
    assert dict(Wallet.objects.using(old.alias).values_list("pk", "balance")) == balances
    assert audit_ledger(using=old.alias).problems == []
    (trial,) = list_trial_balances(using=old.alias)
    assert (trial.wallets, trial.system) == (90, -90)


def test_records_point_at_the_opening_of_their_wallet(old):
    alice, *_, eve = fill(old)
    old.migrate()
    run(old, "--apply")
    keyed = Posting.objects.using(old.alias).filter(idempotency_key__isnull=False)
    entries = dict(keyed.values_list("idempotency_key", "entry_id"))
    moved = Transaction.objects.using(old.alias).exclude(status="pending")
    assert moved.count() == 9
    for transaction in moved:
        assert transaction.entry_id == entries[f"opening:wallet:{transaction.wallet_id}"]
    assert Transaction.objects.using(old.alias).get(status="pending").entry_id is None
    transfer = Transfer.objects.using(old.alias).get()
    assert transfer.entry_id == entries[f"opening:wallet:{alice.pk}"]
    assert f"opening:wallet:{eve.pk}" not in entries


def test_a_wallet_whose_records_cancel_out_gets_an_entry_that_does_too(old):
    *_, dave, _ = fill(old)
    old.migrate()
    run(old, "--apply")
    lines = LedgerEntry.objects.using(old.alias).filter(account_id=dave.pk).order_by("version")
    assert [(line.credit, line.debit, line.balance_after) for line in lines] == [
        (Decimal("12.5"), 0, Decimal("12.5")),
        (0, Decimal("12.5"), 0),
    ]
    assert EntryMeta.objects.using(old.alias).get(pk=lines[0].entry_id).data == {
        "transactions": 4,
        "deposits": "15.50000000",
        "withdrawals": "15.50000000",
        "difference": "0.00000000",
    }


def test_applying_again_changes_nothing(old):
    fill(old)
    old.migrate()
    run(old, "--apply")
    before = read_everything(old)
    status, text = run(old, "--apply")
    assert status == 0
    assert "To adopt: 0 wallets, 0 transactions, 0 transfers. Adopted before: 4 wallets." in text
    assert read_everything(old) == before


def test_a_run_that_was_killed_is_finished_by_the_next(old):
    for number in range(7):
        old.deposit(old.wallet(str(number)), number + 1)
    old.migrate()

    def stop(adopted):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adopt_wallets(using=old.alias, batch_size=3, on_progress=stop)
    assert Posting.objects.using(old.alias).count() == 3
    report = inspect_release(using=old.alias)
    assert (report.already_adopted, report.wallets) == (3, 4)
    assert run(old, "--apply")[0] == 0
    assert Posting.objects.using(old.alias).count() == 7
    assert audit_ledger(using=old.alias).problems == []


def test_a_batch_is_written_whole_or_not_at_all(old):
    fill(old)
    old.migrate()
    before = read_everything(old)
    connection = connections[old.alias]

    def fail(execute, sql, params, many, context):
        if sql.startswith("UPDATE") and "dj_wallet_transfer" in sql:
            raise RuntimeError("the machine stops here")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail), pytest.raises(RuntimeError):
        adopt_wallets(using=old.alias)
    assert read_everything(old) == before


@pytest.mark.postgres
def test_a_batch_costs_the_same_statements_whatever_its_size(old):
    for number in range(34):
        old.deposit(old.wallet(str(number)), 2)
    old.migrate()
    counts = {}

    def stop(adopted):
        raise KeyboardInterrupt

    for size in (1, 3, 30):  # the first creates the system account
        with (
            CaptureQueriesContext(connections[old.alias]) as batch,
            pytest.raises(KeyboardInterrupt),
        ):
            adopt_wallets(using=old.alias, batch_size=size, on_progress=stop)
        counts[size] = len(batch)
    assert counts[30] == counts[3]
    assert Posting.objects.using(old.alias).count() == 34


def test_progress_goes_to_stderr_and_json_to_stdout(old, capsys):
    fill(old)
    old.migrate()
    out, err = io.StringIO(), io.StringIO()
    call_command("dj_wallet_adopt", "--apply", "--json", database=old.alias, stdout=out, stderr=err)
    report = json.loads(out.getvalue())
    assert report == {
        "already_adopted": 0,
        "wallets": 4,
        "transactions": 9,
        "transfers": 1,
        "assets": {"USD": {"wallets": 4, "balance": "90.00000000"}},
        "discrepancies": [],
        "is_clean": True,
        "applied": True,
        "adopted": {"wallets": 4, "transactions": 9, "transfers": 1},
    }
    assert "adopted 4 of 4 wallets" in err.getvalue()


# Discrepancies


def test_a_balance_that_its_records_do_not_explain_is_reported_and_kept(old):
    wallet = old.wallet()
    old.deposit(wallet, 100)
    wallet.balance = Decimal(90)
    wallet.save()
    old.migrate()
    assert list_codes(old) == [("balance_differs", f"wallet {wallet.pk}", -10)]
    status, text = run(old, "--apply")
    assert status == 1
    assert f"balance_differs: wallet {wallet.pk} (-10.00000000 USD)" in text
    assert Posting.objects.using(old.alias).get().amount == 90
    assert audit_ledger(using=old.alias).problems == []


def test_a_balance_without_any_record_is_reported(old):
    wallet = old.wallet(balance=Decimal(40))
    old.migrate()
    assert list_codes(old) == [("balance_differs", f"wallet {wallet.pk}", 40)]
    run(old, "--apply")
    assert audit_ledger(using=old.alias).problems == []


@pytest.mark.postgres
def test_digits_beyond_the_default_context_are_reported_as_lost(old):
    wallet = old.wallet()
    old.deposit(wallet, 10**21)
    old.deposit(wallet, "0.00000001")
    old.migrate()
    assert list_codes(old) == [("lost_digits", f"wallet {wallet.pk}", Decimal("-0.00000001"))]


@pytest.mark.sqlite
def test_digits_that_sqlite_cut_off_are_reported_as_lost(old):
    wallet = old.wallet()
    old.deposit(wallet, "12345678.1234568")
    old.deposit(wallet, "0.00000001")
    old.migrate()
    assert list_codes(old) == [("lost_digits", f"wallet {wallet.pk}", Decimal("-0.00000001"))]


@pytest.mark.sqlite
def test_an_amount_below_the_scale_is_reported_as_lost_and_its_wallet_adopted(old):
    alice, bob = old.wallet("alice"), old.wallet("bob")
    for wallet in (alice, bob):
        old.record(wallet, "deposit", "0.000000001")  # SQLite keeps it, the balance does not
    old.deposit(bob, 5)
    old.migrate()
    assert list_codes(old) == [
        ("lost_digits", f"wallet {wallet.pk}", Decimal("-0.000000001")) for wallet in (alice, bob)
    ]
    run(old, "--apply")
    assert audit_ledger(using=old.alias).problems == []


def test_money_made_by_a_refund_and_a_reversal_is_reported(old):
    alice, bob = old.wallet("alice"), old.wallet("bob")
    old.deposit(alice, 100)
    old.deposit(bob, 100)
    transfer = old.transfer(alice, bob, 50)
    old.reverse(transfer.withdraw)
    old.refund(transfer)
    old.migrate()
    assert list_codes(old) == [("refunded_and_reversed", f"transfer {transfer.pk}", 50)]
    assert run(old, "--apply")[0] == 1
    assert audit_ledger(using=old.alias).problems == []


@pytest.mark.parametrize(("leg", "created"), [("withdraw", 50), ("deposit", -50)])
def test_a_reversal_of_one_leg_is_reported(old, leg, created):
    alice, bob = old.wallet("alice"), old.wallet("bob")
    old.deposit(alice, 100)
    transfer = old.transfer(alice, bob, 50)
    old.reverse(getattr(transfer, leg))
    old.migrate()
    assert list_codes(old) == [("one_legged_reversal", f"transfer {transfer.pk}", created)]


def test_what_was_put_right_again_is_no_discrepancy(old):
    alice, bob = old.wallet("alice"), old.wallet("bob")
    old.deposit(alice, 100)
    both = old.transfer(alice, bob, 50)
    old.reverse(both.withdraw)
    old.reverse(both.deposit)
    taken_back = old.transfer(alice, bob, 30)
    old.reverse(old.reverse(taken_back.withdraw))
    old.refund(old.transfer(alice, bob, 20))
    old.exchange(alice, bob, 10, "0.9")
    old.migrate()
    assert list_codes(old) == []


def test_a_wallet_exchanged_with_itself_is_reported(old):
    alice = old.wallet("alice")
    old.deposit(alice, 1)
    transfer = old.exchange(alice, alice, 1, 2)
    old.migrate()
    assert list_codes(old) == [("self_exchange", f"transfer {transfer.pk}", 1)]


def test_a_transfer_between_currencies_is_reported(old):
    alice, bob = old.wallet("alice"), old.wallet("bob", meta={"currency": "JPY"})
    old.deposit(alice, 100)
    transfer = old.transfer(alice, bob, 10)
    old.migrate()
    assert list_codes(old) == [("mixed_currencies", f"transfer {transfer.pk}", None)]
    run(old, "--apply")
    assert audit_ledger(using=old.alias).problems == []


def test_a_transfer_with_two_amounts_is_reported(old):
    alice, bob = old.wallet("alice"), old.wallet("bob")
    old.deposit(alice, 100)
    transfer = old.link(old.withdraw(alice, 10), old.deposit(bob, 12))
    old.migrate()
    assert list_codes(old) == [("unequal_transfer", f"transfer {transfer.pk}", 2)]


def test_a_wallet_whose_holder_is_gone_is_reported_and_adopted(old):
    wallet = old.wallet()
    old.deposit(wallet, 100)
    Person.objects.using(old.alias).all().delete()
    old.migrate()
    assert list_codes(old) == [("orphaned_wallet", f"wallet {wallet.pk}", None)]
    run(old, "--apply")
    assert Posting.objects.using(old.alias).get().amount == 100


def test_a_wallet_whose_holders_model_is_gone_is_reported(old):
    wallet = old.wallet()
    old.deposit(wallet, 100)
    types = connections[old.alias].cursor()
    types.execute(
        "update django_content_type set app_label = 'gone' where id = %s", [old.person_type]
    )
    types.close()
    ContentType.objects.clear_cache()
    old.migrate()
    assert list_codes(old) == [("orphaned_wallet", f"wallet {wallet.pk}", None)]


def test_the_half_of_a_transfer_whose_other_half_was_deleted_is_reported(old):
    alice, bob = old.wallet("alice"), old.wallet("bob")
    old.deposit(alice, 100)
    transfer = old.transfer(alice, bob, 50)
    out = transfer.withdraw.pk
    transfer.delete()
    old.rows("Transaction").filter(wallet=bob).delete()
    bob.delete()
    old.migrate()
    assert list_codes(old) == [("orphaned_transaction", f"transaction {out}", -50)]


def test_a_record_whose_payable_is_gone_is_reported(old):
    alice = old.wallet("alice")
    kept = old.deposit(alice, 1, payable_type_id=old.person_type, payable_id=alice.holder_id)
    gone = old.deposit(alice, 2, payable_type_id=old.person_type, payable_id=999)
    lost = old.deposit(alice, 3, payable_id=998)
    old.migrate()
    assert kept.pk < gone.pk
    assert list_codes(old) == [
        ("orphaned_transaction", f"transaction {gone.pk}", None),
        ("orphaned_transaction", f"transaction {lost.pk}", None),
    ]


def test_a_status_that_disagrees_with_confirmed_is_reported(old):
    alice = old.wallet("alice")
    old.deposit(alice, 1)
    wrong = old.record(alice, "deposit", 5, status="pending", confirmed=True)
    old.migrate()
    assert list_codes(old) == [("status_disagrees", f"transaction {wrong.pk}", None)]


# What migrate does with records our tables refuse


def test_records_of_zero_stay_and_are_reported(old):
    alice, bob, carol = (old.wallet(name) for name in ("alice", "bob", "carol"))
    old.deposit(alice, 1)
    zero = old.deposit(alice, 0)
    into = old.exchange(alice, bob, "0.00000001", "0").deposit
    alone = old.deposit(carol, 0)
    old.migrate()
    assert list_codes(old) == [
        ("zero_amount", f"transaction {pk}", None) for pk in (zero.pk, into.pk, alone.pk)
    ]
    assert run(old, "--apply")[0] == 1
    assert Transaction.objects.using(old.alias).filter(amount=0, entry_id=None).count() == 3
    assert Posting.objects.using(old.alias).count() == 1
    assert audit_ledger(using=old.alias).problems == []


def test_migrate_refuses_records_below_zero_and_names_them(old):
    wrong = old.deposit(old.wallet(), -5)
    with pytest.raises(CommandError, match=rf"1 transactions .* below zero.*\(id {wrong.pk}\)"):
        old.migrate()
    assert old.rows("Transaction").get().amount == -5


# Too late


def deposit_now(old, wallet, amount):
    movement = Movement("external:cash", wallet.pk, Decimal(amount), "USD")
    return post_one(Entry(Kind.DEPOSIT, (movement,)), using=old.alias)


def test_a_wallet_that_moved_money_before_is_reported_and_left_alone(old):
    alice, bob = old.wallet("alice"), old.wallet("bob")
    old.deposit(alice, 100)
    old.deposit(bob, 10)
    old.migrate()
    deposit_now(old, alice, 1)
    assert list_codes(old) == [("posted_before_adoption", f"wallet {alice.pk}", None)]
    assert run(old, "--apply")[0] == 1
    assert Wallet.objects.using(old.alias).get(pk=alice.pk).balance == 101
    assert Posting.objects.using(old.alias).filter(kind="OPENING").count() == 1


def test_a_wallet_that_carried_nothing_over_can_be_adopted_later(old):
    alice = old.wallet("alice")
    old.deposit(alice, 100)
    old.withdraw(alice, 100)
    old.migrate()
    deposit_now(old, alice, 1)
    assert run(old, "--apply")[0] == 0
    assert Wallet.objects.using(old.alias).get(pk=alice.pk).balance == 1
    assert audit_ledger(using=old.alias).problems == []


def test_adopted_wallets_move_money(old):
    _, bob, *_ = fill(old)
    old.migrate()
    run(old, "--apply")
    deposit_now(old, bob, 5)
    assert Wallet.objects.using(old.alias).get(pk=bob.pk).balance == 30
    assert audit_ledger(using=old.alias).problems == []


# The audit


def test_the_audit_finds_an_old_record_that_was_changed(old):
    alice, *_ = fill(old)
    old.migrate()
    run(old, "--apply")
    records = Transaction.objects.using(old.alias).filter(wallet_id=alice.pk)
    records.filter(amount=5).update(amount=6)
    (problem,) = audit_ledger(using=old.alias).problems
    assert (problem.code, problem.account_id) == ("opening_mismatch", alice.pk)
    assert (Decimal(problem.expected), Decimal(problem.found)) == (69, 70)


def test_an_opening_explains_no_record_of_another_wallet(old):
    alice, bob, *_ = fill(old)
    old.migrate()
    run(old, "--apply")
    records = Transaction.objects.using(old.alias)
    entry_id = records.filter(wallet_id=bob.pk, status="completed").get().entry_id
    records.filter(wallet_id=alice.pk, amount=5).update(entry_id=entry_id)
    codes = {problem.code for problem in audit_ledger(using=old.alias).problems}
    assert codes == {"transaction_without_entry", "opening_mismatch"}
