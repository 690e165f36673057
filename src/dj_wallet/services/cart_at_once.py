"""Payments for a cart, which PostgreSQL makes and records in one statement; `pay_at_once` for many products."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.db import models
from django.utils import timezone

from dj_wallet.ledger.engine import Entry
from dj_wallet.ledger.money import trim
from dj_wallet.ledger.records import is_plain_save_needed, write_json
from dj_wallet.ledger.statement import execute
from dj_wallet.ledger.store.postgres import BATCH_TYPES, Batch, shorten, to_array, to_text_array
from dj_wallet.ledger.watch import moving
from dj_wallet.models import Purchase, PurchaseLine, Transaction, Transfer, Wallet
from dj_wallet.utils import get_transfer_service, get_wallet_service

from .at_once import get_wallet_type, is_plain, mark_written, write_key, write_meta
from .movements import get_wallet, is_customised, refuse_pending_keys

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
    entry: Entry,
    purchase: Purchase,
    lines: Sequence[PurchaseLine],
    transactions: Sequence[Transaction],
    transfers: Sequence[Transfer],
    *,
    sender: type,
    using: str,
) -> bool:
    """Pay for the lines and write their records; False, with nothing written, if it takes more than one statement.

    The wallets are up to date afterwards. Never raises for a refusal: the caller's transaction stays usable.

    :raises IdempotencyConflict: the key was used for something else
    """
    wallets = {one.__dict__["wallet_id"]: get_wallet(one) for one in transactions}
    batch = Batch()
    if not _is_short(wallets.values(), sender, using) or not batch.add(entry):
        return False
    refuse_pending_keys([entry], using)
    now = timezone.now()
    at = {
        id(one): number for many in (transactions, transfers) for number, one in enumerate(many, 1)
    }
    parameters = (
        *batch.list_parameters(),
        *(now, get_wallet_type(using)),
        *_list_purchase(purchase),
        *_list_transactions(transactions),
        *_list_transfers(transfers, at),
        *_list_lines(lines, at),
    )
    with moving(batch.accounts, using):
        row = execute(PAY_CART, parameters, using).fetchone()
    if row is None:
        return False
    entry_id, purchase_id, transaction_ids, transfer_ids, line_ids, balances = row
    for records, keys in ((transactions, transaction_ids), (transfers, transfer_ids)):
        for record, key in zip(records, keys, strict=True):
            mark_written(record, key, entry_id, now, using)
    _mark(purchase, using, id=purchase_id, entry_id=entry_id, created_at=now)
    for line, key in zip(lines, line_ids, strict=True):
        _mark(line, using, id=key, purchase_id=purchase_id, **_find_keys(line))
    for pk, balance in zip(sorted(batch.accounts), balances, strict=True):
        wallets[pk].balance = trim(balance)
        wallets[pk].version += batch.accounts[pk].touches
    return True


def _is_short(wallets: Any, sender: type, using: str) -> bool:
    return (
        is_plain(sender, using)
        and all(type(wallet) is Wallet for wallet in wallets)
        and not is_plain_save_needed(Purchase)
        and not is_plain_save_needed(PurchaseLine)
        and not is_customised(get_transfer_service(), "transfer")
        and not is_customised(get_wallet_service(), "deposit", "withdraw")
    )


def _list_purchase(purchase: Purchase) -> tuple[Any, ...]:
    made = purchase.__dict__
    return (
        *(purchase.uuid, made["customer_type_id"], write_key(made["customer_id"])),
        *(made["recipient_type_id"], write_key(made["recipient_id"]), made["wallet_id"]),
        *(purchase.total, purchase.fee, purchase.discount),
        *(purchase.idempotency_key, purchase.fingerprint, write_meta(purchase.meta)),
    )


def _list_transactions(transactions: Sequence[Transaction]) -> tuple[str, ...]:
    return (
        to_array([one.__dict__["wallet_id"] for one in transactions]),
        to_text_array([one.type for one in transactions]),
        to_array([one.amount for one in transactions]),
        to_array([one.uuid for one in transactions]),
        to_text_array(shorten(write_json([one.meta for one in transactions]))),
    )


def _list_transfers(transfers: Sequence[Transfer], at: Mapping[int, int]) -> tuple[str, ...]:
    related = [one._state.fields_cache for one in transfers]
    return (
        transfers[0].status if transfers else "",
        to_array([at[id(one["withdraw"])] for one in related]),
        to_array([at[id(one["deposit"])] for one in related]),
        to_array([one.fee for one in transfers]),
        to_array([one.discount for one in transfers]),
        to_array([one.uuid for one in transfers]),
    )


def _list_lines(lines: Sequence[PurchaseLine], at: Mapping[int, int]) -> tuple[str, ...]:
    made = [line.__dict__ for line in lines]
    related = [line._state.fields_cache for line in lines]
    return (
        to_array([one["product_type_id"] for one in made]),
        to_text_array([write_key(one["product_id"]) for one in made]),
        to_text_array([one["name"] for one in made]),
        to_array([one["quantity"] for one in made]),
        *(to_array([one[name] for one in made]) for name in ("unit_price", "discount", "fee")),
        to_text_array([one["fee_payer"] for one in made]),
        *(to_array([one[name] for one in made]) for name in ("is_fee_refundable", "net", "total")),
        *(
            to_array([at.get(id(one[name])) for one in related])
            for name in ("payment", "fee_payment", "transfer")
        ),
    )


def _find_keys(line: PurchaseLine) -> dict[str, Any]:
    """Return the keys of the records of a line."""
    related = line._state.fields_cache
    return {
        f"{name}_id": related[name] and related[name].__dict__["id"]
        for name in ("payment", "fee_payment", "transfer")
    }


def _mark(record: models.Model, using: str, **values: Any) -> None:
    """Let the record be what the database has."""
    record.__dict__.update(values)
    record._state.adding, record._state.db = False, using
