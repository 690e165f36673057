"""Filters of lists."""

from typing import Any

import django_filters
from django import forms

from dj_wallet.models import Transaction

from .bodies import STATUSES, TYPES


class AnyCaseField(forms.ChoiceField):
    """A choice in upper or lower case."""

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).upper()


class AnyCaseFilter(django_filters.ChoiceFilter):  # type: ignore[misc] # untyped package
    """Filters by a choice in upper or lower case; anything else is refused."""

    field_class = AnyCaseField


class TransactionFilter(django_filters.FilterSet):  # type: ignore[misc] # untyped package
    """Seed 004's `?status=` and `?type=`."""

    status = AnyCaseFilter(
        choices=[(shown, shown) for shown in STATUSES.values()], method="filter_status"
    )
    type = AnyCaseFilter(
        choices=[(shown, shown) for shown in [*TYPES.values(), "WITHDRAW"]], method="filter_type"
    )

    class Meta:
        model = Transaction
        fields: list[str] = []

    def filter_status(self, queryset: Any, name: str, value: str) -> Any:
        return queryset.filter(status=value.lower())

    def filter_type(self, queryset: Any, name: str, value: str) -> Any:
        kept = next(kept for kept, shown in TYPES.items() if value in {shown, kept.upper()})
        return queryset.filter(type=kept)
