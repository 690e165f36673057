"""Seed 002's paths. Words come before ids: /exchanges/supported is no account, /addresses/sync no address."""

from django.urls import URLPattern, path

from . import staff_views, views


def either(route: str, view: type, name: str) -> list[URLPattern]:
    """Return the route and its twin with the last slash, which the schema leaves out."""
    as_view = view.as_view  # type: ignore[attr-defined]
    return [path(route, as_view(), name=name), path(f"{route}/", as_view(schema=None))]


WALLET = "api/v1/wallet"
ADMIN = "api/v1/admin/wallet"

urlpatterns = [
    *either(f"{WALLET}/exchanges", views.ExchangeAccountsView, "exchange-accounts"),
    *either(f"{WALLET}/exchanges/supported", views.SupportedExchangesView, "exchanges-supported"),
    *either(f"{WALLET}/exchanges/<uuid:uuid>", views.ExchangeAccountView, "exchange-account"),
    *either(
        f"{WALLET}/exchanges/<uuid:uuid>/test", views.ConnectionTestView, "exchange-account-test"
    ),
    *either(
        f"{WALLET}/exchanges/<str:exchange_id>/currencies",
        views.CurrenciesView,
        "exchange-currencies",
    ),
    *either(f"{WALLET}/exchanges/<str:exchange_id>/info", views.ExchangeInfoView, "exchange-info"),
    *either(f"{WALLET}/addresses", views.AddressesView, "exchange-addresses"),
    *either(f"{WALLET}/addresses/sync", views.SyncView, "exchange-addresses-sync"),
    *either(f"{WALLET}/addresses/syncs", views.SyncsView, "exchange-syncs"),
    *either(f"{WALLET}/addresses/syncs/<uuid:uuid>", views.SyncProgressView, "exchange-sync"),
    *either(f"{WALLET}/addresses/bulk", views.BulkAddressesView, "exchange-addresses-bulk"),
    *either(
        f"{WALLET}/addresses/history/<uuid:uuid>",
        views.AddressHistoryView,
        "exchange-address-history",
    ),
    *either(
        f"{WALLET}/addresses/by-currency/<str:currency>",
        views.AddressesByCurrencyView,
        "exchange-addresses-by-currency",
    ),
    *either(f"{WALLET}/addresses/<uuid:uuid>", views.AddressView, "exchange-address"),
    *either(
        f"{WALLET}/addresses/<uuid:uuid>/refresh",
        views.RefreshAddressView,
        "exchange-address-refresh",
    ),
    *either(f"{WALLET}/addresses/<uuid:uuid>/qr", views.AddressCodeView, "exchange-address-qr"),
    *either(f"{ADMIN}/exchanges", staff_views.AllAccountsView, "all-exchange-accounts"),
    *either(f"{ADMIN}/sync-status", staff_views.SyncStatusView, "sync-status"),
    *either(f"{ADMIN}/sync/force", staff_views.ForceSyncView, "sync-force"),
    *either(f"{ADMIN}/analytics", staff_views.AnalyticsView, "exchange-analytics"),
    *either("metrics", staff_views.MetricsView, "metrics"),
]
