"""Payments for a cart, which PostgreSQL makes and records in one statement; `pay_at_once` for many products."""

from collections.abc import Sequence
from typing import Any, Final

from django.utils import timezone

from dj_wallet.ledger.engine import Entry
from dj_wallet.ledger.money import trim
from dj_wallet.ledger.records import write_json
from dj_wallet.ledger.statement import execute
from dj_wallet.ledger.store.postgres import BATCH_TYPES, Batch, shorten, to_array, to_text_array
from dj_wallet.ledger.watch import moving
from dj_wallet.models import Purchase, Wallet

from .at_once import WRITE_UUID, Written, get_wallet_type, write_key, write_meta
from .bought import (
    Keys,
    Lines,
    Numbers,
    Places,
    Sale,
    Side,
    are_purchases_plain,
    get_status,
    list_places,
    list_sides,
    make_numbers,
    mark_bought,
)
from .movements import refuse_pending_keys

TYPES: Final = (
    *(f"{name}[]" for name in BATCH_TYPES),
    *("timestamptz", "integer"),
    *("uuid", "integer", "text", "integer", "text", "bigint"),
    *("numeric", "numeric", "numeric", "text", "text", "jsonb"),
    *("bigint[]", "text[]", "numeric[]", "uuid[]", "text[]"),
    *("text", "integer[]", "integer[]", "numeric[]", "numeric[]", "uuid[]"),
    *("integer[]", "text[]", "text[]", "integer[]", "numeric[]", "numeric[]", "numeric[]"),
    *("text[]", "boolean[]", "numeric[]", "numeric[]", "integer[]", "integer[]", "integer[]"),
)
PARAMETERS: Final = ", ".join(f"%s::{name}" for name in TYPES)
PAY_CART: Final = f"SELECT * FROM dj_wallet_pay_cart({PARAMETERS})"


def pay_cart_at_once(
    entry: Entry, purchase: Purchase, payer: Any, sales: Sequence[Sale], *, sender: type, using: str
) -> bool:
    """Pay for the sales and write their records; False, with nothing written, if it takes more than one statement.

    The purchase and the wallets are up to date afterwards. Never raises for a refusal: the caller's transaction stays
    usable.

    :raises IdempotencyConflict: the key was used for something else
    """
    sides = list_sides(payer, sales)
    wallets = {side.wallet.pk: side.wallet for side in sides}
    batch = Batch()
    if not (
        all(type(wallet) is Wallet for wallet in wallets.values())
        and are_purchases_plain(sender, using)
        and batch.add(entry)
    ):
        return False
    refuse_pending_keys([entry], using)
    now, wallet_type, numbers = timezone.now(), get_wallet_type(using), make_numbers(sales)
    places = list_places(sales)
    parameters = (
        *batch.list_parameters(),
        *(now, wallet_type),
        *_list_purchase(purchase),
        *_list_transactions(sides, numbers),
        *_list_transfers(purchase, sales, places, numbers),
        *_list_lines(sales, places),
    )
    with moving(batch.accounts, using):
        row = execute(PAY_CART, parameters, using).fetchone()
    if row is None:
        return False
    entry_id, purchase_id, transaction_ids, transfer_ids, line_ids, balances = row
    keys = Keys(transaction_ids, transfer_ids, line_ids)
    shared = Written(entry_id, now, using, wallet_type)
    mark_bought(purchase, purchase_id, Lines(purchase, payer, sales, keys, numbers, shared))
    for pk, balance in zip(sorted(batch.accounts), balances, strict=True):
        wallets[pk].balance = trim(balance)
        wallets[pk].version += batch.accounts[pk].touches
    return True


def _list_purchase(purchase: Purchase) -> tuple[Any, ...]:
    made = purchase.__dict__
    return (
        *(purchase.uuid, made["customer_type_id"], write_key(made["customer_id"])),
        *(made["recipient_type_id"], write_key(made["recipient_id"]), made["wallet_id"]),
        *(purchase.total, purchase.fee, purchase.discount),
        *(purchase.idempotency_key, purchase.fingerprint, write_meta(purchase.meta)),
    )


def _list_transactions(sides: Sequence[Side], numbers: Numbers) -> tuple[str, ...]:
    return (
        to_array([side.wallet.pk for side in sides]),
        to_text_array([side.type for side in sides]),
        to_array([side.amount for side in sides]),
        to_array(map(WRITE_UUID, numbers.transactions)),
        to_text_array(shorten(write_json([side.meta for side in sides]))),
    )


def _list_transfers(
    purchase: Purchase, sales: Sequence[Sale], places: Sequence[Places], numbers: Numbers
) -> tuple[str, ...]:
    made = [
        (at.payment, at.deposit, sale.line)
        for sale, at in zip(sales, places, strict=True)
        if at.transfer
    ]
    return (
        get_status(purchase),
        to_array([payment for payment, _, _ in made]),
        to_array([deposit for _, deposit, _ in made]),
        to_array([line.fee for _, _, line in made]),
        to_array([line.discount for _, _, line in made]),
        to_array(map(WRITE_UUID, numbers.transfers)),
    )


def _list_lines(sales: Sequence[Sale], places: Sequence[Places]) -> tuple[str, ...]:
    lines = [sale.line for sale in sales]
    product_keys = [sale.product_key for sale in sales]
    return (
        to_array([type_ for type_, _ in product_keys]),
        to_text_array([write_key(key) for _, key in product_keys]),
        to_text_array([line.name for line in lines]),
        to_array([line.quantity for line in lines]),
        to_array([line.unit_price for line in lines]),
        to_array([line.discount for line in lines]),
        to_array([line.fee for line in lines]),
        to_text_array([line.fee_payer for line in lines]),
        to_array([line.is_fee_refundable for line in lines]),
        to_array([line.net for line in lines]),
        to_array([line.total for line in lines]),
        to_array([at.payment or at.fee_payment for at in places]),
        to_array([at.fee_payment for at in places]),
        to_array([at.transfer for at in places]),
    )
