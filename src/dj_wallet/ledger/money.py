"""Amounts: exact decimals, never floats inside, never rounded silently. No Django here."""

import re
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import Final

from .errors import AmountInvalid

# numeric(80,18): 62 digits before the point hold 10**50 (which users of release 0.1.0 deposit), 18 after it hold wei.
MAX_DIGITS: Final = 80
MAX_DECIMAL_PLACES: Final = 18
MAX_INTEGER_DIGITS: Final = MAX_DIGITS - MAX_DECIMAL_PLACES

# A result that would need rounding raises instead. 100 digits leave room for sums of the largest amounts.
EXACT: Final = Context(prec=100, traps=[InvalidOperation, DivisionByZero, Overflow, Inexact])

ZERO: Final = Decimal(0)
# One unit of the last place, by the number of decimal places.
UNITS: Final = tuple(Decimal((0, (1,), -places)) for places in range(MAX_DECIMAL_PLACES + 1))
EIGHT_PLACES: Final = Decimal("0.00000001")

# ASCII only: Decimal() itself would take full-width digits, underscores and surrounding white space.
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,80}(\.[0-9]{1,80})?([eE][+-]?[0-9]{1,3})?", re.ASCII)


def read_number(value: object) -> Decimal:
    """Return the finite decimal that an int, string, float or Decimal spells.

    A float means the number it prints as: 0.1 is one tenth.

    :raises AmountInvalid: for anything else, NaN and Infinity, or more than 62 digits before the point
    """
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 256:
        number = Decimal(value)
    elif isinstance(value, float) or (isinstance(value, str) and len(value) <= 170):
        text = repr(value) if isinstance(value, float) else value
        if not _NUMBER.fullmatch(text):
            raise AmountInvalid(f"Not a number: {text!r}.")
        number = Decimal(text)
    else:
        raise AmountInvalid(f"Not a number: a value of type {type(value).__name__}.")
    if not number.is_finite():
        raise AmountInvalid(f"Not a finite number: {number}.")
    if number and number.adjusted() >= MAX_INTEGER_DIGITS:
        raise AmountInvalid(f"More than {MAX_INTEGER_DIGITS} digits before the decimal point.")
    return number


def parse_amount(value: object, decimal_places: int = MAX_DECIMAL_PLACES) -> Decimal:
    """Return a positive amount, written with exactly `decimal_places` digits after the point.

    :raises AmountInvalid: zero, negative, not a number, too large, or more digits than the asset has
    """
    number = read_number(value)
    if number <= 0:
        raise AmountInvalid(f"The amount must be greater than zero, not {number}.")
    return to_scale(number, decimal_places)


def to_scale(number: Decimal, decimal_places: int) -> Decimal:
    """Return the same number with exactly `decimal_places` digits after the point.

    :raises AmountInvalid: the number has more digits than that
    """
    try:
        return EXACT.quantize(number, UNITS[decimal_places])
    except (Inexact, InvalidOperation):
        raise AmountInvalid(f"{number} has more than {decimal_places} decimal places.") from None


def trim(number: Decimal) -> Decimal:
    """Return a number read from numeric(80,18) with 8 digits after the point, as release 0.1.0 showed it, if exact."""
    try:
        return EXACT.quantize(number, EIGHT_PLACES)
    except Inexact:
        return number


def from_minor_units(units: int, decimal_places: int) -> Decimal:
    """Return the amount of a whole number of smallest units: 1050 cents are 10.50.

    :raises AmountInvalid: the number of units is not a positive whole number
    """
    if isinstance(units, bool) or not isinstance(units, int):
        raise AmountInvalid("The amount must be a whole number of the smallest unit.")
    return parse_amount(read_number(units).scaleb(-decimal_places, EXACT), decimal_places)


def to_minor_units(amount: Decimal, decimal_places: int) -> int:
    """Return the amount as a whole number of smallest units: 10.50 is 1050 cents."""
    return int(to_scale(amount, decimal_places).scaleb(decimal_places, EXACT))
