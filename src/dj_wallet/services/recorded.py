"""Posting with the records of the default models, which PostgreSQL writes in the same round trip."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from django.db import connections, models
from django.utils import timezone

from dj_wallet.ledger.engine import Entry, Posted
from dj_wallet.ledger.records import is_plain_save_needed
from dj_wallet.ledger.statement import execute
from dj_wallet.ledger.store.postgres import POST_ONE_PARAMETERS, list_one_parameters
from dj_wallet.ledger.watch import moving_entries
from dj_wallet.models import Transaction, Transfer

PARAMETERS: Final = (
    f"{POST_ONE_PARAMETERS}, %s, %s::integer,"
    " %s::uuid, %s::jsonb, %s::uuid, %s::jsonb, %s::uuid, %s, %s::numeric, %s::numeric"
)
POST_RECORDED: Final = f"SELECT * FROM dj_wallet_post_recorded({PARAMETERS})"
POST_ONCE: Final = f"SELECT * FROM dj_wallet_post_once({PARAMETERS})"
NO_RECORD: Final = (None, None)
NO_TRANSFER: Final = (None, None, None, None)


def post_recorded(entry: Entry, records: Sequence[models.Model], *, using: str) -> Posted | None:
    """Post one entry and insert its records in one statement; None, with nothing written, if that is not certain to be right.

    Never raises for a refusal or for a key that is taken: the caller's transaction stays usable.
    """
    if connections[using].vendor == "postgresql" and _are_plain(entry, records):
        return _post_recorded(entry, records, using)
    return None


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
    statement = POST_RECORDED if entry.idempotency_key is None else POST_ONCE
    with moving_entries((entry,), using):
        row = execute(statement, parameters, using).fetchone()
    entry_id, source_after, destination_after, *keys = row
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


def find_pending_keys(
    model: type[models.Model], keys: Sequence[str], using: str
) -> set[str | None]:
    """Return those of the keys whose record points at no entry of the same key: PostgreSQL, compiled once."""
    found = execute(_compile_pending_keys(model, using), [list(keys)], using).fetchall()
    return {key for (key,) in found}


@cache
def _compile_pending_keys(model: type[models.Model], using: str) -> str:
    table = connections[using].ops.quote_name(model._meta.db_table)
    return (
        f"SELECT t.idempotency_key FROM {table} t WHERE t.idempotency_key = ANY(%s) AND NOT EXISTS ("
        "SELECT FROM dj_wallet_posting p WHERE p.id = t.entry_id AND p.idempotency_key = t.idempotency_key)"
    )
