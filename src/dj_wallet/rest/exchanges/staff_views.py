"""What operators see of all users' exchange accounts. They read, and force synchronizations; they see no credential."""

from datetime import timedelta

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request
from rest_framework.response import Response

from dj_wallet.custody.metrics import Networks
from dj_wallet.events.metrics import Outbox
from dj_wallet.exchanges import metrics, queries
from dj_wallet.exchanges.models import AddressSyncLog, ExchangeAccount
from dj_wallet.exchanges.services import syncs
from dj_wallet.rest.bodies import show_time
from dj_wallet.rest.schema import WITH_BODY, errors
from dj_wallet.rest.views import ApiView

from . import schemas
from .bodies import show_account_to_staff, show_sync
from .filters import AccountFilter, FilterIfAsked
from .pagination import NewestByUUID
from .views import DAYS, queued

LATEST = 20
MAX_DAYS = 365


class StaffView(ApiView):
    """A view for staff."""

    scope = "operations"
    pagination_class = NewestByUUID

    def check_permissions(self, request: Request) -> None:
        super().check_permissions(request)
        if not self.user.is_staff:
            raise PermissionDenied


class AllAccountsView(StaffView):
    """The exchange accounts of all users."""

    filter_backends: list[type[BaseFilterBackend]] = [FilterIfAsked]
    filterset_class = AccountFilter
    queryset = ExchangeAccount.objects.all()

    @extend_schema(
        operation_id="list_all_exchange_accounts",
        summary="List all exchange accounts",
        responses={200: schemas.StaffExchangeAccountBody(many=True), **errors(400, 403)},
        tags=["exchange operations"],
    )
    def get(self, request: Request) -> Response:
        rows = self.filter_queryset(ExchangeAccount.objects.present())
        page = self.paginate_queryset(rows) or []
        return self.get_paginated_response([show_account_to_staff(account) for account in page])


class SyncStatusView(StaffView):
    """Where all synchronizations stand."""

    @extend_schema(
        operation_id="get_sync_status",
        summary="Sync status across all accounts",
        responses={200: schemas.SyncStatusBody, **errors(403)},
        tags=["exchange operations"],
    )
    def get(self, request: Request) -> Response:
        latest = AddressSyncLog.objects.order_by("-id")[:LATEST]
        return Response(
            {
                "accounts": queries.count_accounts_by_status(),
                "syncs": queries.count_syncs(),
                "latest": [show_sync(log) for log in latest],
            }
        )


class ForceSyncView(StaffView):
    """Synchronizations that go before all others."""

    @extend_schema(
        operation_id="force_sync",
        summary="Force a sync of specific accounts",
        request=schemas.ForceSyncInput,
        responses={202: schemas.SyncsBody, **errors(*WITH_BODY, 403)},
        tags=["exchange operations"],
    )
    def post(self, request: Request) -> Response:
        wanted = self.read(schemas.ForceSyncInput)["exchange_account_ids"]
        found = ExchangeAccount.objects.present().filter(pk__in=wanted).order_by("pk")
        if len(found) < len(set(wanted)):
            raise ValidationError({"exchange_account_ids": ["One of these accounts is not there."]})
        return queued(*syncs.request_syncs(list(found), priority=syncs.FORCED))


class AnalyticsView(StaffView):
    """How the exchanges are used."""

    @extend_schema(
        operation_id="get_exchange_analytics",
        summary="Exchange usage analytics",
        parameters=[DAYS],
        responses={200: schemas.AnalyticsBody, **errors(400, 403)},
        tags=["exchange operations"],
    )
    def get(self, request: Request) -> Response:
        since = timezone.now() - timedelta(days=read_days(request))
        return Response({"since": show_time(since), "exchanges": queries.analyze(since)})


def read_days(request: Request) -> int:
    """:raises ValidationError: `days` is not a number from 1 to 365"""
    given = request.query_params.get("days", "30")
    if not (given.isascii() and given.isdecimal() and len(given) <= 3) or not (
        1 <= int(given) <= MAX_DAYS
    ):
        raise ValidationError({"days": [f"Must be a whole number from 1 to {MAX_DAYS}."]})
    return int(given)


class MetricsView(ApiView):
    """What Prometheus reads."""

    scope = "operations"
    internal = True

    @extend_schema(
        operation_id="get_metrics",
        summary="Metrics for Prometheus",
        responses={(200, "text/plain"): OpenApiTypes.STR, **errors(403)},
        tags=["operation"],
    )
    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(
            metrics.render(Networks(), Outbox()),
            content_type="text/plain; version=0.0.4; charset=utf-8",
        )
