"""Refunds of plain transfers, which PostgreSQL locks, moves and records in one round trip."""

import json
from collections.abc import Mapping
from typing import Any, Final

from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.utils import timezone

from dj_wallet.ledger.errors import AmountInvalid
from dj_wallet.ledger.money import parse_amount, trim
from dj_wallet.ledger.records import build_record, is_plain_save_needed
from dj_wallet.models import Transaction, Transfer, Wallet
from dj_wallet.utils import get_transaction_model, get_wallet_model, get_wallet_service

from .movements import is_anybody_asked, is_anybody_told, is_customised

REFUND_TRANSFER: Final = (
    "SELECT * FROM dj_wallet_refund_transfer(%s::bigint, %s::uuid, %s::numeric, %s, %s::integer,"
    " %s::uuid, %s::jsonb, %s::uuid, %s::jsonb, %s::uuid)"
)


def refund_at_once(
    transfer: Transfer,
    metas: Mapping[str, Any],
    *,
    amount: Any,
    sender: type,
    using: str,
) -> Transfer | None:
    """Give back a plain transfer, or an amount of it, in one statement; None, with nothing written, if it takes more.

    Never raises for a refusal: the caller's transaction stays usable. The wallets are left in the database.

    :param metas: what the withdrawal and the deposit say
    """
    if type(transfer) is not Transfer or not _is_plain(sender, using):
        return None
    try:
        given = None if amount is None else parse_amount(amount)
    except AmountInvalid:
        return None
    now = timezone.now()
    wallet_type = ContentType.objects.get_for_model(Wallet).pk
    withdraw, deposit = (
        _build_transaction(type_, metas[type_], wallet_type)
        for type_ in (Transaction.TYPE_WITHDRAW, Transaction.TYPE_DEPOSIT)
    )
    refund = _build_refund(transfer, withdraw, deposit, wallet_type)
    parameters = (
        *(transfer.pk, transfer.uuid, given, now, wallet_type),
        *(withdraw.uuid, json.dumps(withdraw.meta), deposit.uuid, json.dumps(deposit.meta)),
        refund.uuid,
    )
    with connections[using].cursor() as cursor:
        cursor.execute(REFUND_TRANSFER, parameters)
        entry_id, moved, payer, receiver, *keys = cursor.fetchone()
    if entry_id is None:
        return None
    for record, wallet in ((withdraw, receiver), (deposit, payer)):
        record.__dict__.update(wallet_id=wallet, payable_id=wallet, amount=trim(moved))
    refund.__dict__.update(from_id=receiver, to_id=payer, withdraw_id=keys[0], deposit_id=keys[1])
    for record, key in zip((withdraw, deposit, refund), keys, strict=True):
        record.__dict__.update(id=key, entry_id=entry_id, created_at=now, updated_at=now)
        record._state.adding = False
        record._state.db = using
    return refund


def _is_plain(sender: type, using: str) -> bool:
    """Tell whether the models are ours and nobody wants to see, or to decide on, what is written."""
    return (
        connections[using].vendor == "postgresql"
        and get_transaction_model() is Transaction
        and get_wallet_model() is Wallet
        and not is_plain_save_needed(Transaction)
        and not is_plain_save_needed(Transfer)
        and not is_anybody_asked(sender)
        and not is_anybody_told(sender)
        and not is_customised(get_wallet_service(), "deposit", "withdraw")
    )


def _build_transaction(type_: str, meta: Mapping[str, Any], wallet_type: int) -> Transaction:
    record = build_record(
        Transaction, {"type": type_, "meta": dict(meta), "payable_type_id": wallet_type}, {}
    )
    record.remember_status()
    return record


def _build_refund(
    transfer: Transfer, withdraw: Transaction, deposit: Transaction, wallet_type: int
) -> Transfer:
    return build_record(
        Transfer,
        {
            "from_type_id": wallet_type,
            "to_type_id": wallet_type,
            "status": Transfer.STATUS_REFUND,
            "refund_of_id": transfer.pk,
        },
        {"withdraw": withdraw, "deposit": deposit},
    )
