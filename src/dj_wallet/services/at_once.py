"""Movements that PostgreSQL makes and records in one statement, where nobody has a say in it and nobody is told.

The short way of most calls: the default models, no receivers, no key. Each function returns None, with nothing
written, when any rule might refuse the movement: the careful way then finds out what is wrong and says so.
"""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

from django.contrib.contenttypes.models import ContentType
from django.db import connections, models
from django.db.models.base import ModelState
from django.db.models.signals import post_init, post_save, pre_init, pre_save
from django.dispatch import Signal
from django.utils import timezone

from dj_wallet import signals
from dj_wallet.conf import wallet_settings
from dj_wallet.ledger.engine import Kind
from dj_wallet.ledger.ids import uuid7
from dj_wallet.ledger.money import trim
from dj_wallet.ledger.records import list_fixed_defaults
from dj_wallet.ledger.watch import moving
from dj_wallet.models import Transaction, Transfer, Wallet

TOLD: Final = (signals.balance_changed, signals.transaction_created, signals.transfer_completed)
TOLD_LATER: Final = (
    signals.balance_changed_committed,
    signals.transaction_created_committed,
    signals.transfer_completed_committed,
)
_HEARD: Final = (*TOLD, *TOLD_LATER, signals.pre_withdraw, signals.pre_deposit)
_SAVED: Final = (pre_init, post_init, pre_save, post_save)
_DEFAULT_MODELS: Final = ("dj_wallet.Wallet", "dj_wallet.Transaction", "dj_wallet.Transfer")
_COMPLETED: Final = ("completed", True)

M = TypeVar("M", bound=models.Model)

_HEAD: Final = "SELECT * FROM dj_wallet_move(%s, %s, %s::numeric, "
_OPTIONS: Final = "%s::boolean, '', '', %s::timestamptz, %s::integer, "
DEPOSIT: Final = (
    f"{_HEAD}NULL, %s, %s::bigint, NULL, {_OPTIONS}"
    "NULL, NULL, %s::uuid, %s::jsonb, NULL, NULL, NULL, NULL)"
)
WITHDRAW: Final = (
    f"{_HEAD}%s::bigint, NULL, NULL, %s, {_OPTIONS}"
    "%s::uuid, %s::jsonb, NULL, NULL, NULL, NULL, NULL, NULL)"
)
TRANSFER: Final = (
    f"{_HEAD}%s::bigint, NULL, %s::bigint, NULL, {_OPTIONS}"
    "%s::uuid, %s::jsonb, %s::uuid, %s::jsonb, %s::uuid, %s, 0, NULL)"
)


def is_plain(sender: type, using: str) -> bool:
    """Tell whether the models are ours and nobody wants to see, or to decide on, what is written."""
    return (
        connections[using].vendor == "postgresql"
        and (
            wallet_settings.WALLET_MODEL,
            wallet_settings.TRANSACTION_MODEL,
            wallet_settings.TRANSFER_MODEL,
        )
        == _DEFAULT_MODELS
        and not any(has_receivers(signal, sender) for signal in _HEARD)
        and not any(
            has_receivers(signal, model) for signal in _SAVED for model in (Transaction, Transfer)
        )
    )


def has_receivers(signal: Signal, sender: type) -> bool:
    """Tell whether anybody receives the signal of this sender; most signals have no receivers at all."""
    return bool(signal.receivers) and signal.has_listeners(sender)


