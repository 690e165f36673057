"""The service's paths, and three views beside them: what the framework does and nothing else, and a posting alone."""

from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from dj_wallet.rest.queries import find_wallets
from dj_wallet.rest.services import transfer
from dj_wallet.services.transfer import build_transfer_request
from wallet_service.urls import handler400, handler403, handler404, handler500
from wallet_service.urls import urlpatterns as service_patterns

WALLET = {
    "uuid": "0d3f5a1c-6e52-4c7e-9a6b-1f2c3d4e5f60",
    "slug": "wallet-1",
    "asset": "USD",
    "decimal_places": 8,
    "balance": 100_000_000,
    "locked_balance": 0,
    "pending_balance": 0,
    "is_frozen": False,
    "meta": {},
    "created_at": "2030-01-01T00:00:00.000000Z",
}


class BareView(APIView):
    """Answers as `GET /wallets/{uuid}` does, without asking anybody."""

    authentication_classes: ClassVar[list[Any]] = []
    permission_classes: ClassVar[list[Any]] = []

    def get(self, request: Request) -> Response:
        return Response(WALLET)


class BareListView(BareView):
    """Answers as `GET /wallets/` does with 50 wallets."""

    def get(self, request: Request) -> Response:
        return Response({"next": None, "previous": None, "results": [WALLET] * 50})


class BareTransferView(BareView):
    """Moves money as `POST /api/v1/transfers` does, for anybody: the view and the posting, and nothing else."""

    def post(self, request: Request) -> Response:
        given = request.data
        source, destination = UUID(given["from"]), UUID(given["to"])
        wallets = find_wallets([source, destination])
        asked = build_transfer_request(
            wallets[source],
            wallets[destination],
            Decimal(given["amount"]),
            None,
            idempotency_key=None,
        )
        return Response({"uuid": str(transfer(asked).uuid)}, status=201)


__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]

urlpatterns = [
    path("bare", BareView.as_view()),
    path("bare-list", BareListView.as_view()),
    path("bare-transfer", BareTransferView.as_view()),
    *service_patterns,
]
