"""The paths of the API. A path answers with and without its last slash; the schema shows it as documented."""

from django.urls import include, path

from .coins.urls import urlpatterns as coin_patterns
from .custody.urls import urlpatterns as custody_patterns
from .document import DocsView, DocumentView
from .events.urls import urlpatterns as event_patterns
from .exchanges.urls import urlpatterns as exchange_patterns
from .health import HealthView, ReadinessView
from .holds.urls import urlpatterns as hold_patterns
from .ledger.urls import urlpatterns as ledger_patterns
from .routes import either
from .views import (
    BatchesView,
    DepositView,
    TransactionsView,
    TransactionView,
    TransfersView,
    TransferView,
    WalletsView,
    WalletView,
    WithdrawView,
)

urlpatterns = [
    *either("wallets/", WalletsView, "wallets"),
    *either("wallets/<uuid:uuid>/", WalletView, "wallet"),
    *either("wallets/<uuid:uuid>/deposit", DepositView, "deposit"),
    *either("wallets/<uuid:uuid>/withdraw", WithdrawView, "withdraw"),
    *either("wallets/<uuid:uuid>/transactions/", TransactionsView, "transactions"),
    *either(
        "wallets/<uuid:uuid>/transactions/<int:transaction_id>/", TransactionView, "transaction"
    ),
    *either("api/v1/transfers", TransfersView, "transfers"),
    *either("api/v1/transfers/<uuid:uuid>", TransferView, "transfer"),
    *either("api/v1/batches", BatchesView, "batches"),
    *coin_patterns,
    *event_patterns,
    *hold_patterns,
    *ledger_patterns,
    *custody_patterns,
    path("", include("dj_wallet.rest.keys.urls")),
    path("", include("dj_wallet.rest.payouts.urls")),
    *exchange_patterns,
    *either("healthz", HealthView, "healthz"),
    *either("readyz", ReadinessView, "readyz"),
    path("api/schema/", DocumentView.as_view(), name="schema"),
    path("api/docs/", DocsView.as_view(), name="docs"),
]
