-- Give back a plain transfer, or an amount of it, and write the records of the default models, in one round trip.
--
-- As dj_wallet_move, which it calls: NULL and nothing written when any rule might refuse it, and when more than
-- money goes back (a purchase line, an exchange, lots). p_amount is NULL for all that is left. The rows of the transfer
-- and of its withdrawal are taken first, as for every refund: they are changed if they still say what was read, and
-- changed back if the money does not move.
create or replace function dj_wallet_refund_transfer(
    p_transfer bigint, p_uuid uuid, p_amount numeric, p_now timestamptz, p_wallet_type integer,
    p_withdraw_uuid uuid, p_withdraw_meta jsonb, p_deposit_uuid uuid, p_deposit_meta jsonb, p_refund_uuid uuid,
    out o_entry_id bigint, out o_amount numeric, out o_payer bigint, out o_receiver bigint,
    out o_withdraw_id bigint, out o_deposit_id bigint, out o_transfer_id bigint)
language plpgsql as $$
declare
    v_transfer record;
    v_paid record;
    v_made record;
    v_asset text;
    v_left numeric;
begin
    -- One row at a time, each by its key: the plan of a join may come from a day when the tables were nearly empty.
    select status, withdraw_id, deposit_id, updated_at into v_transfer from dj_wallet_transfer
    where id = p_transfer and uuid = p_uuid and status in ('transfer', 'paid', 'gift');
    if not found then return; end if;
    select id, uuid, amount, refunded_amount, wallet_id into v_paid from dj_wallet_transaction
    where id = v_transfer.withdraw_id and status = 'completed';
    if not found then return; end if;
    select wallet_id into o_receiver from dj_wallet_transaction
    where id = v_transfer.deposit_id and status = 'completed';
    if not found then return; end if;
    o_payer := v_paid.wallet_id;
    select asset_id into v_asset from dj_wallet_account where id = o_payer and not has_rules;
    if not found then return; end if;
    if v_transfer.status <> 'transfer' then
        perform 1 from dj_wallet_purchaseline where transfer_id = p_transfer;
        if found then return; end if;
    end if;
    v_left := v_paid.amount - v_paid.refunded_amount;
    o_amount := coalesce(p_amount, v_left);
    if o_amount <= 0 or o_amount > v_left then return; end if;

    if o_amount = v_left then
        update dj_wallet_transfer set status = 'refund', updated_at = p_now
        where id = p_transfer and status = v_transfer.status;
    else
        perform 1 from dj_wallet_transfer where id = p_transfer and status = v_transfer.status for no key update;
    end if;
    if not found then return; end if;
    update dj_wallet_transaction set refunded_amount = refunded_amount + o_amount
    where id = v_paid.id and status = 'completed' and refunded_amount = v_paid.refunded_amount;
    if found then
        v_made := dj_wallet_move(
            'REFUND', v_asset, o_amount, o_receiver, null, o_payer, null, false,
            'transaction', v_paid.uuid::text, p_now, p_wallet_type,
            p_withdraw_uuid, p_withdraw_meta, p_deposit_uuid, p_deposit_meta, p_refund_uuid, 'refund', 0, p_transfer);
        o_entry_id := v_made.o_entry_id;
        o_withdraw_id := v_made.o_withdraw_id;
        o_deposit_id := v_made.o_deposit_id;
        o_transfer_id := v_made.o_transfer_id;
        if o_entry_id is null then
            update dj_wallet_transaction set refunded_amount = v_paid.refunded_amount where id = v_paid.id;
        end if;
    end if;
    if o_entry_id is null and o_amount = v_left then
        update dj_wallet_transfer set status = v_transfer.status, updated_at = v_transfer.updated_at where id = p_transfer;
    end if;
end $$;
