"""The bodies of requests about payouts, which these serializers read, and of answers, which they describe."""

import re
from datetime import date, time
from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from dj_wallet.payouts.destination import LIMITS
from dj_wallet.payouts.models import RecurringPayout
from dj_wallet.rest.fields import (
    AmountField,
    CanonicalUUIDField,
    InstantField,
    MetaField,
    StrictSerializer,
    TextField,
)
from dj_wallet.rest.schemas import PAYOUT_STATUSES

# Lists by these names are named so in the OpenAPI document (ENUM_NAME_OVERRIDES).
RECURRING_STATUSES: Final = [value.upper() for value in RecurringPayout.Status.values]
FREQUENCIES: Final = list(RecurringPayout.Frequency.values)
MAX_BANK_LENGTH: Final = 64
DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
LOCAL_TIME: Final = re.compile(r"\d{2}:\d{2}(:\d{2})?", re.ASCII)


@extend_schema_field({"type": "string", "format": "date"})
class DateField(serializers.Field[date, Any, str, Any]):
    """A date: 2030-02-15."""

    default_error_messages = {"invalid": "Must be a date, such as 2030-02-15."}

    def to_internal_value(self, data: Any) -> date:
        if not isinstance(data, str) or not DATE.fullmatch(data):
            self.fail("invalid")
        try:
            return date.fromisoformat(data)
        except ValueError:
            self.fail("invalid")

    def to_representation(self, value: date) -> str:
        return value.isoformat()


@extend_schema_field({"type": "string", "examples": ["09:00"]})
class LocalTimeField(serializers.Field[time, Any, str, Any]):
    """A time of the day on a clock: 09:00 or 09:00:00."""

    default_error_messages = {"invalid": "Must be a time of the day, such as 09:00."}

    def to_internal_value(self, data: Any) -> time:
        if not isinstance(data, str) or not LOCAL_TIME.fullmatch(data):
            self.fail("invalid")
        try:
            return time.fromisoformat(data)
        except ValueError:
            self.fail("invalid")

    def to_representation(self, value: time) -> str:
        return value.isoformat()


class DestinationInput(StrictSerializer):
    """Whom to pay."""

    name = TextField(max_length=LIMITS["name"])
    iban = TextField(max_length=2 * LIMITS["iban"])
    bic = TextField(max_length=LIMITS["bic"], required=False)
    text = TextField(max_length=LIMITS["text"], required=False)


class PayoutInput(StrictSerializer):
    """Money to pay out to a bank, at a time or as soon as possible."""

    wallet = CanonicalUUIDField()
    amount = AmountField()
    scheduled_for = InstantField(required=False, allow_null=True)
    bank = TextField(max_length=MAX_BANK_LENGTH, required=False)
    destination = DestinationInput(required=False)
    meta = MetaField(required=False)


class RecurringPayoutInput(StrictSerializer):
    """The same payout every day, week or month. `last_date` is the last on which it may happen."""

    wallet = CanonicalUUIDField()
    amount = AmountField()
    frequency = serializers.ChoiceField(choices=FREQUENCIES)
    first_date = DateField()
    last_date = DateField(required=False, allow_null=True)
    local_time = LocalTimeField()
    time_zone = TextField(max_length=64)
    bank = TextField(max_length=MAX_BANK_LENGTH, required=False)
    destination = DestinationInput(required=False)


class PayoutBody(serializers.Serializer[Any]):
    """A payout."""

    uuid = serializers.UUIDField()
    wallet = serializers.UUIDField()
    transaction = serializers.UUIDField()
    amount = AmountField()
    asset = serializers.CharField()
    status = serializers.ChoiceField(choices=PAYOUT_STATUSES)
    bank = serializers.CharField()
    destination = serializers.DictField()
    scheduled_for = serializers.DateTimeField()
    retry_count = serializers.IntegerField()
    failure_code = serializers.CharField(allow_null=True)
    bank_reference = serializers.CharField(allow_null=True)
    bank_response = serializers.DictField(allow_null=True)
    recurring = serializers.UUIDField(allow_null=True)
    meta = serializers.DictField()
    created_at = serializers.DateTimeField()


class TimelineBody(serializers.Serializer[Any]):
    """One thing that happened to a payout, with its reasons."""

    event = serializers.CharField()
    at = serializers.DateTimeField()
    attempt = serializers.IntegerField()
    detail = serializers.DictField()


class PayoutWithTimelineBody(PayoutBody):
    """A payout and what happened to it."""

    timeline = TimelineBody(many=True)


class RecurringPayoutBody(serializers.Serializer[Any]):
    """A plan of payouts."""

    uuid = serializers.UUIDField()
    wallet = serializers.UUIDField()
    amount = AmountField()
    asset = serializers.CharField()
    status = serializers.ChoiceField(choices=RECURRING_STATUSES)
    frequency = serializers.ChoiceField(choices=FREQUENCIES)
    first_date = serializers.DateField()
    last_date = serializers.DateField(allow_null=True)
    local_time = serializers.CharField()
    time_zone = serializers.CharField()
    bank = serializers.CharField()
    destination = serializers.DictField()
    next_at = serializers.DateTimeField(allow_null=True)
    made = serializers.IntegerField()
    created_at = serializers.DateTimeField()


class UploadErrorBody(serializers.Serializer[Any]):
    """What is wrong with a line."""

    line = serializers.IntegerField()
    column = serializers.CharField(allow_null=True)
    code = serializers.CharField()
    message = serializers.CharField()


class UploadBody(serializers.Serializer[Any]):
    """What a file of payouts holds, or made. `payouts` is empty for a dry run."""

    dry_run = serializers.BooleanField()
    lines = serializers.IntegerField()
    totals = serializers.DictField(child=AmountField())
    errors = UploadErrorBody(many=True)  # type: ignore[assignment] # a field, not those of `errors()`
    payouts = serializers.ListField(child=serializers.UUIDField())


class HeardBody(serializers.Serializer[Any]):
    """The message was taken in."""

    status = serializers.ChoiceField(choices=["ok"])
