"""What the database itself refuses, whoever writes."""

from decimal import Decimal

import pytest
from django.core.management import call_command
from django.db import Error, IntegrityError, connection, transaction
from django.db.models import F, ProtectedError
from django.test import TestCase, TransactionTestCase

from dj_wallet.exceptions import LedgerReadOnly
from dj_wallet.ledger.accounts import ensure_asset, system_account
from dj_wallet.ledger.ids import uuid7
from dj_wallet.ledger.models import Account, Asset, EntryMeta, Posting
from dj_wallet.ledger.post import post_one
from dj_wallet.models import Purchase, Transaction, Transfer, Wallet
from dj_wallet.services import TransferService
from tests.ledger.worlds import BANK, Role, make_wallet, transfer_entry
from tests.testapp.models import Person, Shop

pytestmark = pytest.mark.django_db

POSTING_COLUMNS = (
    "entry_id, kind, source_account_id, source_bucket, destination_account_id, destination_bucket,"
    " amount, reference_type, reference_id, idempotency_key, created_at"
)


def execute(sql, *parameters):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, parameters)


def insert_posting(wallet, **changes):
    values = {
        "entry_id": 1,
        "kind": "TRANSFER",
        "source": wallet.pk,
        "source_bucket": 0,
        "destination": system_account(BANK, "USD"),
        "destination_bucket": 0,
        "amount": "1",
        "reference_type": "",
        "reference_id": "",
        "key": None,
    } | changes
    marks = ", ".join(["%s"] * len(values))
    execute(
        f"INSERT INTO dj_wallet_posting ({POSTING_COLUMNS}) VALUES ({marks}, CURRENT_TIMESTAMP)",
        *values.values(),
    )


@pytest.fixture
def wallet(db):
    return make_wallet(Role(balances=(100, 20, 5)))


def test_a_raw_posting_that_breaks_no_rule_is_accepted(wallet):
    """So that the tests below fail for the reason they name."""
    count = Posting.objects.count()
    insert_posting(wallet)
    assert Posting.objects.count() == count + 1


@pytest.mark.parametrize(
    "change", ["amount = 1", "kind = 'OTHER'", "idempotency_key = 'new'", "entry_id = 7", "id = id"]
)
def test_a_posting_is_never_changed(wallet, change, snapshot):
    before = snapshot()
    with pytest.raises(Error, match="append-only"):
        execute(f"UPDATE dj_wallet_posting SET {change}")
    assert snapshot() == before


def test_a_posting_is_never_deleted(wallet, snapshot):
    before = snapshot()
    with pytest.raises(Error, match="append-only"):
        execute("DELETE FROM dj_wallet_posting")
    assert snapshot() == before


def test_the_orm_neither_changes_nor_deletes_postings(wallet, snapshot):
    before = snapshot()
    for write in (
        lambda: Posting.objects.update(amount=F("amount") + 1),
        lambda: Posting.objects.all().delete(),
        lambda: Posting.objects.bulk_update(
            [Posting(pk=posting.pk, amount=Decimal(1)) for posting in Posting.objects.all()],
            ["amount"],
        ),
    ):
        with pytest.raises(Error, match="append-only"), transaction.atomic():
            write()
    posting = Posting.objects.all()[0]
    for write in (posting.save, posting.delete):
        with pytest.raises(LedgerReadOnly):
            write()
    with pytest.raises(LedgerReadOnly):
        Posting.objects.create(
            entry_id=1,
            kind="DEPOSIT",
            source_account_id=wallet.pk,
            destination_account_id=wallet.pk,
            amount=1,
        )
    assert snapshot() == before


def test_a_wallet_with_a_history_is_never_deleted(wallet, snapshot):
    before = snapshot()
    with pytest.raises(Error, match="append-only"):
        execute(f"DELETE FROM dj_wallet_account WHERE id = {wallet.pk}")
    assert snapshot() == before


