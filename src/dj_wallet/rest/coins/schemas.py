"""The bodies of requests and answers about coin wallets."""

from typing import Any, Final

from rest_framework import serializers

from dj_wallet.ledger.accounts import MAX_ASSET_CODE_LENGTH
from dj_wallet.rest.fields import AmountField, BalanceField, MetaField, StrictSerializer, TextField

MAX_LABEL_LENGTH: Final = 100


class CoinWalletInput(StrictSerializer):
    """A wallet to open."""

    def get_fields(self) -> dict[str, Any]:
        return {
            "coin": TextField(max_length=MAX_ASSET_CODE_LENGTH),
            "label": TextField(max_length=MAX_LABEL_LENGTH, required=False),
            "meta": MetaField(required=False),
        }


class CoinWalletChange(StrictSerializer):
    """What may be different about a wallet: never what it holds, nor whose it is."""

    def get_fields(self) -> dict[str, Any]:
        return {
            "label": TextField(max_length=MAX_LABEL_LENGTH, required=False, allow_null=True),
            "meta": MetaField(required=False),
        }


class OwnerBody(serializers.Serializer[Any]):
    """Whose wallet it is."""

    id = serializers.UUIDField()
    username = serializers.CharField()
    email = serializers.CharField()


class CoinBody(serializers.Serializer[Any]):
    """What it counts."""

    symbol = serializers.CharField()
    name = serializers.CharField()


class CoinWalletBody(serializers.Serializer[Any]):
    """A wallet of one coin. Balances have at least eight decimals; the address is null for coins that are on no chain of ours."""

    def get_fields(self) -> dict[str, Any]:
        return {
            "id": serializers.IntegerField(),
            "user": OwnerBody(),
            "coin": CoinBody(),
            "balance": BalanceField(),
            "locked_balance": AmountField(),
            "pending_balance": AmountField(),
            "address": serializers.CharField(allow_null=True),
            "label": serializers.CharField(allow_null=True),
            "meta": serializers.DictField(),
            "is_archived": serializers.BooleanField(),
            "created_at": serializers.DateTimeField(),
            "updated_at": serializers.DateTimeField(),
        }


class HoldingBody(serializers.Serializer[Any]):
    """What all wallets of one coin hold together."""

    coin = serializers.CharField()
    wallets = serializers.IntegerField()
    balance = BalanceField()
    locked_balance = AmountField()
    pending_balance = AmountField()
    total = BalanceField()


class PortfolioBody(serializers.Serializer[Any]):
    """What a user holds, coin by coin."""

    results = HoldingBody(many=True)
