-- Room in each page for what a refund or a confirmation writes to a record: no indexed column of it changes then (HOT).
alter table dj_wallet_transaction set (fillfactor = 90);
alter table dj_wallet_transfer set (fillfactor = 90);
