"""The paths of seed 001's wallet service alone: WALLET_URLCONF=wallet_service.urls_custody."""

from django.urls import path

from dj_wallet.rest.custody.urls import urlpatterns as custody_patterns
from dj_wallet.rest.document import DocumentView
from dj_wallet.rest.events.urls import urlpatterns as event_patterns
from dj_wallet.rest.exchanges.staff_views import MetricsView
from dj_wallet.rest.health import HealthView, ReadinessView
from dj_wallet.rest.holds.urls import urlpatterns as hold_patterns
from dj_wallet.rest.routes import either

from .urls import handler400, handler403, handler404, handler500

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]

urlpatterns = [
    *custody_patterns,
    *hold_patterns,
    *event_patterns,
    *either("healthz", HealthView, "healthz"),
    *either("readyz", ReadinessView, "readyz"),
    *either("metrics", MetricsView, "metrics"),
    path("api/schema/", DocumentView.as_view(), name="schema"),
]
