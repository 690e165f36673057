"""The bodies of custody's requests, which these serializers read, and of its answers, which they only describe."""

from typing import Any, Final

from rest_framework import serializers

from dj_wallet.custody.models import MAX_ADDRESS_LENGTH, WithdrawalRequest
from dj_wallet.ledger.accounts import MAX_ASSET_CODE_LENGTH
from dj_wallet.ledger.engine import Kind
from dj_wallet.rest.fields import AmountField, BalanceField, StrictSerializer, TextField
from dj_wallet.rest.schemas import CHAIN_STATES

from .queries import ACCOUNTS

# Lists by these names are named so in the OpenAPI document (ENUM_NAME_OVERRIDES).
WITHDRAWAL_STATUSES: Final = list(WithdrawalRequest.Status.values)
ENTRY_TYPES: Final = [kind.value for kind in Kind]
LEDGER_ACCOUNTS: Final = list(ACCOUNTS)


class CoinField(TextField):
    """The code of a coin."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_ASSET_CODE_LENGTH, pattern="[A-Z0-9]+", **kwargs)


class CoinInput(StrictSerializer):
    """Which coin is meant; without one, the first that is served."""

    coin = CoinField(required=False)


class WithdrawInput(StrictSerializer):
    """Coins to send to an address."""

    amount = AmountField()
    address = TextField(max_length=MAX_ADDRESS_LENGTH)
    coin = CoinField(required=False)
    subtract_fee = serializers.BooleanField(required=False, default=False)

    def validate_subtract_fee(self, value: Any) -> bool:
        if not isinstance(self.initial_data.get("subtract_fee", False), bool):
            raise serializers.ValidationError("Must be true or false.")
        return bool(value)


class AllowedAddressInput(StrictSerializer):
    """A destination for the list."""

    address = TextField(max_length=MAX_ADDRESS_LENGTH)
    coin = CoinField(required=False)


class IncomingBody(serializers.Serializer[Any]):
    """A deposit in a block that is not deep enough."""

    def get_fields(self) -> dict[str, Any]:
        return {
            "txid": serializers.CharField(),
            "vout": serializers.IntegerField(),
            "amount": AmountField(),
            "confirmations": serializers.IntegerField(),
            "required": serializers.IntegerField(),
        }


class BalanceBody(serializers.Serializer[Any]):
    """What a wallet holds: to be spent, in bids and escrow, and in withdrawals on their way."""

    user_id = serializers.UUIDField()
    wallet = serializers.UUIDField()
    coin = serializers.CharField()
    available = BalanceField()
    locked = AmountField()
    locked_bids = AmountField()
    locked_escrow = AmountField()
    pending = AmountField()
    incoming = IncomingBody(many=True)
    version = serializers.IntegerField()
    updated_at = serializers.DateTimeField()


class CoinAddressBody(serializers.Serializer[Any]):
    """Where to pay to. The same until it is rotated; older ones go on working."""

    coin = serializers.CharField()
    network = serializers.CharField()
    address = serializers.CharField()
    derivation_index = serializers.IntegerField()
    min_deposit = AmountField()
    required_confirmations = serializers.IntegerField()
    uri = serializers.CharField()


class WithdrawalBody(serializers.Serializer[Any]):
    """A withdrawal. `hold_reason` says what a pending one waits for."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=WITHDRAWAL_STATUSES)
    coin = serializers.CharField()
    network = serializers.CharField()
    amount = AmountField()
    fee = AmountField()
    total = BalanceField()
    destination_address = serializers.CharField()
    txid = serializers.CharField(allow_null=True)
    hold_reason = serializers.CharField(allow_null=True)
    failure_code = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()


class FeeQuoteBody(serializers.Serializer[Any]):
    """What a withdrawal costs now."""

    coin = serializers.CharField()
    network = serializers.CharField()
    fee = AmountField()
    min_withdrawal = AmountField()


class LineBody(serializers.Serializer[Any]):
    """A line of the ledger (seed 001's LedgerEntry)."""

    id = serializers.IntegerField()
    journal_id = serializers.IntegerField()
    user_id = serializers.UUIDField()
    account = serializers.ChoiceField(choices=LEDGER_ACCOUNTS)
    entry_type = serializers.ChoiceField(choices=ENTRY_TYPES)
    debit = AmountField()
    credit = AmountField()
    balance_after = serializers.CharField(allow_null=True)
    reference_type = serializers.CharField(allow_null=True)
    reference_id = serializers.CharField(allow_null=True)
    idempotency_key = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()


class AllowedAddressBody(serializers.Serializer[Any]):
    """A destination that can be used from `usable_at` on."""

    coin = serializers.CharField()
    network = serializers.CharField()
    address = serializers.CharField()
    usable_at = serializers.DateTimeField()
    created_at = serializers.DateTimeField()


class ReconciliationBody(serializers.Serializer[Any]):
    """The last comparison of ledger and chain."""

    height = serializers.IntegerField()
    ledger = serializers.CharField()
    outputs = serializers.CharField()
    explained = serializers.DictField()
    unexplained = serializers.CharField()


class ChainBody(serializers.Serializer[Any]):
    """How a network fares."""

    network = serializers.CharField()
    coin = serializers.CharField()
    state = serializers.ChoiceField(choices=CHAIN_STATES)
    state_note = serializers.CharField(allow_null=True)
    height = serializers.IntegerField(allow_null=True)
    node_height = serializers.IntegerField(allow_null=True)
    frozen_because = serializers.CharField(allow_null=True)
    reconciliation = ReconciliationBody(allow_null=True)


class ChainsBody(serializers.Serializer[Any]):
    """Every network."""

    results = ChainBody(many=True)
