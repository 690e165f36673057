"""Fields of request bodies. Strict about types: a string is no number, a number no string, true is not 1.

Whether an amount is a good one is for the ledger to say; here it is only read.
"""

import re
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from dj_wallet.ledger.engine import is_storable

from .headers import MAX_KEY_LENGTH, NOT_A_MOMENT, is_printable_ascii, read_instant

CANONICAL_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
MAX_AMOUNT_LENGTH: Final = 170
MAX_META_CHARACTERS: Final = 4096


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields that it does not know: a misspelt option must not be ignored."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := data.keys() - self.fields.keys()):
            raise serializers.ValidationError(
                {name: ["Unknown field."] for name in sorted(unknown)}
            )
        return super().to_internal_value(data)


@extend_schema_field({"type": "integer", "exclusiveMinimum": 0, "examples": [10000]})
class MinorUnitsField(serializers.Field[int, Any, int, Any]):
    """A whole number of the asset's smallest unit."""

    default_error_messages = {"type": "Must be a whole number of the smallest unit."}

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("type")
        return data

    def to_representation(self, value: int) -> int:
        return value


@extend_schema_field({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$", "examples": ["12.50"]})
class AmountField(serializers.Field[str, Any, str, Any]):
    """A decimal number in a string, so that no reader makes it a float."""

    default_error_messages = {"type": 'Must be a decimal number in a string, such as "12.50".'}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("type")
        return data

    def to_representation(self, value: Decimal | str) -> str:
        return value if isinstance(value, str) else format(value, "f")


@extend_schema_field({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "examples": ["12.50"]})
class BalanceField(AmountField):
    """An amount that may be below zero: what an overdrawn wallet has."""


@extend_schema_field({"type": "string", "format": "uuid"})
class CanonicalUUIDField(serializers.Field[UUID, Any, str, Any]):
    """A UUID as 36 characters, and in no other spelling."""

    default_error_messages = {"invalid": "Must be a UUID."}

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str) or not CANONICAL_UUID.fullmatch(data):
            self.fail("invalid")
        return UUID(data)

    def to_representation(self, value: UUID) -> str:
        return str(value)


@extend_schema_field({"type": "string", "format": "date-time"})
class InstantField(serializers.Field[datetime, Any, str, Any]):
    """A point in time: ISO 8601 with an offset, since a local time means nothing to a server."""

    default_error_messages = {"invalid": NOT_A_MOMENT}

    def to_internal_value(self, data: Any) -> datetime:
        if not isinstance(data, str) or not (instant := read_instant(data)):
            self.fail("invalid")
        return instant

    def to_representation(self, value: datetime) -> str:
        return value.isoformat().replace("+00:00", "Z")


@extend_schema_field({"type": "boolean"})
class SwitchField(serializers.Field[bool, Any, bool, Any]):
    """true or false, and nothing that looks like it."""

    default_error_messages = {"type": "Must be true or false."}

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("type")
        return data

    def to_representation(self, value: bool) -> bool:
        return value


@extend_schema_field({"type": "string"})
class TextField(serializers.Field[str, Any, str, Any]):
    """A string of 1 to `max_length` characters, optionally of one pattern."""

    default_error_messages = {
        "type": "Must be a string.",
        "length": "Must have 1 to {max_length} characters.",
        "pattern": "Must match {pattern}.",
    }

    def __init__(self, *, max_length: int, pattern: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_length = max_length
        self.pattern = pattern

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("type")
        if not is_storable(data, self.max_length, minimum=1):
            self.fail("length", max_length=self.max_length)
        if self.pattern and not re.fullmatch(self.pattern, data, re.ASCII):
            self.fail("pattern", pattern=self.pattern)
        return data

    def to_representation(self, value: str) -> str:
        return value


@extend_schema_field({"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH})
class IdempotencyKeyField(serializers.Field[str, Any, str, Any]):
    """What the header Idempotency-Key would hold."""

    default_error_messages = {
        "invalid": f"Must be a string of 1 to {MAX_KEY_LENGTH} printable ASCII characters."
    }

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or not is_printable_ascii(data, MAX_KEY_LENGTH):
            self.fail("invalid")
        return data

    def to_representation(self, value: str) -> str:
        return value


@extend_schema_field({"type": "object", "additionalProperties": True})
class MetaField(serializers.Field[dict[str, Any], Any, dict[str, Any], Any]):
    """A small object of the client's own. Kept exactly, so numbers with a fraction have to be strings."""

    default_error_messages = {
        "type": "Must be an object.",
        "fraction": "Write numbers with a fraction as strings.",
        "size": f"Must not be longer than {MAX_META_CHARACTERS} characters as JSON.",
        "action": "The name action is ours.",
    }

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("type")
        if "action" in data:
            self.fail("action")
        if _count_characters(data, self) > MAX_META_CHARACTERS:
            self.fail("size")
        return data

    def to_representation(self, value: dict[str, Any]) -> dict[str, Any]:
        return value


def _count_characters(value: Any, field: MetaField) -> int:
    """Return about how long the value is as JSON.

    :raises ValidationError: it holds a number with a fraction
    """
    if isinstance(value, Decimal):
        field.fail("fraction")
    if isinstance(value, dict):
        return 2 + sum(
            len(name) + 4 + _count_characters(item, field) for name, item in value.items()
        )
    if isinstance(value, list):
        return 2 + sum(1 + _count_characters(item, field) for item in value)
    return 2 + len(value) if isinstance(value, str) else len(str(value))
