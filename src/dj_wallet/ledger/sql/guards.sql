-- The CHECK constraints of the tables that every movement writes, in forms that cost a movement next to nothing:
-- PostgreSQL parses the text of a CHECK anew in each statement that writes to its table. They refuse what the
-- constraints refused, by the same names.

alter table dj_wallet_account
    drop constraint if exists dj_wallet_account_locked_not_negative,
    drop constraint if exists dj_wallet_account_pending_not_negative,
    drop constraint if exists dj_wallet_account_system_has_code;

-- A domain is asked only by statements that set its column, and parsed once per session.
create domain dj_wallet_not_negative as numeric(80,18)
    constraint dj_wallet_account_bucket_not_negative check (value >= 0);

alter table dj_wallet_account
    alter column locked_balance type dj_wallet_not_negative,
    alter column pending_balance type dj_wallet_not_negative;

create or replace function dj_wallet_check_account() returns trigger language plpgsql as $$
begin
    if (new.kind = 'system' and new.code is not null) or (new.kind = 'wallet' and new.code is null) then
        return new;
    end if;
    raise exception 'account % is %, with code %', new.id, new.kind, new.code
        using errcode = 'check_violation', constraint = 'dj_wallet_account_system_has_code';
end $$;

create or replace trigger dj_wallet_account_has_code before insert or update of kind, code on dj_wallet_account
    for each row execute function dj_wallet_check_account();

-- A new transaction that says anything but "this entry moved this much" is looked at, and every later change.
alter table dj_wallet_transaction
    drop constraint if exists dj_wallet_transaction_amount_positive,
    drop constraint if exists dj_wallet_transaction_refunded_at_most_once;

create or replace function dj_wallet_check_transaction() returns trigger language plpgsql as $$
begin
    if new.amount < 0 or (new.amount = 0 and new.entry_id is not null) then
        raise exception 'transaction % of %', new.id, new.amount
            using errcode = 'check_violation', constraint = 'dj_wallet_transaction_amount_positive';
    end if;
    if new.refunded_amount < 0 or new.refunded_amount > new.amount then
        raise exception '% of transaction % of % given back', new.refunded_amount, new.id, new.amount
            using errcode = 'check_violation', constraint = 'dj_wallet_transaction_refunded_at_most_once';
    end if;
    if tg_op = 'INSERT' and new.entry_id is null then
        -- A record without an entry (pending) names a wallet that nothing has proven yet.
        perform from dj_wallet_account where id = new.wallet_id for key share;
        if not found then
            raise exception 'wallet % of a new transaction does not exist', new.wallet_id
                using errcode = 'foreign_key_violation';
        end if;
    end if;
    return new;
end $$;

drop trigger if exists dj_wallet_transaction_wallet on dj_wallet_transaction;

create or replace trigger dj_wallet_transaction_is_sound before insert on dj_wallet_transaction
    for each row when (not (new.entry_id is not null and new.amount > 0 and new.refunded_amount = 0))
    execute function dj_wallet_check_transaction();

create or replace trigger dj_wallet_transaction_stays_sound
    before update of amount, refunded_amount, entry_id on dj_wallet_transaction
    for each row execute function dj_wallet_check_transaction();

-- What Django adds to a column of small positive numbers; the ledger names its buckets, and -1 is no worse than 7.
alter table dj_wallet_posting
    drop constraint if exists dj_wallet_posting_source_bucket_check,
    drop constraint if exists dj_wallet_posting_destination_bucket_check;

-- A line of a purchase is written by the statement that writes the purchase: what the foreign key still has to do is to
-- keep the purchase. Each check of it took a query and a row lock at the commit, 50 of them for a cart of 50.
create or replace function dj_wallet_keep_purchase() returns trigger language plpgsql as $$
begin
    if exists (select from dj_wallet_purchaseline where purchase_id = old.id) then
        raise exception 'purchase % has lines', old.id using errcode = 'foreign_key_violation';
    end if;
    return old;
end $$;

create or replace trigger dj_wallet_purchase_with_lines_stays before delete on dj_wallet_purchase
    for each row execute function dj_wallet_keep_purchase();
