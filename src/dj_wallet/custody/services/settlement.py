"""What the chain has confirmed of our own transactions, in the books."""

from django.db import transaction
from django.db.models.functions import Now

from dj_wallet import signals
from dj_wallet.custody.models import Chain, ChainTransaction, Output, Spend, WithdrawalRequest
from dj_wallet.events.services import publish_event
from dj_wallet.ledger.engine import Bucket, Entry, Kind, Movement
from dj_wallet.ledger.post import post_one
from dj_wallet.models import Transaction
from dj_wallet.services.common import WalletService
from dj_wallet.services.movements import update_balances

from .withdrawals import describe_withdrawal

NETWORK_FEES = "network_fees"
COLD_STORAGE = "cold_storage"
FEES = "fees"


def settle_confirmed(chain: Chain) -> None:
    """Book every transaction of ours that the cursor has confirmed, each once. Idempotent."""
    chain.refresh_from_db()
    if chain.height is None:
        return
    spends = Spend.objects.filter(chain=chain).values_list("pk", flat=True)
    # Two walks of small indexes: what is over is never looked at again.
    open_ones = set(spends.filter(settled__isnull=True)) | set(
        spends.filter(withdrawal__status=WithdrawalRequest.Status.BROADCAST)
    )
    due = ChainTransaction.objects.filter(
        spend__in=open_ones, height__lte=chain.height - chain.confirmations + 1
    )
    for pk in due.order_by("pk").values_list("pk", flat=True):
        with transaction.atomic():
            _settle(chain, pk)


def _settle(chain: Chain, transaction_id: int) -> None:
    # The cursor stands still: a block that is taken back meanwhile takes this back after us.
    cursor = Chain.objects.select_for_update().get(pk=chain.pk)
    sent = ChainTransaction.objects.get(pk=transaction_id)
    if sent.height is None or sent.height > (cursor.height or 0) - cursor.confirmations + 1:
        return
    spend = Spend.objects.select_for_update().get(pk=sent.spend_id)
    if spend.settled_id is None and spend.withdrawal_id is None:
        _post_sweep(cursor, spend, sent)
    if spend.settled_id != sent.pk:
        _post_network_fee(cursor, spend, sent)
        spend.settled = sent
        spend.settlements += 1
        spend.save(update_fields=["settled", "settlements"])
        _drop_replaced(sent)
    if spend.withdrawal_id is not None:
        withdrawal = WithdrawalRequest.objects.select_for_update(of=("self",)).get(
            pk=spend.withdrawal_id
        )
        if withdrawal.status != WithdrawalRequest.Status.CONFIRMED:
            _confirm(cursor, withdrawal, sent)


def _post_network_fee(chain: Chain, spend: Spend, sent: ChainTransaction) -> None:
    """Book what the network took. Of a replacement that won after all, the other's fee is given back first."""
    movements = []
    if spend.settled is not None:
        movements.append(
            Movement(chain.system_account, NETWORK_FEES, spend.settled.network_fee, chain.asset_id)
        )
    movements.append(Movement(NETWORK_FEES, chain.system_account, sent.network_fee, chain.asset_id))
    post_one(
        Entry(
            Kind.WITHDRAWAL,
            tuple(movements),
            f"spend:{spend.uuid}:network-fee:{spend.settlements}",
            reference_type="tx",
            reference_id=sent.txid or "",
        )
    )


def _post_sweep(chain: Chain, spend: Spend, sent: ChainTransaction) -> None:
    """Book coins that went to cold storage: still ours, no longer in the hot wallet."""
    post_one(
        Entry(
            Kind.TRANSFER,
            (Movement(COLD_STORAGE, chain.system_account, sent.amount, chain.asset_id),),
            f"spend:{spend.uuid}:sweep",
            reference_type="tx",
            reference_id=sent.txid or "",
        )
    )


def _drop_replaced(sent: ChainTransaction) -> None:
    """Give up the change of replaced transactions: it will never exist."""
    others = ChainTransaction.objects.filter(spend_id=sent.spend_id).exclude(pk=sent.pk)
    Output.objects.filter(made_by__in=others, height__isnull=True, spend__isnull=True).update(
        status=Output.Status.ORPHANED
    )
    Output.objects.filter(made_by=sent, status=Output.Status.ORPHANED).update(
        status=Output.Status.SEEN
    )


def _confirm(chain: Chain, withdrawal: WithdrawalRequest, sent: ChainTransaction) -> None:
    wallet, record = withdrawal.wallet, withdrawal.transaction
    movements = [
        Movement(wallet.pk, chain.system_account, withdrawal.amount, chain.asset_id, Bucket.PENDING)
    ]
    if withdrawal.fee:
        movements.append(Movement(wallet.pk, FEES, withdrawal.fee, chain.asset_id, Bucket.PENDING))
    entry = Entry(
        Kind.WITHDRAWAL,
        tuple(movements),
        f"withdrawal:{withdrawal.pk}:settle",
        reference_type="withdrawal",
        reference_id=str(withdrawal.pk),
        allow_frozen=True,
    )
    posted = post_one(entry)
    WithdrawalRequest.objects.filter(pk=withdrawal.pk).update(
        status=WithdrawalRequest.Status.CONFIRMED, txid=sent.txid, hold_reason="", updated_at=Now()
    )
    if posted.replayed:
        return  # confirmed before a reorganization: the books know, and so does everybody else
    withdrawal.txid = sent.txid
    record.status, record.confirmed = Transaction.STATUS_COMPLETED, True
    record.entry_id = posted.entry_id
    record.meta = {**(record.meta or {}), "txid": sent.txid}
    record.save(update_fields=["status", "confirmed", "entry_id", "meta", "updated_at"])
    update_balances(wallet, entry, posted)
    using = record._state.db
    signals.announce(signals.transaction_confirmed, WalletService, using=using, transaction=record)
    signals.announce(
        signals.balance_changed, WalletService, using=using, wallet=wallet, transaction=record
    )
    publish_event(
        event_type="withdrawal.confirmed",
        subject=f"wallet:{wallet.uuid}",
        data={
            **describe_withdrawal(withdrawal),
            "status": WithdrawalRequest.Status.CONFIRMED,
            "height": sent.height,
            "ledger_journal_id": posted.entry_id,
        },
    )
