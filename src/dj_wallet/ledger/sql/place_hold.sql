-- Lock money of a wallet for a reference and write the hold and its step, in one round trip.
--
-- As dj_wallet_post_one, which it calls: NULL and nothing written when any rule might refuse it. The wallet's row is
-- locked first: it is the lock of all its holds. An open hold for the reference takes the money in; without one a
-- hold is opened with p_uuid.
create or replace function dj_wallet_place_hold(
    p_wallet bigint, p_asset text, p_amount numeric, p_scale integer, p_reference_type text, p_reference_id text,
    p_key text, p_fingerprint uuid, p_uuid uuid, p_expires_at timestamptz,
    out o_entry_id bigint, out o_available numeric, out o_locked numeric, out o_now timestamptz, out o_step_id bigint,
    out o_id bigint, out o_uuid uuid, out o_amount numeric, out o_remaining numeric,
    out o_expires_at timestamptz, out o_created_at timestamptz)
language plpgsql as $$
begin
    perform 1 from dj_wallet_account where id = p_wallet for no key update;
    o_now := clock_timestamp();
    if p_expires_at <= o_now then return; end if;
    if p_key is not null then
        -- The key of a transaction that is pending: the caller finds out whose it is.
        perform 1 from dj_wallet_transaction where idempotency_key = p_key;
        if found then return; end if;
    end if;
    select h.id, h.uuid, h.amount + p_amount, h.remaining + p_amount, h.expires_at, h.created_at
    into o_id, o_uuid, o_amount, o_remaining, o_expires_at, o_created_at
    from dj_wallet_hold h
    where h.wallet_id = p_wallet and h.reference_type = p_reference_type and h.reference_id = p_reference_id
      and h.status = 'open';
    if o_expires_at <= o_now then return; end if;

    select f.o_entry_id, f.o_source_after, f.o_destination_after into o_entry_id, o_available, o_locked
    from dj_wallet_post_one(
        'BID_LOCK', p_asset, p_amount, p_scale, p_wallet, null, 0, p_wallet, null, 1, false, false,
        p_reference_type, p_reference_id, p_key, p_fingerprint, null) f;
    if o_entry_id is null then return; end if;

    o_expires_at := coalesce(p_expires_at, o_expires_at);
    if o_id is null then
        o_uuid := p_uuid; o_amount := p_amount; o_remaining := p_amount; o_created_at := o_now;
        insert into dj_wallet_hold (
            uuid, wallet_id, reference_type, reference_id, amount, remaining, status, expires_at, created_at, updated_at)
        values (
            p_uuid, p_wallet, p_reference_type, p_reference_id, p_amount, p_amount, 'open', p_expires_at, o_now, o_now)
        returning id into o_id;
    else
        update dj_wallet_hold
        set amount = o_amount, remaining = o_remaining, expires_at = o_expires_at, updated_at = o_now
        where id = o_id;
    end if;
    insert into dj_wallet_holdstep (hold_id, action, amount, remaining, expires_at, entry_id, created_at)
    values (o_id, 'placed', p_amount, o_remaining, p_expires_at, o_entry_id, o_now)
    returning id into o_step_id;
end $$;
