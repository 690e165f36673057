"""A database of release 0.1.0, made of its own tables, and its verbs as they were, defects included."""

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState

from dj_wallet.models import Wallet
from tests.testapp.models import Person

ALIAS = "release_010"
FIRST = [("contenttypes", "0002_remove_content_type_name"), ("dj_wallet", "0001_initial")]


@contextmanager
def empty_database() -> Iterator[str]:
    """Return the alias of a new, empty database on the server (or of the kind) that the tests run on."""
    default = connections["default"]
    settings = {**default.settings_dict, "TEST": dict(default.settings_dict["TEST"])}
    with tempfile.TemporaryDirectory() as folder:
        name = f"old_{uuid.uuid4().hex[:12]}"
        if default.vendor == "postgresql":
            run_outside(f"create database {name}")
        connections.settings[ALIAS] = {
            **settings,
            "NAME": name if default.vendor == "postgresql" else str(Path(folder, "old.sqlite3")),
        }
        try:
            yield ALIAS
        finally:
            connections[ALIAS].close()
            del connections[ALIAS], connections.settings[ALIAS]
            ContentType.objects.clear_cache()
            if default.vendor == "postgresql":
                run_outside(f"drop database {name}")


def run_outside(statement: str) -> None:
    with connections["default"]._nodb_cursor() as cursor:
        cursor.execute(statement)


@cache
def list_migrations() -> list[tuple[Migration, list[tuple[Operation, ProjectState, ProjectState]]]]:
    """List what `migrate` does to release 0.1.0: each operation, the models before it and after it.

    Django works these models out again for each database, which takes longer than all the statements; they are the same
    for all of them. `test_upgrade` migrates without this.
    """
    loader = MigrationLoader(None)
    targets = [node for node in loader.graph.leaf_nodes() if node[0].startswith("dj_wallet")]
    done = {node for target in FIRST for node in loader.graph.forwards_plan(target)}
    plan = dict.fromkeys(node for target in targets for node in loader.graph.forwards_plan(target))
    state = loader.project_state(FIRST)
    found = []
    for node in plan:
        if node in done:
            continue
        migration = loader.graph.nodes[node]
        operations = []
        for operation in migration.operations:
            before = state.clone()
            operation.state_forwards(migration.app_label, state)
            operations.append((operation, before, state.clone()))
        found.append((migration, operations))
    return found


class Release010:
    """The tables of migration 0001 and what release 0.1.0 did with them."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        executor = MigrationExecutor(connections[alias])
        executor.migrate(FIRST)
        state = executor.loader.project_state([("dj_wallet", "0001_initial")])
        self.models = {
            name: state.apps.get_model("dj_wallet", name)
            for name in ("Wallet", "Transaction", "Transfer")
        }
        with connections[alias].schema_editor() as editor:
            editor.create_model(Person)
        types = ContentType.objects.db_manager(alias)
        self.person_type = types.get_for_model(Person).pk
        self.wallet_type = types.get_for_model(Wallet).pk

    def migrate(self) -> None:
        """What `manage.py migrate` does to it; all our apps, since each may add to the audit."""
        recorder = MigrationRecorder(connections[self.alias])
        for migration, operations in list_migrations():
            with connections[self.alias].schema_editor(atomic=migration.atomic) as editor:
                for operation, before, after in operations:
                    operation.database_forwards(migration.app_label, editor, before, after)
            recorder.record_applied(migration.app_label, migration.name)

    def rows(self, name: str) -> Any:
        return self.models[name].objects.using(self.alias)

    def wallet(self, name: str = "alice", **fields: Any) -> Any:
        holder = Person.objects.using(self.alias).create(name=name)
        return self.rows("Wallet").create(
            holder_type_id=self.person_type, holder_id=holder.pk, **fields
        )

    def record(self, wallet: Any, type_: str, amount: Any, **fields: Any) -> Any:
        """Write a record alone; no balance changes."""
        return self.rows("Transaction").create(
            wallet=wallet,
            payable_type_id=fields.pop("payable_type_id", self.wallet_type),
            payable_id=fields.pop("payable_id", wallet.pk),
            type=type_,
            amount=Decimal(amount),
            **fields,
        )

    def move(self, wallet: Any, type_: str, amount: Any, **fields: Any) -> Any:
        """Deposit or withdraw, in the default context of decimals."""
        wallet.refresh_from_db()
        change = Decimal(amount) if type_ == "deposit" else -Decimal(amount)
        wallet.balance += change
        wallet.save(using=self.alias)
        return self.record(wallet, type_, amount, **fields)

    def deposit(self, wallet: Any, amount: Any, **fields: Any) -> Any:
        return self.move(wallet, "deposit", amount, **fields)

    def withdraw(self, wallet: Any, amount: Any, **fields: Any) -> Any:
        return self.move(wallet, "withdraw", amount, **fields)

    def transfer(self, source: Any, destination: Any, amount: Any, **meta: Any) -> Any:
        out = self.withdraw(source, amount, meta={"action": "transfer_send", **meta})
        into = self.deposit(destination, amount, meta={"action": "transfer_receive", **meta})
        return self.link(out, into)

    def link(self, out: Any, into: Any, status: str = "transfer") -> Any:
        return self.rows("Transfer").create(
            from_type_id=self.wallet_type,
            from_id=out.wallet_id,
            to_type_id=self.wallet_type,
            to_id=into.wallet_id,
            withdraw=out,
            deposit=into,
            status=status,
        )

    def refund(self, transfer: Any) -> Any:
        meta = {"original_transfer": str(transfer.uuid)}
        amount = transfer.deposit.amount
        out = self.withdraw(
            transfer.deposit.wallet, amount, meta={**meta, "action": "refund_withdraw"}
        )
        into = self.deposit(
            transfer.withdraw.wallet, amount, meta={**meta, "action": "refund_deposit"}
        )
        self.rows("Transfer").filter(pk=transfer.pk).update(status="refund")
        return self.link(out, into, "refund")

    def exchange(self, source: Any, destination: Any, amount: Any, rate: Any) -> Any:
        out = self.withdraw(source, amount)
        into = self.deposit(destination, Decimal(amount) * Decimal(rate))
        return self.link(out, into, "exchange")

    def reverse(self, transaction: Any) -> Any:
        self.rows("Transaction").filter(pk=transaction.pk).update(status="reversed")
        other = "withdraw" if transaction.type == "deposit" else "deposit"
        meta = {"reversal_of": str(transaction.uuid)}
        return self.move(transaction.wallet, other, transaction.amount, meta=meta)
