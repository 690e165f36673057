"""The double-entry ledger; a wallet becomes an account of it and keeps its id and balance."""

from decimal import Decimal

from django.core.management.base import CommandError
from django.db import migrations, models
from django.db.migrations.operations.base import Operation
from django.db.models import CASCADE, DO_NOTHING, PROTECT, F, Q

from dj_wallet.holders import HolderKeyField
from dj_wallet.ledger.fields import MoneyField
from dj_wallet.ledger.ids import uuid7
from dj_wallet.ledger.sql import InstallSQL

BUCKETS = [(0, "available"), (1, "locked"), (2, "pending")]


def refuse_negative_amounts(apps, schema_editor):
    """Stop before anything changes if records are below zero.

    Release 0.1.0 itself never wrote such, but they count in the balance: what they mean is not ours to guess.
    """
    transactions = apps.get_model("dj_wallet", "Transaction").objects
    negative = transactions.using(schema_editor.connection.alias).filter(amount__lt=0)
    if count := negative.count():
        first = ", ".join(
            str(pk) for pk in negative.order_by("pk").values_list("pk", flat=True)[:20]
        )
        raise CommandError(
            f"{count} transactions have an amount below zero, which release 0.1.0 does not write (id {first}"
            f"{', ...' if count > 20 else ''}). Nothing was changed. Correct them with release 0.1.0 (a deposit of -5 "
            "is a withdrawal of 5), then migrate again."
        )


def copy_balances(apps, schema_editor):
    """Give each wallet of release 0.1.0 an account of the same id. `dj_wallet_adopt` writes the opening entries."""
    wallet_model, asset_model, account_model = (
        apps.get_model("dj_wallet", name) for name in ("Wallet", "Asset", "Account")
    )
    alias = schema_editor.connection.alias
    assets = {}
    accounts = []
    for wallet in wallet_model.objects.using(alias).order_by("pk").iterator():
        code = str((wallet.meta or {}).get("currency") or "USD")[:32]
        if code not in assets:
            assets[code] = asset_model(code=code, decimal_places=8)
        accounts.append(
            account_model(
                id=wallet.pk, asset_id=code, balance=wallet.balance, is_frozen=wallet.is_frozen
            )
        )
    if not accounts:
        return
    asset_model.objects.using(alias).bulk_create(assets.values())
    account_model.objects.using(alias).bulk_create(accounts, batch_size=1000)
    with schema_editor.connection.cursor() as cursor:
        from django.core.management.color import no_style

        for statement in schema_editor.connection.ops.sequence_reset_sql(
            no_style(), [account_model]
        ):
            cursor.execute(statement)
        if schema_editor.connection.vendor == "postgresql":
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


class MakeWalletAnAccount(Operation):
    """Turn the wallet's own key into a link to its account, in the same column."""

    reduces_to_sql = True
    reversible = False

    def state_forwards(self, app_label, state):
        state.remove_field(app_label, "wallet", "id")
        state.models[app_label, "wallet"].bases = (f"{app_label}.account",)
        link = models.OneToOneField(
            f"{app_label}.account",
            CASCADE,
            parent_link=True,
            primary_key=True,
            serialize=False,
            db_column="id",
            related_name="%(class)s",
        )
        state.add_field(app_label, "wallet", "account_ptr", link, preserve_default=True)

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        before = from_state.apps.get_model(app_label, "wallet")
        after = to_state.apps.get_model(app_label, "wallet")
        if self.allow_migrate_model(schema_editor.connection.alias, after):
            schema_editor.alter_field(
                before, before._meta.get_field("id"), after._meta.get_field("account_ptr")
            )

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        raise NotImplementedError("Balances cannot go back into the tables of release 0.1.0.")

    def describe(self):
        return "Make Wallet an Account"


def make_account_link(**options):
    return models.ForeignKey(
        "dj_wallet.account",
        PROTECT,
        related_name="+",
        db_constraint=False,
        db_index=False,
        **options,
    )


def make_owner(related_name, **options):
    return models.ForeignKey(
        "contenttypes.contenttype", PROTECT, related_name=related_name, **options
    )


def make_uuid7():
    return models.UUIDField(default=uuid7, editable=False, unique=True)


def make_idempotency_constraint(name):
    return models.UniqueConstraint(
        fields=["idempotency_key"],
        condition=Q(idempotency_key__isnull=False),
        name=f"dj_wallet_{name}_idempotency_key",
    )


