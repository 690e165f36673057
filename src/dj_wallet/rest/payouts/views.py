"""Payouts over HTTP: each view parses, makes one service call and renders."""

from typing import Any
from uuid import UUID

from django.urls import reverse
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request
from rest_framework.response import Response

from dj_wallet.payouts.bank import get_bank
from dj_wallet.payouts.errors import BankNotFound, UploadInvalid
from dj_wallet.payouts.models import DEFAULT_BANK, Payout
from dj_wallet.payouts.services import (
    cancel_payout,
    cancel_recurring_payout,
    create_recurring_payout,
    hear_report,
    schedule_payout,
)
from dj_wallet.rest.errors import BankSignatureInvalid
from dj_wallet.rest.headers import get_idempotency_key
from dj_wallet.rest.queries import get_own_wallet
from dj_wallet.rest.schema import REPLAYED, WITH_BODY, errors, idempotency_key
from dj_wallet.rest.views import ApiView, created

from . import queries, schemas, uploads
from .bodies import (
    show_new_payout,
    show_payout,
    show_payout_with_timeline,
    show_recurring_payout,
)
from .filters import PayoutFilter

DRY_RUN = OpenApiParameter(
    "dry_run",
    {"type": "string", "enum": ["true", "false"]},
    description="Check the lines and schedule nothing.",
)


class PayoutsView(ApiView):
    """Payouts to a bank."""

    scope = "withdrawals"

    filter_backends: list[type[BaseFilterBackend]] = [DjangoFilterBackend]
    filterset_class = PayoutFilter
    queryset = Payout.objects.all()

    @extend_schema(
        operation_id="create_payout",
        summary="Schedule a payout",
        description="The balance is checked when the payout executes, not now. A time in the past means now.",
        request=schemas.PayoutInput,
        parameters=[idempotency_key(required=True), REPLAYED],
        responses={201: schemas.PayoutBody, **errors(*WITH_BODY, 404, 409)},
        tags=["payouts"],
    )
    def post(self, request: Request) -> Response:
        key = get_idempotency_key(request)
        body = self.read(schemas.PayoutInput)
        record = schedule_payout(
            wallet=get_own_wallet(self.user, body["wallet"]),
            amount=body["amount"],
            scheduled_for=body.get("scheduled_for"),
            idempotency_key=key,
            meta=body.get("meta"),
            bank=body.get("bank", DEFAULT_BANK),
            destination=body.get("destination"),
        )
        payout = record.payout
        location = reverse("payout", args=[payout.uuid])
        return created(show_new_payout(payout), replayed=record.replayed, location=location)

    @extend_schema(
        operation_id="list_payouts",
        summary="List payouts",
        responses={200: schemas.PayoutBody(many=True), **errors(400)},
        tags=["payouts"],
    )
    def get(self, request: Request) -> Response:
        payouts = self.filter_queryset(queries.list_payouts(self.user))
        page = self.paginate_queryset(payouts) or []
        return self.get_paginated_response([show_payout(payout) for payout in page])


