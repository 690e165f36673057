"""A database of release 0.1.0 becomes one of ours and keeps everything that was in it."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from dj_wallet.exceptions import WalletFrozen
from dj_wallet.ledger.models import Account, Asset
from dj_wallet.models import Transaction, Transfer, Wallet
from dj_wallet.services import WalletService

OLD = [("dj_wallet", "0001_initial"), ("contenttypes", "0002_remove_content_type_name")]


@contextmanager
def another_database(folder) -> Iterator[None]:
    """Have Django use an empty database instead of the tests', until the end."""
    own = connection.settings_dict["NAME"]
    new = "wallet_upgraded" if connection.vendor == "postgresql" else folder / "upgraded.sqlite3"
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {new}")
            cursor.execute(f"CREATE DATABASE {new}")
    use_database(new)
    try:
        yield
    finally:
        use_database(own)
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"DROP DATABASE {new}")
        connection.close()


def use_database(name):
    connection.close()
    connection.settings_dict["NAME"] = name
    ContentType.objects.clear_cache()


class OldRelease:
    """The tables of release 0.1.0 and what its users wrote into them."""

    def __init__(self):
        executor = MigrationExecutor(connection)
        executor.migrate(OLD)
        self.apps = executor.loader.project_state(OLD).apps
        types = self.apps.get_model("contenttypes", "ContentType").objects
        self.person_type = types.create(app_label="testapp", model="person")
        self.wallet_type = types.create(app_label="dj_wallet", model="wallet")

    def create(self, model, **values):
        return self.apps.get_model("dj_wallet", model).objects.create(**values)

    def wallet(self, holder_id, balance, **values):
        return self.create(
            "Wallet",
            holder_type=self.person_type,
            holder_id=holder_id,
            balance=Decimal(balance),
            **values,
        )

    def transaction(self, wallet, type_, amount, **values):
        return self.create(
            "Transaction",
            wallet=wallet,
            payable_type=self.wallet_type,
            payable_id=wallet.pk,
            type=type_,
            amount=Decimal(amount),
            **values,
        )

    def upgrade(self):
        executor = MigrationExecutor(connection)
        executor.migrate(executor.loader.graph.leaf_nodes())


@pytest.fixture
def old(tmp_path, django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), another_database(tmp_path):
        yield OldRelease()


def test_wallets_keep_number_balance_and_everything_else(old):
    first = old.wallet(7, "12.34567891", slug="euros", meta={"currency": "EUR", "note": "x"})
    second = old.wallet(8, "-5", meta=None, is_frozen=True, frozen_reason="suspicion")
    third = old.wallet(2_000_000_000, "1E+50", meta={})
    old.upgrade()
    for before in (first, second, third):
        after = Wallet.objects.get(pk=before.pk)
        assert after.balance == before.balance
        assert (after.slug, after.uuid, after.meta) == (before.slug, before.uuid, before.meta)
        assert after.holder_id == before.holder_id
        assert after.holder_type_id == before.holder_type_id
        assert (after.is_frozen, after.frozen_reason) == (before.is_frozen, before.frozen_reason)
        assert after.created_at == before.created_at
        assert (after.locked_balance, after.pending_balance, after.decimal_places) == (0, 0, 8)
    assert [wallet.asset_id for wallet in Wallet.objects.order_by("pk")] == ["EUR", "USD", "USD"]
    assert Wallet.objects.filter(holder_id=7).get().pk == first.pk


def test_records_keep_number_amount_and_everything_else(old):
    one, other = old.wallet(7, "6"), old.wallet(8, "4")
    deposit = old.transaction(one, "deposit", "10.00000001", meta={"note": "x"})
    pending = old.transaction(one, "withdraw", "3", status="pending", confirmed=False)
    sent, received = old.transaction(one, "withdraw", "4"), old.transaction(other, "deposit", "4")
    transfer = old.create(
        "Transfer",
        from_type=old.wallet_type,
        from_id=one.pk,
        to_type=old.wallet_type,
        to_id=other.pk,
        status="gift",
        withdraw=sent,
        deposit=received,
    )
    old.upgrade()
    for before in (deposit, pending, sent, received):
        after = Transaction.objects.get(pk=before.pk)
        for name in ("uuid", "type", "amount", "status", "confirmed", "meta", "created_at"):
            assert getattr(after, name) == getattr(before, name)
        assert (after.wallet_id, after.payable_id) == (before.wallet_id, before.wallet_id)
        assert (after.entry_id, after.idempotency_key) == (None, None)
    after = Transfer.objects.get(pk=transfer.pk)
    assert (after.status, after.uuid, after.fee) == ("gift", transfer.uuid, 0)
    assert (after.withdraw_id, after.deposit_id) == (sent.pk, received.pk)
    assert (after.from_id, after.to_id) == (one.pk, other.pk)


def test_the_verbs_work_on_what_was_there(old):
    numbers = [old.wallet(holder, "10").pk for holder in (7, 8)]
    frozen = old.wallet(9, "10", is_frozen=True).pk
    pending = old.transaction(old.wallet(10, "10"), "withdraw", "3", status="pending").pk
    old.upgrade()
    one, other = (Wallet.objects.get(pk=number) for number in numbers)
    one.deposit("0.5")
    one.transfer(other, 4)
    assert [Wallet.objects.get(pk=number).balance for number in numbers] == [Decimal("6.5"), 14]
    with pytest.raises(WalletFrozen):
        Wallet.objects.get(pk=frozen).deposit(1)
    done = WalletService.confirm_transaction(Transaction.objects.get(pk=pending))
    assert Wallet.objects.get(pk=done.wallet_id).balance == 7


def test_new_accounts_get_new_numbers(old):
    numbers = [old.wallet(holder, "10").pk for holder in range(1, 6)]
    old.upgrade()
    Wallet.objects.get(pk=numbers[0]).deposit(1)
    new = Wallet(holder_type_id=old.person_type.pk, holder_id=99, slug="new")
    new.save()
    assert new.pk > max(numbers)
    assert Account.objects.count() == 7


def test_a_currency_that_was_written_anyhow_becomes_an_asset(old):
    for number, meta in enumerate(({"currency": ""}, {"currency": None}, {"currency": "x" * 40})):
        old.wallet(number + 1, "0", meta=meta)
    old.upgrade()
    assert sorted(Asset.objects.values_list("code", flat=True)) == ["USD", "x" * 32]


def test_a_record_of_no_amount_does_not_stop_the_upgrade(old):
    """Release 0.1.0 rounded a deposit of 1E-9 to zero and recorded that."""
    record = old.transaction(old.wallet(7, "0"), "deposit", "0")
    old.upgrade()
    assert Transaction.objects.get(pk=record.pk).amount == 0


def test_a_new_database_needs_no_old_rows(old):
    old.upgrade()
    assert Wallet.objects.count() == 0
    wallet = Wallet(holder_type_id=old.person_type.pk, holder_id=1, uuid=uuid.uuid4())
    wallet.save()
    WalletService.deposit(wallet, 5)
    assert Wallet.objects.get().balance == 5
