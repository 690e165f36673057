-- Post many entries in one statement, if all of them are certain to be accepted.
--
-- The caller has computed, without knowing any balance, for each wallet account and bucket the total change and the
-- lowest point on the way, and for each posting the running change so far. This function adds the balances: it
-- updates the accounts in id order, checks `balance + lowest point` against the limit, and inserts the postings.
-- When any account fails its check, or a key is taken, everything is undone and no row is returned.
--
-- Accounts: arrays of one element per wallet account, in id order; p_low_* is NULL where nothing is taken (or the
-- check is waived); p_mind_rules is true where something is taken that limits or lots have to be asked about; the locked and pending arrays may be empty when no posting touches these buckets.
-- Postings: p_first is the position of the first posting of the same entry; p_source and p_destination are account
-- ids, or -n for the nth system account; *_at is the position among the accounts, NULL for system accounts.
-- An array whose elements are all the same may be cut short: assets, flags and kinds after the first element, buckets (0),
-- references (''), keys and times (NULL) and p_first (every posting its own entry) altogether.
--
-- The planner is led to one plan, a nested loop from the given accounts to the primary key: the update visits them in
-- id order, so that batches do not deadlock, and it does not depend on statistics, which a new table lacks. Hence the
-- settings, and the comparison of assets in a form that the index on assets cannot serve.
create or replace function dj_wallet_post_batch(
    p_accounts bigint[], p_assets text[], p_scales integer[], p_touches integer[], p_mind_frozen boolean[],
    p_mind_rules boolean[],
    p_available numeric[], p_low_available numeric[], p_locked numeric[], p_low_locked numeric[],
    p_pending numeric[], p_low_pending numeric[],
    p_system_codes text[], p_system_assets text[], p_system_scales integer[],
    p_first integer[], p_kind text[], p_amount numeric[],
    p_source bigint[], p_source_bucket integer[], p_source_at integer[], p_source_change numeric[], p_source_touch integer[],
    p_destination bigint[], p_destination_bucket integer[], p_destination_at integer[], p_destination_change numeric[],
    p_destination_touch integer[],
    p_reference_type text[], p_reference_id text[], p_key text[], p_fingerprint uuid[], p_event_at timestamptz[])
returns table (o_entry_id bigint, o_source_after numeric, o_destination_after numeric)
language plpgsql
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_ids bigint[];
    v_updated bigint[];
    v_system bigint[];
    v_available numeric[];
    v_locked numeric[];
    v_pending numeric[];
    v_version bigint[];
begin
    select coalesce(array_agg(a.id order by s.position), '{}') into v_system
    from unnest(p_system_codes, p_system_assets, p_system_scales) with ordinality as s (code, asset, scale, position)
    join dj_wallet_account a
        on a.kind = 'system' and a.asset_id = s.asset and a.code = s.code and a.decimal_places >= s.scale;
    if cardinality(v_system) <> cardinality(p_system_codes) then return; end if;

    with u as (
        update dj_wallet_account a set
            balance = a.balance + x.available,
            locked_balance = a.locked_balance + coalesce(x.locked, 0),
            pending_balance = a.pending_balance + coalesce(x.pending, 0),
            version = a.version + x.touches
        from unnest(
            p_accounts, p_assets, p_scales, p_touches, p_mind_frozen, p_mind_rules,
            p_available, p_low_available, p_locked, p_low_locked, p_pending, p_low_pending
        ) as x (id, asset, scale, touches, mind_frozen, mind_rules,
                available, low_available, locked, low_locked, pending, low_pending)
        where a.id = x.id and a.kind = 'wallet' and a.asset_id || '' = coalesce(x.asset, p_assets[1])
          and a.decimal_places >= x.scale and not (a.is_frozen and coalesce(x.mind_frozen, p_mind_frozen[1]))
          and not (a.has_rules and coalesce(x.mind_rules, p_mind_rules[1]))
          and (x.low_available is null or a.overdraft_limit is null
               or a.balance + x.low_available >= -a.overdraft_limit)
          and (x.low_locked is null or a.locked_balance + x.low_locked >= 0)
          and (x.low_pending is null or a.pending_balance + x.low_pending >= 0)
        returning a.id, a.balance - x.available as available, a.locked_balance - coalesce(x.locked, 0) as locked,
                  a.pending_balance - coalesce(x.pending, 0) as pending, a.version - x.touches as version
    )
    select array_agg(u.id), array_agg(u.available), array_agg(u.locked), array_agg(u.pending), array_agg(u.version)
    into v_updated, v_available, v_locked, v_pending, v_version
    from u;
    if coalesce(v_updated, '{}') <> p_accounts then
        -- Either an account is missing, or the planner visited them in another order after all.
        select array_agg(o.id order by o.id), array_agg(o.available order by o.id), array_agg(o.locked order by o.id),
               array_agg(o.pending order by o.id), array_agg(o.version order by o.id)
        into v_updated, v_available, v_locked, v_pending, v_version
        from unnest(v_updated, v_available, v_locked, v_pending, v_version)
            as o (id, available, locked, pending, version);
        if coalesce(v_updated, '{}') <> p_accounts then
            raise exception sqlstate 'DJW01';
        end if;
    end if;

    if cardinality(p_accounts) = 0 then
        -- No account is updated: make the transaction known before it takes an id, as checkpoints rely on.
        perform pg_current_xact_id();
    end if;
    v_ids := array(select nextval('dj_wallet_posting_id_seq') from generate_series(1, cardinality(p_amount)));
    return query
    insert into dj_wallet_posting as p (
        id, entry_id, kind, source_account_id, source_bucket, destination_account_id, destination_bucket, amount,
        source_balance_after, source_version, destination_balance_after, destination_version,
        reference_type, reference_id, idempotency_key, fingerprint, event_at, created_at)
    select
        v_ids[t.position], v_ids[coalesce(t.first, t.position)], coalesce(t.kind, p_kind[1]),
        case when t.source < 0 then v_system[-t.source] else t.source end, coalesce(t.source_bucket, 0),
        case when t.destination < 0 then v_system[-t.destination] else t.destination end, coalesce(t.destination_bucket, 0),
        t.amount,
        case coalesce(t.source_bucket, 0) when 0 then v_available[t.source_at] when 1 then v_locked[t.source_at]
            else v_pending[t.source_at] end + t.source_change,
        v_version[t.source_at] + t.source_touch,
        case coalesce(t.destination_bucket, 0) when 0 then v_available[t.destination_at] when 1 then v_locked[t.destination_at]
            else v_pending[t.destination_at] end + t.destination_change,
        v_version[t.destination_at] + t.destination_touch,
        coalesce(t.reference_type, ''), coalesce(t.reference_id, ''), t.key, t.fingerprint, t.event_at, clock_timestamp()
    from unnest(
        p_first, p_kind, p_amount,
        p_source, p_source_bucket, p_source_at, p_source_change, p_source_touch,
        p_destination, p_destination_bucket, p_destination_at, p_destination_change, p_destination_touch,
        p_reference_type, p_reference_id, p_key, p_fingerprint, p_event_at
    ) with ordinality as t (
        first, kind, amount, source, source_bucket, source_at, source_change, source_touch,
        destination, destination_bucket, destination_at, destination_change, destination_touch,
        reference_type, reference_id, key, fingerprint, event_at, position)
    returning p.entry_id, p.source_balance_after, p.destination_balance_after;
exception
    when sqlstate 'DJW01' or unique_violation or check_violation or numeric_value_out_of_range then
        return;
end $$;
