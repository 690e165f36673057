-- What foreign keys from records to wallets and from transfers to records would guard, at a price only where it is not
-- proven anyway: a posting proves that its wallets exist, and an account with postings stays.

-- A record without an entry (pending) names a wallet that nothing has proven yet.
create or replace function dj_wallet_require_wallet() returns trigger language plpgsql as $$
begin
    perform from dj_wallet_account where id = new.wallet_id for key share;
    if not found then
        raise exception 'wallet % of a new % does not exist', new.wallet_id, tg_table_name
            using errcode = 'foreign_key_violation';
    end if;
    return new;
end $$;

create or replace trigger dj_wallet_transaction_wallet before insert on dj_wallet_transaction
    for each row when (new.entry_id is null) execute function dj_wallet_require_wallet();

create or replace trigger dj_wallet_purchase_wallet before insert on dj_wallet_purchase
    for each row when (new.entry_id is null) execute function dj_wallet_require_wallet();

create or replace function dj_wallet_keep_account() returns trigger language plpgsql as $$
begin
    if exists (select from dj_wallet_transaction where wallet_id = old.id)
        or exists (select from dj_wallet_purchase where wallet_id = old.id)
    then
        raise exception 'account % has records', old.id using errcode = 'foreign_key_violation';
    end if;
    return old;
end $$;

create or replace trigger dj_wallet_account_with_records_stays before delete on dj_wallet_account
    for each row when (old.version = 0) execute function dj_wallet_keep_account();

create or replace function dj_wallet_keep_transaction() returns trigger language plpgsql as $$
begin
    if exists (select from dj_wallet_transfer where withdraw_id = old.id or deposit_id = old.id) then
        raise exception 'transaction % is part of a transfer', old.id using errcode = 'foreign_key_violation';
    end if;
    return old;
end $$;

create or replace trigger dj_wallet_transaction_of_transfer_stays before delete on dj_wallet_transaction
    for each row execute function dj_wallet_keep_transaction();

create or replace function dj_wallet_keep_transfer() returns trigger language plpgsql as $$
begin
    if exists (select from dj_wallet_transfer where refund_of_id = old.id) then
        raise exception 'transfer % was given back by another', old.id using errcode = 'foreign_key_violation';
    end if;
    return old;
end $$;

create or replace trigger dj_wallet_refunded_transfer_stays before delete on dj_wallet_transfer
    for each row execute function dj_wallet_keep_transfer();
