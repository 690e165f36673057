"""The signals of the library. They are sent inside the transaction that moves the money: a receiver that
raises undoes the movement."""

from django.dispatch import Signal

balance_changed = Signal()  # wallet, transaction
transaction_created = Signal()  # transaction
wallet_created = Signal()  # wallet, holder
transfer_completed = Signal()  # transfer, from_wallet, to_wallet
transaction_confirmed = Signal()  # transaction
pre_withdraw = Signal()  # wallet, amount, meta
pre_deposit = Signal()  # wallet, amount, meta
