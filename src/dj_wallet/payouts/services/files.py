"""Orders by file: what is due at a bank that takes files becomes one pain.001 file, with its money held."""

from typing import Final

from django.db import transaction
from django.db.models.functions import Now

from dj_wallet.ledger.engine import Bucket, Kind
from dj_wallet.ledger.errors import WalletException
from dj_wallet.ledger.ids import uuid7
from dj_wallet.ledger.money import ZERO
from dj_wallet.payouts.bank import get_bank
from dj_wallet.payouts.banks.file import FileBank
from dj_wallet.payouts.errors import BankNotFound
from dj_wallet.payouts.iso20022 import write_orders
from dj_wallet.payouts.models import PaymentFile, Payout

from . import outcomes
from .execution import digest_order
from .outcomes import Status, Step, make_step

MAX_ORDERS: Final = 1000


def export_orders(*, bank: str, limit: int = MAX_ORDERS) -> PaymentFile | None:
    """Make a file of the due payouts of a bank; return it, or None if nothing is due.

    The file and the held money are committed together, and a payout is in one file only. From then on only a statement,
    a report of the bank, or two operators say what became of it.

    :raises BankNotFound: the bank does not take files
    """
    adapter = get_bank(bank)
    if not isinstance(adapter, FileBank):
        raise BankNotFound(f"The bank {bank!r} takes no files.")
    with transaction.atomic():
        due = Payout.objects.due().filter(bank=bank).select_related("transaction__wallet")
        locked = list(due.select_for_update(skip_locked=True, of=("self",))[:limit])
        held = [payout for payout in locked if _hold(payout)]
        return _make_file(bank, adapter, held) if held else None


def _hold(payout: Payout) -> bool:
    """Hold the money; a payout that cannot be covered fails."""
    try:
        outcomes.move(payout, "hold", Kind.WITHDRAWAL, Bucket.AVAILABLE, Bucket.PENDING)
    except WalletException as refusal:
        outcomes.fail(payout, refusal.code)
        return False
    return True


def _make_file(name: str, bank: FileBank, payouts: list[Payout]) -> PaymentFile:
    uuid = uuid7()
    orders = [outcomes.build_order(payout) for payout in payouts]
    file = PaymentFile.objects.create(
        uuid=uuid,
        bank=name,
        message_id=uuid.hex,
        text="",
        orders=len(orders),
        total=sum((order.amount for order in orders), start=ZERO),
    )
    file.text = write_orders(
        bank, orders, message_id=file.message_id, execution_date=file.created_at.date()
    )
    file.save(update_fields=["text"])
    for payout, order in zip(payouts, orders, strict=True):
        outcomes.change(
            payout,
            status=Status.ACCEPTED,
            due_at=None,
            sent_at=Now(),
            held_at=Now(),
            attempts=1,
            order_hash=digest_order(order),
            payment_file=file,
        )
        detail = {"file": file.message_id}
        outcomes.note([make_step(payout, Step.HELD), make_step(payout, Step.SENT, detail)])
        outcomes.publish(payout, "payout.sent", detail)
    return file
