-- Post an entry of one movement in one round trip, if it is certain to be accepted.
--
-- Returns the entry's id, or NULL and nothing written when any rule might refuse it or its key is taken: the
-- caller then locks the accounts and lets `ledger.engine.decide` find out. No error is raised for a refusal, so the
-- caller's transaction stays usable. A place is an account id, or the code of a system account (whose row is
-- not touched: its balance is derived). Rows are updated in id order, so that opposing entries do not deadlock.
create or replace function dj_wallet_post_one(
    p_kind text, p_asset text, p_amount numeric, p_scale integer,
    p_source bigint, p_source_code text, p_source_bucket integer,
    p_destination bigint, p_destination_code text, p_destination_bucket integer,
    p_allow_overdraft boolean, p_allow_frozen boolean,
    p_reference_type text, p_reference_id text, p_key text, p_fingerprint uuid, p_event_at timestamptz,
    out o_entry_id bigint, out o_source_after numeric, out o_destination_after numeric)
language plpgsql as $$
declare
    v_account bigint;
    v_bucket integer;
    v_delta numeric;
    v_after numeric;
    v_version bigint;
    v_source_version bigint;
    v_destination_version bigint;
    v_id bigint;
    v_source_first boolean;
    v_is_source boolean;
begin
    if p_source_code is not null then
        select id into p_source from dj_wallet_account
        where kind = 'system' and asset_id = p_asset and code = p_source_code and decimal_places >= p_scale;
        if not found then return; end if;
    end if;
    if p_destination_code is not null then
        select id into p_destination from dj_wallet_account
        where kind = 'system' and asset_id = p_asset and code = p_destination_code and decimal_places >= p_scale;
        if not found then return; end if;
    end if;

    if p_source_code is not null and p_destination_code is not null then
        -- No account is updated: make the transaction known before it takes an id, as checkpoints rely on.
        perform pg_current_xact_id();
    end if;
    v_source_first := p_source <= p_destination;
    for turn in 1..2 loop
        v_is_source := (turn = 1) = v_source_first;
        if v_is_source then
            continue when p_source_code is not null;
            v_account := p_source; v_bucket := p_source_bucket; v_delta := -p_amount;
        else
            continue when p_destination_code is not null;
            v_account := p_destination; v_bucket := p_destination_bucket; v_delta := p_amount;
        end if;
        update dj_wallet_account a set
            balance = case when v_bucket = 0 then a.balance + v_delta else a.balance end,
            locked_balance = case when v_bucket = 1 then a.locked_balance + v_delta else a.locked_balance end,
            pending_balance = case when v_bucket = 2 then a.pending_balance + v_delta else a.pending_balance end,
            version = a.version + 1
        where a.id = v_account and a.kind = 'wallet' and a.asset_id = p_asset and a.decimal_places >= p_scale
          and (p_allow_frozen or not a.is_frozen) and not (v_is_source and a.has_rules)
          and case
              when v_delta > 0 then
                  case v_bucket when 0 then a.balance when 1 then a.locked_balance else a.pending_balance end
                  + v_delta < 1e62
              when v_bucket = 0 then
                  case when p_allow_overdraft or a.overdraft_limit is null then a.balance + v_delta > -1e62
                       else a.balance + v_delta >= -a.overdraft_limit end
              when v_bucket = 1 then a.locked_balance + v_delta >= 0
              else a.pending_balance + v_delta >= 0
          end
        returning case v_bucket when 0 then a.balance when 1 then a.locked_balance else a.pending_balance end, a.version
        into v_after, v_version;
        if not found then
            if turn = 2 and v_source_first and p_source_code is null then
                perform dj_wallet_take_back(p_source, p_source_bucket, p_amount);
            elsif turn = 2 and not v_source_first and p_destination_code is null then
                perform dj_wallet_take_back(p_destination, p_destination_bucket, -p_amount);
            end if;
            return;
        end if;
        if v_is_source then
            o_source_after := v_after; v_source_version := v_version;
        else
            o_destination_after := v_after; v_destination_version := v_version;
        end if;
    end loop;

    v_id := nextval('dj_wallet_posting_id_seq');
    insert into dj_wallet_posting (
        id, entry_id, kind, source_account_id, source_bucket, destination_account_id, destination_bucket, amount,
        source_balance_after, source_version, destination_balance_after, destination_version,
        reference_type, reference_id, idempotency_key, fingerprint, event_at, created_at)
    values (
        v_id, v_id, p_kind, p_source, p_source_bucket, p_destination, p_destination_bucket, p_amount,
        o_source_after, v_source_version, o_destination_after, v_destination_version,
        p_reference_type, p_reference_id, p_key, p_fingerprint, p_event_at, clock_timestamp())
    on conflict (idempotency_key) where idempotency_key is not null do nothing;
    if not found then
        if p_destination_code is null then
            perform dj_wallet_take_back(p_destination, p_destination_bucket, -p_amount);
        end if;
        if p_source_code is null then
            perform dj_wallet_take_back(p_source, p_source_bucket, p_amount);
        end if;
        return;
    end if;
    o_entry_id := v_id;
end $$;
