"""Many deposits, withdrawals or transfers in one call; each item is accepted, refused or replayed on its own.

As safe as the single verbs, at the speed of batches: the number of statements does not depend on that of items, but
for holders whose first wallet has to be created. Payments are in `payments`.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple, cast

from django.db import InterfaceError, OperationalError
from django.db import transaction as db_transaction

from dj_wallet.abstract_models import AbstractWallet
from dj_wallet.ledger.engine import Kind
from dj_wallet.ledger.errors import OutcomeUnknown, WalletException
from dj_wallet.ledger.money import parse_amount
from dj_wallet.utils import get_transfer_service, get_wallet_model, get_wallet_service

from .at_once import is_plain
from .bulk_at_once import Asked, Records, move_many_at_once
from .holding import find_wallets
from .movements import (
    OUTSIDE,
    Record,
    Request,
    find_alias,
    find_alias_of,
    is_anybody_asked,
    is_anybody_told,
    is_customised,
    move_many,
    run_undoing,
    send_pre_signals,
)


class Status(StrEnum):
    """What became of an item."""

    OK = "ok"
    REFUSED = "refused"
    REPLAYED = "replayed"


class Result:
    """What became of an item: its record, which for `REPLAYED` is that of the first call, or why it was refused."""

    __slots__ = ("_at", "_record", "_records", "error", "status")

    def __init__(
        self,
        status: Status,
        record: Any = None,
        error: Exception | None = None,
        records: Records | None = None,
        at: int = 0,
    ) -> None:
        """:param records: where the record is made when somebody looks at it, `at` this position"""
        self.status = status
        self.error = error
        self._record = record
        self._records = records
        self._at = at

    @property
    def record(self) -> Any:
        if self._record is None and self._records is not None:
            self._record = self._records.make(self._at)
        return self._record

    @property
    def code(self) -> str:
        """The stable code of the refusal; "" if there was none, "vetoed" if a receiver of a signal raised."""
        return "" if self.error is None else getattr(self.error, "code", "vetoed")

    def __repr__(self) -> str:
        return f"Result({self.status!s}, {self.error or self.record!r})"


class DepositItem(NamedTuple):
    """A deposit that is asked for.

    :param to: a wallet, or a holder whose default wallet it is
    """

    to: Any
    amount: Any
    meta: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    source: str = OUTSIDE


class WithdrawalItem(NamedTuple):
    """A withdrawal that is asked for.

    :param wallet: a wallet, or a holder whose default wallet it is
    """

    wallet: Any
    amount: Any
    meta: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    destination: str = OUTSIDE


class TransferItem(NamedTuple):
    """A transfer that is asked for, between wallets or holders, whose default wallets they are."""

    source: Any
    destination: Any
    amount: Any
    meta: Mapping[str, Any] | None = None
    idempotency_key: str | None = None


def deposit_many(items: Sequence[DepositItem], *, is_atomic: bool = False) -> list[Result]:
    """Make each deposit and say what became of it, in order.

    Idempotent for items with a key. Joins the caller's transaction; without one it commits once.

    :param is_atomic: all or nothing; the first refusal is raised, and its `position` says whose it was
    """

    def ask(wallets: Sequence[Any]) -> Asked:
        _, amounts, metas, keys, sources = zip(*items, strict=True)
        return Asked(Kind.DEPOSIT, sources, wallets, amounts, metas, keys)

    service = get_wallet_service()
    call = _deposit_by_service if is_customised(service, "deposit") else None
    return _move([item.to for item in items], ask, service, is_atomic, call)


def withdraw_many(items: Sequence[WithdrawalItem], *, is_atomic: bool = False) -> list[Result]:
    """Make each withdrawal and say what became of it, in order; see `deposit_many`."""

    def ask(wallets: Sequence[Any]) -> Asked:
        _, amounts, metas, keys, destinations = zip(*items, strict=True)
        return Asked(Kind.WITHDRAWAL, wallets, destinations, amounts, metas, keys)

    service = get_wallet_service()
    call = _withdraw_by_service if is_customised(service, "withdraw") else None
    return _move([item.wallet for item in items], ask, service, is_atomic, call)


def transfer_many(items: Sequence[TransferItem], *, is_atomic: bool = False) -> list[Result]:
    """Make each transfer and say what became of it, in order; see `deposit_many`."""

    def ask(wallets: Sequence[Any]) -> Asked:
        _, _, amounts, metas, keys = zip(*items, strict=True)
        return Asked(Kind.TRANSFER, wallets[::2], wallets[1::2], amounts, metas, keys)

    service = get_transfer_service()
    is_own = is_customised(service, "transfer", "transfer_between") or is_customised(
        get_wallet_service(), "deposit", "withdraw"
    )
    sides = [side for item in items for side in (item.source, item.destination)]
    return _move(
        sides, ask, service, is_atomic, partial(_transfer_by_service, items) if is_own else None
    )


# What a class of the user's does for the request at a position.
OwnCall = Callable[[int, Request], Any]
Call = Callable[[], Any]


def _move(
    things: Sequence[Any],
    ask: Callable[[Sequence[Any]], Asked],
    sender: type,
    is_atomic: bool,
    own_call: OwnCall | None,
) -> list[Result]:
    """Move what `ask` makes of the wallets of these things, together.

    Or by `own_call`, one by one: what a class of the user's does to one cannot be done to many.
    """
    if not things:
        return []
    if own_call is None and is_plain(sender, get_wallet_model().objects.db):
        # A wallet that was rolled back is found out by the statement, which then does nothing.
        asked = ask(find_wallets(things, are_remembered=True))
        using = find_alias_of(asked.wallets[0])
        at_once = run_undoing(partial(move_many_at_once, asked, using), sender=sender, using=using)
        if at_once is not None:
            return [Result(Status.OK, None, None, at_once, at) for at in range(len(at_once))]
    requests = ask(find_wallets(things)).list_requests()
    using = find_alias(requests)
    if own_call is not None:
        calls = [partial(own_call, at, request) for at, request in enumerate(requests)]
        return run_each(calls, using, sender, is_atomic)
    return _move_carefully(requests, sender, using, is_atomic)


def _move_carefully(
    requests: Sequence[Request], sender: type, using: str, is_atomic: bool
) -> list[Result]:
    vetoes = _ask(requests, sender, is_atomic)
    asked = [request for at, request in enumerate(requests) if at not in vetoes]

    def move() -> list[Record | WalletException]:
        return move_many(asked, sender=sender, using=using, is_atomic=is_atomic, are_asked=True)

    try:
        outcomes = iter(run_undoing(move, sender=sender, using=using))
    except (WalletException, OperationalError, InterfaceError):
        raise
    except Exception:
        if is_atomic or not is_anybody_told(sender):
            raise
        # A receiver of our signals raised: each item meets it, or does not, alone.
        alone = [partial(_move_alone, request, sender) for request in asked]
        results = iter(run_each(alone, using, sender, is_atomic))
    else:
        results = iter([_show(outcome) for outcome in outcomes])
    return [
        Result(Status.REFUSED, error=vetoes[at]) if at in vetoes else next(results)
        for at in range(len(requests))
    ]


def _ask(requests: Sequence[Request], sender: type, is_atomic: bool) -> dict[int, Exception]:
    """Return what the receivers of `pre_withdraw` and `pre_deposit` raised to stop an item, by its position."""
    vetoes: dict[int, Exception] = {}
    if not is_anybody_asked(sender):
        return vetoes
    for at, request in enumerate(requests):
        try:
            amount = parse_amount(request.amount, request.wallet.decimal_places)
        except WalletException:
            continue  # refused later, for this
        try:
            send_pre_signals(request, amount, sender)
        except Exception as veto:
            if is_atomic:
                raise
            vetoes[at] = veto
    return vetoes


def run_each(calls: Sequence[Call], using: str, sender: type, is_atomic: bool) -> list[Result]:
    """Run the calls one after the other in one transaction, each in a savepoint of its own."""

    def run() -> list[Result]:
        return [_run_one(call, at, using, is_atomic) for at, call in enumerate(calls)]

    return run_undoing(run, sender=sender, using=using, always=True)


def _run_one(call: Call, position: int, using: str, is_atomic: bool) -> Result:
    try:
        with db_transaction.atomic(using=using):
            return _show(call())
    except (OutcomeUnknown, OperationalError, InterfaceError):
        raise
    except Exception as error:
        if is_atomic:
            if isinstance(error, WalletException):
                error.position = position
            raise
        return Result(Status.REFUSED, error=error)


def _show(outcome: Any) -> Result:
    if isinstance(outcome, WalletException):
        return Result(Status.REFUSED, error=outcome)
    return Result(Status.REPLAYED if outcome.replayed else Status.OK, outcome)


# One by one


def _move_alone(request: Request, sender: type) -> Record:
    (outcome,) = move_many([request], sender=sender, are_asked=True)
    if isinstance(outcome, WalletException):
        raise outcome
    return outcome


def _deposit_by_service(_: int, request: Request) -> Record:
    options = _list_options(request, source=request.source)
    wallet = cast(AbstractWallet, request.destination)
    return get_wallet_service().deposit(wallet, request.amount, meta=request.meta, **options)


def _withdraw_by_service(_: int, request: Request) -> Record:
    options = _list_options(request, destination=request.destination)
    wallet = cast(AbstractWallet, request.source)
    return get_wallet_service().withdraw(wallet, request.amount, meta=request.meta, **options)


def _transfer_by_service(items: Sequence[TransferItem], at: int, request: Request) -> Record:
    item, options = items[at], _list_options(request)
    service, sides = get_transfer_service(), (item.source, item.destination)
    if any(isinstance(side, AbstractWallet) for side in sides):
        source, destination = request.wallets
        return service.transfer_between(
            source, destination, request.amount, request.meta, **options
        )
    return service.transfer(*sides, request.amount, request.meta, **options)


def _list_options(request: Request, **sides: Any) -> dict[str, Any]:
    """Return only what was given: a class written for release 0.1.0 knows no other parameters."""
    given = {name: code for name, code in sides.items() if code != OUTSIDE}
    if request.idempotency_key is not None:
        given["idempotency_key"] = request.idempotency_key
    return given
