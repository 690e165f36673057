-- Give back a plain transfer, or an amount of it, and write the records of the default models, in one round trip.
--
-- As dj_wallet_post_one, which it calls: NULL and nothing written when any rule might refuse it, and when more than
-- money goes back (a purchase line, an exchange, lots). The rows of the transfer and of its withdrawal are locked
-- first, as for every refund. p_amount is NULL for all that is left.
create or replace function dj_wallet_refund_transfer(
    p_transfer bigint, p_uuid uuid, p_amount numeric, p_now timestamptz, p_wallet_type integer,
    p_withdraw_uuid uuid, p_withdraw_meta jsonb, p_deposit_uuid uuid, p_deposit_meta jsonb, p_refund_uuid uuid,
    out o_entry_id bigint, out o_amount numeric, out o_payer bigint, out o_receiver bigint,
    out o_withdraw_id bigint, out o_deposit_id bigint, out o_transfer_id bigint)
language plpgsql as $$
declare
    v_paid record;
    v_posted record;
    v_left numeric;
begin
    select t.status, w.id, w.uuid, w.amount, w.refunded_amount, p.asset_id, w.wallet_id as payer, d.wallet_id as receiver
    into v_paid
    from dj_wallet_transfer t
    join dj_wallet_transaction w on w.id = t.withdraw_id
    join dj_wallet_transaction d on d.id = t.deposit_id
    join dj_wallet_account p on p.id = w.wallet_id
    where t.id = p_transfer and t.uuid = p_uuid and t.status in ('transfer', 'paid', 'gift')
      and w.status = 'completed' and d.status = 'completed' and not p.has_rules
    for no key update of t, w;
    if not found then return; end if;
    if v_paid.status <> 'transfer' then
        perform 1 from dj_wallet_purchaseline where transfer_id = p_transfer;
        if found then return; end if;
    end if;
    v_left := v_paid.amount - v_paid.refunded_amount;
    o_amount := coalesce(p_amount, v_left);
    if o_amount <= 0 or o_amount > v_left then return; end if;
    o_payer := v_paid.payer;
    o_receiver := v_paid.receiver;

    v_posted := dj_wallet_post_one(
        'REFUND', v_paid.asset_id, o_amount, scale(trim_scale(o_amount)), o_receiver, null, 0, o_payer, null, 0,
        false, false, 'transaction', v_paid.uuid::text, null, null, null);
    if v_posted.o_entry_id is null then return; end if;
    o_entry_id := v_posted.o_entry_id;

    insert into dj_wallet_transaction (
        payable_type_id, payable_id, wallet_id, uuid, type, amount, confirmed, status, entry_id, idempotency_key,
        counterpart, allow_overdraft, refunded_amount, meta, created_at, updated_at)
    values (
        p_wallet_type, o_receiver, o_receiver, p_withdraw_uuid, 'withdraw', o_amount, true, 'completed', o_entry_id,
        null, '', false, 0, p_withdraw_meta, p_now, p_now)
    returning id into o_withdraw_id;
    insert into dj_wallet_transaction (
        payable_type_id, payable_id, wallet_id, uuid, type, amount, confirmed, status, entry_id, idempotency_key,
        counterpart, allow_overdraft, refunded_amount, meta, created_at, updated_at)
    values (
        p_wallet_type, o_payer, o_payer, p_deposit_uuid, 'deposit', o_amount, true, 'completed', o_entry_id,
        null, '', false, 0, p_deposit_meta, p_now, p_now)
    returning id into o_deposit_id;
    insert into dj_wallet_transfer (
        from_type_id, from_id, to_type_id, to_id, status, discount, fee, uuid, withdraw_id, deposit_id, refund_of_id,
        entry_id, created_at, updated_at)
    values (
        p_wallet_type, o_receiver, p_wallet_type, o_payer, 'refund', 0, 0, p_refund_uuid, o_withdraw_id, o_deposit_id,
        p_transfer, o_entry_id, p_now, p_now)
    returning id into o_transfer_id;

    update dj_wallet_transaction set refunded_amount = refunded_amount + o_amount where id = v_paid.id;
    if o_amount = v_left then
        update dj_wallet_transfer set status = 'refund', updated_at = p_now where id = p_transfer;
    end if;
end $$;
