"""Limits and lots of single wallets, and the flag on the account that sends what leaves them to the engine."""

from decimal import Decimal

from django.db import migrations, models
from django.db.models import CASCADE, PROTECT, F, Q

from dj_wallet.ledger.fields import MoneyField
from dj_wallet.ledger.ids import uuid7
from dj_wallet.ledger.sql import InstallSQL


class Migration(migrations.Migration):
    dependencies = [
        ("dj_wallet", "0004_admin"),
    ]

    operations = [
        migrations.CreateModel(
            name="WalletLimits",
            fields=[
                (
                    "account",
                    models.OneToOneField(
                        on_delete=CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="dj_wallet.account",
                    ),
                ),
                ("minimum_balance", MoneyField(null=True)),
                ("per_transaction", MoneyField(null=True)),
                ("per_day", MoneyField(null=True)),
                ("per_month", MoneyField(null=True)),
                ("spent_today", MoneyField(default=Decimal(0), editable=False)),
                ("spent_this_month", MoneyField(default=Decimal(0), editable=False)),
                ("counted_on", models.DateField(editable=False, null=True)),
                ("reason", models.CharField(blank=True, max_length=255)),
                ("operator", models.CharField(blank=True, max_length=255)),
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "verbose_name_plural": "wallet limits",
            },
        ),
        migrations.AlterModelOptions(
            name="wallet",
            options={
                "permissions": [
                    ("adjust_wallet", "Can adjust the balance of a wallet"),
                    ("limit_wallet", "Can set the limits of a wallet"),
                ],
                "verbose_name": "Wallet",
                "verbose_name_plural": "Wallets",
            },
        ),
        migrations.AddField(
            model_name="account",
            name="has_rules",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        migrations.CreateModel(
            name="Lot",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("uuid", models.UUIDField(default=uuid7, editable=False, unique=True)),
                ("source", models.CharField(default="promotional", max_length=32)),
                ("origin", models.CharField(max_length=64)),
                ("amount", MoneyField()),
                ("remaining", MoneyField()),
                ("priority", models.SmallIntegerField(default=100)),
                ("expires_at", models.DateTimeField(null=True)),
                ("is_withdrawable", models.BooleanField(default=False)),
                ("entry_id", models.BigIntegerField(editable=False, unique=True)),
                (
                    "idempotency_key",
                    models.CharField(editable=False, max_length=255, null=True),
                ),
                ("revoked_at", models.DateTimeField(null=True)),
                ("revoked_reason", models.CharField(blank=True, default="", max_length=255)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=PROTECT,
                        related_name="lots",
                        to="dj_wallet.account",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="LotUse",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("entry_id", models.BigIntegerField(db_index=True)),
                ("amount", MoneyField()),
                ("returned", MoneyField(default=Decimal(0))),
                (
                    "bucket",
                    models.PositiveSmallIntegerField(
                        choices=[(0, "available"), (1, "locked"), (2, "pending")], default=0
                    ),
                ),
                ("held", MoneyField(default=Decimal(0))),
                ("reference_type", models.CharField(blank=True, default="", max_length=32)),
                ("reference_id", models.CharField(blank=True, default="", max_length=255)),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False, on_delete=PROTECT, related_name="+", to="dj_wallet.account"
                    ),
                ),
                (
                    "lot",
                    models.ForeignKey(on_delete=PROTECT, related_name="uses", to="dj_wallet.lot"),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="lot",
            index=models.Index(
                condition=Q(("remaining__gt", 0)), fields=["account"], name="dj_wallet_lot_open"
            ),
        ),
        migrations.AddIndex(
            model_name="lot",
            index=models.Index(
                condition=Q(("remaining__gt", 0)),
                fields=["expires_at"],
                name="dj_wallet_lot_expires",
            ),
        ),
        migrations.AddIndex(
            model_name="lot",
            index=models.Index(fields=["account", "id"], name="dj_wallet_lot_account"),
        ),
        migrations.AddConstraint(
            model_name="lot",
            constraint=models.CheckConstraint(
                condition=Q(("remaining__gte", 0), ("remaining__lte", F("amount"))),
                name="dj_wallet_lot_remaining",
            ),
        ),
        migrations.AddConstraint(
            model_name="lot",
            constraint=models.UniqueConstraint(
                condition=Q(("idempotency_key__isnull", False)),
                fields=("idempotency_key",),
                name="dj_wallet_lot_idempotency_key",
            ),
        ),
        migrations.AddIndex(
            model_name="lotuse",
            index=models.Index(
                condition=Q(("held__gt", 0)), fields=["account"], name="dj_wallet_lotuse_held"
            ),
        ),
        migrations.AddConstraint(
            model_name="lotuse",
            constraint=models.CheckConstraint(
                condition=Q(("amount__gt", 0)), name="dj_wallet_lotuse_amount"
            ),
        ),
        migrations.AddConstraint(
            model_name="lotuse",
            constraint=models.CheckConstraint(
                condition=Q(("returned__gte", 0), ("returned__lte", F("amount"))),
                name="dj_wallet_lotuse_returned",
            ),
        ),
        migrations.AddConstraint(
            model_name="lotuse",
            constraint=models.CheckConstraint(
                condition=Q(("held__gte", 0), ("held__lte", F("amount"))),
                name="dj_wallet_lotuse_held_at_most",
            ),
        ),
        InstallSQL(["postgresql"], ["drop_old_post_batch", "post_one", "post_batch"], None),
        InstallSQL(["sqlite"], ["account_stays_sqlite"], None),
    ]
