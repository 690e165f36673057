"""The checks of the tables that every movement writes cost it next to nothing on PostgreSQL: ADR 0049."""

from django.db import migrations, models

from dj_wallet.ledger.sql import AlterOnPostgres, InstallSQL

CHECKS_COME_BACK = """
drop trigger dj_wallet_purchase_with_lines_stays on dj_wallet_purchase;
drop function dj_wallet_keep_purchase;
alter table dj_wallet_posting
    add constraint dj_wallet_posting_source_bucket_check check (source_bucket >= 0),
    add constraint dj_wallet_posting_destination_bucket_check check (destination_bucket >= 0);
drop trigger dj_wallet_transaction_is_sound on dj_wallet_transaction;
drop trigger dj_wallet_transaction_stays_sound on dj_wallet_transaction;
drop function dj_wallet_check_transaction;
create trigger dj_wallet_transaction_wallet before insert on dj_wallet_transaction
    for each row when (new.entry_id is null) execute function dj_wallet_require_wallet();
alter table dj_wallet_transaction
    add constraint dj_wallet_transaction_amount_positive
        check (amount > 0 or (amount = 0 and entry_id is null)),
    add constraint dj_wallet_transaction_refunded_at_most_once
        check (refunded_amount >= 0 and refunded_amount <= amount);
drop trigger dj_wallet_account_has_code on dj_wallet_account;
drop function dj_wallet_check_account;
alter table dj_wallet_account
    alter column locked_balance type numeric(80,18),
    alter column pending_balance type numeric(80,18),
    add constraint dj_wallet_account_locked_not_negative check (locked_balance >= 0),
    add constraint dj_wallet_account_pending_not_negative check (pending_balance >= 0),
    add constraint dj_wallet_account_system_has_code
        check ((kind = 'wallet' and code is null) or (kind = 'system' and code is not null));
drop domain dj_wallet_not_negative;
"""

INDEXES_COME_BACK = """
drop index dj_wallet_transfer_refund_of;
create index dj_wallet_transfer_refund_of_id_6380cf22 on dj_wallet_transfer (refund_of_id);
drop index dj_wallet_purchaseline_fee_payment;
create index dj_wallet_purchaseline_fee_payment_id_b697fe8e on dj_wallet_purchaseline (fee_payment_id);
"""


class Migration(migrations.Migration):
    dependencies = [("dj_wallet", "0010_bulk")]
    operations = [
        AlterOnPostgres(
            model_name="purchaseline",
            name="purchase",
            field=models.ForeignKey(
                on_delete=models.PROTECT,
                related_name="lines",
                to="dj_wallet.purchase",
                db_constraint=False,
            ),
        ),
        InstallSQL(["postgresql"], ["guards"], CHECKS_COME_BACK),
        InstallSQL(["postgresql"], ["sparse_indexes"], INDEXES_COME_BACK),
    ]
