-- Pay for one product and write the records of the default models, its purchase and its line, in one round trip.
--
-- As dj_wallet_move, which it calls: NULL and nothing written when any rule might refuse the payment. The
-- money goes to p_receiver, or to the system account p_receiver_code. There is no fee.
create or replace function dj_wallet_pay(
    p_asset text, p_amount numeric, p_payer bigint, p_receiver bigint, p_receiver_code text,
    p_now timestamptz, p_wallet_type integer,
    p_withdraw_uuid uuid, p_withdraw_meta jsonb, p_deposit_uuid uuid, p_deposit_meta jsonb,
    p_transfer_uuid uuid, p_transfer_status text,
    p_purchase_uuid uuid, p_customer_type integer, p_customer text, p_recipient_type integer, p_recipient text,
    p_discount numeric, p_fingerprint text, p_meta jsonb,
    p_product_type integer, p_product text, p_name text, p_quantity integer, p_unit_price numeric,
    p_fee_payer text, p_is_fee_refundable boolean,
    out o_entry_id bigint, out o_source_after numeric, out o_destination_after numeric,
    out o_withdraw_id bigint, out o_deposit_id bigint, out o_transfer_id bigint,
    out o_purchase_id bigint, out o_line_id bigint)
language plpgsql as $$
declare
    v_made record;
begin
    v_made := dj_wallet_move(
        'PURCHASE', p_asset, p_amount, p_payer, null, p_receiver, p_receiver_code, false,
        'purchase', p_purchase_uuid::text, p_now, p_wallet_type,
        p_withdraw_uuid, p_withdraw_meta, p_deposit_uuid, p_deposit_meta,
        p_transfer_uuid, p_transfer_status, p_discount, null);
    if v_made.o_entry_id is null then return; end if;
    o_entry_id := v_made.o_entry_id;
    o_source_after := v_made.o_source_after;
    o_destination_after := v_made.o_destination_after;
    o_withdraw_id := v_made.o_withdraw_id;
    o_deposit_id := v_made.o_deposit_id;
    o_transfer_id := v_made.o_transfer_id;

    insert into dj_wallet_purchase (
        customer_type_id, customer_id, recipient_type_id, recipient_id, wallet_id, uuid, total, fee, discount,
        entry_id, fingerprint, meta, created_at)
    values (
        p_customer_type, p_customer, p_recipient_type, p_recipient, p_payer, p_purchase_uuid, p_amount, 0, p_discount,
        o_entry_id, p_fingerprint, p_meta, p_now)
    returning id into o_purchase_id;
    insert into dj_wallet_purchaseline (
        purchase_id, product_type_id, product_id, name, quantity, unit_price, discount, fee, fee_payer,
        is_fee_refundable, net, total, refunded_quantity, refunded_amount, payment_id, transfer_id)
    values (
        o_purchase_id, p_product_type, p_product, p_name, p_quantity, p_unit_price, p_discount, 0, p_fee_payer,
        p_is_fee_refundable, p_amount, p_amount, 0, 0, o_withdraw_id, o_transfer_id)
    returning id into o_line_id;
end $$;
