"""Posting with the records of the default models, which PostgreSQL writes in the same round trip."""

import json
from collections.abc import Sequence
from typing import Any, Final

from django.db import connections, models
from django.utils import timezone

from dj_wallet.ledger.engine import Entry, Posted
from dj_wallet.ledger.records import is_plain_save_needed
from dj_wallet.ledger.records import post_with_records as post_with_any_records
from dj_wallet.ledger.store.postgres import POST_ONE_PARAMETERS, list_one_parameters
from dj_wallet.ledger.watch import moving_entries
from dj_wallet.models import Transaction, Transfer

POST_RECORDED: Final = (
    f"SELECT * FROM dj_wallet_post_recorded({POST_ONE_PARAMETERS}, %s, %s::integer,"
    " %s::uuid, %s::jsonb, %s::uuid, %s::jsonb, %s::uuid, %s, %s::numeric, %s::numeric)"
)
NO_RECORD: Final = (None, None)
NO_TRANSFER: Final = (None, None, None, None)


def post_with_records(entry: Entry, records: Sequence[models.Model], *, using: str) -> Posted:
    """Post one entry and insert its records; see `ledger.records.post_with_records`.

    :raises WalletException: the entry was refused and nothing moved
    :raises IntegrityError: a unique key of a record is taken
    """
    if connections[using].vendor == "postgresql" and _are_plain(entry, records):
        posted = _post_recorded(entry, records, using)
        if posted is not None:
            return posted
    return post_with_any_records(entry, records, using=using)


def _are_plain(entry: Entry, records: Sequence[models.Model]) -> bool:
    """Tell whether the records are what dj_wallet_post_recorded writes, and nobody wants to see them saved."""
    return (
        all(type(record) in (Transaction, Transfer) for record in records)
        and not is_plain_save_needed(Transaction)
        and not is_plain_save_needed(Transfer)
        and len(entry.movements) == 1
        and all(
            record.status == Transaction.STATUS_COMPLETED
            and record.amount == entry.movements[0].amount
            for record in records
            if isinstance(record, Transaction)
        )
    )


def _post_recorded(entry: Entry, records: Sequence[Any], using: str) -> Posted | None:
    """Return None, with nothing written, if the fast path cannot be sure."""
    posting = list_one_parameters(entry)
    if posting is None:
        return None
    now = timezone.now()
    found: dict[str, Any] = {
        "transfer" if isinstance(record, Transfer) else record.type: record for record in records
    }
    withdraw, deposit, transfer = (
        found.get(role)
        for role in (Transaction.TYPE_WITHDRAW, Transaction.TYPE_DEPOSIT, "transfer")
    )
    parameters = (
        *posting,
        now,
        records[0].payable_type_id,
        *_list_transaction(withdraw),
        *_list_transaction(deposit),
        *_list_transfer(transfer),
    )
    with moving_entries((entry,), using), connections[using].cursor() as cursor:
        cursor.execute(POST_RECORDED, parameters)
        entry_id, source_after, destination_after, *keys = cursor.fetchone()
    if entry_id is None:
        return None
    for record, key in zip((withdraw, deposit, transfer), keys, strict=True):
        if record is not None:
            _mark_saved(record, key, entry_id, now, using)
    if transfer is not None:
        transfer.withdraw, transfer.deposit = withdraw, deposit  # take over their new keys
    return Posted(entry_id, False, ((source_after, destination_after),))


def _list_transaction(record: Transaction | None) -> tuple[Any, Any]:
    return NO_RECORD if record is None else (record.uuid, json.dumps(record.meta))


def _list_transfer(record: Transfer | None) -> tuple[Any, ...]:
    if record is None:
        return NO_TRANSFER
    return record.uuid, record.status, record.discount, record.fee


def _mark_saved(record: Any, key: int, entry_id: int, now: Any, using: str) -> None:
    record.pk = key
    record.entry_id = entry_id
    record.created_at = record.updated_at = now
    record._state.adding = False
    record._state.db = using
