"""What can become of a payout, and the money that moves with it. Each step is written once, by whom holds the row.

`change` is the fence: it writes only if status and token are still those that the caller has seen. A worker that lost
its lease changes nothing; operators, reports and statements lock the row first (`lock_payout`), and change its status: that fences workers too.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any, Final, NamedTuple, cast

from django.db import connection
from django.db.models import Case, Field, Model, Value, When
from django.db.models.functions import Cast, Coalesce, Now
from django.utils import timezone

from dj_wallet import signals
from dj_wallet.abstract_models import AbstractTransaction
from dj_wallet.events.models import Event
from dj_wallet.ledger.engine import Bucket, Entry, Kind, Movement, Posted
from dj_wallet.ledger.errors import WalletException
from dj_wallet.ledger.money import to_minor_units, to_scale
from dj_wallet.ledger.post import post
from dj_wallet.ledger.records import insert_records
from dj_wallet.models import Transaction
from dj_wallet.payouts.backoff import draw_wait
from dj_wallet.payouts.bank import Order
from dj_wallet.payouts.conf import get_setting
from dj_wallet.payouts.errors import PayoutNotUndecided
from dj_wallet.payouts.models import Payout, PayoutStep
from dj_wallet.services.common import WalletService
from dj_wallet.services.movements import announce_transaction, build_transaction, update_balances

logger = logging.getLogger(__name__)

BANK: Final = "external:bank"
RETURN: Final = "return"
BANK_REFUSED: Final = "bank_refused"
BANK_UNREACHABLE: Final = "bank_unreachable"
BANK_DID_NOT_PAY: Final = "bank_did_not_pay"
RESOLVED_NOT_PAID: Final = "resolved_not_paid"
FAILURE_CODES: Final = (BANK_REFUSED, BANK_UNREACHABLE, BANK_DID_NOT_PAY, RESOLVED_NOT_PAID)

Status = Payout.Status
Step = PayoutStep.Kind


class Part(NamedTuple):
    """What came back of a payout. Parts are counted; the whole has no number."""

    amount: Decimal
    number: int = 0
    is_last: bool = True


class Payment(NamedTuple):
    """A payout that was paid, with what to note and to keep of it."""

    payout: Payout
    steps: Iterable[PayoutStep]
    changes: Mapping[str, Any]


def lock_payout(payout_id: int) -> Payout:
    """Return the payout, locked; needs an open transaction."""
    locked = Payout.objects.select_for_update(of=("self",))
    return locked.select_related("transaction__wallet").get(pk=payout_id)


def change(payout: Payout, **changes: Any) -> bool:
    """Write to the row if nobody took it meanwhile; tell whether it was written."""
    ours = Payout.objects.filter(pk=payout.pk, token=payout.token, status=payout.status)
    if not ours.update(updated_at=Now(), **changes):
        return False
    for name, value in changes.items():
        if not hasattr(value, "resolve_expression"):
            setattr(payout, name, value)
    return True


def lock_ours(payouts: Sequence[Payout]) -> set[int]:
    """Lock those of the payouts that nobody took meanwhile; return their keys."""
    mine = {(payout.pk, payout.token, payout.status) for payout in payouts}
    rows = Payout.objects.filter(pk__in=[payout.pk for payout in payouts]).order_by("pk")
    found = rows.select_for_update().values_list("pk", "token", "status")
    return {row[0] for row in found if row in mine}


def change_locked(payouts: Sequence[Payout], **changes: Any) -> None:
    """Write to rows that the caller holds locked, in one statement."""
    Payout.objects.filter(pk__in=[one.pk for one in payouts]).update(updated_at=Now(), **changes)


def give_each(rows: Sequence[Model], name: str) -> Cast:
    """Return the expression that gives each row its own value of a field, in an update of all."""
    field = cast("Field[Any, Any]", rows[0]._meta.get_field(name))
    cases = (When(pk=row.pk, then=Value(getattr(row, name), field)) for row in rows)
    return Cast(Case(*cases, output_field=field), field)


def make_step(
    payout: Payout, kind: str, detail: Mapping[str, Any] | None = None, actor: str = ""
) -> PayoutStep:
    """Return an unsaved line of the payout's timeline."""
    return PayoutStep(
        payout=payout,
        kind=kind,
        attempt=payout.attempts,
        token=payout.token,
        detail=dict(detail or {}),
        actor=actor,
    )


