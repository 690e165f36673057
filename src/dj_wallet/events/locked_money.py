"""Events of holds and escrows, made of the signals of the library in the transaction that moves the money."""

from typing import Any, Final

from dj_wallet.abstract_models import AbstractWallet
from dj_wallet.hold_models import Escrow, Hold, HoldStep
from dj_wallet.ledger.money import to_scale
from dj_wallet.signals import escrow_changed, hold_changed

from .services import publish_event

RECEIVER: Final = "dj_wallet.events.locked_money"


def connect() -> None:
    """Publish an event for each change of a hold or an escrow from now on."""
    hold_changed.connect(publish_hold, dispatch_uid=RECEIVER)
    escrow_changed.connect(publish_escrow, dispatch_uid=RECEIVER)


def publish_hold(*, hold: Hold, step: HoldStep, **kwargs: Any) -> None:
    """Publish `lock.placed`, `lock.released`, `lock.settled`, `lock.converted` or `lock.expired`."""
    wallet: AbstractWallet = hold.wallet
    publish_event(
        event_type=f"lock.{step.action}",
        subject=f"wallet:{wallet.uuid}",
        data={
            "lock_id": str(hold.uuid),
            "user_id": str(wallet.holder_id),
            "coin": wallet.asset_id,
            "amount": _show(step.amount, wallet),
            "remaining": _show(step.remaining, wallet),
            "reference_type": hold.reference_type,
            "reference_id": hold.reference_id,
            "ledger_journal_id": step.entry_id,
        },
    )


def publish_escrow(*, escrow: Escrow, action: str, **kwargs: Any) -> None:
    """Publish `escrow.locked`, `escrow.released`, `escrow.refunded`, `escrow.disputed` or `escrow.resolved`."""
    buyer, seller = escrow.buyer_wallet, escrow.seller_wallet
    publish_event(
        event_type=f"escrow.{action}",
        subject=f"wallet:{buyer.uuid}",
        data={
            "escrow_id": str(escrow.uuid),
            "order_id": escrow.order_id,
            "buyer_id": str(buyer.holder_id),
            "seller_id": str(seller.holder_id),
            "coin": buyer.asset_id,
            "amount": _show(escrow.amount, buyer),
            "fee_amount": _show(escrow.fee_amount, buyer),
            "released_amount": _show(escrow.released_amount, buyer),
            "refunded_amount": _show(escrow.refunded_amount, buyer),
            "status": escrow.status,
        },
    )


def _show(amount: Any, wallet: AbstractWallet) -> str:
    return format(to_scale(amount, wallet.decimal_places), "f")
