"""Transactions for an offline signer: out as a PSBT, back as signed bytes. No private key comes near."""

from uuid import UUID

from django.db import transaction

from dj_wallet.custody.chain.psbt import build_psbt, finish_psbt
from dj_wallet.custody.chain.transactions import parse
from dj_wallet.custody.models import ChainTransaction
from dj_wallet.custody.served import get_served

from .signing import SigningRows, describe_request

ANSWERABLE = (ChainTransaction.Status.UNSIGNED, ChainTransaction.Status.REFUSED)


def export_psbt(*, uuid: UUID, master_fingerprint: bytes) -> str:
    """Return a transaction that waits for signatures (a sweep, say) as a PSBT in base 64.

    :raises ChainTransaction.DoesNotExist: it does not wait, or was signed
    """
    row = ChainTransaction.objects.get(uuid=uuid, status__in=ANSWERABLE)
    request = describe_request(row)
    account = get_served(row.chain_id).get_account(request.account)
    return build_psbt(
        parse(request.unsigned),
        request.inputs,
        account=account,
        master_fingerprint=master_fingerprint,
    )


def import_psbt(*, uuid: UUID, psbt: str) -> ChainTransaction:
    """Take the signatures of a PSBT that came back; from then on it is sent like every other transaction.

    :raises ChainTransaction.DoesNotExist: it does not wait, or was signed
    :raises TransactionInvalid: the PSBT is of another transaction, or not signed by the right keys
    """
    with transaction.atomic():
        row = ChainTransaction.objects.select_for_update().get(uuid=uuid, status__in=ANSWERABLE)
        request = describe_request(row)
        account = get_served(row.chain_id).get_account(request.account)
        signed = finish_psbt(psbt, parse(request.unsigned), request.inputs, account=account)
        row.status = ChainTransaction.Status.UNSIGNED
        row.save(update_fields=["status"])
        SigningRows().store_signed(str(uuid), signed)
    row.refresh_from_db()
    return row
