"""Movements that PostgreSQL makes and records in one statement, where nobody has a say in it and nobody is told.

The short way of most calls: the default models, no receivers, no key. Each function returns None, with nothing
written, when any rule might refuse the movement: the careful way then finds out what is wrong and says so.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

from django.db import connections, models
from django.db.models.base import ModelState
from django.db.models.signals import post_init, post_save, pre_init, pre_save
from django.dispatch import Signal
from django.utils import timezone

from dj_wallet import signals
from dj_wallet.conf import wallet_settings
from dj_wallet.holders import find_type
from dj_wallet.ledger.engine import Kind
from dj_wallet.ledger.ids import make_uuid_numbers, uuid7
from dj_wallet.ledger.money import trim
from dj_wallet.ledger.records import list_fixed_defaults
from dj_wallet.ledger.statement import execute_function
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
_NOTICED: Final = (*_HEARD, *_SAVED)
_LIST_RECEIVERS: Final = attrgetter("receivers")
_DEFAULT_MODELS: Final = ("dj_wallet.Wallet", "dj_wallet.Transaction", "dj_wallet.Transfer")
_COMPLETED: Final = ("completed", True)

# What the two records of a transfer say of themselves.
SENT: Final[Mapping[str, str]] = {"action": "transfer_send"}
RECEIVED: Final[Mapping[str, str]] = {"action": "transfer_receive"}
_COMMON: Final = tuple((meta, json.dumps(meta)) for meta in ({}, SENT, RECEIVED))

# The 32 hex digits of a UUID's number.
WRITE_UUID: Final = "{:032x}".format

M = TypeVar("M", bound=models.Model)

_HEAD: Final = "SELECT dj_wallet_move(%s, %s, %s::numeric, "
_OPTIONS: Final = "%s::boolean, '', '', %s::timestamptz, %s::integer, "
DEPOSIT: Final = (
    f"{_HEAD}NULL, %s, %s::bigint, NULL, {_OPTIONS}"
    "NULL, NULL, %s::uuid, %s::jsonb, NULL, NULL, NULL, NULL)::text"
)
WITHDRAW: Final = (
    f"{_HEAD}%s::bigint, NULL, NULL, %s, {_OPTIONS}"
    "%s::uuid, %s::jsonb, NULL, NULL, NULL, NULL, NULL, NULL)::text"
)
TRANSFER: Final = (
    f"{_HEAD}%s::bigint, NULL, %s::bigint, NULL, {_OPTIONS}"
    "%s::uuid, %s::jsonb, %s::uuid, %s::jsonb, %s::uuid, %s, 0, NULL)::text"
)


def is_plain(sender: type, using: str) -> bool:
    """Tell whether the models are ours and nobody wants to see, or to decide on, what is written."""
    return (
        _is_postgres(using)
        and (
            wallet_settings.WALLET_MODEL,
            wallet_settings.TRANSACTION_MODEL,
            wallet_settings.TRANSFER_MODEL,
        )
        == _DEFAULT_MODELS
        and not _is_heard(sender)
    )


@cache
def _is_postgres(using: str) -> bool:
    return connections[using].vendor == "postgresql"


def _is_heard(sender: type) -> bool:
    # Mostly nobody listens to anything, which one look tells.
    if not any(map(_LIST_RECEIVERS, _NOTICED)):
        return False
    return any(has_receivers(signal, sender) for signal in _HEARD) or any(
        has_receivers(signal, model) for signal in _SAVED for model in (Transaction, Transfer)
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
    if isinstance(source, str):
        statement, type_, wallet, meta = DEPOSIT, "deposit", destination, metas[1]
        pk = wallet.account_ptr_id
        places = source, pk
    elif isinstance(destination, str):
        statement, type_, wallet, meta = WITHDRAW, "withdraw", source, metas[0]
        pk = wallet.account_ptr_id
        places = pk, destination
    else:
        return _transfer(
            kind, source, destination, amount, metas, transfer_status, allow_overdraft, using
        )
    now, uuid, wallet_type = timezone.now(), uuid7(), get_wallet_type(using)
    found = _execute(
        statement,
        (
            *(kind.value, wallet.asset_id, amount, *places, allow_overdraft),
            *(now, wallet_type, uuid, write_meta(meta)),
        ),
        (pk,),
        using,
    )
    if found is None:
        return None
    entry_id, source_after, destination_after, withdraw_id, deposit_id, _ = found
    show_balance(wallet, source_after or destination_after)
    return Written(int(entry_id), now, using, wallet_type).show_transaction(
        int(withdraw_id or deposit_id), uuid, type_, pk, amount, meta, wallet
    )


def _transfer(
    kind: Kind,
    source: Wallet,
    destination: Wallet,
    amount: Decimal,
    metas: tuple[dict[str, Any], dict[str, Any]],
    status: str,
    allow_overdraft: bool,
    using: str,
) -> Transfer | None:
    wallets = source.account_ptr_id, destination.account_ptr_id
    now, uuids, wallet_type = timezone.now(), make_uuid_numbers(3), get_wallet_type(using)
    texts = map(WRITE_UUID, uuids)
    found = _execute(
        TRANSFER,
        (
            *(kind.value, source.asset_id, amount, *wallets, allow_overdraft),
            *(now, wallet_type),
            *(next(texts), write_meta(metas[0]), next(texts), write_meta(metas[1])),
            *(next(texts), status),
        ),
        wallets,
        using,
    )
    if found is None:
        return None
    entry_id, source_after, destination_after, *keys = found
    show_balance(source, source_after)
    show_balance(destination, destination_after)
    return Written(int(entry_id), now, using, wallet_type).show_transfer(
        [int(key) for key in keys], uuids, wallets, amount, metas, status, (source, destination)
    )


def _execute(
    statement: str, parameters: Sequence[Any], changed: Sequence[int], using: str
) -> list[str] | None:
    with moving(changed, using):
        return execute_function(statement, parameters, using)


def show_balance(wallet: Wallet, balance: str) -> None:
    """Show the new balance on the wallet object that the caller holds."""
    wallet.balance = trim(Decimal(balance))
    wallet.version += 1


def get_wallet_type(using: str) -> int:
    """Return the key of the content type of wallets, which the records call their holder."""
    return find_type(Wallet, using)


def write_meta(meta: Any) -> str:
    """Return the JSON of what a record says, which is mostly nothing or what each transfer says."""
    for common, text in _COMMON:
        if meta == common:
            return text
    return json.dumps(meta)


class Written(NamedTuple):
    """What the records of one entry have in common; makes the objects of what the database has written."""

    entry_id: int
    now: datetime
    using: str
    # The content type of wallets.
    wallet_type: int

    def show_transaction(
        self,
        key: int,
        uuid: UUID,
        type_: str,
        wallet_id: int,
        amount: Decimal,
        meta: dict[str, Any],
        wallet: Wallet | None = None,
    ) -> Transaction:
        """Return a record of the wallet's, whose object is not always at hand."""
        values = {
            "payable_type_id": self.wallet_type,
            "payable_id": wallet_id,
            "wallet_id": wallet_id,
            "uuid": uuid,
            "type": type_,
            "amount": amount,
            "meta": meta,
        }
        record = self._show(Transaction, key, values, {} if wallet is None else {"wallet": wallet})
        record._known_status = _COMPLETED
        return record

    def show_transfer(
        self,
        keys: Sequence[int],
        uuids: Sequence[int],
        wallet_ids: tuple[int, int],
        amount: Decimal,
        metas: Sequence[dict[str, Any]],
        status: str,
        wallets: tuple[Wallet | None, Wallet | None] = (None, None),
        **values: Any,
    ) -> Transfer:
        """Return a transfer whose withdrawal and deposit are made when somebody looks at them.

        :param keys: those of the withdrawal, the deposit and the transfer, as are `uuids`, which are numbers
        """

        def show_sides() -> dict[str, Any]:
            return {
                type_: self.show_transaction(
                    keys[at],
                    UUID(int=uuids[at]),
                    type_,
                    wallet_ids[at],
                    amount,
                    metas[at],
                    wallets[at],
                )
                for at, type_ in enumerate(("withdraw", "deposit"))
            }

        values |= {
            "from_type_id": self.wallet_type,
            "from_id": wallet_ids[0],
            "to_type_id": self.wallet_type,
            "to_id": wallet_ids[1],
            "uuid": UUID(int=uuids[2]),
            "status": status,
            "withdraw_id": keys[0],
            "deposit_id": keys[1],
        }
        return self._show(Transfer, keys[2], values, Sides(show_sides))

    def _show(self, model: type[M], key: int, values: dict[str, Any], related: dict[str, Any]) -> M:
        values["id"], values["entry_id"] = key, self.entry_id
        values["created_at"] = values["updated_at"] = self.now
        return show_record(model, values, related, self.using)


def show_record(
    model: type[M], values: Mapping[str, Any], related: dict[str, Any], using: str
) -> M:
    """Return the instance of a row that the database has written; what is not among the values has its default."""
    record = model.__new__(model)
    attributes = record.__dict__
    attributes.update(list_fixed_defaults(model))
    attributes.update(values)
    state = record._state = ModelState()
    state.adding, state.db, state.fields_cache = False, using, related
    return record


def write_key(key: Any) -> str | None:
    """Return the key of a holder or product, of whatever type, as the records keep it."""
    return None if key is None else str(key)


class Sides(dict[str, Any]):
    """The related records of a transfer, which Django finds here; most callers never look at them."""

    def __init__(self, show: Callable[[], dict[str, Any]]) -> None:
        super().__init__()
        self._show = show

    def __missing__(self, name: str) -> Any:
        if name not in ("withdraw", "deposit"):
            raise KeyError(name)
        self.update(self._show())
        return self[name]
