"""What a purchase costs: prices, discounts, fees and their refundable shares. Pure: no Django, no database."""

from collections.abc import Iterable
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal
from typing import Any, Final, NamedTuple

from .ledger.errors import AmountInvalid
from .ledger.money import EXACT, MAX_DECIMAL_PLACES, ZERO, read_number, to_scale

BUYER: Final = "buyer"
MERCHANT: Final = "merchant"
MAX_QUANTITY: Final = 10**9

# Wide enough for the exact product of the largest amount and rate; what is rounded is rounded by `round_to`.
_WIDE: Final = Context(prec=400)


class Fee(NamedTuple):
    """A fee of the platform on one line: `percent` of its price plus `fixed`, within `minimum` and `maximum`.

    :param payer: `BUYER` pays it on top of the price, `MERCHANT` gets so much less
    :param is_refundable: a refund gives the fee back too. If not, the platform keeps it: a buyer who paid it gets the
        price back without it; a merchant who paid it gives the buyer the whole price all the same
    :param rounding: how `percent` is rounded to the decimal places of the asset, a constant of `decimal`
    """

    percent: Decimal = ZERO
    fixed: Decimal = ZERO
    minimum: Decimal = ZERO
    maximum: Decimal | None = None
    payer: str = BUYER
    is_refundable: bool = True
    rounding: str = ROUND_HALF_UP

    def compute(self, price: Decimal, decimal_places: int) -> Decimal:
        """Return the fee on a price.

        :raises AmountInvalid: a figure of the rule is negative, or `fixed` or a bound has excess digits
        """
        percent, fixed, minimum = (
            _read_not_negative(number, "A fee")
            for number in (self.percent, self.fixed, self.minimum)
        )
        part = round_to(
            _WIDE.divide(_WIDE.multiply(price, percent), Decimal(100)),
            decimal_places,
            self.rounding,
        )
        fee = max(_WIDE.add(part, fixed), minimum)
        if self.maximum is not None:
            fee = min(fee, _read_not_negative(self.maximum, "A fee"))
        return to_scale(fee, decimal_places)


class Line(NamedTuple):
    """What one product of a purchase costs. `discount`, `fee`, `net` and `total` are for the whole quantity.

    `total` is what the buyer pays: `net`, which the receiver gets, and `fee`.
    """

    name: str
    quantity: int
    unit_price: Decimal
    discount: Decimal
    fee: Decimal
    fee_payer: str
    is_fee_refundable: bool
    net: Decimal
    total: Decimal

    @property
    def refundable(self) -> Decimal:
        """How much of the total a full refund gives back."""
        return self.net if self.keeps_fee else self.total

    @property
    def keeps_fee(self) -> bool:
        """Tell whether the buyer paid a fee that stays with the platform."""
        return self.fee_payer == BUYER and not self.is_fee_refundable


class Quote(NamedTuple):
    """What a purchase costs, line by line: before it as asked for, and after it as stored."""

    lines: tuple[Line, ...]

    @property
    def total(self) -> Decimal:
        return add(line.total for line in self.lines)

    @property
    def fee(self) -> Decimal:
        return add(line.fee for line in self.lines)

    @property
    def discount(self) -> Decimal:
        return add(line.discount for line in self.lines)


class Share(NamedTuple):
    """How a refund divides: what the payment itself gives back, and what its fee does."""

    net: Decimal
    fee: Decimal


