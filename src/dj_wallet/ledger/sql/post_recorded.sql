-- Post an entry of one movement and write the records of the default models that go with it, in one round trip.
--
-- As dj_wallet_post_one, which it calls: NULL and nothing written when any rule might refuse the entry. Takes the
-- withdrawal's uuid for a wallet on the source side, the deposit's for one on the destination side, and the
-- transfer's between two wallets; the others are NULL.
create or replace function dj_wallet_post_recorded(
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
declare
    v_record_key text := case when p_transfer_uuid is null then p_key end;
begin
    select f.o_entry_id, f.o_source_after, f.o_destination_after
    into o_entry_id, o_source_after, o_destination_after
    from dj_wallet_post_one(
        p_kind, p_asset, p_amount, p_scale, p_source, p_source_code, p_source_bucket,
        p_destination, p_destination_code, p_destination_bucket, p_allow_overdraft, p_allow_frozen,
        p_reference_type, p_reference_id, p_key, p_fingerprint, p_event_at) f;
    if o_entry_id is null then return; end if;

    if p_withdraw_uuid is not null then
        insert into dj_wallet_transaction (
            payable_type_id, payable_id, wallet_id, uuid, type, amount, confirmed, status, entry_id, idempotency_key,
            counterpart, allow_overdraft, refunded_amount, meta, created_at, updated_at)
        values (
            p_wallet_type, p_source, p_source, p_withdraw_uuid, 'withdraw', p_amount, true, 'completed', o_entry_id,
            v_record_key, '', false, 0, p_withdraw_meta, p_now, p_now)
        returning id into o_withdraw_id;
    end if;
    if p_deposit_uuid is not null then
        insert into dj_wallet_transaction (
            payable_type_id, payable_id, wallet_id, uuid, type, amount, confirmed, status, entry_id, idempotency_key,
            counterpart, allow_overdraft, refunded_amount, meta, created_at, updated_at)
        values (
            p_wallet_type, p_destination, p_destination, p_deposit_uuid, 'deposit', p_amount, true, 'completed',
            o_entry_id, v_record_key, '', false, 0, p_deposit_meta, p_now, p_now)
        returning id into o_deposit_id;
    end if;
    if p_transfer_uuid is not null then
        insert into dj_wallet_transfer (
            from_type_id, from_id, to_type_id, to_id, status, discount, fee, uuid, withdraw_id, deposit_id, entry_id,
            idempotency_key, created_at, updated_at)
        values (
            p_wallet_type, p_source, p_wallet_type, p_destination, p_transfer_status, p_discount, p_fee,
            p_transfer_uuid, o_withdraw_id, o_deposit_id, o_entry_id, p_key, p_now, p_now)
        returning id into o_transfer_id;
    end if;
end $$;
