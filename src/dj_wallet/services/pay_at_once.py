"""Payments for one product, which PostgreSQL makes and records in one statement."""

from typing import Any, Final

from django.utils import timezone

from dj_wallet.ledger.statement import execute_function
from dj_wallet.ledger.watch import moving
from dj_wallet.models import Purchase, Wallet
from dj_wallet.pricing import Line

from .at_once import (
    WRITE_UUID,
    Written,
    get_wallet_type,
    show_balance,
    write_key,
    write_meta,
)
from .bought import (
    Keys,
    Lines,
    Sale,
    are_purchases_plain,
    get_status,
    list_sides,
    make_numbers,
    mark_bought,
)

PAY: Final = (
    "SELECT dj_wallet_pay(%s, %s::numeric, %s::bigint, %s::bigint, %s, %s::timestamptz,"
    " %s::integer, %s::uuid, %s::jsonb, %s::uuid, %s::jsonb, %s::uuid, %s, %s::uuid, %s::integer, %s,"
    " %s::integer, %s, %s::numeric, %s, %s::jsonb, %s::integer, %s, %s, %s::integer, %s::numeric, %s, %s::boolean)::text"
)


def pay_at_once(
    purchase: Purchase, payer: Any, sale: Sale, *, receiver_code: str, sender: type, using: str
) -> bool:
    """Pay for the sale and write its records; False, with nothing written, if it takes more than one statement.

    The purchase and the wallets are up to date afterwards. Never raises for a refusal: the caller's transaction stays
    usable.

    :param receiver_code: the system account that gets the money if nobody else does
    """
    line, receiver = sale.line, sale.receiver
    if not _is_short(payer, receiver, line, sender, using):
        return False
    now, wallet_type, numbers = timezone.now(), get_wallet_type(using), make_numbers([sale])
    uuids = [WRITE_UUID(number) for many in numbers for number in many]
    metas = [write_meta(side.meta) for side in list_sides(payer, [sale])]
    places = (None, receiver_code) if receiver is None else (receiver.pk, None)
    records = (
        (uuids[0], metas[0], None, None, None, None)
        if receiver is None
        else (uuids[0], metas[0], uuids[1], metas[1], uuids[2], get_status(purchase))
    )
    made = purchase.__dict__
    product_type, product_key = sale.product_key
    parameters = (
        *(payer.asset_id, line.net, payer.pk, *places, now, wallet_type, *records),
        *(purchase.uuid, made["customer_type_id"], write_key(made["customer_id"])),
        *(made["recipient_type_id"], write_key(made["recipient_id"])),
        *(line.discount, purchase.fingerprint, write_meta(purchase.meta)),
        *(product_type, write_key(product_key), line.name, line.quantity),
        *(line.unit_price, line.fee_payer, line.is_fee_refundable),
    )
    with moving([payer.pk] if receiver is None else [payer.pk, receiver.pk], using):
        row = execute_function(PAY, parameters, using)
    if row is None:
        return False
    entry_id, payer_after, receiver_after, withdraw, deposit, transfer, purchase_id, line_id = row
    keys = (
        Keys([int(withdraw)], [], [int(line_id)])
        if receiver is None
        else Keys([int(withdraw), int(deposit)], [int(transfer)], [int(line_id)])
    )
    shared = Written(int(entry_id), now, using, wallet_type)
    mark_bought(purchase, int(purchase_id), Lines(purchase, payer, [sale], keys, numbers, shared))
    show_balance(payer, payer_after)
    if receiver is not None:
        show_balance(receiver, receiver_after)
    return True


def _is_short(payer: Any, receiver: Any, line: Line, sender: type, using: str) -> bool:
    wallets = {payer.pk} if receiver is None else {payer.pk, receiver.pk}
    return (
        not line.fee
        and None not in wallets
        and len(wallets) == (1 if receiver is None else 2)
        and all(wallet is None or type(wallet) is Wallet for wallet in (payer, receiver))
        and are_purchases_plain(sender, using)
    )
