"""Columns for money."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from .engine import count_significant_digits
from .errors import AmountInvalid
from .money import MAX_DECIMAL_PLACES, MAX_DIGITS, trim

if TYPE_CHECKING:
    DecimalField = models.DecimalField[Any, Any]
else:
    DecimalField = models.DecimalField

# SQLite keeps decimals as 8-byte floats, which hold any decimal of up to 15 significant digits.
SQLITE_SIGNIFICANT_DIGITS = 15


class MoneyField(DecimalField):
    """numeric(80,18). A number is stored exactly or refused, on every database.

    :raises AmountInvalid: when saving, the database cannot hold the number exactly (SQLite, over 15 digits)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["max_digits"] = MAX_DIGITS
        kwargs["decimal_places"] = MAX_DECIMAL_PLACES
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["max_digits"], kwargs["decimal_places"]
        return name, path, args, kwargs

    def from_db_value(
        self, value: Decimal | None, expression: object, connection: BaseDatabaseWrapper
    ) -> Decimal | None:
        return None if value is None else trim(value)

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        if connection.vendor == "sqlite" and isinstance(value, Decimal):
            check_fits_sqlite(value)
        return super().get_db_prep_save(value, connection)


def check_fits_sqlite(value: Decimal) -> None:
    """Refuse a number that SQLite would alter.

    :raises AmountInvalid: over 15 significant digits
    """
    significant = count_significant_digits(value)
    if significant > SQLITE_SIGNIFICANT_DIGITS:
        raise AmountInvalid(
            f"SQLite cannot hold {value} exactly ({significant} significant digits); use PostgreSQL."
        )
