"""Refunds of plain transfers, which PostgreSQL locks, moves and records in one round trip."""

import json
from collections.abc import Mapping
from typing import Any, Final

from django.db import connections
from django.utils import timezone

from dj_wallet.ledger.errors import AmountInvalid
from dj_wallet.ledger.money import parse_amount, trim
from dj_wallet.ledger.post import run_statement
from dj_wallet.ledger.watch import watchers
from dj_wallet.models import Transfer
from dj_wallet.utils import get_wallet_service

from .at_once import is_plain, make_transaction, make_transfer, mark_written
from .movements import is_customised

REFUND_TRANSFER: Final = (
    "SELECT * FROM dj_wallet_refund_transfer(%s::bigint, %s::uuid, %s::numeric, %s, %s::integer,"
    " %s::uuid, %s::jsonb, %s::uuid, %s::jsonb, %s::uuid)"
)


def refund_at_once(
    transfer: Transfer,
    metas: Mapping[str, dict[str, Any]],
    *,
    amount: Any,
    sender: type,
    using: str,
) -> Transfer | None:
    """Give back a plain transfer, or an amount of it, in one statement; None, with nothing written, if it takes more.

    Never raises for a refusal: the caller's transaction stays usable. The wallets are left in the database.

    :param metas: what the withdrawal and the deposit say
    """
    if (
        type(transfer) is not Transfer
        # Only the database knows yet whose wallets change: nobody could be told before.
        or watchers
        or not is_plain(sender, using)
        or is_customised(get_wallet_service(), "deposit", "withdraw")
    ):
        return None
    try:
        given = None if amount is None else parse_amount(amount)
    except AmountInvalid:
        return None
    now = timezone.now()
    withdraw = make_transaction("withdraw", None, None, metas["withdraw"])
    deposit = make_transaction("deposit", None, None, metas["deposit"])
    refund = make_transfer(withdraw, deposit, Transfer.STATUS_REFUND)
    refund.refund_of_id = transfer.pk
    parameters = (
        *(transfer.pk, transfer.uuid, given, now, withdraw.payable_type_id),
        *(withdraw.uuid, json.dumps(withdraw.meta), deposit.uuid, json.dumps(deposit.meta)),
        refund.uuid,
    )
    entry_id, moved, payer, receiver, *keys = run_statement(
        lambda: _execute(parameters, using), using=using
    )
    if entry_id is None:
        return None
    moved = trim(moved)
    withdraw.__dict__.update(wallet_id=receiver, payable_id=receiver, amount=moved)
    deposit.__dict__.update(wallet_id=payer, payable_id=payer, amount=moved)
    refund.__dict__.update(from_id=receiver, to_id=payer)
    for record, key in zip((withdraw, deposit, refund), keys, strict=True):
        mark_written(record, key, entry_id, now, using)
    return refund


def _execute(parameters: tuple[Any, ...], using: str) -> Any:
    with connections[using].cursor() as cursor:
        cursor.execute(REFUND_TRANSFER, parameters)
        return cursor.fetchone()
