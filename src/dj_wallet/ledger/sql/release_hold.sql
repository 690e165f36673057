-- Give locked money of a hold back to its wallet and write the step, in one round trip.
--
-- As dj_wallet_post_one, which it calls: NULL and nothing written when any rule might refuse it. The wallet's row is
-- locked first: it is the lock of all its holds. With p_is_all the hold must keep exactly p_amount.
create or replace function dj_wallet_release_hold(
    p_hold bigint, p_wallet bigint, p_asset text, p_amount numeric, p_scale integer, p_is_all boolean,
    p_reference_type text, p_reference_id text, p_key text, p_fingerprint uuid,
    out o_entry_id bigint, out o_locked numeric, out o_available numeric, out o_now timestamptz, out o_step_id bigint,
    out o_amount numeric, out o_remaining numeric, out o_status text, out o_expires_at timestamptz)
language plpgsql as $$
begin
    perform 1 from dj_wallet_account where id = p_wallet for no key update;
    o_now := clock_timestamp();
    if p_key is not null then
        perform 1 from dj_wallet_transaction where idempotency_key = p_key;
        if found then return; end if;
    end if;
    select h.amount, h.remaining - p_amount, h.expires_at into o_amount, o_remaining, o_expires_at
    from dj_wallet_hold h where h.id = p_hold and h.wallet_id = p_wallet and h.status = 'open';
    if not found or o_remaining < 0 or (p_is_all and o_remaining > 0) then return; end if;

    select f.o_entry_id, f.o_source_after, f.o_destination_after into o_entry_id, o_locked, o_available
    from dj_wallet_post_one(
        'BID_UNLOCK', p_asset, p_amount, p_scale, p_wallet, null, 1, p_wallet, null, 0, false, false,
        p_reference_type, p_reference_id, p_key, p_fingerprint, null) f;
    if o_entry_id is null then return; end if;

    o_status := case when o_remaining > 0 then 'open' else 'released' end;
    update dj_wallet_hold set remaining = o_remaining, status = o_status, updated_at = o_now where id = p_hold;
    insert into dj_wallet_holdstep (hold_id, action, amount, remaining, entry_id, created_at)
    values (p_hold, 'released', p_amount, o_remaining, o_entry_id, o_now)
    returning id into o_step_id;
end $$;
