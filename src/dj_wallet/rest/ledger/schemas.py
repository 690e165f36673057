"""The bodies of requests and answers of the ledger service."""

from typing import Any

from rest_framework import serializers

from dj_wallet.ledger.accounts import MAX_ASSET_CODE_LENGTH
from dj_wallet.ledger_service.models import MAX_ID_LENGTH
from dj_wallet.rest.fields import (
    AmountField,
    BalanceField,
    CanonicalUUIDField,
    MetaField,
    StrictSerializer,
    TextField,
)


class LedgerAccountInput(StrictSerializer):
    """An account to open. Without a currency it counts the service's default."""

    external_owner_id = TextField(max_length=MAX_ID_LENGTH)
    currency = TextField(max_length=MAX_ASSET_CODE_LENGTH, required=False)


class AccountFilter(StrictSerializer):
    """Which accounts to list."""

    external_owner_id = TextField(max_length=MAX_ID_LENGTH, required=False)
    cursor = serializers.CharField(required=False)
    limit = serializers.CharField(required=False)


class MoneyInput(StrictSerializer):
    """Money that comes into an account or leaves it."""

    account_id = CanonicalUUIDField()
    amount = AmountField()
    reference_id = TextField(max_length=MAX_ID_LENGTH)
    metadata = MetaField(required=False)


class MoveInput(StrictSerializer):
    """Money to move from one account to another."""

    from_account_id = CanonicalUUIDField()
    to_account_id = CanonicalUUIDField()
    amount = AmountField()
    reference_id = TextField(max_length=MAX_ID_LENGTH)
    metadata = MetaField(required=False)


class AccountBody(serializers.Serializer[Any]):
    """An account and what it holds."""

    account_id = serializers.UUIDField()
    external_owner_id = serializers.CharField()
    currency = serializers.CharField()
    balance = BalanceField()
    locked_balance = AmountField()
    pending_balance = AmountField()
    is_frozen = serializers.BooleanField()
    created_at = serializers.DateTimeField()


class ReceiptBody(serializers.Serializer[Any]):
    """A deposit or withdrawal; the balance is that right after it, also when it is replayed."""

    transaction_id = serializers.UUIDField()
    account_id = serializers.UUIDField()
    balance = BalanceField()
    reference_id = serializers.CharField()
    idempotency_key = serializers.CharField()


class MoveReceiptBody(serializers.Serializer[Any]):
    """A transfer; the balances are those right after it, also when it is replayed."""

    transaction_id = serializers.UUIDField()
    from_account_id = serializers.UUIDField()
    to_account_id = serializers.UUIDField()
    from_balance = BalanceField()
    to_balance = BalanceField()
    reference_id = serializers.CharField()
    idempotency_key = serializers.CharField()
