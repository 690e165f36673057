-- What an escrow gave out is what it kept. Here only: SQLite adds floats.
alter table dj_wallet_escrow add constraint dj_wallet_escrow_adds_up
    check (status in ('LOCKED', 'DISPUTED') or amount = released_amount + refunded_amount);
