"""Payments for one product and refunds of plain transfers move the money and write their records in one statement."""

from django.db import migrations

from dj_wallet.ledger.sql import InstallSQL


class Migration(migrations.Migration):
    dependencies = [("dj_wallet", "0007_calls_with_keys")]
    operations = [
        InstallSQL(
            ["postgresql"], ["refund_transfer"], "drop function if exists dj_wallet_refund_transfer"
        ),
        InstallSQL(["postgresql"], ["pay"], "drop function if exists dj_wallet_pay"),
    ]
