-- Move available money between two wallets, or a wallet and a system account, and write the records of the default
-- models, in one round trip: the short way of every deposit, withdrawal, transfer, payment and refund without a key.
--
-- What dj_wallet_post_recorded does, without what these never need (buckets, keys, waivers), which takes a sixth less of
-- PostgreSQL's time. NULL and nothing written when any rule might refuse the movement. A place is the id of a wallet or the
-- code of a system account. Takes the withdrawal's uuid for a wallet on the source side, the deposit's for one on the
-- destination side, and the transfer's between two wallets; the others are NULL.
create or replace function dj_wallet_move(
    p_kind text, p_asset text, p_amount numeric,
    p_source bigint, p_source_code text, p_destination bigint, p_destination_code text, p_allow_overdraft boolean,
    p_reference_type text, p_reference_id text, p_now timestamptz, p_wallet_type integer,
    p_withdraw_uuid uuid, p_withdraw_meta jsonb, p_deposit_uuid uuid, p_deposit_meta jsonb,
    p_transfer_uuid uuid, p_transfer_status text, p_discount numeric, p_refund_of bigint,
    out o_entry_id bigint, out o_source_after numeric, out o_destination_after numeric,
    out o_withdraw_id bigint, out o_deposit_id bigint, out o_transfer_id bigint)
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_scale integer := scale(trim_scale(p_amount));
    v_source_version bigint;
    v_destination_version bigint;
begin
    if p_source_code is not null then
        select id into p_source from dj_wallet_account
        where kind = 'system' and asset_id = p_asset and code = p_source_code and decimal_places >= v_scale;
        if not found then return; end if;
    end if;
    if p_destination_code is not null then
        select id into p_destination from dj_wallet_account
        where kind = 'system' and asset_id = p_asset and code = p_destination_code and decimal_places >= v_scale;
        if not found then return; end if;
    end if;

    if p_source_code is not null then
        update dj_wallet_account a set balance = a.balance + p_amount, version = a.version + 1
        where a.id = p_destination and a.kind = 'wallet' and a.asset_id = p_asset and a.decimal_places >= v_scale
          and not a.is_frozen and a.balance + p_amount < 1e62
        returning a.balance, a.version into o_destination_after, v_destination_version;
        if not found then return; end if;
    elsif p_destination_code is not null then
        update dj_wallet_account a set balance = a.balance - p_amount, version = a.version + 1
        where a.id = p_source and a.kind = 'wallet' and a.asset_id = p_asset and a.decimal_places >= v_scale
          and not a.is_frozen and not a.has_rules
          and case when p_allow_overdraft or a.overdraft_limit is null then a.balance - p_amount > -1e62
              else a.balance - p_amount >= -a.overdraft_limit end
        returning a.balance, a.version into o_source_after, v_source_version;
        if not found then return; end if;
    else
        -- Both rows in one statement, in the order of their ids, so that opposing movements do not deadlock: a scan of
        -- the index takes several keys in order. The settings above and the CASE leave no other way to find them; the
        -- asset outside of it would be one, by its own index.
        with moved as (
            update dj_wallet_account a set
                balance = a.balance + case when a.id = p_source then -p_amount else p_amount end,
                version = a.version + 1
            where a.id = any(array[p_source, p_destination])
              and case when a.kind <> 'wallet' or a.asset_id <> p_asset or a.decimal_places < v_scale or a.is_frozen then false
                  when a.id = p_destination then a.balance + p_amount < 1e62
                  when a.has_rules then false
                  when p_allow_overdraft or a.overdraft_limit is null then a.balance - p_amount > -1e62
                  else a.balance - p_amount >= -a.overdraft_limit end
            returning a.id, a.balance, a.version
        )
        select max(m.balance) filter (where m.id = p_source), max(m.version) filter (where m.id = p_source),
               max(m.balance) filter (where m.id = p_destination), max(m.version) filter (where m.id = p_destination)
        into o_source_after, v_source_version, o_destination_after, v_destination_version
        from moved m;
        if v_source_version is null or v_destination_version is null then
            if v_source_version is not null then
                perform dj_wallet_take_back(p_source, 0, p_amount);
            elsif v_destination_version is not null then
                perform dj_wallet_take_back(p_destination, 0, -p_amount);
            end if;
            return;
        end if;
    end if;

    o_entry_id := nextval('dj_wallet_posting_id_seq');
    insert into dj_wallet_posting (
        id, entry_id, kind, source_account_id, source_bucket, destination_account_id, destination_bucket, amount,
        source_balance_after, source_version, destination_balance_after, destination_version,
        reference_type, reference_id, created_at)
    values (
        o_entry_id, o_entry_id, p_kind, p_source, 0, p_destination, 0, p_amount,
        o_source_after, v_source_version, o_destination_after, v_destination_version,
        p_reference_type, p_reference_id, clock_timestamp());

    if p_transfer_uuid is null then
        insert into dj_wallet_transaction (
            payable_type_id, payable_id, wallet_id, uuid, type, amount, confirmed, status, entry_id,
            counterpart, allow_overdraft, refunded_amount, meta, created_at, updated_at)
        values (
            p_wallet_type,
            case when p_withdraw_uuid is null then p_destination else p_source end,
            case when p_withdraw_uuid is null then p_destination else p_source end,
            coalesce(p_withdraw_uuid, p_deposit_uuid), case when p_withdraw_uuid is null then 'deposit' else 'withdraw' end,
            p_amount, true, 'completed', o_entry_id, '', false, 0,
            case when p_withdraw_uuid is null then p_deposit_meta else p_withdraw_meta end, p_now, p_now)
        returning id into o_withdraw_id;
        if p_withdraw_uuid is null then
            o_deposit_id := o_withdraw_id;
            o_withdraw_id := null;
        end if;
        return;
    end if;
    o_withdraw_id := nextval('dj_wallet_transaction_id_seq');
    o_deposit_id := nextval('dj_wallet_transaction_id_seq');
    o_transfer_id := nextval('dj_wallet_transfer_id_seq');
    insert into dj_wallet_transaction (
        id, payable_type_id, payable_id, wallet_id, uuid, type, amount, confirmed, status, entry_id,
        counterpart, allow_overdraft, refunded_amount, meta, created_at, updated_at)
    values
        (o_withdraw_id, p_wallet_type, p_source, p_source, p_withdraw_uuid, 'withdraw', p_amount, true, 'completed',
         o_entry_id, '', false, 0, p_withdraw_meta, p_now, p_now),
        (o_deposit_id, p_wallet_type, p_destination, p_destination, p_deposit_uuid, 'deposit', p_amount, true, 'completed',
         o_entry_id, '', false, 0, p_deposit_meta, p_now, p_now);
    insert into dj_wallet_transfer (
        id, from_type_id, from_id, to_type_id, to_id, status, discount, fee, uuid, withdraw_id, deposit_id, refund_of_id,
        entry_id, created_at, updated_at)
    values (
        o_transfer_id, p_wallet_type, p_source, p_wallet_type, p_destination, p_transfer_status, p_discount, 0,
        p_transfer_uuid, o_withdraw_id, o_deposit_id, p_refund_of, o_entry_id, p_now, p_now);
end $$;
