"""What answers about holds and escrows look like."""

from decimal import Decimal
from typing import Any

from dj_wallet.hold_models import Escrow, Hold, HoldStep
from dj_wallet.hold_queries import explain_hold
from dj_wallet.ledger.money import ZERO
from dj_wallet.models import Wallet
from dj_wallet.rest.bodies import show_amount, show_time


def show_hold(hold: Hold) -> dict[str, Any]:
    """Return a hold as it is."""
    wallet: Wallet = hold.wallet
    places = wallet.decimal_places
    return {
        "uuid": str(hold.uuid),
        "wallet": str(wallet.uuid),
        "asset": wallet.asset_id,
        "reference_type": hold.reference_type,
        "reference_id": hold.reference_id,
        "amount": show_amount(hold.amount, places),
        "remaining": show_amount(hold.remaining, places),
        "status": hold.status.upper(),
        "expires_at": hold.expires_at and show_time(hold.expires_at),
        "created_at": show_time(hold.created_at),
    }


def explain(hold: Hold) -> dict[str, Any]:
    """Return a hold with every change of it."""
    wallet: Wallet = hold.wallet
    places = wallet.decimal_places
    steps = [
        {
            "action": step.action.upper(),
            "amount": show_amount(step.amount, places),
            "remaining": show_amount(step.remaining, places),
            "entry_id": step.entry_id,
            "created_at": show_time(step.created_at),
        }
        for step in explain_hold(hold)
    ]
    return {**show_hold(hold), "steps": steps}


def show_lock(hold: Hold) -> dict[str, Any]:
    """Return what one call did to a hold: the same whenever it is repeated."""
    wallet: Wallet = hold.wallet
    places = wallet.decimal_places
    step = hold.step
    available, locked = _read_balances(hold)
    expires_at = hold.expires_at if step is None else step.expires_at
    return {
        "lock_id": str(hold.uuid),
        "user_id": str(wallet.holder_id),
        "coin": wallet.asset_id,
        "reference_type": hold.reference_type,
        "reference_id": hold.reference_id,
        "amount": show_amount(ZERO if step is None else step.amount, places),
        "remaining": show_amount(hold.remaining if step is None else step.remaining, places),
        "expires_at": expires_at and show_time(expires_at),
        "balance": {
            "available": show_amount(available, places),
            "locked": show_amount(locked, places),
        },
    }


def _read_balances(hold: Hold) -> tuple[Decimal, Decimal]:
    """Return what was available and locked after the call."""
    wallet: Wallet = hold.wallet
    if hold.step is None or hold.posted is None:
        return wallet.balance, wallet.locked_balance
    source, destination = hold.posted.balances[0]
    if hold.step.action != HoldStep.Action.PLACED:
        source, destination = destination, source
    return source or ZERO, destination or ZERO


def show_escrow(escrow: Escrow) -> dict[str, Any]:
    """Return an escrow as it is."""
    buyer, seller = escrow.buyer_wallet, escrow.seller_wallet
    places = buyer.decimal_places
    amounts = ("amount", "fee_amount", "released_amount", "refunded_amount", "fee_charged")
    return {
        "id": str(escrow.uuid),
        "order_id": escrow.order_id,
        "buyer_id": str(buyer.holder_id),
        "seller_id": str(seller.holder_id),
        "buyer": str(buyer.uuid),
        "seller": str(seller.uuid),
        "coin": buyer.asset_id,
        **{name: show_amount(getattr(escrow, name), places) for name in amounts},
        "status": escrow.status,
        "reason": escrow.reason,
        "lock_id": None if escrow.hold is None else str(escrow.hold.uuid),
        "created_at": show_time(escrow.created_at),
        "updated_at": show_time(escrow.updated_at),
    }
