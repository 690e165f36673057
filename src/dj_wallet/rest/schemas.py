"""The bodies of requests, which these serializers read, and of answers, which they only describe (see `bodies`)."""

from typing import Any, Final

from rest_framework import serializers

from dj_wallet.custody.models import Chain
from dj_wallet.ledger.accounts import MAX_ASSET_CODE_LENGTH
from dj_wallet.payouts.models import Payout

from .bodies import STATUSES, TYPES
from .fields import (
    AmountField,
    CanonicalUUIDField,
    IdempotencyKeyField,
    InstantField,
    MetaField,
    MinorUnitsField,
    StrictSerializer,
    TextField,
)

MAX_BATCH: Final = 1000
# Lists by these names are named so in the OpenAPI document (ENUM_NAME_OVERRIDES).
ITEM_TYPES: Final = ["transfer", "deposit"]
ITEM_STATUSES: Final = ["posted", "replayed", "refused"]
TRANSACTION_TYPES: Final = list(TYPES.values())
TRANSACTION_STATUSES: Final = list(STATUSES.values())
PAYOUT_STATUSES: Final = [value.upper() for value in Payout.Status.values]
FINE: Final = ["ok"]
CHAIN_STATES: Final = list(Chain.State.values)
READINESS: Final = ["ok", "unavailable"]
REACHABILITY: Final = ["ok", "unreachable"]


class WalletInput(StrictSerializer):
    """A wallet to create. Without a slug it gets a random one, without an asset the service's default."""

    slug = TextField(max_length=50, pattern="[A-Za-z0-9_-]+", required=False)
    asset = TextField(max_length=MAX_ASSET_CODE_LENGTH, required=False)
    meta = MetaField(required=False)


class DepositInput(StrictSerializer):
    """Money that comes in."""

    amount = MinorUnitsField()


class WithdrawalInput(StrictSerializer):
    """Money to pay out to a bank, at a time or as soon as possible."""

    amount = MinorUnitsField()
    scheduled_for = InstantField(required=False, allow_null=True)


class TransferInput(StrictSerializer):
    """Money to move from one wallet to another."""

    def get_fields(self) -> dict[str, Any]:
        return {
            "from": CanonicalUUIDField(),
            "to": CanonicalUUIDField(),
            "amount": AmountField(),
            "meta": MetaField(required=False),
        }


class BatchItemInput(StrictSerializer):
    """One movement of a batch. A transfer has `from` and `to`, a deposit only `to`."""

    def get_fields(self) -> dict[str, Any]:
        return {
            "type": serializers.ChoiceField(choices=ITEM_TYPES),
            "from": CanonicalUUIDField(required=False),
            "to": CanonicalUUIDField(),
            "amount": AmountField(),
            "idempotency_key": IdempotencyKeyField(),
            "meta": MetaField(required=False),
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["type"] == "transfer" and "from" not in attrs:
            raise serializers.ValidationError({"from": ["A transfer needs a source."]})
        if attrs["type"] == "deposit" and "from" in attrs:
            raise serializers.ValidationError({"from": ["A deposit has no source."]})
        return attrs


class BatchInput(StrictSerializer):
    """Movements to make, each on its own."""

    items = serializers.ListField(child=BatchItemInput(), allow_empty=False, max_length=MAX_BATCH)


class WalletBody(serializers.Serializer[Any]):
    """A wallet. Balances are whole numbers of the asset's smallest unit."""

    uuid = serializers.UUIDField()
    slug = serializers.CharField()
    asset = serializers.CharField()
    decimal_places = serializers.IntegerField()
    balance = serializers.IntegerField()
    locked_balance = serializers.IntegerField()
    pending_balance = serializers.IntegerField()
    is_frozen = serializers.BooleanField()
    meta = serializers.DictField()
    created_at = serializers.DateTimeField()


class TransactionBody(serializers.Serializer[Any]):
    """A deposit or withdrawal. The last five fields are those of a withdrawal to a bank, else null or 0."""

    id = serializers.IntegerField()
    uuid = serializers.UUIDField()
    wallet = serializers.UUIDField()
    type = serializers.ChoiceField(choices=TRANSACTION_TYPES)
    status = serializers.ChoiceField(choices=TRANSACTION_STATUSES)
    amount = serializers.IntegerField()
    asset = serializers.CharField()
    decimal_places = serializers.IntegerField()
    meta = serializers.DictField()
    created_at = serializers.DateTimeField()
    scheduled_for = serializers.DateTimeField(allow_null=True)
    retry_count = serializers.IntegerField()
    bank_response = serializers.DictField(allow_null=True)
    failure_code = serializers.CharField(allow_null=True)
    payout_status = serializers.ChoiceField(choices=PAYOUT_STATUSES, allow_null=True)


class TransferBody(serializers.Serializer[Any]):
    """A transfer between wallets."""

    def get_fields(self) -> dict[str, Any]:
        return {
            "uuid": serializers.UUIDField(),
            "from": serializers.UUIDField(),
            "to": serializers.UUIDField(),
            "amount": AmountField(),
            "asset": serializers.CharField(),
            "status": serializers.CharField(),
            "meta": serializers.DictField(),
            "created_at": serializers.DateTimeField(),
        }


class BatchDepositBody(serializers.Serializer[Any]):
    """A deposit made by a batch."""

    id = serializers.IntegerField()
    uuid = serializers.UUIDField()
    wallet = serializers.UUIDField()
    type = serializers.ChoiceField(choices=TRANSACTION_TYPES)
    status = serializers.ChoiceField(choices=TRANSACTION_STATUSES)
    amount = AmountField()
    asset = serializers.CharField()
    meta = serializers.DictField()
    created_at = serializers.DateTimeField()


class RefusalBody(serializers.Serializer[Any]):
    """Why one movement of a batch was refused."""

    code = serializers.CharField()
    message = serializers.CharField()


class BatchResultBody(serializers.Serializer[Any]):
    """What became of one movement: its transfer or transaction, or the error."""

    status = serializers.ChoiceField(choices=ITEM_STATUSES)
    transfer = TransferBody(required=False)
    transaction = BatchDepositBody(required=False)
    error = RefusalBody(required=False)


class BatchBody(serializers.Serializer[Any]):
    """What became of each movement, in the order of the request."""

    results = BatchResultBody(many=True)


class ProblemBody(serializers.Serializer[Any]):
    """What went wrong."""

    code = serializers.CharField(help_text="Stable; docs/reference/errors.md lists them all.")
    message = serializers.CharField(help_text="For people; may change.")
    details = serializers.DictField(help_text="For invalid_request: what is wrong with each field.")
    timestamp = serializers.DateTimeField()


class ErrorBody(serializers.Serializer[Any]):
    """Every error looks like this."""

    error = ProblemBody()


class HealthBody(serializers.Serializer[Any]):
    """The process answers."""

    status = serializers.ChoiceField(choices=FINE)


class ReadNetworkBody(serializers.Serializer[Any]):
    """How far a network is read. What is not known yet is null."""

    network = serializers.CharField()
    state = serializers.ChoiceField(choices=CHAIN_STATES)
    blocks_behind = serializers.IntegerField(allow_null=True)
    look_age_seconds = serializers.IntegerField(allow_null=True)


class ReadinessBody(serializers.Serializer[Any]):
    """Whether what the service needs can be reached: "ok" or "unreachable" for each part."""

    status = serializers.ChoiceField(choices=READINESS)
    database = serializers.ChoiceField(choices=REACHABILITY)
    broker = serializers.ChoiceField(choices=REACHABILITY)
    networks = ReadNetworkBody(many=True)