def move_at_once(
    kind: Kind,
    source: Any,
    destination: Any,
    amount: Decimal,
    metas: tuple[dict[str, Any], dict[str, Any]],
    *,
    transfer_status: str,
    allow_overdraft: bool,
    using: str,
) -> Transaction | Transfer | None:
    """Move money between two wallets, or a wallet and a system account; return the record.

    The wallets are up to date afterwards.

    :param metas: what the withdrawal and the deposit say
    """
    withdraw: Transaction | None = None
    deposit: Transaction | None = None
    transfer: Transfer | None = None
    if not isinstance(source, str):
        withdraw = make_transaction("withdraw", source, amount, metas[0])
    if not isinstance(destination, str):
        deposit = make_transaction("deposit", destination, amount, metas[1])
    asset = (destination if withdraw is None else source).asset_id
    now = timezone.now()
    places = (
        source if withdraw is None else source.pk,
        destination if deposit is None else destination.pk,
    )
    parameters = [
        *(kind.value, asset, amount, *places),
        *(allow_overdraft, now, get_wallet_type()),
    ]
    for side in (withdraw, deposit):
        if side is not None:
            parameters += (side.uuid, json.dumps(side.meta))
    if withdraw is None:
        statement = DEPOSIT
    elif deposit is None:
        statement = WITHDRAW
    else:
        statement = TRANSFER
        transfer = make_transfer(withdraw, deposit, transfer_status)
        parameters += (transfer.uuid, transfer_status)
    changed = [side.pk for side in (source, destination) if not isinstance(side, str)]
    with moving(changed, using), connections[using].cursor() as cursor:
        cursor.execute(statement, parameters)
        entry_id, source_after, destination_after, *keys = cursor.fetchone()
    if entry_id is None:
        return None
    for record, key in zip((withdraw, deposit, transfer), keys, strict=True):
        if record is not None:
            mark_written(record, key, entry_id, now, using)
    if withdraw is not None:
        show_balance(source, source_after)
    if deposit is not None:
        show_balance(destination, destination_after)
    return transfer or withdraw or deposit


def show_balance(wallet: Wallet, balance: Decimal) -> None:
    """Show the new balance on the wallet object that the caller holds."""
    wallet.balance = trim(balance)
    wallet.version += 1


def get_wallet_type() -> int:
    """Return the key of the content type of wallets, which the records call their holder."""
    key: int = ContentType.objects.get_for_model(Wallet).pk
    return key


def make_transaction(
    type_: str, wallet: Wallet | None, amount: Decimal | None, meta: dict[str, Any]
) -> Transaction:
    """Return an unsaved record, without a wallet if only the database knows which it is."""
    pk = None if wallet is None else wallet.pk
    values = {
        **list_fixed_defaults(Transaction),
        "payable_type_id": get_wallet_type(),
        "payable_id": pk,
        "wallet_id": pk,
        "uuid": uuid7(),
        "type": type_,
        "amount": amount,
        "meta": meta,
    }
    record = _make(Transaction, values, {} if wallet is None else {"wallet": wallet})
    record._known_status = _COMPLETED
    return record


def make_transfer(withdraw: Transaction, deposit: Transaction, status: str) -> Transfer:
    """Return an unsaved record of a movement from the wallet of one transaction to that of the other."""
    values = {
        **list_fixed_defaults(Transfer),
        "from_type_id": withdraw.payable_type_id,
        "from_id": withdraw.__dict__["payable_id"],
        "to_type_id": deposit.payable_type_id,
        "to_id": deposit.__dict__["payable_id"],
        "uuid": uuid7(),
        "status": status,
    }
    return _make(Transfer, values, {"withdraw": withdraw, "deposit": deposit})


def _make(model: type[M], values: dict[str, Any], related: dict[str, Any]) -> M:
    record = model.__new__(model)
    record.__dict__.update(values)
    state = record._state = ModelState()
    state.fields_cache = related
    return record


def mark_written(record: Any, key: int, entry_id: int, now: datetime, using: str) -> None:
    """Let the record be what the database has."""
    values = record.__dict__
    values.update(id=key, entry_id=entry_id, created_at=now, updated_at=now)
    state = record._state
    state.adding, state.db = False, using
    if type(record) is Transfer:
        related = state.fields_cache
        values.update(withdraw_id=related["withdraw"].pk, deposit_id=related["deposit"].pk)
