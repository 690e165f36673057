"""When a recurring payout falls due. Pure: dates, local times and time zones.

Occurrence n is n days, weeks or months after the first date, counted from the first: the 31st of January is followed by
the last day of February and by the 31st of March. A local time that a clock change skips is the time as it would have
been without the change (02:30 becomes 03:30); one that it repeats is the first of the two.
"""

import calendar
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAILY, WEEKLY, MONTHLY = "daily", "weekly", "monthly"


def find_date(frequency: str, first_date: date, number: int) -> date:
    """Return the date of occurrence `number`, from 0.

    :raises OverflowError: the calendar ends before
    """
    if frequency == DAILY:
        return first_date + timedelta(days=number)
    if frequency == WEEKLY:
        return first_date + timedelta(weeks=number)
    years, month = divmod(first_date.month - 1 + number, 12)
    year, month = first_date.year + years, month + 1
    if year > date.max.year:
        raise OverflowError(year)
    last_day = calendar.monthrange(year, month)[1]
    return date(year, month, min(first_date.day, last_day))


def to_instant(day: date, local_time: time, time_zone: str) -> datetime:
    """Return the moment in UTC at which clocks there show this local time."""
    # fold=0 is the offset before a change: that is the rule above, for gaps and for repetitions.
    local = datetime.combine(day, local_time.replace(fold=0), ZoneInfo(time_zone))
    return local.astimezone(UTC)
