-- What became of a hold is history, as its postings are.
create trigger dj_wallet_holdstep_no_update before update on dj_wallet_holdstep
begin select raise(abort, 'UPDATE on dj_wallet_holdstep is refused: the ledger is append-only'); end;

create trigger dj_wallet_holdstep_no_delete before delete on dj_wallet_holdstep when not dj_wallet_is_flushing()
begin select raise(abort, 'DELETE on dj_wallet_holdstep is refused: the ledger is append-only'); end;
