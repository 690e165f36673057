"""The signals of the library.

The first seven are those of release 0.1.0, sent inside the transaction that moves the money: a receiver that raises
undoes the movement, and one of `pre_deposit` and `pre_withdraw` stops it before it begins. `hold_changed` and
`escrow_changed` are sent at the same moment. The others have the same
arguments and are sent once the transaction has been committed, never if it was not: a receiver that raises is logged.
"""

from typing import Any, Final

from django.db import transaction
from django.dispatch import Signal

balance_changed = Signal()  # wallet, transaction
transaction_created = Signal()  # transaction
wallet_created = Signal()  # wallet, holder
transfer_completed = Signal()  # transfer, from_wallet, to_wallet
transaction_confirmed = Signal()  # transaction
pre_withdraw = Signal()  # wallet, amount, meta
pre_deposit = Signal()  # wallet, amount, meta
hold_changed = Signal()  # hold, step
escrow_changed = Signal()  # escrow, action

balance_changed_committed = Signal()
transaction_created_committed = Signal()
wallet_created_committed = Signal()
transfer_completed_committed = Signal()
transaction_confirmed_committed = Signal()
hold_changed_committed = Signal()
escrow_changed_committed = Signal()

_COMMITTED: Final = {
    balance_changed: balance_changed_committed,
    transaction_created: transaction_created_committed,
    wallet_created: wallet_created_committed,
    transfer_completed: transfer_completed_committed,
    transaction_confirmed: transaction_confirmed_committed,
    hold_changed: hold_changed_committed,
    escrow_changed: escrow_changed_committed,
}


def announce(signal: Signal, sender: Any, *, using: str | None, **arguments: Any) -> None:
    """Send the signal now, and its `_committed` twin when the transaction of the database has been committed."""
    signal.send(sender, **arguments)
    committed = _COMMITTED[signal]
    if committed.has_listeners(sender):
        transaction.on_commit(
            lambda: committed.send_robust(sender, **arguments), using=using, robust=True
        )
