"""The signer's desk: requests made of rows, and the answers written back. The key itself is in the signer's process.

The rules of the signer are in `chain.signer`; it trusts nothing that stands in these rows.
"""

import logging
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from dj_wallet.custody.chain.keys import CHANGE_CHAIN, DEPOSIT_CHAIN
from dj_wallet.custody.chain.networks import to_base_units
from dj_wallet.custody.chain.signer import Approval, SignedTransaction, SigningRequest, SpentOutput
from dj_wallet.custody.chain.transactions import Outpoint, parse
from dj_wallet.custody.models import (
    Address,
    ChainTransaction,
    Output,
    PreviousTransaction,
    Spend,
    WithdrawalRequest,
)
from dj_wallet.custody.served import get_served, list_served
from dj_wallet.ledger.money import ZERO

from .withdrawals import publish

logger = logging.getLogger(__name__)

REFUSED_BY_SIGNER = "refused_by_signer"


class SigningRows:
    """The requests of the networks that are served; see `chain.signer.SigningDesk`."""

    def claim_request(self) -> SigningRequest | None:
        """Return the oldest transaction that waits for its signatures, unless its network is frozen."""
        waiting = ChainTransaction.objects.filter(
            chain__in=[served.network.name for served in list_served()],
            chain__frozen_because="",
            status=ChainTransaction.Status.UNSIGNED,
        )
        row = waiting.select_related("spend__withdrawal", "spend__change").order_by("pk").first()
        return None if row is None else describe_request(row)

    def store_signed(self, request_id: str, signed: SignedTransaction) -> None:
        """Keep the bytes, and the change that they make: from now on this is what is sent, again and again."""
        with transaction.atomic():
            row = self._lock(request_id)
            if row is None:
                return
            row.raw, row.txid = signed.raw, signed.txid
            row.status = ChainTransaction.Status.SIGNED
            row.save(update_fields=["raw", "txid", "status"])
            PreviousTransaction.objects.get_or_create(
                chain_id=row.chain_id, txid=signed.txid, defaults={"raw": signed.raw}
            )
            _expect_change(row, signed)

    def store_refusal(self, request_id: str, reason: str, message: str) -> None:
        """Keep why the signer refused; people decide what becomes of the withdrawal."""
        with transaction.atomic():
            row = self._lock(request_id)
            if row is None:
                return
            logger.error("The signer refused %s: %s", row.uuid, message)
            row.status, row.note = ChainTransaction.Status.REFUSED, message[:300]
            row.save(update_fields=["status", "note"])
            withdrawal = row.spend.withdrawal
            if withdrawal is not None:
                WithdrawalRequest.objects.filter(pk=withdrawal.pk).update(
                    hold_reason=REFUSED_BY_SIGNER, updated_at=Now()
                )
                publish(withdrawal, "withdrawal.refused_by_signer", reason=reason)

    def _lock(self, request_id: str) -> ChainTransaction | None:
        """Return the transaction if it has no answer yet."""
        rows = ChainTransaction.objects.select_for_update(of=("self",))
        unanswered = rows.filter(uuid=request_id, status=ChainTransaction.Status.UNSIGNED)
        return unanswered.select_related("spend__change", "spend__withdrawal__wallet").first()


def describe_request(row: ChainTransaction) -> SigningRequest:
    """Return what the signer is asked about a transaction, with the proof of every amount."""
    unsigned = bytes(row.unsigned)
    outpoints = [spent.outpoint for spent in parse(unsigned).inputs]
    rows = _find_spent(row.spend, outpoints)
    return SigningRequest(
        id=str(row.uuid),
        network=get_served(row.chain_id).network,
        account=rows[0].address.key_account.identifier if rows else "",
        unsigned=unsigned,
        inputs=tuple(_prove(one) for one in rows),
        change_index=_get_change_index(row),
        approvals=() if row.spend.withdrawal is None else (_approve(row.spend.withdrawal),),
    )


def _find_spent(spend: Spend, outpoints: Sequence[Outpoint]) -> list[Output]:
    rows = {
        (row.txid, row.vout): row
        for row in Output.objects.filter(spend=spend).select_related("address__key_account")
    }
    return [rows[outpoint] for outpoint in outpoints if outpoint in rows]


def _prove(row: Output) -> SpentOutput:
    """Return the output with the bytes of the transaction that made it."""
    previous = PreviousTransaction.objects.get(chain_id=row.chain_id, txid=row.txid)
    is_deposit = row.address.purpose == Address.Purpose.DEPOSIT
    return SpentOutput(
        outpoint=Outpoint(row.txid, row.vout),
        chain=DEPOSIT_CHAIN if is_deposit else CHANGE_CHAIN,
        index=row.address.derivation_index,
        previous=bytes(previous.raw),
    )


def _approve(withdrawal: WithdrawalRequest) -> Approval:
    return Approval(
        withdrawal_id=str(withdrawal.pk),
        address=withdrawal.destination_address,
        amount=to_base_units(withdrawal.amount),
        max_fee=to_base_units(withdrawal.max_network_fee),
        seal=bytes(withdrawal.seal),
    )


def _get_change_index(row: ChainTransaction) -> int | None:
    change = row.spend.change
    return change.derivation_index if change is not None and row.change_amount > ZERO else None


def _expect_change(row: ChainTransaction, signed: SignedTransaction) -> None:
    """Write the change as an output that is on its way: it can be spent once the node has taken its transaction."""
    change = row.spend.change
    if change is None or row.change_amount <= ZERO:
        return
    script = bytes.fromhex(change.script)
    made: dict[str, Any] = {"address": change, "amount": row.change_amount, "made_by": row}
    for vout, output in enumerate(parse(signed.raw).outputs):
        if output.script == script:
            Output.objects.get_or_create(
                chain_id=row.chain_id, txid=signed.txid, vout=vout, defaults=made
            )
