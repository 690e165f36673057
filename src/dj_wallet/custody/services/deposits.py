"""Deposits in the books: credited when deep enough, once for each outpoint; taken back when a deep reorganization
proves them gone."""

import logging
from decimal import Decimal
from typing import Any, Final

from django.db import transaction
from django.db.models import F, Q

from dj_wallet import signals
from dj_wallet.abstract_models import AbstractTransaction
from dj_wallet.custody.chain.node import Node
from dj_wallet.custody.models import Chain, Output
from dj_wallet.custody.served import get_served
from dj_wallet.events.services import publish_event
from dj_wallet.ledger.engine import Entry, Kind, Movement
from dj_wallet.ledger.models import Account
from dj_wallet.ledger.money import ZERO
from dj_wallet.ledger.post import post_one
from dj_wallet.ledger.records import insert_records
from dj_wallet.models import Wallet
from dj_wallet.services.common import WalletService
from dj_wallet.services.movements import build_transaction, update_balances

logger = logging.getLogger(__name__)

# What came in and nobody is owed: dust, and what strangers sent to our change addresses.
UNATTRIBUTED: Final = "unattributed"
LOSSES: Final = "losses"
BATCH: Final = 100


def credit_confirmed(chain: Chain) -> int:
    """Credit every output that the cursor has confirmed; return how many wallets' deposits that were. Idempotent."""
    credited = 0
    while rows := _credit_batch(chain):
        credited += sum(row.status == Output.Status.CREDITED for row in rows)
    return credited


def reverse_lost(chain: Chain, node: Node) -> int:
    """Take the credit of lost outputs back once the new chain is as deep as we wait for, and the node knows them
    no more; return how many. Until then they may still come back.
    """
    chain.refresh_from_db()
    lost = Output.objects.filter(
        chain=chain,
        status__in=[Output.Status.CREDITED, Output.Status.KEPT],
        height__isnull=True,
        lost_at__isnull=False,
        lost_at__lte=(chain.height or 0) - chain.confirmations,
    )
    rows = [row for row in lost if node.find_mempool_entry(row.txid) is None]
    for row in rows:
        _reverse(chain, row.pk)
    return len(rows)


def describe_deposit(row: Output, wallet: Wallet, *, confirmations: int) -> dict[str, Any]:
    """Return the data of an event about a deposit."""
    return {
        "user_id": str(wallet.holder_id),
        "wallet": str(wallet.uuid),
        "coin": wallet.asset_id,
        "network": row.chain_id,
        "amount": f"{row.amount:.8f}",
        "txid": row.txid,
        "vout": row.vout,
        "address": row.address.address,
        "height": row.height,
        "block_hash": row.block_hash or None,
        "confirmations": confirmations,
        "ledger_journal_id": row.entry_id,
    }


def _credit_batch(chain: Chain) -> list[Output]:
    with transaction.atomic():
        # The cursor stands still while we credit what is deep enough below it.
        cursor = Chain.objects.select_for_update().get(pk=chain.pk)
        if cursor.height is None:
            return []
        maturity = get_served(chain.pk).network.coinbase_maturity
        deep = Q(height__lte=cursor.height - cursor.confirmations + 1)
        ripe = Q(is_coinbase=False) | Q(height__lte=cursor.height - maturity + 1)
        rows = list(
            Output.objects.filter(deep, ripe, chain=chain, status=Output.Status.SEEN)
            .select_related("address__wallet")
            .order_by("height", "pk")[:BATCH]
        )
        for row in rows:
            _count(cursor, row)
        return rows


def _count(chain: Chain, row: Output) -> None:
    """Write a confirmed output into the books: to its wallet, or to ourselves if nobody is owed it."""
    wallet = row.address.wallet
    if row.made_by_id is not None:
        row.status = Output.Status.KEPT  # change: the withdrawal that made it has told the books
    elif wallet is None or row.amount < chain.min_deposit:
        row.status = Output.Status.KEPT
        row.entry_id = _post_unattributed(chain, row)
    else:
        row.status = Output.Status.CREDITED
        row.entry_id = _credit(chain, row, wallet)
    row.save(update_fields=["status", "entry_id"])
    if row.status == Output.Status.CREDITED and wallet is not None:
        confirmations = (chain.height or 0) - (row.height or 0) + 1
        publish_event(
            event_type="deposit.confirmed",
            subject=f"wallet:{wallet.uuid}",
            data=describe_deposit(row, wallet, confirmations=confirmations),
        )