ASSET = migrations.CreateModel(
    "Asset",
    [
        ("code", models.CharField(max_length=32, primary_key=True, serialize=False)),
        ("name", models.CharField(blank=True, max_length=100)),
        ("decimal_places", models.PositiveSmallIntegerField(default=8)),
        (
            "kind",
            models.CharField(
                choices=[("fiat", "Fiat money"), ("crypto", "Coin"), ("points", "Points")],
                default="fiat",
                max_length=8,
            ),
        ),
    ],
    options={
        "constraints": [
            models.CheckConstraint(
                condition=Q(decimal_places__lte=18), name="dj_wallet_asset_decimal_places"
            )
        ]
    },
)
ACCOUNT = migrations.CreateModel(
    "Account",
    [
        (
            "id",
            models.BigAutoField(
                auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
            ),
        ),
        (
            "kind",
            models.CharField(
                choices=[("wallet", "Wallet"), ("system", "System account")],
                default="wallet",
                editable=False,
                max_length=6,
            ),
        ),
        ("code", models.CharField(editable=False, max_length=64, null=True)),
        ("decimal_places", models.PositiveSmallIntegerField(default=8, editable=False)),
        ("balance", MoneyField(default=Decimal(0), editable=False)),
        ("locked_balance", MoneyField(default=Decimal(0), editable=False)),
        ("pending_balance", MoneyField(default=Decimal(0), editable=False)),
        ("overdraft_limit", MoneyField(blank=True, default=Decimal(0), null=True)),
        ("is_frozen", models.BooleanField(default=False)),
        ("version", models.BigIntegerField(default=0, editable=False)),
        ("asset", models.ForeignKey("dj_wallet.asset", PROTECT, related_name="+")),
    ],
    options={
        "constraints": [
            models.CheckConstraint(
                condition=Q(locked_balance__gte=0), name="dj_wallet_account_locked_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(pending_balance__gte=0), name="dj_wallet_account_pending_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(kind="wallet", code__isnull=True)
                | Q(kind="system", code__isnull=False),
                name="dj_wallet_account_system_has_code",
            ),
            models.UniqueConstraint(
                fields=["asset", "code"],
                condition=Q(kind="system"),
                name="dj_wallet_account_system_code",
            ),
        ]
    },
)
POSTING = migrations.CreateModel(
    "Posting",
    [
        ("id", models.BigAutoField(primary_key=True, serialize=False)),
        ("entry_id", models.BigIntegerField()),
        ("kind", models.CharField(max_length=16)),
        ("source_bucket", models.PositiveSmallIntegerField(choices=BUCKETS, default=0)),
        ("destination_bucket", models.PositiveSmallIntegerField(choices=BUCKETS, default=0)),
        ("amount", MoneyField()),
        ("source_balance_after", MoneyField(null=True)),
        ("source_version", models.BigIntegerField(null=True)),
        ("destination_balance_after", MoneyField(null=True)),
        ("destination_version", models.BigIntegerField(null=True)),
        ("reference_type", models.CharField(blank=True, default="", max_length=32)),
        ("reference_id", models.CharField(blank=True, default="", max_length=255)),
        ("idempotency_key", models.CharField(max_length=255, null=True)),
        ("fingerprint", models.UUIDField(null=True)),
        ("event_at", models.DateTimeField(null=True)),
        ("created_at", models.DateTimeField()),
        ("source_account", make_account_link()),
        ("destination_account", make_account_link()),
    ],
    options={
        "indexes": [
            models.Index(
                fields=["source_account", "source_bucket", "id"], name="dj_wallet_posting_source"
            ),
            models.Index(
                fields=["destination_account", "destination_bucket", "id"],
                name="dj_wallet_posting_destination",
            ),
            models.Index(fields=["created_at"], name="dj_wallet_posting_created"),
            models.Index(
                fields=["entry_id"], condition=~Q(entry_id=F("id")), name="dj_wallet_posting_entry"
            ),
        ],
        "constraints": [
            models.CheckConstraint(
                condition=Q(amount__gt=0), name="dj_wallet_posting_amount_positive"
            ),
            models.CheckConstraint(
                condition=~Q(
                    source_account=F("destination_account"), source_bucket=F("destination_bucket")
                ),
                name="dj_wallet_posting_moves",
            ),
            make_idempotency_constraint("posting"),
        ],
    },
)
LEDGER_ENTRY = migrations.CreateModel(
    "LedgerEntry",
    [
        ("id", models.BigIntegerField(primary_key=True, serialize=False)),
        ("bucket", models.PositiveSmallIntegerField(choices=BUCKETS)),
        ("entry_id", models.BigIntegerField()),
        ("entry_type", models.CharField(max_length=16)),
        ("debit", MoneyField()),
        ("credit", MoneyField()),
        ("balance_after", MoneyField(null=True)),
        ("version", models.BigIntegerField(null=True)),
        ("reference_type", models.CharField(max_length=32)),
        ("reference_id", models.CharField(max_length=255)),
        ("idempotency_key", models.CharField(max_length=255, null=True)),
        ("event_at", models.DateTimeField(null=True)),
        ("created_at", models.DateTimeField()),
        (
            "account",
            models.ForeignKey(
                "dj_wallet.account", DO_NOTHING, related_name="+", db_constraint=False
            ),
        ),
        (
            "posting",
            models.ForeignKey(
                "dj_wallet.posting", DO_NOTHING, related_name="+", db_constraint=False
            ),
        ),
    ],
    options={"db_table": "dj_wallet_ledgerentry", "managed": False},
)


