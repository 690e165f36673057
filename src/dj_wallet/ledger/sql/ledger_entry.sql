-- One row per side of a posting, as seed 001's LedgerEntry reads.
create view dj_wallet_ledgerentry as
select
    id * 2 as id, id as posting_id, entry_id, source_account_id as account_id, source_bucket as bucket,
    kind as entry_type, amount as debit, amount - amount as credit,
    source_balance_after as balance_after, source_version as version,
    reference_type, reference_id, idempotency_key, event_at, created_at
from dj_wallet_posting
union all
select
    id * 2 + 1, id, entry_id, destination_account_id, destination_bucket,
    kind, amount - amount, amount,
    destination_balance_after, destination_version,
    reference_type, reference_id, idempotency_key, event_at, created_at
from dj_wallet_posting;
