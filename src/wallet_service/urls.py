"""The addresses of the service. Pages are answered in HTML, everything else in the API's error shape."""

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from dj_wallet.identity.step_up import guard_admin
from wallet_service.account import show_account
from wallet_service.pages import refuse_path

guard_admin(admin.site)

# Without a key to sign with there is no issuer.
issuer_patterns: list[URLPattern | URLResolver] = (
    [path("", include("allauth.idp.urls"))] if settings.WALLET_SIGNING_KEYS else []
)

# The API comes first: it is asked most, and each pattern that does not fit costs time.
urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("dj_wallet.rest.urls")),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("accounts/", show_account, name="account_home"),
    path("accounts/", include("allauth.urls")),
    # No phone numbers are kept here; allauth would stumble over that.
    path("_allauth/<str:client>/v1/account/phone", refuse_path),
    path("_allauth/", include("allauth.headless.urls")),
    *issuer_patterns,
]

handler400 = "wallet_service.pages.answer_bad_request"
handler403 = "wallet_service.pages.answer_forbidden"
handler404 = "wallet_service.pages.answer_not_found"
handler500 = "wallet_service.pages.answer_internal_error"
