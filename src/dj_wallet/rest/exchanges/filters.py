"""Filters of lists of addresses and accounts."""

import django_filters

from dj_wallet.exchanges.models import AddressSyncLog, DepositAddress, ExchangeAccount


class AddressFilter(django_filters.FilterSet):  # type: ignore[misc] # untyped package
    """`?exchange_account_id=`, `?exchange=`, `?currency=`, `?network=`, `?state=`, `?is_active=`."""

    exchange_account_id = django_filters.UUIDFilter(field_name="exchange_account_id")
    exchange = django_filters.CharFilter(field_name="exchange_id", max_length=50)
    currency = django_filters.CharFilter(method="filter_currency", max_length=40)
    network = django_filters.CharFilter(field_name="network", max_length=50)
    state = django_filters.ChoiceFilter(choices=DepositAddress.State.choices)
    is_active = django_filters.BooleanFilter()

    class Meta:
        model = DepositAddress
        fields: list[str] = []

    def filter_currency(self, queryset, name, value):  # type: ignore[no-untyped-def]
        return queryset.filter(currency=value.upper())


class AccountFilter(django_filters.FilterSet):  # type: ignore[misc] # untyped package
    """`?exchange=`, `?is_active=`, `?sync_status=`."""

    exchange = django_filters.CharFilter(field_name="exchange_id", max_length=50)
    is_active = django_filters.BooleanFilter()
    sync_status = django_filters.ChoiceFilter(choices=ExchangeAccount.Status.choices)

    class Meta:
        model = ExchangeAccount
        fields: list[str] = []


class SyncFilter(django_filters.FilterSet):  # type: ignore[misc] # untyped package
    """`?exchange_account_id=`, `?status=`."""

    exchange_account_id = django_filters.UUIDFilter(field_name="exchange_account_id")
    status = django_filters.ChoiceFilter(choices=AddressSyncLog.Status.choices)

    class Meta:
        model = AddressSyncLog
        fields: list[str] = []
