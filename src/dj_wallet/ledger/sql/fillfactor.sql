-- Balances change in place: half-empty pages keep the new version of a row beside the old one (HOT updates).
alter table dj_wallet_account set (fillfactor = 50);
