"""What may leave a wallet: its minimum balance, and how much at once, in a day and in a month. No Django, no clock.

Counted is what leaves `available`, for another account or for another bucket of the same wallet, so that money that
is reserved and settled later counts once, when it is reserved.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from .errors import LimitExceeded
from .money import EXACT, ZERO, trim

if TYPE_CHECKING:
    from datetime import date, datetime

    from .engine import Entry

# Corrections and money that goes back: no limit refuses them, and they do not count.
UNCOUNTED_KINDS: Final = frozenset({"REFUND", "REVERSAL", "ADJUSTMENT", "OPENING", "EXPIRY"})

# The bucket in which money is reserved, and the reference under which.
Reservation = tuple[int, str, str]


class Limits(NamedTuple):
    """The limits of a wallet, None for none, and what has left it in the current day and month.

    `reserved` is what was moved into a bucket of the wallet today and this month and has not come back since: as much
    room is given back when it does.
    """

    minimum_balance: Decimal | None = None
    per_transaction: Decimal | None = None
    per_day: Decimal | None = None
    per_month: Decimal | None = None
    spent_today: Decimal = ZERO
    spent_this_month: Decimal = ZERO
    counted_on: "date | None" = None
    day_ends_at: "datetime | None" = None
    month_ends_at: "datetime | None" = None
    reserved: Mapping[Reservation, tuple[Decimal, Decimal]] = {}


def apply_limits(limits: Limits, entry: "Entry", account_id: int, available: Decimal) -> Limits:
    """Return the limits with the entry counted.

    :param available: what the wallet holds after the entry
    :raises LimitExceeded: too much would leave the wallet
    """
    limits = _give_room_back(limits, entry, account_id)
    leaving = [
        movement.amount
        for movement in entry.movements
        if movement.source == account_id and not movement.source_bucket
    ]
    if not leaving or entry.purpose in UNCOUNTED_KINDS:
        return limits
    amount = ZERO
    for part in leaving:
        amount = EXACT.add(amount, part)
    if not entry.allow_overdraft:
        _check(limits, amount, available)
    return limits._replace(
        spent_today=EXACT.add(limits.spent_today, amount),
        spent_this_month=EXACT.add(limits.spent_this_month, amount),
    )


def compute_left(allowed: Decimal | None, spent: Decimal) -> Decimal | None:
    """Return how much more may leave, None if there is no limit."""
    return None if allowed is None else max(ZERO, EXACT.subtract(allowed, spent))


def _check(limits: Limits, amount: Decimal, available: Decimal) -> None:
    windows = (
        ("per_transaction", limits.per_transaction, ZERO, None),
        ("per_day", limits.per_day, limits.spent_today, limits.day_ends_at),
        ("per_month", limits.per_month, limits.spent_this_month, limits.month_ends_at),
    )
    for name, allowed, spent, ends_at in windows:
        left = compute_left(allowed, spent)
        if allowed is not None and left is not None and amount > left:
            raise _refuse(name, allowed, left, amount, ends_at)
    minimum = limits.minimum_balance
    if minimum is not None and available < minimum:
        left = max(ZERO, EXACT.subtract(EXACT.add(available, amount), minimum))
        raise _refuse("minimum_balance", minimum, left, amount, None)


def _refuse(
    name: str, allowed: Decimal, left: Decimal, amount: Decimal, ends_at: "datetime | None"
) -> LimitExceeded:
    return LimitExceeded(
        f"The limit {name} of {trim(allowed):f} leaves {trim(left):f}, not {amount:f}.",
        limit=name,
        allowed=f"{trim(allowed):f}",
        left=f"{trim(left):f}",
        renews_at=None if ends_at is None else ends_at.isoformat(),
    )


def list_returns(entry: "Entry", account_id: int) -> list[tuple[Reservation, Decimal]]:
    """Return what the entry moves from other buckets of the wallet back to `available`."""
    return [
        (
            (int(movement.source_bucket), entry.reference_type, entry.reference_id),
            movement.amount,
        )
        for movement in entry.movements
        if movement.source == account_id == movement.destination
        and movement.source_bucket
        and not movement.destination_bucket
    ]


def _give_room_back(limits: Limits, entry: "Entry", account_id: int) -> Limits:
    for reservation, amount in list_returns(entry, account_id):
        today, this_month = limits.reserved.get(reservation, (ZERO, ZERO))
        of_today, of_month = min(amount, today), min(amount, this_month)
        rest = EXACT.subtract(today, of_today), EXACT.subtract(this_month, of_month)
        limits = limits._replace(
            spent_today=max(ZERO, EXACT.subtract(limits.spent_today, of_today)),
            spent_this_month=max(ZERO, EXACT.subtract(limits.spent_this_month, of_month)),
            reserved={**limits.reserved, reservation: rest},
        )
    return limits
