-- What `guards` says, cheaper once more.

-- The last CHECK of the table of accounts: the trigger says it, of new and changed digits.
alter table dj_wallet_account drop constraint if exists dj_wallet_account_decimal_places_check;

create or replace function dj_wallet_check_account() returns trigger language plpgsql as $$
begin
    if new.decimal_places < 0 then
        raise exception 'account % has % decimal places', new.id, new.decimal_places
            using errcode = 'check_violation', constraint = 'dj_wallet_account_decimal_places_check';
    end if;
    if (new.kind = 'system' and new.code is not null) or (new.kind = 'wallet' and new.code is null) then
        return new;
    end if;
    raise exception 'account % is %, with code %', new.id, new.kind, new.code
        using errcode = 'check_violation', constraint = 'dj_wallet_account_system_has_code';
end $$;

drop trigger dj_wallet_account_has_code on dj_wallet_account;

-- After, not before: to ask a trigger before an update, PostgreSQL locks the row and logs that, whatever columns change.
create trigger dj_wallet_account_is_sound after insert or update of kind, code, decimal_places on dj_wallet_account
    for each row execute function dj_wallet_check_account();

-- Its zeros are numerics: PostgreSQL made numerics of whole ones in each statement.
create or replace trigger dj_wallet_transaction_is_sound before insert on dj_wallet_transaction
    for each row
    when (not (new.entry_id is not null and new.amount > numeric '0' and new.refunded_amount = numeric '0'))
    execute function dj_wallet_check_transaction();