def test_the_orm_deletes_no_wallet_with_a_history(wallet, snapshot):
    before = snapshot()
    with pytest.raises(LedgerReadOnly):
        wallet.delete()
    with pytest.raises((Error, ProtectedError)), transaction.atomic():
        Wallet.objects.filter(pk=wallet.pk).delete()
    assert snapshot() == before


def test_an_unused_wallet_can_be_deleted(db):
    wallet = make_wallet(Role())
    wallet.delete()
    assert not Account.objects.filter(pk=wallet.pk).exists()


def test_a_system_account_is_never_deleted(wallet):
    ensure_asset("USD", decimal_places=2)
    unused = system_account("unused", "USD")
    with pytest.raises(Error, match="append-only"):
        execute(f"DELETE FROM dj_wallet_account WHERE id = {unused}")
    assert Account.objects.filter(pk=unused).exists()


def test_an_asset_in_use_is_not_deleted(wallet):
    with pytest.raises(ProtectedError):
        Asset.objects.get(pk="USD").delete()


def test_a_wallet_that_money_waits_for_is_not_deleted(alice):
    alice.deposit(5, confirmed=False)
    with pytest.raises(ProtectedError):
        alice.wallet.delete()
    assert Transaction.objects.count() == 1


@pytest.mark.parametrize("column", ["locked_balance", "pending_balance"])
def test_locked_and_pending_money_is_never_negative(wallet, column):
    with pytest.raises(IntegrityError):
        execute(f"UPDATE dj_wallet_account SET {column} = -1 WHERE id = {wallet.pk}")


def test_available_money_can_be_negative(wallet):
    execute(f"UPDATE dj_wallet_account SET balance = -1 WHERE id = {wallet.pk}")
    wallet.refresh_from_db()
    assert wallet.balance == -1


@pytest.mark.parametrize("amount", ["0", "-1", "-0.00000001"])
def test_a_posting_has_a_positive_amount(wallet, amount):
    with pytest.raises(IntegrityError):
        insert_posting(wallet, amount=amount)


def test_a_posting_leads_elsewhere(wallet):
    with pytest.raises(IntegrityError):
        insert_posting(wallet, destination=wallet.pk)


def test_a_posting_may_lead_to_another_bucket(wallet):
    insert_posting(wallet, destination=wallet.pk, destination_bucket=1)


def test_an_idempotency_key_is_used_once(wallet):
    insert_posting(wallet, key="k")
    with pytest.raises(IntegrityError):
        insert_posting(wallet, key="k")


def test_any_number_of_postings_have_no_idempotency_key(wallet):
    insert_posting(wallet)
    insert_posting(wallet)


@pytest.mark.parametrize(
    "column", ["source_account_id", "amount", "kind", "created_at", "entry_id"]
)
def test_a_posting_says_everything(wallet, column):
    with pytest.raises(IntegrityError):
        execute(
            f"INSERT INTO dj_wallet_posting ({POSTING_COLUMNS}) SELECT "
            + POSTING_COLUMNS.replace(column, "NULL", 1)
            + " FROM dj_wallet_posting LIMIT 1"
        )


def test_a_system_account_exists_once_for_each_asset(wallet):
    with pytest.raises(IntegrityError), transaction.atomic():
        Account.objects.create(kind=Account.Kind.SYSTEM, code=BANK, asset_id="USD")
    Asset.objects.create(code="EUR")
    Account.objects.create(kind=Account.Kind.SYSTEM, code=BANK, asset_id="EUR")


def test_a_system_account_has_a_code_and_a_wallet_none(wallet):
    with pytest.raises(IntegrityError), transaction.atomic():
        Account.objects.create(kind=Account.Kind.SYSTEM, asset_id="USD")
    with pytest.raises(IntegrityError), transaction.atomic():
        Account.objects.create(kind=Account.Kind.WALLET, code="x", asset_id="USD")


