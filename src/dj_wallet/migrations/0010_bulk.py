"""Many movements, and payments for a cart, move the money and write their records in one statement."""

from django.db import migrations

from dj_wallet.ledger.sql import InstallSQL


class Migration(migrations.Migration):
    dependencies = [("dj_wallet", "0009_cheaper_records")]
    operations = [
        InstallSQL(["postgresql"], ["move_batch"], "drop function if exists dj_wallet_move_batch"),
        InstallSQL(["postgresql"], ["pay_cart"], "drop function if exists dj_wallet_pay_cart"),
    ]
