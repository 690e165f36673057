"""Refunds are counted, purchases recorded, repairs noted; a transaction belongs to an account, whatever model its wallet is."""

from decimal import Decimal

import django.db.models.deletion
from django.db import migrations, models

import dj_wallet.holders
import dj_wallet.ledger.fields
import dj_wallet.ledger.ids


class Migration(migrations.Migration):
    dependencies = [
        ("contenttypes", "0002_remove_content_type_name"),
        ("dj_wallet", "0002_ledger"),
    ]

    operations = [
        migrations.CreateModel(
            name="BalanceRepair",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("found", dj_wallet.ledger.fields.MoneyField()),
                ("restored", dj_wallet.ledger.fields.MoneyField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name="Purchase",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "customer_id",
                    dj_wallet.holders.HolderKeyField(max_length=255, type_field="customer_type"),
                ),
                (
                    "recipient_id",
                    dj_wallet.holders.HolderKeyField(
                        max_length=255, null=True, type_field="recipient_type"
                    ),
                ),
                (
                    "uuid",
                    models.UUIDField(
                        default=dj_wallet.ledger.ids.uuid7, editable=False, unique=True
                    ),
                ),
                ("total", dj_wallet.ledger.fields.MoneyField()),
                ("fee", dj_wallet.ledger.fields.MoneyField(default=Decimal("0"))),
                ("discount", dj_wallet.ledger.fields.MoneyField(default=Decimal("0"))),
                ("entry_id", models.BigIntegerField(editable=False, null=True)),
                ("idempotency_key", models.CharField(editable=False, max_length=255, null=True)),
                ("fingerprint", models.CharField(editable=False, max_length=32)),
                ("meta", models.JSONField(blank=True, default=dict, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name="PurchaseLine",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "product_id",
                    dj_wallet.holders.HolderKeyField(
                        max_length=255, null=True, type_field="product_type"
                    ),
                ),
                ("name", models.CharField(max_length=255)),
                ("quantity", models.PositiveIntegerField()),
                ("unit_price", dj_wallet.ledger.fields.MoneyField()),
                ("discount", dj_wallet.ledger.fields.MoneyField(default=Decimal("0"))),
                ("fee", dj_wallet.ledger.fields.MoneyField(default=Decimal("0"))),
                (
                    "fee_payer",
                    models.CharField(
                        choices=[("buyer", "Buyer"), ("merchant", "Merchant")],
                        default="buyer",
                        max_length=8,
                    ),
                ),
                ("is_fee_refundable", models.BooleanField(default=True)),
                ("net", dj_wallet.ledger.fields.MoneyField()),
                ("total", dj_wallet.ledger.fields.MoneyField()),
                ("refunded_quantity", models.PositiveIntegerField(default=0, editable=False)),
                (
                    "refunded_amount",
                    dj_wallet.ledger.fields.MoneyField(default=Decimal("0"), editable=False),
                ),
            ],
        ),
        migrations.AddField(
            model_name="transaction",
            name="refunded_amount",
            field=dj_wallet.ledger.fields.MoneyField(default=Decimal("0"), editable=False),
        ),
        migrations.AddField(
            model_name="transfer",
            name="refund_of",
            field=models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="refunds",
                to="dj_wallet.transfer",
            ),
        ),
        migrations.AlterField(
            model_name="transaction",
            name="wallet",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="transactions",
                to="dj_wallet.account",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("refunded_amount__gte", 0), ("refunded_amount__lte", models.F("amount"))
                ),
                name="dj_wallet_transaction_refunded_at_most_once",
            ),
        ),
        migrations.AddField(
            model_name="balancerepair",
            name="account",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="dj_wallet.account",
            ),
        ),
        migrations.AddField(
            model_name="purchase",
            name="customer_type",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="contenttypes.contenttype",
            ),
        ),
        migrations.AddField(
            model_name="purchase",
            name="recipient_type",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="contenttypes.contenttype",
            ),
        ),
        migrations.AddField(
            model_name="purchase",
            name="wallet",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="purchases",
                to="dj_wallet.account",
            ),
        ),
        migrations.AddField(
            model_name="purchaseline",
            name="fee_payment",
            field=models.ForeignKey(
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="purchase_fees",
                to="dj_wallet.transaction",
            ),
        ),
        migrations.AddField(
            model_name="purchaseline",
            name="payment",
            field=models.ForeignKey(
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="purchase_lines",
                to="dj_wallet.transaction",
            ),
        ),
        migrations.AddField(
            model_name="purchaseline",
            name="product_type",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="contenttypes.contenttype",
            ),
        ),
        migrations.AddField(
            model_name="purchaseline",
            name="purchase",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="lines",
                to="dj_wallet.purchase",
            ),
        ),
        migrations.AddField(
            model_name="purchaseline",
            name="transfer",
            field=models.ForeignKey(
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="purchase_lines",
                to="dj_wallet.transfer",
            ),
        ),
        migrations.AddIndex(
            model_name="purchase",
            index=models.Index(
                fields=["customer_type", "customer_id"], name="dj_wallet_purchase_customer"
            ),
        ),
        migrations.AddConstraint(
            model_name="purchase",
            constraint=models.UniqueConstraint(
                condition=models.Q(("idempotency_key__isnull", False)),
                fields=("idempotency_key",),
                name="dj_wallet_purchase_idempotency_key",
            ),
        ),
        migrations.AddIndex(
            model_name="purchaseline",
            index=models.Index(
                fields=["product_type", "product_id"], name="dj_wallet_purchase_product"
            ),
        ),
        migrations.AddConstraint(
            model_name="purchaseline",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("refunded_amount__gte", 0), ("refunded_amount__lte", models.F("total"))
                ),
                name="dj_wallet_purchaseline_refunded_at_most_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="purchaseline",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("quantity__gt", 0), ("refunded_quantity__lte", models.F("quantity"))
                ),
                name="dj_wallet_purchaseline_units",
            ),
        ),
    ]