def _credit(chain: Chain, row: Output, wallet: Wallet) -> int:
    """Post the deposit and record it. Money that has arrived is the user's even while the wallet is frozen."""
    movement = Movement(chain.system_account, wallet.pk, row.amount, chain.asset_id)
    entry = Entry(
        Kind.DEPOSIT,
        (movement,),
        get_deposit_key(row),
        reference_type="tx",
        reference_id=str(row),
        allow_frozen=True,
    )
    posted = post_one(entry)
    if posted.replayed:
        return posted.entry_id
    record = build_transaction(
        wallet,
        AbstractTransaction.TYPE_DEPOSIT,
        row.amount,
        meta={"txid": row.txid, "vout": row.vout, "address": row.address.address},
        entry_id=posted.entry_id,
    )
    insert_records([record], wallet._state.db or "default")
    update_balances(wallet, entry, posted)
    using = wallet._state.db
    signals.announce(signals.transaction_created, WalletService, using=using, transaction=record)
    signals.announce(
        signals.balance_changed, WalletService, using=using, wallet=wallet, transaction=record
    )
    return posted.entry_id


def _post_unattributed(chain: Chain, row: Output) -> int:
    movement = Movement(chain.system_account, UNATTRIBUTED, row.amount, chain.asset_id)
    entry = Entry(
        Kind.DEPOSIT,
        (movement,),
        get_deposit_key(row),
        reference_type="tx",
        reference_id=str(row),
    )
    return post_one(entry).entry_id


def get_deposit_key(row: Output) -> str:
    """Return the idempotency key of what is booked for an output: one for each outpoint, and for each time that its
    credit was taken back."""
    key = f"deposit:{row.chain_id}:{row.txid}:{row.vout}"
    return f"{key}:{row.round}" if row.round else key


def _reverse(chain: Chain, output_id: int) -> None:
    """Take back what was booked for an output that is gone: from the wallet what it still holds, the rest from us."""
    with transaction.atomic():
        Chain.objects.select_for_update().get(pk=chain.pk)
        row = (
            Output.objects.select_for_update(of=("self",))
            .select_related("address__wallet")
            .get(pk=output_id)
        )
        if row.height is not None or row.status not in {
            Output.Status.CREDITED,
            Output.Status.KEPT,
        }:
            return
        movements, shortfall = _list_reversals(chain, row)
        entry = Entry(
            Kind.REVERSAL,
            movements,
            f"{get_deposit_key(row)}:reverse",
            reference_type="tx",
            reference_id=str(row),
            allow_frozen=True,
        )
        posted = post_one(entry)
        Output.objects.filter(pk=row.pk).update(
            status=Output.Status.REVERSED, entry_id=posted.entry_id, round=F("round") + 1
        )
        _tell_reversal(row, posted.entry_id, shortfall)


def _list_reversals(chain: Chain, row: Output) -> tuple[tuple[Movement, ...], Decimal]:
    """Return the movements that take an output out of the books, and what of it is our loss."""
    wallet = row.address.wallet
    if row.status == Output.Status.KEPT or wallet is None:
        back = Movement(UNATTRIBUTED, chain.system_account, row.amount, chain.asset_id)
        return (back,), ZERO
    held = Account.objects.select_for_update().get(pk=wallet.pk).balance
    taken = min(max(held, ZERO), row.amount)
    parts = ((wallet.pk, taken), (LOSSES, row.amount - taken))
    movements = tuple(
        Movement(place, chain.system_account, amount, chain.asset_id)
        for place, amount in parts
        if amount
    )
    return movements, row.amount - taken


def _tell_reversal(row: Output, entry_id: int, shortfall: Decimal) -> None:
    wallet = row.address.wallet
    logger.error("Deposit %s left the chain and was taken back; our loss is %s", row, shortfall)
    if wallet is None:
        return
    row.entry_id = entry_id
    publish_event(
        event_type="deposit.reversed",
        subject=f"wallet:{wallet.uuid}",
        data={**describe_deposit(row, wallet, confirmations=0), "loss": f"{shortfall:.8f}"},
    )
