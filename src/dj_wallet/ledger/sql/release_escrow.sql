-- Pay the seller of an escrow the whole amount, take the fee from him, and write the records of both, in one round trip.
--
-- As dj_wallet_post_recorded, which it calls: NULL and nothing written when any rule might refuse it. Both wallets are
-- locked in id order; the buyer's row is the lock of the escrow. What could refuse the fee, and whether limits or
-- lots of the seller have a say in it, is looked at before the sale is posted: a posting cannot be taken back.
create or replace function dj_wallet_release_escrow(
    p_escrow bigint, p_buyer bigint, p_seller bigint, p_asset text, p_amount numeric, p_fee numeric, p_scale integer,
    p_order text, p_key text, p_fingerprint uuid, p_fee_key text, p_fee_fingerprint uuid,
    p_wallet_type integer, p_withdraw_uuid uuid, p_withdraw_meta jsonb, p_deposit_uuid uuid, p_deposit_meta jsonb,
    p_transfer_uuid uuid, p_fee_uuid uuid, p_fee_meta jsonb, p_reason text,
    out o_entry_id bigint, out o_locked numeric, out o_credited numeric, out o_withdraw_id bigint,
    out o_deposit_id bigint, out o_transfer_id bigint, out o_fee_entry_id bigint, out o_seller_after numeric,
    out o_fee_id bigint, out o_now timestamptz)
language plpgsql as $$
begin
    perform 1 from dj_wallet_account where id = least(p_buyer, p_seller) for no key update;
    perform 1 from dj_wallet_account where id = greatest(p_buyer, p_seller) for no key update;
    o_now := clock_timestamp();
    perform 1 from dj_wallet_transaction where idempotency_key = p_key;
    if found then return; end if;
    perform 1 from dj_wallet_escrow where id = p_escrow and status = 'LOCKED';
    if not found then return; end if;
    if p_fee > 0 then
        perform 1 from dj_wallet_account
        where kind = 'system' and asset_id = p_asset and code = 'fees' and decimal_places >= p_scale;
        if not found then return; end if;
        perform 1 from dj_wallet_account where id = p_seller and has_rules;
        if found then return; end if;
        perform 1 from dj_wallet_posting where idempotency_key = p_fee_key;
        if found then return; end if;
    end if;

    select f.o_entry_id, f.o_source_after, f.o_destination_after, f.o_withdraw_id, f.o_deposit_id, f.o_transfer_id
    into o_entry_id, o_locked, o_credited, o_withdraw_id, o_deposit_id, o_transfer_id
    from dj_wallet_post_recorded(
        'SALE_CREDIT', p_asset, p_amount, p_scale, p_buyer, null, 1, p_seller, null, 0, false, false,
        'order', p_order, p_key, p_fingerprint, null, o_now, p_wallet_type, p_withdraw_uuid, p_withdraw_meta,
        p_deposit_uuid, p_deposit_meta, p_transfer_uuid, 'paid', 0, p_fee) f;
    if o_entry_id is null then return; end if;
    o_seller_after := o_credited;
    if p_fee > 0 then
        select f.o_entry_id, f.o_source_after, f.o_withdraw_id into o_fee_entry_id, o_seller_after, o_fee_id
        from dj_wallet_post_recorded(
            'FEE_DEBIT', p_asset, p_fee, p_scale, p_seller, null, 0, null, 'fees', 0, true, false,
            'order', p_order, p_fee_key, p_fee_fingerprint, null, o_now, p_wallet_type, p_fee_uuid, p_fee_meta,
            null, null, null, null, 0, 0) f;
        if o_fee_entry_id is null then
            raise exception 'the fee of escrow % could not be posted', p_escrow using errcode = 'DJW03';
        end if;
    end if;
    update dj_wallet_escrow set
        status = 'RELEASED', released_amount = p_amount, fee_charged = p_fee, reason = p_reason, updated_at = o_now
    where id = p_escrow;
end $$;
