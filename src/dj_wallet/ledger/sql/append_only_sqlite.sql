-- History is append-only, and an account with history stays. Django's test cases flush SQLite with DELETE:
-- dj_wallet_is_flushing(), which `ledger.store.sqlite` gives each connection, tells that statement from others.
create trigger dj_wallet_posting_no_update before update on dj_wallet_posting
begin select raise(abort, 'UPDATE on dj_wallet_posting is refused: the ledger is append-only'); end;

create trigger dj_wallet_posting_no_delete before delete on dj_wallet_posting when not dj_wallet_is_flushing()
begin select raise(abort, 'DELETE on dj_wallet_posting is refused: the ledger is append-only'); end;

create trigger dj_wallet_account_stays before delete on dj_wallet_account
when (old.version > 0 or old.kind = 'system') and not dj_wallet_is_flushing()
begin select raise(abort, 'DELETE on dj_wallet_account is refused: the ledger is append-only'); end;
