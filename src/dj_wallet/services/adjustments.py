"""Corrections by an operator: the only movements without a business fact behind them but a reason."""

from decimal import Decimal
from typing import Any, Final

from dj_wallet.abstract_models import AbstractWallet
from dj_wallet.ledger.engine import Entry, Kind, Movement, Posted
from dj_wallet.ledger.errors import MovementInvalid
from dj_wallet.ledger.money import parse_amount, read_number
from dj_wallet.ledger.post import post_one

from .movements import update_balances

ADJUSTMENT: Final = "adjustment"


def adjust_wallet(
    *, wallet: AbstractWallet, change: Any, reason: str, operator: str, idempotency_key: str
) -> Posted:
    """Post an ADJUSTMENT entry that changes the available balance, against the system account `adjustment`.

    Idempotent: the same key moves nothing a second time. Joins the caller's transaction. The reason and the operator
    stay in the entry's meta. There is no transaction for the holder: it is the ledger that is put right.

    :param change: what is added; below zero what is taken, never more than the wallet may spend
    :raises AmountInvalid: zero, or not an amount of the wallet's asset
    :raises MovementInvalid: no reason was given
    :raises WalletFrozen: the wallet is frozen
    :raises InsufficientFunds: the wallet holds less than is taken
    :raises IdempotencyConflict: the key was used for something else
    """
    if not reason.strip():
        raise MovementInvalid("An adjustment needs a reason.")
    number: Decimal = read_number(change)
    amount = parse_amount(abs(number), wallet.decimal_places)
    ends: tuple[int | str, int | str] = (ADJUSTMENT, wallet.pk)
    source, destination = ends if number > 0 else ends[::-1]
    entry = Entry(
        Kind.ADJUSTMENT,
        (Movement(source, destination, amount, wallet.asset_id),),
        f"{ADJUSTMENT}:{idempotency_key}",
        reference_type=ADJUSTMENT,
        reference_id=idempotency_key,
        meta={"reason": reason, "operator": operator},
    )
    posted = post_one(entry, using=wallet._state.db)
    if not posted.replayed:
        update_balances(wallet, entry, posted)
    return posted
