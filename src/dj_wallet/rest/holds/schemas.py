"""The bodies of requests and answers about holds and escrows."""

from typing import Any, Final

from rest_framework import serializers

from dj_wallet.hold_models import MAX_REASON_LENGTH, Escrow, Hold, HoldStep
from dj_wallet.ledger.accounts import MAX_ASSET_CODE_LENGTH
from dj_wallet.ledger.engine import MAX_REFERENCE_ID_LENGTH, MAX_REFERENCE_TYPE_LENGTH
from dj_wallet.rest.fields import (
    AmountField,
    BalanceField,
    CanonicalUUIDField,
    IdempotencyKeyField,
    InstantField,
    StrictSerializer,
    SwitchField,
    TextField,
)

# Lists by these names are named so in the OpenAPI document (ENUM_NAME_OVERRIDES).
HOLD_STATUSES: Final = [value.upper() for value in Hold.Status.values]
HOLD_ACTIONS: Final = [value.upper() for value in HoldStep.Action.values]
ESCROW_STATUSES: Final = list(Escrow.Status.values)
LOCK_MODES: Final = ["add", "set"]


def reference_type(**options: Any) -> TextField:
    return TextField(max_length=MAX_REFERENCE_TYPE_LENGTH, **options)


def reference_id(**options: Any) -> TextField:
    return TextField(max_length=MAX_REFERENCE_ID_LENGTH, **options)


class HoldInput(StrictSerializer):
    """Money of a wallet to hold. With `mode` "set" the hold shall keep `amount` in all."""

    wallet = CanonicalUUIDField()
    amount = AmountField()
    reference_type = reference_type()
    reference_id = reference_id()
    expires_at = InstantField(required=False, allow_null=True)
    mode = serializers.ChoiceField(choices=LOCK_MODES, required=False)


class ReleaseInput(StrictSerializer):
    """How much to release; without an amount all that is held."""

    amount = AmountField(required=False)


class SettleInput(StrictSerializer):
    """The wallet to pay, and how much; without an amount all that is held."""

    to = CanonicalUUIDField()
    amount = AmountField(required=False)


class ConvertInput(StrictSerializer):
    """The order that the held money is for. What is not converted is released, unless it is to be kept."""

    seller = CanonicalUUIDField()
    order_id = reference_id()
    amount = AmountField(required=False)
    fee_amount = AmountField(required=False)
    keep_remainder = SwitchField(required=False)


class EscrowInput(StrictSerializer):
    """Money of one wallet to keep for an order of another."""

    buyer = CanonicalUUIDField()
    seller = CanonicalUUIDField()
    order_id = reference_id()
    amount = AmountField()
    fee_amount = AmountField(required=False)


class ReasonInput(StrictSerializer):
    """Why, for the record."""

    reason = TextField(max_length=MAX_REASON_LENGTH, required=False)


class SplitInput(ReasonInput):
    """What seller and buyer get: together the escrow's amount."""

    seller_amount = AmountField()
    buyer_amount = AmountField()


class InternalInput(StrictSerializer):
    """What the internal paths of seed 001 have in common: the key may stand in the body, too."""

    idempotency_key = IdempotencyKeyField(required=False)
    coin = TextField(max_length=MAX_ASSET_CODE_LENGTH, required=False)


class LockInput(InternalInput):
    """Money of a user to lock for a bid."""

    user_id = CanonicalUUIDField()
    amount = AmountField()
    reference_type = reference_type()
    reference_id = reference_id()
    expires_at = InstantField(required=False, allow_null=True)
    mode = serializers.ChoiceField(choices=LOCK_MODES, required=False)


class UnlockInput(InternalInput):
    """Locked money to give back; without an amount all of it."""

    user_id = CanonicalUUIDField()
    amount = AmountField(required=False)
    reference_type = reference_type()
    reference_id = reference_id()


class PayOrderInput(InternalInput):
    """An order to pay into escrow."""

    user_id = CanonicalUUIDField()
    seller_id = CanonicalUUIDField()
    order_id = reference_id()
    amount = AmountField()
    fee_amount = AmountField(required=False)


class ConvertToEscrowInput(InternalInput):
    """A lock to turn into the escrow of an order; without an amount all of it."""

    buyer_id = CanonicalUUIDField()
    seller_id = CanonicalUUIDField()
    order_id = reference_id()
    amount = AmountField(required=False)
    fee_amount = AmountField(required=False)
    reference_type = reference_type()
    reference_id = reference_id()
    keep_remainder = SwitchField(required=False)


class EndEscrowInput(StrictSerializer):
    """The escrow, by its own id or by its order's."""

    idempotency_key = IdempotencyKeyField(required=False)
    escrow_id = CanonicalUUIDField(required=False)
    order_id = reference_id(required=False)
    reason = TextField(max_length=MAX_REASON_LENGTH, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("escrow_id" in attrs) == ("order_id" in attrs):
            raise serializers.ValidationError({"escrow_id": ["Name the escrow or its order."]})
        return attrs


class ResolveEscrowInput(EndEscrowInput):
    """What seller and buyer get: together the escrow's amount."""

    seller_amount = AmountField()
    buyer_amount = AmountField()


class HoldStepBody(serializers.Serializer[Any]):
    """One change of a hold, and what was left."""

    action = serializers.ChoiceField(choices=HOLD_ACTIONS)
    amount = AmountField()
    remaining = AmountField()
    entry_id = serializers.IntegerField()
    created_at = serializers.DateTimeField()


class HoldBody(serializers.Serializer[Any]):
    """A hold: `amount` is what was placed in all, `remaining` what is still held."""

    uuid = serializers.UUIDField()
    wallet = serializers.UUIDField()
    asset = serializers.CharField()
    reference_type = serializers.CharField()
    reference_id = serializers.CharField()
    amount = AmountField()
    remaining = AmountField()
    status = serializers.ChoiceField(choices=HOLD_STATUSES)
    expires_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class ExplainedHoldBody(HoldBody):
    """A hold with every change of it, oldest first."""

    steps = HoldStepBody(many=True)


class LockBalanceBody(serializers.Serializer[Any]):
    """The wallet right after the call."""

    available = BalanceField()
    locked = AmountField()


class LockBody(serializers.Serializer[Any]):
    """What one call locked or unlocked (`amount`), and what it left locked for the reference."""

    lock_id = serializers.UUIDField()
    user_id = serializers.CharField()
    coin = serializers.CharField()
    reference_type = serializers.CharField()
    reference_id = serializers.CharField()
    amount = AmountField()
    remaining = AmountField()
    expires_at = serializers.DateTimeField(allow_null=True)
    balance = LockBalanceBody()


class EscrowBody(serializers.Serializer[Any]):
    """An escrow. `buyer_id` and `seller_id` are users, `buyer` and `seller` their wallets."""

    id = serializers.UUIDField()
    order_id = serializers.CharField()
    buyer_id = serializers.CharField()
    seller_id = serializers.CharField()
    buyer = serializers.UUIDField()
    seller = serializers.UUIDField()
    coin = serializers.CharField()
    amount = AmountField()
    fee_amount = AmountField()
    released_amount = AmountField()
    refunded_amount = AmountField()
    fee_charged = AmountField()
    status = serializers.ChoiceField(choices=ESCROW_STATUSES)
    reason = serializers.CharField(allow_blank=True)
    lock_id = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