def test_an_account_never_has_less_than_no_decimal_places(wallet):
    with pytest.raises(Error):
        execute(f"UPDATE dj_wallet_account SET decimal_places = -1 WHERE id = {wallet.pk}")
    with pytest.raises(Error), transaction.atomic():
        Account.objects.create(kind="system", code="x", asset_id="USD", decimal_places=-1)
    wallet.refresh_from_db()
    assert wallet.decimal_places == 2


@pytest.mark.parametrize("places", [19, 30000])
def test_an_asset_has_at_most_18_decimal_places(db, places):
    with pytest.raises(IntegrityError):
        Asset.objects.create(code="X", decimal_places=places)


def test_an_account_counts_an_asset_that_exists(wallet):
    def change_asset():
        with transaction.atomic():
            execute(f"UPDATE dj_wallet_account SET asset_id = 'XXX' WHERE id = {wallet.pk}")
            connection.check_constraints()

    with pytest.raises(IntegrityError):
        change_asset()


def test_a_transaction_has_a_positive_amount(alice):
    txn = alice.deposit(5)
    with pytest.raises(IntegrityError):
        execute(f"UPDATE dj_wallet_transaction SET amount = -1 WHERE id = {txn.pk}")


@pytest.mark.parametrize(
    ("confirmed", "values"),
    [
        (True, {"amount": 0}),
        (True, {"amount": -1}),
        (False, {"amount": -1}),
        (True, {"refunded_amount": 6}),
        (True, {"refunded_amount": -1}),
        (False, {"refunded_amount": 6}),
    ],
)
def test_a_record_is_born_sound(alice, confirmed, values):
    txn = alice.deposit(5, confirmed=confirmed)
    for name, value in {"pk": None, "uuid": uuid7(), **values}.items():
        setattr(txn, name, value)
    with pytest.raises(IntegrityError), transaction.atomic():
        Transaction.objects.bulk_create([txn])
    assert Transaction.objects.count() == 1


def test_a_record_that_promises_nothing_yet_may_be_of_nothing(alice):
    """So that the test above fails for the reason it names; release 0.1.0 kept such records."""
    txn = alice.deposit(5, confirmed=False)
    txn.pk, txn.uuid, txn.amount = None, uuid7(), 0
    Transaction.objects.bulk_create([txn])
    assert Transaction.objects.count() == 2


@pytest.mark.parametrize("amount", ["5.00000001", "-0.00000001"])
def test_a_record_is_never_refunded_beyond_its_amount(alice, amount):
    txn = alice.deposit(5)
    with pytest.raises(IntegrityError):
        execute(f"UPDATE dj_wallet_transaction SET refunded_amount = {amount} WHERE id = {txn.pk}")
    txn.refresh_from_db()
    assert txn.refunded_amount == 0


def test_an_account_never_becomes_the_other_kind(wallet):
    for change in ("kind = 'system'", "code = 'x'"):
        with pytest.raises(IntegrityError):
            execute(f"UPDATE dj_wallet_account SET {change} WHERE id = {wallet.pk}")


@pytest.mark.parametrize("table", ["transaction", "transfer"])
def test_a_record_has_an_idempotency_key_of_its_own(alice, bob, table):
    for key in ("a", "b"):
        alice.deposit(5, idempotency_key=f"d-{key}")
        alice.transfer(bob, 1, idempotency_key=f"t-{key}")
    with pytest.raises(IntegrityError):
        execute(f"UPDATE dj_wallet_{table} SET idempotency_key = 'same'")


def test_the_database_refuses_what_it_refuses_inside_a_savepoint(wallet):
    """The caller's transaction is usable after the refusal of the trigger."""
    with pytest.raises(Error), transaction.atomic():
        Posting.objects.all().delete()
    post_one(transfer_entry(BANK, wallet, 1))
    wallet.refresh_from_db()
    assert wallet.balance == 101