def note(steps: Iterable[PayoutStep]) -> None:
    """Write lines of the timeline, in order."""
    PayoutStep.objects.bulk_create(steps)


def build_order(payout: Payout) -> Order:
    """Return what the bank is told: always the same."""
    record = payout.transaction
    places = record.wallet.decimal_places
    return Order(
        str(payout.uuid),
        to_scale(record.amount, places),
        to_minor_units(record.amount, places),
        record.wallet.asset_id,
        payout.destination,
    )


def settle(payout: Payout, steps: Iterable[PayoutStep] = (), **changes: Any) -> bool:
    """The bank paid: the held money leaves. Tell whether it was written."""
    return bool(settle_all([Payment(payout, steps, changes)]))


def settle_all(payments: Sequence[Payment]) -> list[Payout]:
    """The bank paid these: the held money leaves. Return those that were still the caller's, and are settled now."""
    ours = lock_ours([one.payout for one in payments])
    payments = [one for one in payments if one.payout.pk in ours]
    payouts = [one.payout for one in payments]
    if not payouts:
        return []
    for payout, _, changes in payments:
        for name, value in (_end(Status.SETTLED) | dict(changes)).items():
            setattr(payout, name, value)
    names = {name for one in payments for name in one.changes}
    own = {name: give_each(payouts, name) for name in sorted(names)}
    change_locked(payouts, **_end(Status.SETTLED), **own)
    results = move_all(payouts, "settle", Kind.WITHDRAWAL, Bucket.PENDING, None)
    _complete_records(payouts, [_expect(result) for result in results])
    steps = [[*one.steps, make_step(one.payout, Step.SETTLED)] for one in payments]
    note(chain.from_iterable(steps))
    publish_all("payout.settled", [(payout, {}) for payout in payouts])
    return payouts


def _complete_records(payouts: Sequence[Payout], results: Sequence[Posted]) -> None:
    """Close the holders' records, and tell of each."""
    records = [payout.transaction for payout in payouts]
    for record, posted in zip(records, results, strict=True):
        record.status, record.confirmed = AbstractTransaction.STATUS_COMPLETED, True
        record.entry_id = posted.entry_id
    Transaction.objects.filter(pk__in=[one.pk for one in records]).update(
        status=AbstractTransaction.STATUS_COMPLETED,
        confirmed=True,
        entry_id=give_each(records, "entry_id"),
        updated_at=Now(),
    )
    for record in records:
        signals.announce(
            signals.transaction_confirmed, WalletService, using=record._state.db, transaction=record
        )


def fail(
    payout: Payout, code: str, steps: Iterable[PayoutStep] = (), kind: str = "", **changes: Any
) -> bool:
    """It was not paid and will not be: held money goes back."""
    if not change(payout, **_end(Status.FAILED), failure_code=code, **changes):
        return False
    _give_back(payout)
    note([*steps, make_step(payout, kind or Step.FAILED, {"code": code})])
    publish(payout, "payout.refused", {"code": code})
    return True


def cancel(payout: Payout, actor: str) -> None:
    """The payout is called off before the bank knows of it."""
    change(payout, **_end(Status.CANCELLED))
    _give_back(payout)
    note([make_step(payout, Step.CANCELLED, actor=actor)])
    publish(payout, "payout.cancelled")


