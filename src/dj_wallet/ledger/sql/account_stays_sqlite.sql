-- SQLite builds a table anew to add a column, and forgets its triggers.
drop trigger if exists dj_wallet_account_stays;

create trigger dj_wallet_account_stays before delete on dj_wallet_account
when (old.version > 0 or old.kind = 'system') and not dj_wallet_is_flushing()
begin select raise(abort, 'DELETE on dj_wallet_account is refused: the ledger is append-only'); end;
