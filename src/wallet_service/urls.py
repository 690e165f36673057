"""The addresses of the service. Whatever goes wrong outside of a view is answered in the API's error shape."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("", include("dj_wallet.rest.urls")),
]

handler400 = "dj_wallet.rest.errors.answer_bad_request"
handler403 = "dj_wallet.rest.errors.answer_forbidden"
handler404 = "dj_wallet.rest.errors.answer_not_found"
handler500 = "dj_wallet.rest.errors.answer_internal_error"
