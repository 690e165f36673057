"""Sends what is signed, until it is in a block. It has no key, and sends only bytes that stand in the database.

A row is claimed with a lease and a token before the node is called, and BROADCAST is written before the first byte
leaves: whatever dies, and whatever the node answers or does not answer, the same bytes are sent again. The same
bytes are the same payment. No answer of a node makes a withdrawal FAILED: that is for the chain to say.
"""

import logging
from datetime import timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce, Now

from dj_wallet.custody.chain.errors import NodeError, NodeRefused, NodeUnreachable
from dj_wallet.custody.chain.node import RPC_ALREADY_MINED, Node
from dj_wallet.custody.models import Chain, ChainTransaction, WithdrawalRequest

from .chains import ensure_chain
from .withdrawals import publish

logger = logging.getLogger(__name__)

LEASE: Final = timedelta(seconds=60)
# A node forgets what waits: after a restart, when its memory is full, after a day.
SEND_AGAIN: Final = timedelta(seconds=60)
TRY_AGAIN: Final = timedelta(seconds=5)


def broadcast_next(name: str, node: Node) -> ChainTransaction | None:
    """Send the transaction that is due longest; return it, or None if none is due.

    Must not run inside a transaction: the node is called.
    """
    chain = ensure_chain(name)
    sent = _claim(chain)
    if sent is None:
        return None
    try:
        answer = node.send_transaction(bytes(sent.raw or b""))
    except NodeRefused as refusal:
        _note_refusal(sent, refusal)
    except NodeUnreachable as error:
        _report(sent, note=str(error), send_at=Now() + TRY_AGAIN)
    except NodeError as error:
        logger.warning("Whether %s was sent is not known: %s", sent.txid, error)
        _report(sent, note=f"Not known: {error}", send_at=Now() + TRY_AGAIN)
    else:
        _accept(sent, "" if answer == sent.txid else f"The node calls it {answer}.")
    return sent


def _claim(chain: Chain) -> ChainTransaction | None:
    """Make the transaction ours for a while, and write down that it may be live from now on."""
    with transaction.atomic():
        chain.refresh_from_db()
        row = _list_due(chain).select_for_update(of=("self",), skip_locked=True).first()
        if row is None:
            return None
        ChainTransaction.objects.filter(pk=row.pk).update(
            status=ChainTransaction.Status.SENT,
            token=F("token") + 1,
            lease_until=Now() + LEASE,
            sent_at=Coalesce("sent_at", Now()),
        )
        row.token += 1
        _note_broadcast(row)
        return row


def _list_due(chain: Chain) -> "QuerySet[ChainTransaction]":
    """Return what is signed and in no block, and not replaced or mined in another form. In a frozen network nothing
    leaves for the first time."""
    siblings = ChainTransaction.objects.filter(spend_id=OuterRef("spend_id")).exclude(
        pk=OuterRef("pk")
    )
    newer = siblings.filter(pk__gt=OuterRef("pk"), accepted_at__isnull=False)
    mined = siblings.filter(height__isnull=False)
    statuses = [ChainTransaction.Status.SENT]
    if not chain.frozen_because:
        statuses.append(ChainTransaction.Status.SIGNED)
    return (
        ChainTransaction.objects.filter(chain=chain, status__in=statuses, height__isnull=True)
        .filter(Q(lease_until__isnull=True) | Q(lease_until__lt=Now()))
        .filter(Q(send_at__isnull=True) | Q(send_at__lte=Now()))
        .exclude(Exists(newer))
        .exclude(Exists(mined))
        .order_by(F("send_at").asc(nulls_first=True), "pk")
        .select_related("spend__withdrawal__wallet")
    )


def _note_broadcast(row: ChainTransaction) -> None:
    withdrawal = row.spend.withdrawal
    if withdrawal is None or row.sent_at is not None:
        return
    withdrawal.status, withdrawal.txid = WithdrawalRequest.Status.BROADCAST, row.txid
    WithdrawalRequest.objects.filter(pk=withdrawal.pk).update(
        status=withdrawal.status, txid=row.txid, hold_reason="", updated_at=Now()
    )
    publish(withdrawal, "withdrawal.broadcast")


def _note_refusal(sent: ChainTransaction, refusal: NodeRefused) -> None:
    """Write why the node did not take it now. "Inputs missing" may mean that it was mined long ago."""
    if refusal.rpc_code == RPC_ALREADY_MINED:
        _accept(sent, "")
        return
    logger.error("The node refused %s: %s", sent.txid, refusal)
    _report(sent, note=str(refusal), send_at=Now() + SEND_AGAIN)


def _accept(sent: ChainTransaction, note: str) -> None:
    accepted_at = Coalesce("accepted_at", Now())
    _report(sent, note=note, send_at=Now() + SEND_AGAIN, accepted_at=accepted_at)


def _report(sent: ChainTransaction, *, note: str, **changes: Any) -> None:
    """Write the outcome, if our claim still stands."""
    ours = ChainTransaction.objects.filter(pk=sent.pk, token=sent.token)
    ours.update(note=note[:300], lease_until=None, **changes)
