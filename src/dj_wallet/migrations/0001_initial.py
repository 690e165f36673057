"""The tables of release 0.1.0, so that its databases need no fake migration; 0002 makes ours of them."""

import uuid
from decimal import Decimal

from django.db import migrations, models
from django.db.models import CASCADE

TIMESTAMPS = (
    ("created_at", models.DateTimeField(auto_now_add=True)),
    ("updated_at", models.DateTimeField(auto_now=True)),
)


def make_key():
    return (
        "id",
        models.BigAutoField(
            auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
        ),
    )


def make_uuid():
    return ("uuid", models.UUIDField(default=uuid.uuid4, editable=False, unique=True))


def make_owner(related_name):
    return models.ForeignKey("contenttypes.contenttype", CASCADE, related_name=related_name)


def make_choice(*values, **options):
    return models.CharField(
        max_length=20, choices=[(value, value.capitalize()) for value in values], **options
    )


class Migration(migrations.Migration):
    initial = True
    dependencies = [("contenttypes", "0002_remove_content_type_name")]
    operations = [
        migrations.CreateModel(
            "Transaction",
            [
                make_key(),
                ("payable_id", models.PositiveIntegerField()),
                make_uuid(),
                ("type", make_choice("deposit", "withdraw")),
                ("amount", models.DecimalField(decimal_places=8, max_digits=64)),
                ("confirmed", models.BooleanField(default=True)),
                (
                    "status",
                    make_choice(
                        "pending",
                        "completed",
                        "failed",
                        "reversed",
                        "expired",
                        default="completed",
                        help_text="Current status of the transaction",
                    ),
                ),
                ("meta", models.JSONField(blank=True, default=dict, null=True)),
                *TIMESTAMPS,
                ("payable_type", make_owner("%(class)s_transactions")),
            ],
        ),
        migrations.CreateModel(
            "Transfer",
            [
                make_key(),
                ("from_id", models.PositiveIntegerField()),
                ("to_id", models.PositiveIntegerField()),
                (
                    "status",
                    make_choice(
                        "exchange", "transfer", "paid", "refund", "gift", default="transfer"
                    ),
                ),
                ("discount", models.DecimalField(decimal_places=8, default=0, max_digits=64)),
                ("fee", models.DecimalField(decimal_places=8, default=0, max_digits=64)),
                make_uuid(),
                *TIMESTAMPS,
                (
                    "deposit",
                    models.ForeignKey(
                        "dj_wallet.transaction", CASCADE, related_name="transfer_deposit"
                    ),
                ),
                ("from_type", make_owner("%(class)s_transfers_sent")),
                ("to_type", make_owner("%(class)s_transfers_received")),
                (
                    "withdraw",
                    models.ForeignKey(
                        "dj_wallet.transaction", CASCADE, related_name="transfer_withdraw"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            "Wallet",
            [
                make_key(),
                ("holder_id", models.PositiveIntegerField()),
                ("slug", models.SlugField(default="default", help_text="The name of the wallet")),
                make_uuid(),
                (
                    "balance",
                    models.DecimalField(decimal_places=8, default=Decimal("0.00"), max_digits=64),
                ),
                ("decimal_places", models.PositiveSmallIntegerField(default=8)),
                (
                    "is_frozen",
                    models.BooleanField(default=False, help_text="Whether the wallet is frozen"),
                ),
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
                *TIMESTAMPS,
                ("holder_type", make_owner("%(class)s_wallets")),
            ],
            options={
                "verbose_name": "Wallet",
                "verbose_name_plural": "Wallets",
                "unique_together": {("holder_type", "holder_id", "slug")},
            },
        ),
        migrations.AddField(
            "transaction",
            "wallet",
            models.ForeignKey("dj_wallet.wallet", CASCADE, related_name="transactions"),
        ),
    ]