class PayoutView(ApiView):
    """One payout."""

    scope = "withdrawals"

    @extend_schema(
        operation_id="get_payout",
        summary="Get a payout and what happened to it",
        responses={200: schemas.PayoutWithTimelineBody, **errors(404)},
        tags=["payouts"],
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        return Response(show_payout_with_timeline(queries.get_payout(self.user, uuid)))


class PayoutCancellationView(ApiView):
    """Calling a payout off."""

    scope = "withdrawals"

    @extend_schema(
        operation_id="cancel_payout",
        summary="Cancel a payout that the bank knows nothing of",
        request=None,
        responses={200: schemas.PayoutWithTimelineBody, **errors(404, 409)},
        tags=["payouts"],
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        payout = queries.get_own_payout(self.user, uuid)
        cancel_payout(payout=payout, actor="holder")
        return Response(show_payout_with_timeline(queries.get_payout(self.user, uuid)))


class PayoutUploadsView(ApiView):
    """Many payouts in one file."""

    scope = "withdrawals"

    parser_classes = [uploads.CSVParser]

    @extend_schema(
        operation_id="upload_payouts",
        summary="Schedule up to 1,000 payouts from a CSV file",
        description="Columns: wallet, amount, idempotency_key, and optionally scheduled_for, bank, name, iban, bic, text. "
        "All lines are scheduled or none; what is wrong is said by line. Keys make a second upload harmless.",
        request={("text/csv"): {"type": "string"}},
        parameters=[DRY_RUN],
        responses={
            200: schemas.UploadBody,
            201: schemas.UploadBody,
            **errors(*WITH_BODY),
        },
        tags=["payouts"],
    )
    def post(self, request: Request) -> Response:
        dry_run = request.query_params.get("dry_run", "false")
        if dry_run not in {"true", "false"}:
            raise ValidationError({"dry_run": ["Must be true or false."]})
        body = request.data
        if not isinstance(body, bytes):
            raise UploadInvalid("The file is empty.")
        if dry_run == "true":
            requests, problems = uploads.check_file(self.user, body)
            return Response(_show_upload(requests, problems, [], dry_run=True))
        requests, records = uploads.schedule_file(self.user, body)
        made = [str(record.payout.uuid) for record in records]
        shown = _show_upload(requests, [], made, dry_run=False)
        return Response(shown, status=status.HTTP_201_CREATED)


class ReportsView(ApiView):
    """Messages of banks, signed by them."""

    authentication_classes: list[Any] = []

    def check_permissions(self, request: Request) -> None:
        """Ask nobody who they are: the signature of the message is what counts."""

    @extend_schema(
        operation_id="hear_bank",
        summary="Take in a message of a bank",
        description="Signed as the Standard Webhooks say, with the secret that the bank's settings hold. A message that "
        "comes again, or late, changes nothing.",
        request={"application/json": {"type": "object"}},
        responses={200: schemas.HeardBody, **errors(400, 401, 404)},
        tags=["payouts"],
    )
    def post(self, request: Request, bank: str) -> Response:
        try:
            adapter = get_bank(bank)
        except BankNotFound:
            raise BankSignatureInvalid from None
        report = adapter.read_report(request.headers, request._request.body)
        if report is None:
            raise BankSignatureInvalid
        hear_report(bank=bank, report=report)
        return Response({"status": "ok"})


class RecurringPayoutsView(ApiView):
    """Plans of payouts."""

    scope = "withdrawals"

    @extend_schema(
        operation_id="create_recurring_payout",
        summary="Pay out every day, week or month",
        description="At a local time of a time zone, clock changes included.",
        request=schemas.RecurringPayoutInput,
        parameters=[idempotency_key(required=True), REPLAYED],
        responses={201: schemas.RecurringPayoutBody, **errors(*WITH_BODY, 404, 409)},
        tags=["payouts"],
    )
    def post(self, request: Request) -> Response:
        key = get_idempotency_key(request)
        body = self.read(schemas.RecurringPayoutInput)
        wallet = get_own_wallet(self.user, body.pop("wallet"))
        plan = create_recurring_payout(wallet=wallet, idempotency_key=key, **body)
        plan.wallet = wallet
        location = reverse("recurring-payout", args=[plan.uuid])
        return created(show_recurring_payout(plan), replayed=plan.replayed, location=location)

    @extend_schema(
        operation_id="list_recurring_payouts",
        summary="List plans of payouts",
        responses={200: schemas.RecurringPayoutBody(many=True), **errors(400)},
        tags=["payouts"],
    )
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(queries.list_recurring_payouts(self.user)) or []
        return self.get_paginated_response([show_recurring_payout(plan) for plan in page])


class RecurringPayoutView(ApiView):
    """One plan."""

    scope = "withdrawals"

    @extend_schema(
        operation_id="get_recurring_payout",
        summary="Get a plan of payouts",
        responses={200: schemas.RecurringPayoutBody, **errors(404)},
        tags=["payouts"],
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        return Response(show_recurring_payout(queries.get_recurring_payout(self.user, uuid)))


class RecurringPayoutCancellationView(ApiView):
    """Ending a plan."""

    scope = "withdrawals"

    @extend_schema(
        operation_id="cancel_recurring_payout",
        summary="End a plan; payouts it made stay",
        request=None,
        responses={200: schemas.RecurringPayoutBody, **errors(404)},
        tags=["payouts"],
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        plan = queries.get_recurring_payout(self.user, uuid, is_own=True)
        cancel_recurring_payout(plan=plan)
        return Response(show_recurring_payout(queries.get_recurring_payout(self.user, uuid)))


def _show_upload(
    requests: list[Any], problems: list[Any], made: list[str], *, dry_run: bool
) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "lines": len(requests) + len(problems),
        "totals": uploads.sum_by_asset(requests),
        "errors": problems,
        "payouts": made,
    }
