"""A path for services only."""

from django.urls import include, path
from rest_framework.request import Request
from rest_framework.response import Response

from dj_wallet.rest.views import ApiView


class InternalView(ApiView):
    internal = True
    scope = "holds"

    def get(self, request: Request) -> Response:
        return Response({"user": self.user.username, "credential": self.credential.name})

    def post(self, request: Request) -> Response:
        return Response({"got": request.data})


urlpatterns = [
    path("internal", InternalView.as_view(schema=None)),
    path("", include("wallet_service.urls")),
]
