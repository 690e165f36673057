"""Limits and lots of locked accounts: read before the engine decides, written after the entries."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from django.db.models import F, Q
from django.utils import timezone

from dj_wallet.ledger.engine import Accepted, AccountState, Entry, Posted
from dj_wallet.ledger.limits import UNCOUNTED_KINDS, Limits, Reservation, list_returns
from dj_wallet.ledger.lots import Lots, LotState, UseState
from dj_wallet.ledger.models import Posting
from dj_wallet.ledger.money import EXACT, ZERO
from dj_wallet.ledger.rule_models import Lot, LotUse, WalletLimits
from dj_wallet.ledger.rules import Rules

LIMITS: Final = ("minimum_balance", "per_transaction", "per_day", "per_month")
# In which order lots are spent.
SPENDING_ORDER: Final = ("priority", F("expires_at").asc(nulls_last=True), "pk")


class Period(NamedTuple):
    """The day of a moment in the time zone of the project, whatever zone is active in this thread."""

    today: date
    day_begins_at: datetime
    day_ends_at: datetime
    month_begins_at: datetime
    month_ends_at: datetime


def find_period(now: datetime, not_before: date | None = None) -> Period:
    """Return the day and month of a moment; of a later day if that has been seen already."""
    zone = timezone.get_default_timezone() if timezone.is_aware(now) else None
    today = (now.astimezone(zone) if zone else now).date()
    if not_before is not None and not_before > today:
        today = not_before

    def begin(day: date) -> datetime:
        return datetime.combine(day, time.min, tzinfo=zone)

    first = today.replace(day=1)
    next_month = (first + timedelta(days=32)).replace(day=1)
    return Period(
        today, begin(today), begin(today + timedelta(days=1)), begin(first), begin(next_month)
    )


def load_rules(
    account_ids: Sequence[int], entries: Sequence[Entry], using: str
) -> dict[int, Rules]:
    """Return the rules of these accounts, which must be locked and say that they have some."""
    if not account_ids:
        return {}
    now = timezone.now()
    limits = {
        row.account_id: read_limits(row, now)
        for row in WalletLimits.objects.using(using).filter(account__in=account_ids)
    }
    for account_id in limits:
        limits[account_id] = _with_reservations(limits[account_id], account_id, entries, now, using)
    lots = _load_lots(account_ids, entries, now, using)
    return {
        account_id: Rules(limits.get(account_id), lots.get(account_id))
        for account_id in account_ids
    }


def read_limits(row: WalletLimits, now: datetime) -> Limits:
    """Return the limits with what was spent in the current day and month."""
    period = find_period(now, row.counted_on)
    is_today = row.counted_on == period.today
    is_this_month = row.counted_on is not None and row.counted_on >= period.today.replace(day=1)
    return Limits(
        **{name: getattr(row, name) for name in LIMITS},
        spent_today=row.spent_today if is_today else ZERO,
        spent_this_month=row.spent_this_month if is_this_month else ZERO,
        counted_on=period.today,
        day_ends_at=period.day_ends_at,
        month_ends_at=period.month_ends_at,
    )


def _with_reservations(
    limits: Limits, account_id: int, entries: Iterable[Entry], now: datetime, using: str
) -> Limits:
    wanted = {
        reservation for entry in entries for reservation, _ in list_returns(entry, account_id)
    }
    if not wanted:
        return limits
    period = find_period(now, limits.counted_on)
    reserved = {
        reservation: _sum_reserved(reservation, account_id, period, using) for reservation in wanted
    }
    return limits._replace(reserved=reserved)


def _sum_reserved(
    reservation: Reservation, account_id: int, period: Period, using: str
) -> tuple[Decimal, Decimal]:
    """Return what was moved into the bucket under the reference and not back, today and this month."""
    bucket, reference_type, reference_id = reservation
    postings = Posting.objects.using(using).filter(
        source_account=account_id,
        destination_account=account_id,
        reference_type=reference_type,
        reference_id=reference_id,
        created_at__gte=period.month_begins_at,
    )
    into = postings.filter(source_bucket=0, destination_bucket=bucket)
    back = postings.filter(source_bucket=bucket, destination_bucket=0)
    today, this_month = ZERO, ZERO
    for rows, add in ((into.exclude(kind__in=UNCOUNTED_KINDS), EXACT.add), (back, EXACT.subtract)):
        for amount, at in rows.values_list("amount", "created_at"):
            this_month = add(this_month, amount)
            today = add(today, amount) if at >= period.day_begins_at else today
    return max(ZERO, today), max(ZERO, this_month)


def count_spent(account_id: int, now: datetime, using: str) -> tuple[Decimal, Decimal]:
    """Return what has left the account today and this month according to its postings, for limits that are new."""
    period = find_period(now)
    within = Q(destination_account=account_id, destination_bucket=0) & ~Q(source_bucket=0)
    postings = (
        Posting.objects.using(using)
        .filter(Q(source_bucket=0) | within, source_account=account_id)
        .filter(created_at__gte=period.month_begins_at)
    )
    columns = ("kind", "source_bucket", "destination_account_id", "destination_bucket", "amount")
    spent, reserved = [ZERO, ZERO], [dict[Reservation, Decimal](), dict[Reservation, Decimal]()]
    rows = postings.order_by("pk").values_list(
        *columns, "reference_type", "reference_id", "created_at"
    )
    for kind, bucket, destination, other, amount, *reference, at in rows:
        windows = (0, 1) if at >= period.day_begins_at else (1,)
        for window in windows:
            if bucket:  # it comes back
                key = (bucket, *reference)
                room = min(amount, reserved[window].get(key, ZERO))
                spent[window] = EXACT.subtract(spent[window], room)
                reserved[window][key] = EXACT.subtract(reserved[window].get(key, ZERO), room)
            elif kind not in UNCOUNTED_KINDS:
                spent[window] = EXACT.add(spent[window], amount)
                if destination == account_id:
                    key = (other, *reference)
                    reserved[window][key] = EXACT.add(reserved[window].get(key, ZERO), amount)
    return spent[0], spent[1]


def _load_lots(
    account_ids: Sequence[int], entries: Sequence[Entry], now: datetime, using: str
) -> dict[int, Lots]:
    restored = {entry_id for entry in entries for entry_id in entry.restores}
    undoable = Q(held__gt=0) | Q(entry_id__in=restored) if restored else Q(held__gt=0)
    uses: dict[int, list[UseState]] = {}
    for use in LotUse.objects.using(using).filter(undoable, account__in=account_ids).order_by("pk"):
        uses.setdefault(use.account_id, []).append(_read_use(use))
    used = {use.lot_id for of_account in uses.values() for use in of_account}
    wanted = Q(remaining__gt=0) | Q(pk__in=used) if used else Q(remaining__gt=0)
    lots: dict[int, list[LotState]] = {}
    rows = Lot.objects.using(using).filter(wanted, account__in=account_ids)
    for lot in rows.order_by(*SPENDING_ORDER):
        is_expired = lot.expires_at is not None and lot.expires_at <= now
        lots.setdefault(lot.account_id, []).append(
            LotState(lot.pk, lot.remaining, lot.is_withdrawable, is_expired)
        )
    return {
        account_id: Lots(tuple(own), tuple(uses.get(account_id, ())))
        for account_id, own in lots.items()
    }


def _read_use(use: LotUse) -> UseState:
    return UseState(
        use.pk,
        use.lot_id,
        use.entry_id,
        use.amount,
        use.returned,
        use.bucket,
        use.held,
        (use.reference_type, use.reference_id),
    )


def save_rules(
    accepted: Sequence[Accepted],
    posted: Sequence[Posted],
    changed: Mapping[int, AccountState],
    accounts: Mapping[int | str, AccountState],
    using: str,
) -> None:
    """Write what the entries changed of the rules of their accounts."""
    entry_ids = {
        use: place.entry_id
        for decision, place in zip(accepted, posted, strict=True)
        for use in decision.uses
    }
    for account_id, after in changed.items():
        before = accounts[account_id].rules
        if after.rules is None or before is None or after.rules == before:
            continue
        if after.rules.limits is not None and after.rules.limits != before.limits:
            _save_limits(account_id, after.rules.limits, using)
        if after.rules.lots is not None and before.lots is not None:
            _save_lots(account_id, before.lots, after.rules.lots, entry_ids, using)


def _save_limits(account_id: int, limits: Limits, using: str) -> None:
    WalletLimits.objects.using(using).filter(account=account_id).update(
        spent_today=limits.spent_today,
        spent_this_month=limits.spent_this_month,
        counted_on=limits.counted_on,
    )


def _save_lots(
    account_id: int,
    before: Lots,
    after: Lots,
    entry_ids: Mapping[tuple[int, int], int],
    using: str,
) -> None:
    for lot in set(after.lots).difference(before.lots):
        Lot.objects.using(using).filter(pk=lot.id).update(remaining=lot.remaining)
    new = []
    for use in after.uses:
        if use.id < 0:
            new.append(_build_use(account_id, use, entry_ids[account_id, use.id]))
        elif use not in before.uses:
            LotUse.objects.using(using).filter(pk=use.id).update(
                returned=use.returned, held=use.held
            )
    LotUse.objects.using(using).bulk_create(new)


def _build_use(account_id: int, use: UseState, entry_id: int) -> LotUse:
    reference_type, reference_id = use.reference
    return LotUse(
        lot_id=use.lot_id,
        account_id=account_id,
        entry_id=entry_id,
        amount=use.amount,
        returned=use.returned,
        bucket=use.bucket,
        held=use.held,
        reference_type=reference_type,
        reference_id=reference_id,
    )
