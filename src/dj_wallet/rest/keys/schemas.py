"""The bodies of API keys."""

from typing import Any, Final

from rest_framework import serializers

from dj_wallet.identity.access import ALL_SCOPES
from dj_wallet.rest.fields import InstantField, StrictSerializer, TextField

MAX_SCOPES: Final = len(ALL_SCOPES)
MAX_ADDRESSES: Final = 50
MAX_OVERLAP_SECONDS: Final = 30 * 24 * 60 * 60


class StrictIntegerField(serializers.IntegerField):
    """A whole number that is no string and no truth value."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictBooleanField(serializers.BooleanField):
    """true or false, and nothing that looks like it."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class ApiKeyInput(StrictSerializer):
    """A key to make. Without scopes it gets the usual ones, as far as the caller has them."""

    name = TextField(max_length=100)
    scopes = serializers.ListField(
        child=TextField(max_length=50), max_length=MAX_SCOPES, required=False
    )
    allowed_addresses = serializers.ListField(
        child=TextField(max_length=50), max_length=MAX_ADDRESSES, required=False
    )
    expires_at = InstantField(required=False, allow_null=True)
    is_signing = StrictBooleanField(required=False)


class RollInput(StrictSerializer):
    """How long the old key goes on working."""

    overlap_seconds = StrictIntegerField(min_value=0, max_value=MAX_OVERLAP_SECONDS, required=False)


class ApiKeyBody(serializers.Serializer[Any]):
    """A key, without its secret."""

    prefix = serializers.CharField(help_text="Names the key: its text begins with wk_<prefix>_.")
    name = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    allowed_addresses = serializers.ListField(child=serializers.CharField())
    is_signing = serializers.BooleanField()
    replaces = serializers.CharField(allow_null=True)
    replaced_by = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)


class NewApiKeyBody(ApiKeyBody):
    """A key that was just made, with its text, which is shown only this once."""

    text = serializers.CharField()
