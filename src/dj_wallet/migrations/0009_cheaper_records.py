"""Movements without a key take one function; records carry no foreign keys that their posting makes needless: ADR 0048."""

from typing import Any

from django.db import migrations, models
from django.db.models import PROTECT

from dj_wallet.ledger.sql import AlterOnPostgres, InstallSQL

RECORDS_GO = """
drop trigger if exists dj_wallet_transaction_wallet on dj_wallet_transaction;
drop trigger if exists dj_wallet_purchase_wallet on dj_wallet_purchase;
drop trigger if exists dj_wallet_account_with_records_stays on dj_wallet_account;
drop trigger if exists dj_wallet_transaction_of_transfer_stays on dj_wallet_transaction;
drop trigger if exists dj_wallet_refunded_transfer_stays on dj_wallet_transfer;
drop function if exists dj_wallet_require_wallet, dj_wallet_keep_account, dj_wallet_keep_transaction,
    dj_wallet_keep_transfer;
"""


def drop_constraint(
    model: str, name: str, to: str, related_name: str, **options: Any
) -> AlterOnPostgres:
    field: models.ForeignKey[Any, Any] = models.ForeignKey(
        on_delete=PROTECT, related_name=related_name, to=to, db_constraint=False, **options
    )
    return AlterOnPostgres(model_name=model, name=name, field=field)


class Migration(migrations.Migration):
    dependencies = [("dj_wallet", "0008_at_once")]
    operations = [
        drop_constraint(
            "transaction", "wallet", "dj_wallet.account", "transactions", db_index=False
        ),
        drop_constraint("transfer", "withdraw", "dj_wallet.transaction", "transfer_withdraw"),
        drop_constraint("transfer", "deposit", "dj_wallet.transaction", "transfer_deposit"),
        drop_constraint(
            "transfer", "refund_of", "dj_wallet.transfer", "refunds", editable=False, null=True
        ),
        drop_constraint("purchase", "wallet", "dj_wallet.account", "purchases"),
        InstallSQL(["postgresql"], ["records_stay"], RECORDS_GO),
        InstallSQL(["postgresql"], ["fillfactor_of_records"], ""),
        # They stay on the way back, since those of 0008 come from the same files.
        InstallSQL(["postgresql"], ["move", "drop_old_pay", "pay", "refund_transfer"], ""),
    ]
