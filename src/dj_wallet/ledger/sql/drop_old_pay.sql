-- The parameters have changed: another function of the same name would stay beside it.
drop function if exists dj_wallet_pay;
