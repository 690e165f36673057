-- Post many entries of one movement each and write the records of the default models that go with them, in one round
-- trip.
--
-- As dj_wallet_post_batch, which it calls with its own parameters: no row and nothing written unless all of them are
-- certain to be accepted and no key is taken. Each entry has a withdrawal, a deposit, or both and a transfer:
-- p_uuids and p_metas are those of the transactions in the order of the entries, a withdrawal before its deposit;
-- one element of p_metas stands for all. Returns the keys in the same order, and the balance of each of p_accounts.
create or replace function dj_wallet_move_batch(
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
    p_now timestamptz, p_wallet_type integer, p_has_withdrawal boolean, p_has_deposit boolean,
    p_uuids uuid[], p_metas text[], p_transfer_uuids uuid[], p_transfer_status text)
returns table (
    o_entry_ids bigint[], o_transaction_ids bigint[], o_transfer_ids bigint[], o_balances numeric[])
language plpgsql
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_sides integer := p_has_withdrawal::integer + p_has_deposit::integer;
begin
    select array_agg(b.o_entry_id) into o_entry_ids
    from dj_wallet_post_batch(
        p_accounts, p_assets, p_scales, p_touches, p_mind_frozen, p_mind_rules,
        p_available, p_low_available, p_locked, p_low_locked, p_pending, p_low_pending,
        p_system_codes, p_system_assets, p_system_scales,
        p_first, p_kind, p_amount,
        p_source, p_source_bucket, p_source_at, p_source_change, p_source_touch,
        p_destination, p_destination_bucket, p_destination_at, p_destination_change, p_destination_touch,
        p_reference_type, p_reference_id, p_key, p_fingerprint, p_event_at) b;
    if o_entry_ids is null then return; end if;

    with made as (
        insert into dj_wallet_transaction (
            payable_type_id, payable_id, wallet_id, uuid, type, amount, confirmed, status, entry_id, idempotency_key,
            counterpart, allow_overdraft, refunded_amount, meta, created_at, updated_at)
        select
            p_wallet_type, w.wallet, w.wallet, p_uuids[n], w.type, p_amount[w.entry], true, 'completed',
            o_entry_ids[w.entry], case when v_sides = 1 then p_key[w.entry] end, '', false, 0,
            coalesce(p_metas[n], p_metas[1])::jsonb, p_now, p_now
        from generate_series(1, v_sides * cardinality(p_amount)) n
        cross join lateral (
            select case when s.is_withdrawal then p_source[s.entry] else p_destination[s.entry] end as wallet,
                   case when s.is_withdrawal then 'withdraw' else 'deposit' end as type, s.entry
            from (select (n + v_sides - 1) / v_sides as entry,
                         p_has_withdrawal and (v_sides = 1 or n % 2 = 1) as is_withdrawal) s
        ) w
        returning id
    )
    select array_agg(made.id) into o_transaction_ids from made;

    if v_sides = 2 then
        with made as (
            insert into dj_wallet_transfer (
                from_type_id, from_id, to_type_id, to_id, status, discount, fee, uuid, withdraw_id, deposit_id, entry_id,
                idempotency_key, created_at, updated_at)
            select
                p_wallet_type, p_source[n], p_wallet_type, p_destination[n], p_transfer_status, 0, 0,
                p_transfer_uuids[n], o_transaction_ids[2 * n - 1], o_transaction_ids[2 * n], o_entry_ids[n],
                p_key[n], p_now, p_now
            from generate_series(1, cardinality(p_amount)) n
            returning id
        )
        select array_agg(made.id) into o_transfer_ids from made;
    end if;

    o_balances := array(
        select a.balance from unnest(p_accounts) with ordinality as u (id, position)
        join dj_wallet_account a on a.id = u.id order by u.position);
    return next;
exception
    when unique_violation then
        return;
end $$;
