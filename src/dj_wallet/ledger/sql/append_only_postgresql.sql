-- History is append-only, and an account with history stays. TRUNCATE is left to its owner: Django's test
-- cases flush with it.
create or replace function dj_wallet_refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% on % is refused: the ledger is append-only', tg_op, tg_table_name using errcode = 'DJW02';
end $$;

create trigger dj_wallet_posting_append_only before update or delete on dj_wallet_posting
    for each row execute function dj_wallet_refuse_change();

create trigger dj_wallet_account_stays before delete on dj_wallet_account
    for each row when (old.version > 0 or old.kind = 'system') execute function dj_wallet_refuse_change();
