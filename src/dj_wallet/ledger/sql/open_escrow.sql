-- Lock a buyer's money for an order and write the escrow, in one round trip.
--
-- As dj_wallet_post_one, which it calls: NULL and nothing written when any rule might refuse it, or the order has an
-- escrow. The buyer's row is locked first: it is the lock of all its escrows. The escrow is inserted before the money
-- moves, because a posting cannot be taken back: whoever else takes the order meanwhile is waited for here.
create or replace function dj_wallet_open_escrow(
    p_buyer bigint, p_seller bigint, p_asset text, p_amount numeric, p_fee numeric, p_scale integer, p_order text,
    p_key text, p_fingerprint uuid, p_uuid uuid,
    out o_entry_id bigint, out o_available numeric, out o_locked numeric, out o_now timestamptz, out o_id bigint)
language plpgsql as $$
begin
    perform 1 from dj_wallet_account where id = p_buyer for no key update;
    o_now := clock_timestamp();
    if p_key is not null then
        perform 1 from dj_wallet_transaction where idempotency_key = p_key;
        if found then return; end if;
    end if;
    -- Both count the asset, or the escrow could never be released.
    perform 1 from dj_wallet_account
    where id = p_seller and kind = 'wallet' and asset_id = p_asset and decimal_places >= p_scale;
    if not found then return; end if;
    insert into dj_wallet_escrow (
        uuid, order_id, buyer_wallet_id, seller_wallet_id, amount, fee_amount, released_amount, refunded_amount,
        fee_charged, status, reason, entry_id, created_at, updated_at)
    values (p_uuid, p_order, p_buyer, p_seller, p_amount, p_fee, 0, 0, 0, 'LOCKED', '', 0, o_now, o_now)
    on conflict (order_id) do nothing
    returning id into o_id;
    if o_id is null then return; end if;

    select f.o_entry_id, f.o_source_after, f.o_destination_after into o_entry_id, o_available, o_locked
    from dj_wallet_post_one(
        'ESCROW_LOCK', p_asset, p_amount, p_scale, p_buyer, null, 0, p_buyer, null, 1, false, false,
        'order', p_order, p_key, p_fingerprint, null) f;
    if o_entry_id is null then
        delete from dj_wallet_escrow where id = o_id;
        o_id := null;
        return;
    end if;
    update dj_wallet_escrow set entry_id = o_entry_id where id = o_id;
end $$;