class FlushTest(TransactionTestCase):
    """Tests of users end with a flush, which must get past the append-only triggers."""

    def fill(self):
        person = Person.objects.create(name="x")
        person.deposit(5, {"note": "x"})
        post_one(transfer_entry(BANK, person.wallet, 1)._replace(meta={"a": 1}))

    def test_flush_empties_the_ledger(self):
        self.fill()
        call_command("flush", verbosity=0, interactive=False)
        for model in (Posting, Account, Asset, Transaction, EntryMeta):
            assert model.objects.count() == 0

    def test_the_ledger_works_after_a_flush(self):
        self.fill()
        call_command("flush", verbosity=0, interactive=False)
        self.fill()
        assert Person.objects.get().balance == 6

    def test_postings_are_still_append_only_after_a_flush(self):
        call_command("flush", verbosity=0, interactive=False)
        self.fill()
        for sql in ("DELETE FROM dj_wallet_posting", 'DELETE FROM "dj_wallet_posting"'):
            with pytest.raises(Error, match="append-only"):
                execute(sql)


class FirstTest(TestCase):
    """The rollback at the end of a TestCase takes the money with it: both tests see an empty ledger."""

    def test_one(self):
        assert Posting.objects.count() == 0
        Person.objects.create(name="x").deposit(5)
        assert Posting.objects.count() == 1

    test_two = test_one


# Records carry no foreign keys that a posting makes needless (ADR 0048); what it does not prove is still refused.


@pytest.mark.postgres
def test_a_pending_record_of_a_wallet_that_is_not_there_is_refused(alice):
    pending = alice.deposit(1, confirmed=False)
    with pytest.raises(IntegrityError, match="does not exist"):
        execute(
            "INSERT INTO dj_wallet_transaction (payable_type_id, payable_id, wallet_id, uuid, type, amount, confirmed,"
            " status, counterpart, allow_overdraft, refunded_amount, created_at, updated_at)"
            " SELECT payable_type_id, payable_id, 0, gen_random_uuid(), type, amount, confirmed, status, counterpart,"
            " allow_overdraft, refunded_amount, created_at, updated_at FROM dj_wallet_transaction WHERE id = %s",
            pending.pk,
        )
    assert Transaction.objects.count() == 1


@pytest.mark.postgres
def test_an_account_with_a_pending_record_stays(alice):
    wallet = alice.deposit(1, confirmed=False).wallet
    execute("DELETE FROM dj_wallet_wallet WHERE id = %s", wallet.pk)
    with pytest.raises(IntegrityError, match="has records"):
        execute("DELETE FROM dj_wallet_account WHERE id = %s", wallet.pk)
    assert Account.objects.filter(pk=wallet.pk).exists()


@pytest.mark.postgres
def test_a_record_that_is_part_of_a_transfer_stays(alice, bob):
    alice.deposit(1)
    transfer = alice.transfer(bob, 1)
    with pytest.raises(IntegrityError, match="part of a transfer"):
        execute("DELETE FROM dj_wallet_transaction WHERE id = %s", transfer.deposit_id)
    assert Transaction.objects.filter(pk=transfer.deposit_id).exists()


@pytest.mark.postgres
def test_a_transfer_that_was_given_back_stays(alice, bob):
    alice.deposit(1)
    transfer = alice.transfer(bob, 1)
    TransferService.refund(transfer)
    with pytest.raises(IntegrityError, match="given back"):
        execute("DELETE FROM dj_wallet_transfer WHERE id = %s", transfer.pk)
    assert Transfer.objects.filter(pk=transfer.pk).exists()


@pytest.mark.postgres
def test_a_purchase_with_lines_stays(alice):
    alice.deposit(10)
    purchase = alice.pay(Shop.objects.create(price=2)).purchase
    with pytest.raises(IntegrityError, match="has lines"):
        execute("DELETE FROM dj_wallet_purchase WHERE id = %s", purchase.pk)
    assert Purchase.objects.filter(pk=purchase.pk).exists()
