"""The addresses of identity alone: people, issuer, keys, and whether it is alive."""

from django.urls import include, path

from dj_wallet.rest.health import HealthView, ReadinessView
from dj_wallet.rest.routes import either
from wallet_service import urls
from wallet_service.urls import handler400, handler403, handler404, handler500

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]

PAGES = ("admin", "accounts/", "_allauth/")

urlpatterns = [
    *(pattern for pattern in urls.urlpatterns if str(pattern.pattern).startswith(PAGES)),
    *urls.issuer_patterns,
    path("", include("dj_wallet.rest.keys.urls")),
    *either("healthz", HealthView, "healthz"),
    *either("readyz", ReadinessView, "readyz"),
]
