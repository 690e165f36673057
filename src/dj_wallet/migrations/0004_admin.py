"""What the admin needs: the permission to post adjustments, and a plural."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("dj_wallet", "0003_purchases_and_refunds")]
    operations = [
        migrations.AlterModelOptions(
            "wallet",
            options={
                "permissions": [("adjust_wallet", "Can adjust the balance of a wallet")],
                "verbose_name": "Wallet",
                "verbose_name_plural": "Wallets",
            },
        ),
        migrations.AlterModelOptions(
            "ledgerentry", options={"managed": False, "verbose_name_plural": "ledger entries"}
        ),
    ]
