"""The addresses of the service. Whatever goes wrong outside of a view is answered in the API's error shape."""

from django.urls import include, path

urlpatterns = [path("", include("dj_wallet.rest.urls"))]

handler400 = "dj_wallet.rest.errors.answer_bad_request"
handler403 = "dj_wallet.rest.errors.answer_forbidden"
handler404 = "dj_wallet.rest.errors.answer_not_found"
handler500 = "dj_wallet.rest.errors.answer_internal_error"
