"""Bodies of requests, which these serializers read, and of answers, which they only describe (see `bodies`)."""

from typing import Any, Final

from rest_framework import serializers

from dj_wallet.exchanges.models import AddressSyncLog, DepositAddress, ExchangeAccount
from dj_wallet.rest.fields import CanonicalUUIDField, MetaField, StrictSerializer, TextField

FETCH_STATUSES: Final = ["success", "failed"]
SYNC_STATUSES: Final = AddressSyncLog.Status.values
SYNC_TYPES: Final = AddressSyncLog.Kind.values
ACCOUNT_SYNC_STATUSES: Final = ExchangeAccount.Status.values
ADDRESS_STATES: Final = DepositAddress.State.values
REACHED: Final = ["ok", "disrupted"]
MAX_BULK: Final = 50
MAX_CURRENCIES: Final = 500
MAX_ACCOUNTS: Final = 100


class SecretField(TextField):
    """A secret: read, never shown, and never repeated by an error."""

    default_error_messages = {
        "type": "Must be a string.",
        "length": "Must have 1 to {max_length} characters.",
        "pattern": "Is not of the right form.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=8192, write_only=True, **kwargs)


class FlagField(serializers.BooleanField):
    """true or false, and nothing that only looks like it."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=str(data)[:20])
        return data


def currency(**kwargs: Any) -> TextField:
    return TextField(max_length=40, **kwargs)


class ExchangeAccountInput(StrictSerializer):
    """An exchange account to connect. The credentials are tested, sealed, and never shown again."""

    exchange_id = TextField(max_length=50)
    account_name = TextField(max_length=100)
    api_key = SecretField()
    api_secret = SecretField()
    api_passphrase = SecretField(required=False)
    sandbox_mode = FlagField(required=False)
    metadata = MetaField(required=False)


class AccountUpdateInput(StrictSerializer):
    """What changes of an account. New credentials need key and secret, and replace the old ones only if they work."""

    account_name = TextField(max_length=100, required=False)
    is_active = FlagField(required=False)
    metadata = MetaField(required=False)
    api_key = SecretField(required=False)
    api_secret = SecretField(required=False)
    api_passphrase = SecretField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = {name for name in ("api_key", "api_secret", "api_passphrase") if name in attrs}
        for name in ("api_key", "api_secret"):
            if given and name not in given:
                raise serializers.ValidationError({name: ["New credentials need it."]})
        return attrs


class AddressInput(StrictSerializer):
    """An address to fetch; with `create_new` one to be made, which may retire an old one."""

    exchange_account_id = CanonicalUUIDField()
    currency = currency()
    network = TextField(max_length=50, required=False)
    create_new = FlagField(required=False)
    label = TextField(max_length=100, required=False)  # type: ignore[assignment]
    description = TextField(max_length=2000, required=False)
    user_metadata = MetaField(required=False)


class AddressUpdateInput(StrictSerializer):
    """What changes of an address: never what a payer copies. null clears a text."""

    label = TextField(max_length=100, required=False, allow_null=True)  # type: ignore[assignment]
    description = TextField(max_length=2000, required=False, allow_null=True)
    is_active = FlagField(required=False)
    user_metadata = MetaField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return {name: "" if value is None else value for name, value in attrs.items()}


class BulkItemInput(StrictSerializer):
    """One address of many."""

    exchange_account_id = CanonicalUUIDField()
    currency = currency()
    network = TextField(max_length=50, required=False)


class BulkInput(StrictSerializer):
    """Addresses to fetch, each on its own."""

    items = serializers.ListField(child=BulkItemInput(), allow_empty=False, max_length=MAX_BULK)


class SyncInput(StrictSerializer):
    """What to synchronize: one account or all of the caller's, some currencies or all."""

    exchange_account_id = CanonicalUUIDField(required=False)
    currencies = serializers.ListField(
        child=currency(), required=False, allow_empty=False, max_length=MAX_CURRENCIES
    )


class ForceSyncInput(StrictSerializer):
    """Accounts to synchronize before all others."""

    exchange_account_ids = serializers.ListField(
        child=CanonicalUUIDField(), allow_empty=False, max_length=MAX_ACCOUNTS
    )


class ExchangeAccountBody(serializers.Serializer[Any]):
    """An exchange account. Of its credentials only the end of the key is shown."""

    id = serializers.UUIDField()
    exchange_id = serializers.CharField()
    account_name = serializers.CharField()
    key_hint = serializers.CharField()
    sandbox_mode = serializers.BooleanField()
    is_active = serializers.BooleanField()
    last_sync_at = serializers.DateTimeField(allow_null=True)
    sync_status = serializers.ChoiceField(choices=ACCOUNT_SYNC_STATUSES)
    error_code = serializers.CharField(allow_null=True)
    error_message = serializers.CharField(allow_null=True)
    permissions = serializers.DictField()
    checked_at = serializers.DateTimeField(allow_null=True)
    key_expires_at = serializers.DateTimeField(allow_null=True)
    metadata = serializers.DictField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class StaffExchangeAccountBody(ExchangeAccountBody):
    """An exchange account and whose it is."""

    user_id = serializers.UUIDField()


class PermissionsBody(serializers.Serializer[Any]):
    """What a key may do; null where the exchange does not say."""

    can_withdraw = serializers.BooleanField(allow_null=True)
    can_trade = serializers.BooleanField(allow_null=True)
    can_read_addresses = serializers.BooleanField(allow_null=True)
    is_ip_restricted = serializers.BooleanField(allow_null=True)
    named = serializers.ListField(child=serializers.CharField())


class ConnectionBody(serializers.Serializer[Any]):
    """The outcome of a connection test."""

    status = serializers.ChoiceField(choices=["success"])
    exchange = serializers.CharField()
    latency_ms = serializers.IntegerField()
    clock_skew_ms = serializers.IntegerField(allow_null=True)
    permissions = PermissionsBody()
    key_expires_at = serializers.DateTimeField(allow_null=True)
    warnings = serializers.ListField(child=serializers.CharField())


class ExchangeAddressBody(serializers.Serializer[Any]):
    """A deposit address at an exchange. A payer needs `address` and, if there is one, `tag`, on `network`."""

    id = serializers.UUIDField()
    exchange_account_id = serializers.UUIDField()
    exchange_id = serializers.CharField()
    currency = serializers.CharField()
    address = serializers.CharField(allow_null=True, help_text="null if `is_intact` is false.")
    tag = serializers.CharField(allow_null=True)
    tag_required = serializers.BooleanField()
    network = serializers.CharField()
    network_exchange_id = serializers.CharField()
    network_label = serializers.CharField()
    network_source = serializers.CharField()
    address_type = serializers.CharField()
    state = serializers.ChoiceField(choices=ADDRESS_STATES)
    label = serializers.CharField(allow_null=True)  # type: ignore[assignment]
    description = serializers.CharField(allow_null=True)
    is_active = serializers.BooleanField()
    is_intact = serializers.BooleanField()
    is_stale = serializers.BooleanField(help_text="Verified too long ago: refresh before paying.")
    last_verified_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    warnings = serializers.ListField(child=serializers.CharField())
    payment_uri = serializers.CharField(allow_null=True)
    exchange_metadata = serializers.DictField(
        help_text="What the exchange says of the network: confirmations, minimum_deposit, contract."
    )
    user_metadata = serializers.DictField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class ExchangeProblemBody(serializers.Serializer[Any]):
    """Why one of many was not fetched."""

    code = serializers.CharField()
    message = serializers.CharField()
    details = serializers.DictField()


class BulkResultBody(serializers.Serializer[Any]):
    """What became of one address of many."""

    status = serializers.ChoiceField(choices=FETCH_STATUSES)
    address = ExchangeAddressBody(required=False)
    error = ExchangeProblemBody(required=False)


class BulkBody(serializers.Serializer[Any]):
    """What became of each, in the order of the request."""

    results = BulkResultBody(many=True)


class ActivityBody(serializers.Serializer[Any]):
    """One thing that was done to an address."""

    id = serializers.UUIDField()
    address_id = serializers.UUIDField()
    action = serializers.CharField()
    old_values = serializers.DictField(allow_null=True)
    new_values = serializers.DictField(allow_null=True)
    ip_address = serializers.CharField(allow_null=True)
    user_agent = serializers.CharField()
    created_at = serializers.DateTimeField()


class ProgressBody(serializers.Serializer[Any]):
    """How far a synchronization is, in currencies."""

    done = serializers.IntegerField()
    total = serializers.IntegerField()


class SyncBody(serializers.Serializer[Any]):
    """A synchronization. Poll it while it is queued or running."""

    id = serializers.UUIDField()
    exchange_account_id = serializers.UUIDField()
    sync_type = serializers.ChoiceField(choices=SYNC_TYPES)
    status = serializers.ChoiceField(choices=SYNC_STATUSES)
    progress = ProgressBody()
    currencies_synced = serializers.ListField(child=serializers.CharField())
    addresses_added = serializers.IntegerField()
    addresses_updated = serializers.IntegerField()
    addresses_removed = serializers.IntegerField()
    sync_duration_ms = serializers.IntegerField(allow_null=True)
    results = serializers.DictField(help_text="By currency: success, skipped or failed.")
    error_details = serializers.DictField(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class SyncsBody(serializers.Serializer[Any]):
    """The synchronizations that were queued, or were open already; and accounts that could not be."""

    syncs = SyncBody(many=True)
    skipped = serializers.ListField(child=serializers.UUIDField())


class ExchangeBody(serializers.Serializer[Any]):
    """An exchange that can be connected."""

    id = serializers.CharField()
    name = serializers.CharField()
    ccxt_id = serializers.CharField()
    website_url = serializers.CharField()
    api_doc_url = serializers.CharField()
    is_active = serializers.BooleanField()
    supports_deposit_addresses = serializers.BooleanField()
    rate_limit_per_minute = serializers.IntegerField()
    requires_passphrase = serializers.BooleanField()
    sandbox_available = serializers.BooleanField()


class ExchangesBody(serializers.Serializer[Any]):
    """All exchanges that can be connected."""

    results = ExchangeBody(many=True)


class ExchangeInfoBody(ExchangeBody):
    """An exchange, and what to know before connecting it."""

    can_create_address = serializers.BooleanField()
    supported_currencies = serializers.ListField(child=serializers.CharField())
    least_privilege = serializers.CharField()
    egress_ips = serializers.ListField(child=serializers.CharField())
    permission_policy = serializers.CharField()
    status = serializers.ChoiceField(choices=REACHED)
    disrupted_at = serializers.DateTimeField(allow_null=True)


class NetworkBody(serializers.Serializer[Any]):
    """A network on which an exchange takes deposits of a currency; `network` is null if we cannot verify it."""

    network = serializers.CharField(allow_null=True)
    network_exchange_id = serializers.CharField()
    network_label = serializers.CharField()
    deposits_enabled = serializers.BooleanField()
    tag_required = serializers.BooleanField()
    confirmations = serializers.IntegerField(allow_null=True)
    minimum_deposit = serializers.CharField(allow_null=True)
    contract = serializers.CharField(allow_null=True)


class CurrencyBody(serializers.Serializer[Any]):
    """A currency of an exchange."""

    currency = serializers.CharField()
    networks = NetworkBody(many=True)


class CurrenciesBody(serializers.Serializer[Any]):
    """The currencies of an exchange."""

    exchange = serializers.CharField()
    results = CurrencyBody(many=True)


class SyncStatusBody(serializers.Serializer[Any]):
    """Where the synchronizations of all accounts stand."""

    accounts = serializers.DictField(child=serializers.IntegerField())
    syncs = serializers.DictField(child=serializers.IntegerField())
    latest = SyncBody(many=True)


class UsageBody(serializers.Serializer[Any]):
    """How one exchange is used."""

    exchange = serializers.CharField()
    accounts = serializers.IntegerField()
    active = serializers.IntegerField()
    users = serializers.IntegerField()
    addresses = serializers.IntegerField()
    currencies = serializers.IntegerField()
    added = serializers.IntegerField()
    syncs = serializers.IntegerField()
    succeeded = serializers.IntegerField()
    partial = serializers.IntegerField()  # type: ignore[assignment]
    failed = serializers.IntegerField()
    last_sync_at = serializers.DateTimeField(allow_null=True)


class AnalyticsBody(serializers.Serializer[Any]):
    """How the exchanges are used, and since when the last three figures count."""

    since = serializers.DateTimeField()
    exchanges = UsageBody(many=True)