def accept(payout: Payout, steps: Iterable[PayoutStep], *, asks: bool, **changes: Any) -> bool:
    """The bank took the order over; it will pay, and is asked again if it can be."""
    due_at = _after_a_wait(payout) if asks else None
    is_new = not was_accepted(payout)
    if not change(payout, status=Status.ACCEPTED, due_at=due_at, lapses=0, **changes):
        return False
    note([*steps, *([make_step(payout, Step.ACCEPTED)] if is_new else [])])
    return True


def was_accepted(payout: Payout) -> bool:
    """Tell whether the bank ever said that it took the order over."""
    return payout.steps.filter(kind=Step.ACCEPTED).exists()


def wait(payout: Payout, status: str, steps: Iterable[PayoutStep] = (), **changes: Any) -> bool:
    """Leave the payout for a later try, or a later question, after a wait that is drawn."""
    if status == Status.UNKNOWN:
        changes["doubted_since"] = Coalesce("doubted_since", Now())
    changes.setdefault("due_at", _after_a_wait(payout))
    if not change(payout, status=status, lapses=0, **changes):
        return False
    note(steps)
    return True


def give_to_operator(
    payout: Payout, reason: str, steps: Iterable[PayoutStep] = (), **changes: Any
) -> bool:
    """Nothing more can be learnt by asking: a person decides, and the money stays held."""
    written = change(
        payout,
        status=Status.REVIEW,
        due_at=None,
        lapses=0,
        doubted_since=Coalesce("doubted_since", Now()),
        **changes,
    )
    if written:
        logger.error("Payout %s waits for an operator: %s", payout.uuid, reason)
        note([*steps, make_step(payout, Step.REVIEW, {"reason": reason})])
        publish(payout, "payout.review", {"reason": reason})
    return written


def return_payout(
    *,
    payout: Payout,
    reason: str = "",
    bank_reference: str = "",
    actor: str = "",
    part: Part | None = None,
) -> Transaction:
    """Give a settled payout's money, or a part of it, back to the wallet: a new entry and a new record; nothing is undone.

    Needs the payout locked (`lock_payout`). With the last part it is `returned`.

    :raises PayoutNotUndecided: it is not settled
    """
    amount, number, is_last = part or Part(payout.transaction.amount)
    status = Status.RETURNED if is_last else Status.SETTLED
    if not (payout.status == Status.SETTLED and change(payout, status=status)):
        raise PayoutNotUndecided(f"Payout {payout.uuid} is {payout.status}, not settled.")
    wallet = payout.transaction.wallet
    record = build_transaction(
        wallet,
        AbstractTransaction.TYPE_DEPOSIT,
        amount,
        meta={"action": "payout_returned", "payout": str(payout.uuid), "reason": reason},
    )
    step = f"{RETURN}:{number}" if number else RETURN
    record.entry_id = move(
        payout, step, Kind.REVERSAL, None, Bucket.AVAILABLE, amount=amount
    ).entry_id
    insert_records([record], wallet._state.db or "default")
    announce_transaction(record, WalletService, wallet._state.db or "default")
    returned = format(to_scale(amount, wallet.decimal_places), "f")
    detail = {"reason": reason, "bank_reference": bank_reference, "amount": returned}
    note([make_step(payout, Step.RETURNED, detail, actor)])
    publish(payout, "payout.returned", {"reason": reason, "returned": returned})
    return record


def move(
    payout: Payout,
    step: str,
    kind: Kind,
    source: Bucket | None,
    destination: Bucket | None,
    *,
    amount: Decimal | None = None,
) -> Posted:
    """Post one step of the payout; see `move_all`.

    :raises WalletException: the hold was refused
    """
    (result,) = move_all([payout], step, kind, source, destination, amount=amount)
    return _expect(result)


def _expect(result: Posted | WalletException) -> Posted:
    if isinstance(result, WalletException):
        raise result
    return result