class Migration(migrations.Migration):
    dependencies = [("dj_wallet", "0001_initial")]
    operations = [
        migrations.RunPython(refuse_negative_amounts, migrations.RunPython.noop),
        ASSET,
        ACCOUNT,
        migrations.RunPython(copy_balances, migrations.RunPython.noop),
        migrations.RemoveField("wallet", "balance"),
        migrations.RemoveField("wallet", "decimal_places"),
        migrations.RemoveField("wallet", "is_frozen"),
        migrations.AlterField("wallet", "holder_id", HolderKeyField(type_field="holder_type")),
        migrations.AlterField(
            "wallet", "holder_type", make_owner("%(class)s_wallets", db_constraint=False)
        ),
        MakeWalletAnAccount(),
        migrations.AddField(
            "transaction", "entry_id", models.BigIntegerField(editable=False, null=True)
        ),
        migrations.AddField(
            "transaction",
            "idempotency_key",
            models.CharField(editable=False, max_length=255, null=True),
        ),
        migrations.AddField(
            "transaction",
            "counterpart",
            models.CharField(blank=True, default="", editable=False, max_length=64),
        ),
        migrations.AddField(
            "transaction", "allow_overdraft", models.BooleanField(default=False, editable=False)
        ),
        migrations.AlterField("transaction", "amount", MoneyField()),
        migrations.AlterField(
            "transaction", "payable_id", HolderKeyField(type_field="payable_type")
        ),
        migrations.AlterField(
            "transaction",
            "payable_type",
            make_owner("%(class)s_transactions", db_constraint=False, db_index=False),
        ),
        migrations.AlterField("transaction", "uuid", make_uuid7()),
        migrations.AlterField(
            "transaction",
            "wallet",
            models.ForeignKey(
                "dj_wallet.wallet", PROTECT, related_name="transactions", db_index=False
            ),
        ),
        migrations.AddIndex(
            "transaction",
            models.Index(fields=["wallet", "id"], name="dj_wallet_transaction_wallet"),
        ),
        migrations.AddConstraint(
            "transaction",
            models.CheckConstraint(
                condition=Q(amount__gt=0) | Q(amount=0, entry_id__isnull=True),
                name="dj_wallet_transaction_amount_positive",
            ),
        ),
        migrations.AddConstraint("transaction", make_idempotency_constraint("transaction")),
        migrations.AddField(
            "transfer", "entry_id", models.BigIntegerField(editable=False, null=True)
        ),
        migrations.AddField(
            "transfer",
            "idempotency_key",
            models.CharField(editable=False, max_length=255, null=True),
        ),
        migrations.AlterField("transfer", "discount", MoneyField(default=Decimal(0))),
        migrations.AlterField("transfer", "fee", MoneyField(default=Decimal(0))),
        migrations.AlterField("transfer", "from_id", HolderKeyField(type_field="from_type")),
        migrations.AlterField("transfer", "to_id", HolderKeyField(type_field="to_type")),
        migrations.AlterField(
            "transfer",
            "from_type",
            make_owner("%(class)s_transfers_sent", db_constraint=False, db_index=False),
        ),
        migrations.AlterField(
            "transfer",
            "to_type",
            make_owner("%(class)s_transfers_received", db_constraint=False, db_index=False),
        ),
        migrations.AlterField("transfer", "uuid", make_uuid7()),
        migrations.AlterField(
            "transfer",
            "deposit",
            models.ForeignKey("dj_wallet.transaction", PROTECT, related_name="transfer_deposit"),
        ),
        migrations.AlterField(
            "transfer",
            "withdraw",
            models.ForeignKey("dj_wallet.transaction", PROTECT, related_name="transfer_withdraw"),
        ),
        migrations.AddConstraint("transfer", make_idempotency_constraint("transfer")),
        POSTING,
        migrations.CreateModel(
            "EntryMeta",
            [
                ("entry_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("data", models.JSONField()),
            ],
        ),
        migrations.CreateModel(
            "Checkpoint",
            [
                (
                    "account",
                    models.OneToOneField(
                        "dj_wallet.account",
                        CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                    ),
                ),
                ("posting_id", models.BigIntegerField()),
                ("balance", MoneyField()),
            ],
        ),
        migrations.CreateModel(
            "CheckpointHorizon",
            [
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("posting_id", models.BigIntegerField()),
                ("transaction_id", models.BigIntegerField()),
            ],
        ),
        LEDGER_ENTRY,
        InstallSQL(
            ["postgresql"],
            [
                "fillfactor",
                "take_back",
                "post_one",
                "post_recorded",
                "post_batch",
                "append_only_postgresql",
            ],
            "drop trigger dj_wallet_account_stays on dj_wallet_account;"
            " drop trigger dj_wallet_posting_append_only on dj_wallet_posting;"
            " drop function dj_wallet_refuse_change, dj_wallet_post_batch, dj_wallet_post_recorded, dj_wallet_post_one, dj_wallet_take_back;"
            " alter table dj_wallet_account reset (fillfactor)",
        ),
        InstallSQL(
            ["sqlite"],
            ["append_only_sqlite"],
            "drop trigger dj_wallet_posting_no_update\n"
            "drop trigger dj_wallet_posting_no_delete\n"
            "drop trigger dj_wallet_account_stays",
        ),
        InstallSQL([], ["ledger_entry"], "drop view dj_wallet_ledgerentry"),
    ]
