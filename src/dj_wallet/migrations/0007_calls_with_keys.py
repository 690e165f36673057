"""Calls with an idempotency key check it and move the money in one statement."""

from django.db import migrations

from dj_wallet.ledger.sql import InstallSQL


class Migration(migrations.Migration):
    dependencies = [("dj_wallet", "0006_holds_and_escrows")]
    operations = [
        InstallSQL(["postgresql"], ["post_once"], "drop function if exists dj_wallet_post_once"),
    ]
