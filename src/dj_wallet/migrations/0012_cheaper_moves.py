"""A transfer changes both accounts in one statement, and no CHECK of theirs is parsed for it: ADR 0050."""

from django.db import migrations

from dj_wallet.ledger.sql import InstallSQL

CHECK_COMES_BACK = """
drop trigger dj_wallet_account_is_sound on dj_wallet_account;
create trigger dj_wallet_account_has_code before insert or update of kind, code on dj_wallet_account
    for each row execute function dj_wallet_check_account();
alter table dj_wallet_account add constraint dj_wallet_account_decimal_places_check check (decimal_places >= 0);
"""


class Migration(migrations.Migration):
    dependencies = [("dj_wallet", "0011_guards")]
    operations = [
        # Its statements are what they were: the function of before is not brought back.
        InstallSQL(["postgresql"], ["move"], ""),
        InstallSQL(["postgresql"], ["cheaper_guards"], CHECK_COMES_BACK),
    ]