def price_line(
    *,
    name: str,
    quantity: int,
    unit_price: Any,
    discount: Any = ZERO,
    fee: Fee | None = None,
    decimal_places: int,
) -> Line:
    """Return what a quantity costs at a price and a discount for each unit.

    :raises AmountInvalid: a quantity that is none, a negative price, excess digits, a discount above the price, or a
        fee that the merchant's price does not cover
    """
    check_quantity(quantity)
    unit = to_scale(_read_not_negative(unit_price, "A price"), decimal_places)
    off = to_scale(_read_not_negative(discount, "A discount"), decimal_places)
    if off > unit:
        raise AmountInvalid(f"The discount {off} is above the price {unit}.")
    count = Decimal(quantity)
    price = _WIDE.multiply(_WIDE.subtract(unit, off), count)
    rule = fee or Fee()
    charged = to_scale(ZERO, decimal_places) if fee is None else rule.compute(price, decimal_places)
    is_on_top = rule.payer == BUYER
    if not is_on_top and charged > price:
        raise AmountInvalid(f"The fee {charged} is above the price {price}.")
    return Line(
        name=name,
        quantity=quantity,
        unit_price=unit,
        discount=EXACT.multiply(off, count),
        fee=charged,
        fee_payer=rule.payer,
        is_fee_refundable=rule.is_refundable,
        net=price if is_on_top else EXACT.subtract(price, charged),
        total=EXACT.add(price, charged) if is_on_top else price,
    )


def check_quantity(quantity: Any) -> None:
    """Refuse a quantity that is not a positive whole number.

    :raises AmountInvalid: it is not
    """
    if (
        not isinstance(quantity, int)
        or isinstance(quantity, bool)
        or not 0 < quantity <= MAX_QUANTITY
    ):
        raise AmountInvalid(f"A quantity is a whole number from 1 to {MAX_QUANTITY}.")


def compute_refund_of_units(
    line: Line, *, units: int, refunded_units: int, refunded: Decimal, decimal_places: int
) -> Decimal:
    """Return what giving back so many units gives back. The last unit gives back all that is left."""
    remaining = EXACT.subtract(line.refundable, refunded)
    until = refunded_units + units
    if until >= line.quantity:
        return remaining
    due = EXACT.subtract(
        take_share(line.refundable, until, line.quantity, decimal_places),
        take_share(line.refundable, refunded_units, line.quantity, decimal_places),
    )
    return min(due, remaining)


def divide_refund(line: Line, *, amount: Decimal, refunded: Decimal, decimal_places: int) -> Share:
    """Return how an amount, after so much was refunded, divides into net and fee; in the end both are given back whole."""
    fee = ZERO if line.keeps_fee else line.fee
    whole = line.refundable
    before, after = (
        fee if part == whole else _divide(fee, part, whole, decimal_places)
        for part in (refunded, EXACT.add(refunded, amount))
    )
    of_fee = EXACT.subtract(after, before)
    return Share(EXACT.subtract(amount, of_fee), of_fee)


def _divide(fee: Decimal, part: Decimal, whole: Decimal, decimal_places: int) -> Decimal:
    return round_to(_WIDE.divide(_WIDE.multiply(fee, part), whole), decimal_places, ROUND_DOWN)


def take_share(amount: Decimal, part: int, whole: int, decimal_places: int) -> Decimal:
    """Return `part` of `whole` of the amount, rounded down."""
    return round_to(
        _WIDE.divide(_WIDE.multiply(amount, Decimal(part)), Decimal(whole)),
        decimal_places,
        ROUND_DOWN,
    )


def convert(amount: Decimal, rate: Decimal, decimal_places: int, rounding: str) -> Decimal:
    """Return the amount times the rate, rounded as told to the decimal places."""
    return round_to(_WIDE.multiply(amount, rate), decimal_places, rounding)


def round_to(number: Decimal, decimal_places: int, rounding: str) -> Decimal:
    """Return the number with that many decimal places, rounded as told."""
    return number.quantize(Decimal((0, (1,), -decimal_places)), rounding=rounding, context=_WIDE)


def add(numbers: Iterable[Decimal]) -> Decimal:
    """Return the exact sum."""
    total = ZERO
    for number in numbers:
        total = EXACT.add(total, number)
    return total


def _read_not_negative(value: Any, what: str) -> Decimal:
    number = read_number(value)
    if number < 0:
        raise AmountInvalid(f"{what} must not be negative: {number}.")
    return to_scale(number, MAX_DECIMAL_PLACES)
