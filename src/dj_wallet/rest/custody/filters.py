"""Filters of the ledger's lines."""

import django_filters

from dj_wallet.ledger.models import LedgerEntry

from .schemas import ENTRY_TYPES


class LineFilter(django_filters.FilterSet):  # type: ignore[misc] # untyped package
    """`?entry_type=`, `?reference_id=`, `?from=` and `?to=` (both inclusive)."""

    entry_type = django_filters.ChoiceFilter(choices=[(kind, kind) for kind in ENTRY_TYPES])
    reference_id = django_filters.CharFilter()

    class Meta:
        model = LedgerEntry
        fields: list[str] = []


LineFilter.base_filters["from"] = django_filters.IsoDateTimeFilter("created_at", "gte")
LineFilter.base_filters["to"] = django_filters.IsoDateTimeFilter("created_at", "lte")
