"""The bodies of requests and answers about events."""

from typing import Any, Final

from rest_framework import serializers

from dj_wallet.events.models import Delivery
from dj_wallet.rest.fields import StrictSerializer, TextField

MAX_TYPES: Final = 100
MAX_POSITION: Final = 2**63 - 1
# Named so in the OpenAPI document (ENUM_NAME_OVERRIDES).
DELIVERY_STATUSES: Final = list(Delivery.Status.values)


class TypesField(serializers.ListField):
    """Names of events; `deposit.*` stands for all that begin so, an empty list for all there are."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            child=TextField(max_length=100, pattern=r"[a-z0-9_.]+(\*)?"),
            max_length=MAX_TYPES,
            **kwargs,
        )


class FeedInput(StrictSerializer):
    """Where the feed goes on."""

    after = serializers.IntegerField(min_value=0, max_value=MAX_POSITION, default=0)
    limit = serializers.IntegerField(min_value=1, max_value=200, default=50)
    type = TextField(max_length=100, required=False)


class WebhookInput(StrictSerializer):
    """Where events should be sent."""

    url = TextField(max_length=500)
    event_types = TypesField(required=False)


class WebhookChange(StrictSerializer):
    """What should be different about a webhook."""

    url = TextField(max_length=500, required=False)
    event_types = TypesField(required=False)
    is_enabled = serializers.BooleanField(required=False)


class ReplayInput(StrictSerializer):
    """What to send again: all after a position, or of that only what was given up."""

    after = serializers.IntegerField(min_value=0, max_value=MAX_POSITION)
    dead_only = serializers.BooleanField(default=False)


class EventBody(serializers.Serializer[Any]):
    """Something that happened. The id is stable: known again when told twice."""

    def get_fields(self) -> dict[str, Any]:
        return {
            "id": serializers.UUIDField(),
            "type": serializers.CharField(),
            "timestamp": serializers.DateTimeField(),
            "subject": serializers.CharField(),
            "position": serializers.IntegerField(),
            "data": serializers.DictField(),
        }


class FeedBody(serializers.Serializer[Any]):
    """Events in their order. `after` of the next request is `next_after`; nothing is missed."""

    results = EventBody(many=True)
    next_after = serializers.IntegerField()


class WebhookBody(serializers.Serializer[Any]):
    """A webhook and how it does. The secret is not shown again."""

    id = serializers.UUIDField()
    url = serializers.CharField()
    event_types = serializers.ListField(child=serializers.CharField())
    is_enabled = serializers.BooleanField()
    disabled_reason = serializers.CharField(allow_null=True)
    failing_since = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class NewWebhookBody(WebhookBody):
    """A webhook with its secret, shown this once."""

    secret = serializers.CharField()


class AttemptBody(serializers.Serializer[Any]):
    """One attempt to deliver an event."""

    attempted_at = serializers.DateTimeField()
    outcome = serializers.CharField()
    answer = serializers.CharField()
    duration_ms = serializers.IntegerField(allow_null=True)


class DeliveryBody(serializers.Serializer[Any]):
    """An event on its way to a webhook, with every attempt."""

    id = serializers.IntegerField()
    event = EventBody()
    status = serializers.ChoiceField(choices=DELIVERY_STATUSES)
    next_attempt_at = serializers.DateTimeField(allow_null=True)
    delivered_at = serializers.DateTimeField(allow_null=True)
    attempts = AttemptBody(many=True)


class ReplayBody(serializers.Serializer[Any]):
    """How many events are on their way again."""

    count = serializers.IntegerField()
