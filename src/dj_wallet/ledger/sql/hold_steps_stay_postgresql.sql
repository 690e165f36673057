-- What became of a hold is history, as its postings are.
create trigger dj_wallet_holdstep_append_only before update or delete on dj_wallet_holdstep
    for each row execute function dj_wallet_refuse_change();
