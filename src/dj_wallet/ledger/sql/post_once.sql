-- As dj_wallet_post_recorded, for a call with an idempotency key: NULL and nothing written when a record has the key.
--
-- A pending record has it without a posting, and one that another transaction is about to commit shows only as a
-- unique violation: that is undone here, in the same statement, so the caller's transaction stays usable.
create or replace function dj_wallet_post_once(
    p_kind text, p_asset text, p_amount numeric, p_scale integer,
    p_source bigint, p_source_code text, p_source_bucket integer,
    p_destination bigint, p_destination_code text, p_destination_bucket integer,
    p_allow_overdraft boolean, p_allow_frozen boolean,
    p_reference_type text, p_reference_id text, p_key text, p_fingerprint uuid, p_event_at timestamptz,
    p_now timestamptz, p_wallet_type integer,
    p_withdraw_uuid uuid, p_withdraw_meta jsonb, p_deposit_uuid uuid, p_deposit_meta jsonb,
    p_transfer_uuid uuid, p_transfer_status text, p_discount numeric, p_fee numeric,
    out o_entry_id bigint, out o_source_after numeric, out o_destination_after numeric,
    out o_withdraw_id bigint, out o_deposit_id bigint, out o_transfer_id bigint)
language plpgsql as $$
begin
    if exists (select from dj_wallet_transaction t where t.idempotency_key = p_key) then return; end if;
    select f.o_entry_id, f.o_source_after, f.o_destination_after, f.o_withdraw_id, f.o_deposit_id, f.o_transfer_id
    into o_entry_id, o_source_after, o_destination_after, o_withdraw_id, o_deposit_id, o_transfer_id
    from dj_wallet_post_recorded(
        p_kind, p_asset, p_amount, p_scale, p_source, p_source_code, p_source_bucket,
        p_destination, p_destination_code, p_destination_bucket, p_allow_overdraft, p_allow_frozen,
        p_reference_type, p_reference_id, p_key, p_fingerprint, p_event_at, p_now, p_wallet_type,
        p_withdraw_uuid, p_withdraw_meta, p_deposit_uuid, p_deposit_meta,
        p_transfer_uuid, p_transfer_status, p_discount, p_fee) f;
exception
    when unique_violation then
        o_entry_id := null;
end $$;
