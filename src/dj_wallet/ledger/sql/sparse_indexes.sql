-- Most transfers give nothing back and most lines have no fee: their NULLs need no place in an index.
drop index if exists dj_wallet_transfer_refund_of_id_6380cf22;
create index if not exists dj_wallet_transfer_refund_of on dj_wallet_transfer (refund_of_id)
    where refund_of_id is not null;

drop index if exists dj_wallet_purchaseline_fee_payment_id_b697fe8e;
create index if not exists dj_wallet_purchaseline_fee_payment on dj_wallet_purchaseline (fee_payment_id)
    where fee_payment_id is not null;
