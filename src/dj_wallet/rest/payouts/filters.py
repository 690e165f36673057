"""Filters of lists of payouts."""

from typing import Any

import django_filters

from dj_wallet.payouts.models import Payout
from dj_wallet.rest.filters import AnyCaseFilter
from dj_wallet.rest.schemas import PAYOUT_STATUSES

from .schemas import MAX_BANK_LENGTH


class PayoutFilter(django_filters.FilterSet):  # type: ignore[misc] # untyped package
    """By status, bank, wallet, and when it is scheduled for."""

    status = AnyCaseFilter(choices=[(one, one) for one in PAYOUT_STATUSES], method="filter_status")
    bank = django_filters.CharFilter(max_length=MAX_BANK_LENGTH)
    wallet = django_filters.UUIDFilter(field_name="transaction__wallet__uuid")
    scheduled_from = django_filters.IsoDateTimeFilter(field_name="scheduled_for", lookup_expr="gte")
    scheduled_until = django_filters.IsoDateTimeFilter(field_name="scheduled_for", lookup_expr="lt")

    class Meta:
        model = Payout
        fields: list[str] = []

    def filter_status(self, queryset: Any, name: str, value: str) -> Any:
        return queryset.filter(status=value.lower())
