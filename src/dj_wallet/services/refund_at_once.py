"""Refunds of plain transfers, which PostgreSQL locks, moves and records in one round trip."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from django.utils import timezone

from dj_wallet.ledger.errors import AmountInvalid
from dj_wallet.ledger.ids import make_uuid_numbers
from dj_wallet.ledger.money import parse_amount, trim
from dj_wallet.ledger.post import run_statement
from dj_wallet.ledger.statement import execute_function
from dj_wallet.ledger.watch import watchers
from dj_wallet.models import Transfer
from dj_wallet.utils import get_wallet_service

from .at_once import WRITE_UUID, Written, get_wallet_type, is_plain, write_meta
from .movements import is_customised

REFUND_TRANSFER: Final = (
    "SELECT dj_wallet_refund_transfer(%s::bigint, %s::uuid, %s::numeric, %s, %s::integer,"
    " %s::uuid, %s::jsonb, %s::uuid, %s::jsonb, %s::uuid)::text"
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
    now, uuids, wallet_type = timezone.now(), make_uuid_numbers(3), get_wallet_type(using)
    texts = map(WRITE_UUID, uuids)
    both = metas["withdraw"], metas["deposit"]
    parameters = (
        *(transfer.pk, transfer.uuid, given, now, wallet_type),
        *(next(texts), write_meta(both[0]), next(texts), write_meta(both[1]), next(texts)),
    )
    row = run_statement(lambda: execute_function(REFUND_TRANSFER, parameters, using), using=using)
    if row is None:
        return None
    entry_id, moved, *found = row
    payer, receiver, *keys = map(int, found)
    return Written(int(entry_id), now, using, wallet_type).show_transfer(
        keys,
        uuids,
        (receiver, payer),
        trim(Decimal(moved)),
        both,
        Transfer.STATUS_REFUND,
        refund_of_id=transfer.pk,
    )
