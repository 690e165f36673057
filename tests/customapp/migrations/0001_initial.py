import uuid
from decimal import Decimal

import django.db.models.deletion
from django.db import migrations, models

import dj_wallet.holders
import dj_wallet.ledger.fields
import dj_wallet.ledger.ids
import dj_wallet.mixins


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("contenttypes", "0002_remove_content_type_name"),
        ("dj_wallet", "0003_purchases_and_refunds"),
    ]

    operations = [
        migrations.CreateModel(
            name="Player",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=50)),
            ],
            bases=(dj_wallet.mixins.WalletMixin, models.Model),
        ),
        migrations.CreateModel(
            name="Potion",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("price", models.IntegerField(default=3)),
            ],
            bases=(dj_wallet.mixins.ProductMixin, models.Model),
        ),
        migrations.CreateModel(
            name="Sword",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("price", models.IntegerField(default=10)),
            ],
            bases=(dj_wallet.mixins.WalletMixin, dj_wallet.mixins.ProductMixin, models.Model),
        ),
        migrations.CreateModel(
            name="MyTransaction",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "payable_id",
                    dj_wallet.holders.HolderKeyField(max_length=255, type_field="payable_type"),
                ),
                (
                    "uuid",
                    models.UUIDField(
                        default=dj_wallet.ledger.ids.uuid7, editable=False, unique=True
                    ),
                ),
                (
                    "type",
                    models.CharField(
                        choices=[("deposit", "Deposit"), ("withdraw", "Withdraw")], max_length=20
                    ),
                ),
                ("amount", dj_wallet.ledger.fields.MoneyField()),
                (
                    "refunded_amount",
                    dj_wallet.ledger.fields.MoneyField(default=Decimal("0"), editable=False),
                ),
                (
                    "counterpart",
                    models.CharField(blank=True, default="", editable=False, max_length=64),
                ),
                ("allow_overdraft", models.BooleanField(default=False, editable=False)),
                ("confirmed", models.BooleanField(default=True)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("completed", "Completed"),
                            ("failed", "Failed"),
                            ("reversed", "Reversed"),
                            ("expired", "Expired"),
                        ],
                        default="completed",
                        help_text="Current status of the transaction",
                        max_length=20,
                    ),
                ),
                ("entry_id", models.BigIntegerField(editable=False, null=True)),
                ("idempotency_key", models.CharField(editable=False, max_length=255, null=True)),
                ("meta", models.JSONField(blank=True, default=dict, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("note", models.CharField(default="noted", max_length=50)),
                (
                    "payable_type",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="%(class)s_transactions",
                        to="contenttypes.contenttype",
                    ),
                ),
                (
                    "wallet",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="transactions",
                        to="dj_wallet.account",
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="MyTransfer",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "from_id",
                    dj_wallet.holders.HolderKeyField(max_length=255, type_field="from_type"),
                ),
                ("to_id", dj_wallet.holders.HolderKeyField(max_length=255, type_field="to_type")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("exchange", "Exchange"),
                            ("transfer", "Transfer"),
                            ("paid", "Paid"),
                            ("refund", "Refund"),
                            ("gift", "Gift"),
                        ],
                        default="transfer",
                        max_length=20,
                    ),
                ),
                ("discount", dj_wallet.ledger.fields.MoneyField(default=Decimal("0"))),
                ("fee", dj_wallet.ledger.fields.MoneyField(default=Decimal("0"))),
                (
                    "uuid",
                    models.UUIDField(
                        default=dj_wallet.ledger.ids.uuid7, editable=False, unique=True
                    ),
                ),
                ("entry_id", models.BigIntegerField(editable=False, null=True)),
                ("idempotency_key", models.CharField(editable=False, max_length=255, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("channel", models.CharField(default="web", max_length=50)),
                (
                    "deposit",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="transfer_deposit",
                        to="customapp.mytransaction",
                    ),
                ),
                (
                    "from_type",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="%(class)s_transfers_sent",
                        to="contenttypes.contenttype",
                    ),
                ),
                (
                    "refund_of",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="refunds",
                        to="customapp.mytransfer",
                    ),
                ),
                (
                    "to_type",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="%(class)s_transfers_received",
                        to="contenttypes.contenttype",
                    ),
                ),
                (
                    "withdraw",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="transfer_withdraw",
                        to="customapp.mytransaction",
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="MyWallet",
            fields=[
                (
                    "account_ptr",
                    models.OneToOneField(
                        db_column="id",
                        on_delete=django.db.models.deletion.CASCADE,
                        parent_link=True,
                        primary_key=True,
                        related_name="%(class)s",
                        serialize=False,
                        to="dj_wallet.account",
                    ),
                ),
                (
                    "holder_id",
                    dj_wallet.holders.HolderKeyField(max_length=255, type_field="holder_type"),
                ),
                ("slug", models.SlugField(default="default", help_text="The name of the wallet")),
                ("uuid", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                (
                    "frozen_at",
                    models.DateTimeField(
                        blank=True, help_text="When the wallet was frozen", null=True
                    ),
                ),
                (
                    "frozen_reason",
                    models.CharField(blank=True, help_text="Reason for freezing", max_length=255),
                ),
                ("meta", models.JSONField(blank=True, default=dict, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("tax_exempt", models.BooleanField(default=False)),
                (
                    "holder_type",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="%(class)s_wallets",
                        to="contenttypes.contenttype",
                    ),
                ),
            ],
            options={
                "verbose_name": "Wallet",
                "verbose_name_plural": "Wallets",
                "abstract": False,
            },
            bases=("dj_wallet.account",),
        ),
        migrations.AddConstraint(
            model_name="mytransaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount__gt", 0),
                    models.Q(("amount", 0), ("entry_id__isnull", True)),
                    _connector="OR",
                ),
                name="customapp_mytransaction_amount_positive",
            ),
        ),
        migrations.AddConstraint(
            model_name="mytransaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("refunded_amount__gte", 0), ("refunded_amount__lte", models.F("amount"))
                ),
                name="customapp_mytransaction_refunded_at_most_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="mytransaction",
            constraint=models.UniqueConstraint(
                condition=models.Q(("idempotency_key__isnull", False)),
                fields=("idempotency_key",),
                name="customapp_mytransaction_idempotency_key",
            ),
        ),
        migrations.AddConstraint(
            model_name="mytransfer",
            constraint=models.UniqueConstraint(
                condition=models.Q(("idempotency_key__isnull", False)),
                fields=("idempotency_key",),
                name="customapp_mytransfer_idempotency_key",
            ),
        ),
        migrations.AlterUniqueTogether(
            name="mywallet",
            unique_together={("holder_type", "holder_id", "slug")},
        ),
    ]