def move_all(
    payouts: Sequence[Payout],
    step: str,
    kind: Kind,
    source: Bucket | None,
    destination: Bucket | None,
    *,
    amount: Decimal | None = None,
) -> list[Posted | WalletException]:
    """Post one step of each payout between buckets of the wallet, or (None) the bank; a hold may be refused.

    Repeated, it finds its own entries. Money that is on its way arrives even in a frozen wallet.

    :param amount: other than the whole of each
    """
    entries = [_build_entry(payout, step, kind, source, destination, amount) for payout in payouts]
    results = post(entries)
    for payout, entry, posted in zip(payouts, entries, results, strict=True):
        if isinstance(posted, WalletException) or posted.replayed:
            continue
        wallet = payout.transaction.wallet
        update_balances(wallet, entry, posted)
        if kind != Kind.REVERSAL:  # which has a record of its own to tell of
            signals.announce(
                signals.balance_changed,
                WalletService,
                using=wallet._state.db,
                wallet=wallet,
                transaction=payout.transaction,
            )
    return results


def _build_entry(
    payout: Payout,
    step: str,
    kind: Kind,
    source: Bucket | None,
    destination: Bucket | None,
    amount: Decimal | None,
) -> Entry:
    wallet = payout.transaction.wallet
    movement = Movement(
        BANK if source is None else wallet.pk,
        BANK if destination is None else wallet.pk,
        payout.transaction.amount if amount is None else amount,
        wallet.asset_id,
        Bucket.AVAILABLE if source is None else source,
        Bucket.AVAILABLE if destination is None else destination,
    )
    return Entry(
        kind,
        (movement,),
        f"payout:{payout.uuid}:{step}",
        reference_type="payout",
        reference_id=str(payout.uuid),
        allow_frozen=step != "hold",
    )


def publish(payout: Payout, event_type: str, data: Mapping[str, Any] | None = None) -> None:
    """Tell others, if this transaction commits. The subject is the wallet, whose holder may listen."""
    publish_all(event_type, [(payout, data or {})])


def publish_all(event_type: str, news: Iterable[tuple[Payout, Mapping[str, Any]]]) -> None:
    """Tell others of many payouts: the rows that `publish_event` writes, in one statement.

    One at a time they take longer than all else that is done with a payout.
    """
    events = [
        Event(
            type=event_type,
            subject=f"wallet:{payout.transaction.wallet.uuid}",
            data=describe(payout) | dict(data),
        )
        for payout, data in news
    ]
    insert_records(events, "default")


def describe(payout: Payout) -> dict[str, Any]:
    """Return what every event of a payout says."""
    record = payout.transaction
    wallet = record.wallet
    return {
        "payout": str(payout.uuid),
        "wallet": str(wallet.uuid),
        "transaction": str(record.uuid),
        "amount": format(to_scale(record.amount, wallet.decimal_places), "f"),
        "asset": wallet.asset_id,
        "bank": payout.bank,
        "status": str(payout.status),
    }


def _end(status: str) -> dict[str, Any]:
    return {"status": status, "due_at": None, "doubted_since": None, "lapses": 0}


def _give_back(payout: Payout) -> None:
    """Move held money back and close the holder's record."""
    if payout.held_at is not None:
        move(payout, "refund", Kind.REFUND, Bucket.PENDING, Bucket.AVAILABLE)
    record = payout.transaction
    record.status = AbstractTransaction.STATUS_FAILED
    record.save(update_fields=["status", "updated_at"])


def _after_a_wait(payout: Payout) -> Any:
    seconds = draw_wait(
        payout.attempts + payout.lookups,
        get_setting("BACKOFF_SECONDS"),
        get_setting("BACKOFF_MAX_SECONDS"),
    )
    return Now() + timedelta(seconds=seconds)


def read_database_time() -> datetime:
    """Return the database's time: what is due, and how old it is, is decided by one clock."""
    if connection.vendor == "sqlite":  # which has no clock but ours
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        (now,) = cursor.fetchone()
    return cast(datetime, now)
