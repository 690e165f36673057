"""Filters of lists of addresses and accounts."""

from typing import Any

import django_filters
from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.request import Request

from dj_wallet.exchanges.models import AddressSyncLog, DepositAddress, ExchangeAccount


class FilterIfAsked(DjangoFilterBackend):  # type: ignore[misc] # untyped package
    """Builds the form of the filters only for a request that names one: building costs more than the query."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> Any:
        if view.filterset_class.base_filters.keys().isdisjoint(request.query_params):
            return queryset
        return super().filter_queryset(request, queryset, view)


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
