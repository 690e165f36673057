"""Holds, their steps, and escrows; the functions that write them with their postings in one round trip."""

from decimal import Decimal

import django.db.models.deletion
from django.db import migrations, models

import dj_wallet.ledger.fields
import dj_wallet.ledger.ids
from dj_wallet.ledger.sql import InstallSQL


class Migration(migrations.Migration):
    dependencies = [
        ("dj_wallet", "0005_limits_and_lots"),
    ]

    operations = [
        migrations.CreateModel(
            name="Hold",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "uuid",
                    models.UUIDField(
                        default=dj_wallet.ledger.ids.uuid7, editable=False, unique=True
                    ),
                ),
                ("reference_type", models.CharField(max_length=32)),
                ("reference_id", models.CharField(max_length=255)),
                ("amount", dj_wallet.ledger.fields.MoneyField()),
                ("remaining", dj_wallet.ledger.fields.MoneyField()),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("open", "Open"),
                            ("released", "Released"),
                            ("settled", "Settled"),
                            ("converted", "Converted to escrow"),
                            ("expired", "Expired"),
                        ],
                        default="open",
                        max_length=9,
                    ),
                ),
                ("expires_at", models.DateTimeField(help_text="Empty means never", null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "wallet",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="holds",
                        to="dj_wallet.account",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Escrow",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "uuid",
                    models.UUIDField(
                        default=dj_wallet.ledger.ids.uuid7, editable=False, unique=True
                    ),
                ),
                ("order_id", models.CharField(max_length=255, unique=True)),
                ("amount", dj_wallet.ledger.fields.MoneyField()),
                ("fee_amount", dj_wallet.ledger.fields.MoneyField(default=Decimal("0"))),
                ("released_amount", dj_wallet.ledger.fields.MoneyField(default=Decimal("0"))),
                ("refunded_amount", dj_wallet.ledger.fields.MoneyField(default=Decimal("0"))),
                ("fee_charged", dj_wallet.ledger.fields.MoneyField(default=Decimal("0"))),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("LOCKED", "Locked"),
                            ("RELEASED", "Released"),
                            ("REFUNDED", "Refunded"),
                            ("DISPUTED", "Disputed"),
                        ],
                        default="LOCKED",
                        max_length=8,
                    ),
                ),
                ("reason", models.CharField(blank=True, default="", max_length=255)),
                ("entry_id", models.BigIntegerField(editable=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "buyer_wallet",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="escrows_paid",
                        to="dj_wallet.account",
                    ),
                ),
                (
                    "seller_wallet",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="escrows_received",
                        to="dj_wallet.account",
                    ),
                ),
                (
                    "hold",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="escrows",
                        to="dj_wallet.hold",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="HoldStep",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("placed", "Placed"),
                            ("released", "Released"),
                            ("settled", "Settled"),
                            ("converted", "Converted to escrow"),
                            ("expired", "Expired"),
                        ],
                        max_length=9,
                    ),
                ),
                ("amount", dj_wallet.ledger.fields.MoneyField()),
                ("remaining", dj_wallet.ledger.fields.MoneyField()),
                ("expires_at", models.DateTimeField(null=True)),
                ("entry_id", models.BigIntegerField(editable=False, unique=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "hold",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="steps",
                        to="dj_wallet.hold",
                    ),
                ),
            ],
        ),
        migrations.AlterModelOptions(
            name="hold",
            options={"permissions": [("release_hold", "Can release what is held")]},
        ),
        migrations.AlterModelOptions(
            name="escrow",
            options={"permissions": [("end_escrow", "Can release, refund and dispute escrows")]},
        ),
        migrations.AddIndex(
            model_name="hold",
            index=models.Index(
                condition=models.Q(("expires_at__isnull", False), ("status", "open")),
                fields=["expires_at"],
                name="dj_wallet_hold_expiry",
            ),
        ),
        migrations.AddConstraint(
            model_name="hold",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount__gt", 0), ("remaining__gte", 0), ("remaining__lte", models.F("amount"))
                ),
                name="dj_wallet_hold_remaining",
            ),
        ),
        migrations.AddConstraint(
            model_name="hold",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("remaining__gt", 0), ("status", "open")),
                    models.Q(models.Q(("status", "open"), _negated=True), ("remaining", 0)),
                    _connector="OR",
                ),
                name="dj_wallet_hold_open_keeps_money",
            ),
        ),
        migrations.AddConstraint(
            model_name="hold",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "open")),
                fields=("wallet", "reference_type", "reference_id"),
                name="dj_wallet_hold_one_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="escrow",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount__gt", 0),
                    ("fee_amount__gte", 0),
                    ("fee_amount__lte", models.F("amount")),
                    ("fee_charged__gte", 0),
                    ("fee_charged__lte", models.F("released_amount")),
                ),
                name="dj_wallet_escrow_amounts",
            ),
        ),
        migrations.AddConstraint(
            model_name="escrow",
            constraint=models.CheckConstraint(
                condition=models.Q(("buyer_wallet", models.F("seller_wallet")), _negated=True),
                name="dj_wallet_escrow_two_sides",
            ),
        ),
        migrations.AddConstraint(
            model_name="escrow",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("refunded_amount", 0),
                        ("released_amount", 0),
                        ("status__in", ["LOCKED", "DISPUTED"]),
                    ),
                    models.Q(("released_amount__gt", 0), ("status", "RELEASED")),
                    models.Q(
                        ("refunded_amount", models.F("amount")),
                        ("released_amount", 0),
                        ("status", "REFUNDED"),
                    ),
                    _connector="OR",
                ),
                name="dj_wallet_escrow_ends_whole",
            ),
        ),
        migrations.AddConstraint(
            model_name="holdstep",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gt", 0), ("remaining__gte", 0)),
                name="dj_wallet_holdstep_amounts",
            ),
        ),
        InstallSQL(
            ["postgresql"],
            [
                "place_hold",
                "release_hold",
                "open_escrow",
                "release_escrow",
                "escrow_ends_whole",
                "hold_steps_stay_postgresql",
            ],
            "drop trigger dj_wallet_holdstep_append_only on dj_wallet_holdstep;"
            " alter table dj_wallet_escrow drop constraint dj_wallet_escrow_adds_up;"
            " drop function dj_wallet_release_escrow, dj_wallet_open_escrow, dj_wallet_release_hold, dj_wallet_place_hold",
        ),
        InstallSQL(
            ["sqlite"],
            ["hold_steps_stay_sqlite"],
            "drop trigger dj_wallet_holdstep_no_update\ndrop trigger dj_wallet_holdstep_no_delete",
        ),
    ]
