"""Payments for one product, which PostgreSQL makes and records in one statement."""

from typing import Final

from django.utils import timezone

from dj_wallet.ledger.records import is_plain_save_needed
from dj_wallet.ledger.statement import execute
from dj_wallet.ledger.watch import moving
from dj_wallet.models import Purchase, PurchaseLine, Transaction, Transfer, Wallet
from dj_wallet.utils import get_wallet_service

from .at_once import is_plain, mark_written, show_balance, write_key, write_meta
from .movements import get_wallet, is_customised

PAY: Final = (
    "SELECT * FROM dj_wallet_pay(%s, %s::numeric, %s::bigint, %s::bigint, %s, %s::timestamptz,"
    " %s::integer, %s::uuid, %s::jsonb, %s::uuid, %s::jsonb, %s::uuid, %s, %s::uuid, %s::integer, %s,"
    " %s::integer, %s, %s::numeric, %s, %s::jsonb, %s::integer, %s, %s, %s::integer, %s::numeric, %s, %s::boolean)"
)


def pay_at_once(
    purchase: Purchase,
    line: PurchaseLine,
    withdraw: Transaction,
    deposit: Transaction | None,
    transfer: Transfer | None,
    *,
    receiver_code: str,
    sender: type,
    using: str,
) -> bool:
    """Pay for the line and write its records; False, with nothing written, if it takes more than one statement.

    The wallets are up to date afterwards. Never raises for a refusal: the caller's transaction stays usable.

    :param receiver_code: the system account that gets the money if there is no deposit
    """
    payer = get_wallet(withdraw)
    receiver = None if deposit is None else get_wallet(deposit)
    if not _is_short(payer, receiver, line, sender, using):
        return False
    now, made = timezone.now(), purchase.__dict__
    parameters = (
        *(payer.asset_id, withdraw.amount, payer.pk),
        *((None, receiver_code) if receiver is None else (receiver.pk, None)),
        *(now, withdraw.payable_type_id, withdraw.uuid, write_meta(withdraw.meta)),
        *((None, None) if deposit is None else (deposit.uuid, write_meta(deposit.meta))),
        *((None, None) if transfer is None else (transfer.uuid, transfer.status)),
        *(purchase.uuid, made["customer_type_id"], write_key(made["customer_id"])),
        *(made["recipient_type_id"], write_key(made["recipient_id"])),
        *(line.discount, purchase.fingerprint, write_meta(purchase.meta)),
        *(line.product_type_id, write_key(line.__dict__["product_id"]), line.name, line.quantity),
        *(line.unit_price, line.fee_payer, line.is_fee_refundable),
    )
    changed = [payer.pk] if receiver is None else [payer.pk, receiver.pk]
    with moving(changed, using):
        row = execute(PAY, parameters, using).fetchone()
    entry_id, payer_after, receiver_after, *keys, purchase_id, line_id = row
    if entry_id is None:
        return False
    for record, key in zip((withdraw, deposit, transfer), keys, strict=True):
        if record is not None:
            mark_written(record, key, entry_id, now, using)
    purchase.__dict__.update(id=purchase_id, entry_id=entry_id, created_at=now)
    line.__dict__.update(
        id=line_id, purchase_id=purchase_id, payment_id=keys[0], transfer_id=keys[2]
    )
    for written in (purchase, line):
        written._state.adding, written._state.db = False, using
    show_balance(payer, payer_after)
    if receiver is not None:
        show_balance(receiver, receiver_after)
    return True


def _is_short(
    payer: Wallet, receiver: Wallet | None, line: PurchaseLine, sender: type, using: str
) -> bool:
    wallets = {payer.pk} if receiver is None else {payer.pk, receiver.pk}
    return (
        not line.fee
        and None not in wallets
        and len(wallets) == (1 if receiver is None else 2)
        and all(wallet is None or type(wallet) is Wallet for wallet in (payer, receiver))
        and is_plain(sender, using)
        and not is_plain_save_needed(Purchase)
        and not is_plain_save_needed(PurchaseLine)
        and not is_customised(get_wallet_service(), "deposit", "withdraw")
    )
