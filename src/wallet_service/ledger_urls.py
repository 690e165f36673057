"""The paths of the ledger service when it runs alone: WALLET_URLCONF=wallet_service.ledger_urls."""

from django.urls import include, path

from dj_wallet.rest.health import HealthView, ReadinessView
from dj_wallet.rest.routes import either

urlpatterns = [
    path("", include("dj_wallet.rest.ledger.urls")),
    *either("healthz", HealthView, "healthz"),
    *either("readyz", ReadinessView, "readyz"),
]

handler400 = "dj_wallet.rest.errors.answer_bad_request"
handler403 = "dj_wallet.rest.errors.answer_forbidden"
handler404 = "dj_wallet.rest.errors.answer_not_found"
handler500 = "dj_wallet.rest.errors.answer_internal_error"
