-- Pay for a cart and write the records of the default models, its purchase and its lines, in one round trip.
--
-- As dj_wallet_post_batch, which it calls with its own parameters: no row and nothing written unless the entry is
-- certain to be accepted and no key is taken. Arrays of one element per transaction (p_t_*), transfer (p_f_*) and line
-- (p_l_*); *_at are positions among those, NULL for none; one element of p_t_metas stands for all. Returns the keys in
-- the same order, and the balance of each of p_accounts.
create or replace function dj_wallet_pay_cart(
    p_accounts bigint[], p_assets text[], p_scales integer[], p_touches integer[], p_mind_frozen boolean[],
    p_mind_rules boolean[],
    p_available numeric[], p_low_available numeric[], p_locked numeric[], p_low_locked numeric[],
    p_pending numeric[], p_low_pending numeric[],
    p_system_codes text[], p_system_assets text[], p_system_scales integer[],
    p_first integer[], p_kind text[], p_amount numeric[],
    p_source bigint[], p_source_bucket integer[], p_source_at integer[], p_source_change numeric[], p_source_touch integer[],
    p_destination bigint[], p_destination_bucket integer[], p_destination_at integer[], p_destination_change numeric[],
    p_destination_touch integer[],
    p_reference_type text[], p_reference_id text[], p_key text[], p_fingerprint uuid[], p_event_at timestamptz[],
    p_now timestamptz, p_wallet_type integer,
    p_uuid uuid, p_customer_type integer, p_customer text, p_recipient_type integer, p_recipient text, p_payer bigint,
    p_total numeric, p_fee numeric, p_discount numeric, p_purchase_key text, p_order text, p_meta jsonb,
    p_t_wallets bigint[], p_t_types text[], p_t_amounts numeric[], p_t_uuids uuid[], p_t_metas text[],
    p_f_status text, p_f_withdraw_at integer[], p_f_deposit_at integer[], p_f_fees numeric[], p_f_discounts numeric[],
    p_f_uuids uuid[],
    p_l_product_types integer[], p_l_products text[], p_l_names text[], p_l_quantities integer[],
    p_l_unit_prices numeric[], p_l_discounts numeric[], p_l_fees numeric[], p_l_fee_payers text[],
    p_l_refundables boolean[], p_l_nets numeric[], p_l_totals numeric[],
    p_l_payment_at integer[], p_l_fee_payment_at integer[], p_l_transfer_at integer[])
returns table (
    o_entry_id bigint, o_purchase_id bigint, o_transaction_ids bigint[], o_transfer_ids bigint[], o_line_ids bigint[],
    o_balances numeric[])
language plpgsql
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
    select min(b.o_entry_id) into o_entry_id
    from dj_wallet_post_batch(
        p_accounts, p_assets, p_scales, p_touches, p_mind_frozen, p_mind_rules,
        p_available, p_low_available, p_locked, p_low_locked, p_pending, p_low_pending,
        p_system_codes, p_system_assets, p_system_scales,
        p_first, p_kind, p_amount,
        p_source, p_source_bucket, p_source_at, p_source_change, p_source_touch,
        p_destination, p_destination_bucket, p_destination_at, p_destination_change, p_destination_touch,
        p_reference_type, p_reference_id, p_key, p_fingerprint, p_event_at) b;
    if o_entry_id is null then return; end if;

    insert into dj_wallet_purchase (
        customer_type_id, customer_id, recipient_type_id, recipient_id, wallet_id, uuid, total, fee, discount,
        entry_id, idempotency_key, fingerprint, meta, created_at)
    values (
        p_customer_type, p_customer, p_recipient_type, p_recipient, p_payer, p_uuid, p_total, p_fee, p_discount,
        o_entry_id, p_purchase_key, p_order, p_meta, p_now)
    returning id into o_purchase_id;

    with made as (
        insert into dj_wallet_transaction (
            payable_type_id, payable_id, wallet_id, uuid, type, amount, confirmed, status, entry_id,
            counterpart, allow_overdraft, refunded_amount, meta, created_at, updated_at)
        select
            p_wallet_type, p_t_wallets[n], p_t_wallets[n], p_t_uuids[n], p_t_types[n], p_t_amounts[n], true,
            'completed', o_entry_id, '', false, 0, coalesce(p_t_metas[n], p_t_metas[1])::jsonb, p_now, p_now
        from generate_series(1, cardinality(p_t_wallets)) n
        returning id
    )
    select array_agg(made.id) into o_transaction_ids from made;

    with made as (
        insert into dj_wallet_transfer (
            from_type_id, from_id, to_type_id, to_id, status, discount, fee, uuid, withdraw_id, deposit_id, entry_id,
            created_at, updated_at)
        select
            p_wallet_type, p_t_wallets[p_f_withdraw_at[n]], p_wallet_type, p_t_wallets[p_f_deposit_at[n]], p_f_status,
            p_f_discounts[n], p_f_fees[n], p_f_uuids[n], o_transaction_ids[p_f_withdraw_at[n]],
            o_transaction_ids[p_f_deposit_at[n]], o_entry_id, p_now, p_now
        from generate_series(1, cardinality(p_f_uuids)) n
        returning id
    )
    select coalesce(array_agg(made.id), '{}') into o_transfer_ids from made;

    with made as (
        insert into dj_wallet_purchaseline (
            purchase_id, product_type_id, product_id, name, quantity, unit_price, discount, fee, fee_payer,
            is_fee_refundable, net, total, refunded_quantity, refunded_amount, payment_id, fee_payment_id, transfer_id)
        select
            o_purchase_id, p_l_product_types[n], p_l_products[n], p_l_names[n], p_l_quantities[n], p_l_unit_prices[n],
            p_l_discounts[n], p_l_fees[n], p_l_fee_payers[n], p_l_refundables[n], p_l_nets[n], p_l_totals[n], 0, 0,
            o_transaction_ids[p_l_payment_at[n]], o_transaction_ids[p_l_fee_payment_at[n]],
            o_transfer_ids[p_l_transfer_at[n]]
        from generate_series(1, cardinality(p_l_names)) n
        returning id
    )
    select array_agg(made.id) into o_line_ids from made;

    o_balances := array(
        select a.balance from unnest(p_accounts) with ordinality as u (id, position)
        join dj_wallet_account a on a.id = u.id order by u.position);
    return next;
exception
    when unique_violation then
        return;
end $$;
