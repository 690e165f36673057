"""The models of the app: the ledger's tables, and the default wallet, transaction and transfer."""

from django.db import models

from .abstract_models import AbstractTransaction, AbstractTransfer, AbstractWallet
from .ledger.models import (
    Account,
    Asset,
    Checkpoint,
    CheckpointHorizon,
    EntryMeta,
    LedgerEntry,
    Posting,
)

__all__ = [
    "Account",
    "Asset",
    "Checkpoint",
    "CheckpointHorizon",
    "EntryMeta",
    "LedgerEntry",
    "Posting",
    "Transaction",
    "Transfer",
    "Wallet",
]


class Wallet(AbstractWallet):
    """The default wallet model."""

    class Meta(AbstractWallet.Meta):
        abstract = False
        permissions = [("adjust_wallet", "Can adjust the balance of a wallet")]


class Transaction(AbstractTransaction):
    """The default transaction model."""

    wallet = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, related_name="transactions", db_index=False
    )

    class Meta(AbstractTransaction.Meta):
        abstract = False
        indexes = [models.Index(fields=["wallet", "id"], name="dj_wallet_transaction_wallet")]


class Transfer(AbstractTransfer):
    """The default transfer model."""

    withdraw = models.ForeignKey(
        Transaction, on_delete=models.PROTECT, related_name="transfer_withdraw"
    )
    deposit = models.ForeignKey(
        Transaction, on_delete=models.PROTECT, related_name="transfer_deposit"
    )

    class Meta(AbstractTransfer.Meta):
        abstract = False
