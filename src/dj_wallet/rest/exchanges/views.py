"""Seed 002's views: each parses, makes one service call and renders. What is not the caller's does not exist."""

from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from django.http import Http404, HttpResponse
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request
from rest_framework.response import Response

from dj_wallet.exchanges import queries
from dj_wallet.exchanges.errors import VenueError
from dj_wallet.exchanges.journal import Origin
from dj_wallet.exchanges.models import (
    AddressActivityLog,
    AddressSyncLog,
    DepositAddress,
    ExchangeAccount,
)
from dj_wallet.exchanges.payment import make_qr_code
from dj_wallet.exchanges.services import accounts, addresses, listings, syncs
from dj_wallet.exchanges.services.supported import get_supported
from dj_wallet.exchanges.venues.contract import Credentials
from dj_wallet.exchanges.venues.errors import VenueTimeout
from dj_wallet.rest.headers import get_idempotency_key
from dj_wallet.rest.schema import REPLAYED, WITH_BODY, errors, idempotency_key
from dj_wallet.rest.views import ApiView, created

from . import schemas
from .bodies import (
    ADDRESS_FIELDS,
    show_account,
    show_activity,
    show_address,
    show_addresses,
    show_connection,
    show_exchange,
    show_exchange_info,
    show_sync,
)
from .filters import AccountFilter, AddressFilter, FilterIfAsked, SyncFilter
from .pagination import NewestByUUID

M = TypeVar("M", bound=Model)

# What asking an exchange can end in, besides what any request can.
ASKS = (403, 404, 409, 422, 502, 504)


class ExchangeView(ApiView):
    """What the views of exchanges have in common."""

    scope = "exchanges"
    pagination_class = NewestByUUID

    @property
    def origin(self) -> Origin:
        """Who asks, for the activity log."""
        meta = self.request.META
        return Origin(meta.get("REMOTE_ADDR") or None, meta.get("HTTP_USER_AGENT", ""))

    def get_account(self, uuid: UUID) -> ExchangeAccount:
        """:raises Http404: the caller has no such account"""
        return find(queries.list_accounts(self.user), uuid)


class AddressesBase(ExchangeView):
    """What the views of addresses have in common."""

    scope = "addresses"

    def get_address(self, uuid: UUID) -> DepositAddress:
        """:raises Http404: the caller has no such address"""
        return find(queries.list_addresses(self.user).select_related("exchange_account"), uuid)

    def answer_page(self, rows: QuerySet[DepositAddress]) -> Response:
        """Return the page of the addresses that the request asks for."""
        page = self.paginate_queryset(rows.values_list(*ADDRESS_FIELDS, named=True))
        return self.get_paginated_response(show_addresses(page or []))


def find(rows: QuerySet[M], uuid: UUID) -> M:
    """Return the row.

    :raises Http404: there is none among these
    """
    row = rows.filter(pk=uuid).first()
    if row is None:
        raise Http404
    return row


def read_credentials(body: dict[str, Any]) -> Credentials:
    """Take the credentials out of a body."""
    return Credentials(
        body.pop("api_key"), body.pop("api_secret"), body.pop("api_passphrase", None) or ""
    )


class ExchangeAccountsView(ExchangeView):
    """The caller's exchange accounts."""

    filter_backends: list[type[BaseFilterBackend]] = [FilterIfAsked]
    filterset_class = AccountFilter
    queryset = ExchangeAccount.objects.all()

    @extend_schema(
        operation_id="connect_exchange",
        summary="Connect an exchange account",
        description="The key is tested. One that may withdraw is refused, with how to make a lesser one.",
        request=schemas.ExchangeAccountInput,
        responses={201: schemas.ExchangeAccountBody, **errors(*WITH_BODY, *ASKS)},
        tags=["exchanges"],
    )
    def post(self, request: Request) -> Response:
        body = self.read(schemas.ExchangeAccountInput)
        account = accounts.connect_account(
            user=self.user, credentials=read_credentials(body), origin=self.origin, **body
        )
        location = reverse("exchange-account", args=[account.pk])
        return created(show_account(account), replayed=False, location=location)

    @extend_schema(
        operation_id="list_exchange_accounts",
        summary="List exchange accounts",
        responses={200: schemas.ExchangeAccountBody(many=True), **errors(400)},
        tags=["exchanges"],
    )
    def get(self, request: Request) -> Response:
        rows = self.filter_queryset(queries.list_accounts(self.user))
        page = self.paginate_queryset(rows) or []
        return self.get_paginated_response([show_account(account) for account in page])


class ExchangeAccountView(ExchangeView):
    """One exchange account."""

    @extend_schema(
        operation_id="get_exchange_account",
        summary="Get an exchange account",
        responses={200: schemas.ExchangeAccountBody, **errors(404)},
        tags=["exchanges"],
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        return Response(show_account(self.get_account(uuid)))

    @extend_schema(
        operation_id="update_exchange_account",
        summary="Update an exchange account",
        description="New credentials are tested first; if they do not work, nothing changes.",
        request=schemas.AccountUpdateInput,
        responses={200: schemas.ExchangeAccountBody, **errors(*WITH_BODY, *ASKS)},
        tags=["exchanges"],
    )
    def put(self, request: Request, uuid: UUID) -> Response:
        body = self.read(schemas.AccountUpdateInput)
        credentials = read_credentials(body) if "api_key" in body else None
        account = accounts.update_account(
            self.get_account(uuid), credentials=credentials, origin=self.origin, **body
        )
        return Response(show_account(account))

    @extend_schema(
        operation_id="remove_exchange_account",
        summary="Remove an exchange account",
        description="The credentials and the key that opened them are erased; the history of addresses stays.",
        responses={204: None, **errors(404)},
        tags=["exchanges"],
    )
    def delete(self, request: Request, uuid: UUID) -> Response:
        accounts.remove_account(self.get_account(uuid), origin=self.origin)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ConnectionTestView(ExchangeView):
    """Whether a key still works, and what it may do."""

    @extend_schema(
        operation_id="test_exchange_account",
        summary="Test the connection",
        request=None,
        responses={200: schemas.ConnectionBody, **errors(*ASKS)},
        tags=["exchanges"],
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        connection = accounts.check_account(self.get_account(uuid), origin=self.origin)
        return Response(show_connection(connection))


class SupportedExchangesView(ExchangeView):
    """The exchanges that can be connected."""

    @extend_schema(
        operation_id="list_supported_exchanges",
        summary="List supported exchanges",
        responses={200: schemas.ExchangesBody, **errors()},
        tags=["exchanges"],
    )
    def get(self, request: Request) -> Response:
        return Response({"results": [show_exchange(one) for one in queries.list_exchanges()]})


class CurrenciesView(ExchangeView):
    """What an exchange takes deposits of."""

    @extend_schema(
        operation_id="list_exchange_currencies",
        summary="List the currencies and networks of an exchange",
        description="Asked with the caller's key if there is one; else what was seen last.",
        responses={200: schemas.CurrenciesBody, **errors(422)},
        tags=["exchanges"],
    )
    def get(self, request: Request, exchange_id: str) -> Response:
        exchange, _ = get_supported(exchange_id)
        listed = listings.list_currencies(self.user, exchange)
        results = [{"currency": code, "networks": networks} for code, networks in listed.items()]
        return Response({"exchange": exchange.pk, "results": results})


class ExchangeInfoView(ExchangeView):
    """What to know of an exchange before connecting it."""

    @extend_schema(
        operation_id="get_exchange_info",
        summary="Get exchange information",
        responses={200: schemas.ExchangeInfoBody, **errors(422)},
        tags=["exchanges"],
    )
    def get(self, request: Request, exchange_id: str) -> Response:
        exchange, venue = get_supported(exchange_id)
        return Response(show_exchange_info(exchange, can_create=venue.can_create_address))


class AddressesView(AddressesBase):
    """The caller's deposit addresses."""

    filter_backends: list[type[BaseFilterBackend]] = [FilterIfAsked]
    filterset_class = AddressFilter
    queryset = DepositAddress.objects.all()

    @extend_schema(
        operation_id="fetch_deposit_address",
        summary="Fetch or create a deposit address",
        description="Asks the exchange. The network must be named where there are several. `create_new` has the exchange make "
        "another address and needs an Idempotency-Key: exchanges make few, and a new one may retire an old one. An exchange that "
        "does not answer in time is asked by a worker: 202 with a synchronization to poll, then ask again.",
        request=schemas.AddressInput,
        parameters=[idempotency_key(required=False), REPLAYED],
        responses={
            200: schemas.ExchangeAddressBody,
            201: schemas.ExchangeAddressBody,
            202: schemas.SyncsBody,
            **errors(*WITH_BODY, *ASKS),
        },
        tags=["deposit addresses"],
    )
    def post(self, request: Request) -> Response:
        body = self.read(schemas.AddressInput)
        account = self.get_account(body.pop("exchange_account_id"))
        if body.pop("create_new", False):
            return self._create(request, account, body)
        try:
            address, is_new = addresses.fetch_address(account, origin=self.origin, **body)
        except VenueTimeout as error:
            return answer_later(account, body["currency"], error)
        if is_new:
            return created(show_address(address), replayed=False, location=locate(address))
        return Response(show_address(address))

    def _create(self, request: Request, account: ExchangeAccount, body: dict[str, Any]) -> Response:
        address, replayed = addresses.create_address(
            account,
            currency=body["currency"],
            network=body.get("network"),
            key=get_idempotency_key(request),
            origin=self.origin,
        )
        return created(show_address(address), replayed=replayed, location=locate(address))

    @extend_schema(
        operation_id="list_deposit_addresses",
        summary="List deposit addresses",
        description="From our database; no exchange is asked.",
        responses={200: schemas.ExchangeAddressBody(many=True), **errors(400)},
        tags=["deposit addresses"],
    )
    def get(self, request: Request) -> Response:
        return self.answer_page(self.filter_queryset(queries.list_addresses(self.user)))


class AddressesByCurrencyView(AddressesBase):
    """The caller's deposit addresses of one currency."""

    queryset = DepositAddress.objects.all()

    @extend_schema(
        operation_id="list_deposit_addresses_of_currency",
        summary="List deposit addresses of a currency",
        responses={200: schemas.ExchangeAddressBody(many=True), **errors(400)},
        tags=["deposit addresses"],
    )
    def get(self, request: Request, currency: str) -> Response:
        rows = queries.list_addresses(self.user)
        return self.answer_page(rows.filter(currency=currency.upper()[:50]))


class AddressView(AddressesBase):
    """One deposit address."""

    @extend_schema(
        operation_id="get_exchange_address",
        summary="Get a deposit address",
        responses={200: schemas.ExchangeAddressBody, **errors(404, 409)},
        tags=["deposit addresses"],
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        address = self.get_address(uuid)
        addresses.require_intact(address)
        return Response(show_address(address))

    @extend_schema(
        operation_id="update_deposit_address",
        summary="Update label, description, metadata or use of an address",
        request=schemas.AddressUpdateInput,
        responses={200: schemas.ExchangeAddressBody, **errors(*WITH_BODY, 404)},
        tags=["deposit addresses"],
    )
    def put(self, request: Request, uuid: UUID) -> Response:
        changes = self.read(schemas.AddressUpdateInput)
        address = self.get_address(uuid)
        return Response(
            show_address(addresses.update_address(address, changes, origin=self.origin))
        )

    @extend_schema(
        operation_id="remove_deposit_address",
        summary="Remove a deposit address",
        description="Hides it; its history stays. The exchange still credits what arrives there.",
        responses={204: None, **errors(404)},
        tags=["deposit addresses"],
    )
    def delete(self, request: Request, uuid: UUID) -> Response:
        addresses.remove_address(self.get_address(uuid), origin=self.origin)
        return Response(status=status.HTTP_204_NO_CONTENT)


class RefreshAddressView(AddressesBase):
    """Whether an address is still the exchange's."""

    @extend_schema(
        operation_id="refresh_deposit_address",
        summary="Refresh an address from the exchange",
        description="Answers with the address that is current now; if that is another one, the old one stays in the list. "
        "An exchange that does not answer in time is asked by a worker: 202 with a synchronization to poll.",
        request=None,
        responses={200: schemas.ExchangeAddressBody, 202: schemas.SyncsBody, **errors(*ASKS)},
        tags=["deposit addresses"],
    )
    def put(self, request: Request, uuid: UUID) -> Response:
        kept = self.get_address(uuid)
        try:
            address = addresses.refresh_address(kept, origin=self.origin)
        except VenueTimeout as error:
            return answer_later(kept.exchange_account, kept.currency, error)
        return Response(show_address(address))


class AddressCodeView(AddressesBase):
    """An address as a picture."""

    @extend_schema(
        operation_id="get_exchange_address_qr",
        summary="QR code of an address, tag included",
        responses={(200, "image/svg+xml"): OpenApiTypes.BINARY, **errors(404, 409, 422)},
        tags=["deposit addresses"],
    )
    def get(self, request: Request, uuid: UUID) -> HttpResponse:
        address = self.get_address(uuid)
        addresses.require_intact(address)
        return HttpResponse(
            make_qr_code(address),
            content_type="image/svg+xml",
            headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
        )


class AddressHistoryView(AddressesBase):
    """What was done to an address."""

    queryset = AddressActivityLog.objects.all()

    @extend_schema(
        operation_id="get_exchange_address_history",
        summary="Get the history of an address, a removed one included",
        responses={200: schemas.ActivityBody(many=True), **errors(400, 404)},
        tags=["deposit addresses"],
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        find(DepositAddress.objects.filter(user=self.user), uuid)
        page = self.paginate_queryset(queries.list_history(self.user, uuid)) or []
        return self.get_paginated_response([show_activity(entry) for entry in page])


class BulkAddressesView(AddressesBase):
    """Many addresses with one request."""

    @extend_schema(
        operation_id="fetch_deposit_addresses",
        summary="Fetch up to 50 addresses",
        description="Each is fetched or refused on its own, in at most 20 seconds together; the results are in order.",
        request=schemas.BulkInput,
        responses={200: schemas.BulkBody, **errors(*WITH_BODY, 404)},
        tags=["deposit addresses"],
    )
    def post(self, request: Request) -> Response:
        items = self.read(schemas.BulkInput)["items"]
        wanted = {item["exchange_account_id"] for item in items}
        owned = queries.list_accounts(self.user).in_bulk(wanted)
        if len(owned) < len(wanted):
            raise Http404
        orders = [
            addresses.Order(
                owned[item["exchange_account_id"]], item["currency"], item.get("network")
            )
            for item in items
        ]
        outcomes = addresses.fetch_each(orders, origin=self.origin)
        return Response({"results": [show_outcome(outcome) for outcome in outcomes]})


def show_outcome(outcome: DepositAddress | VenueError) -> dict[str, Any]:
    """Return what became of one of many."""
    if isinstance(outcome, DepositAddress):
        return {"status": "success", "address": show_address(outcome)}
    problem = {"code": outcome.code, "message": str(outcome), "details": outcome.details}
    return {"status": "failed", "error": problem}


class SyncView(AddressesBase):
    """Bringing addresses up to date."""

    @extend_schema(
        operation_id="sync_deposit_addresses",
        summary="Sync addresses from exchanges",
        description="Queues a synchronization of one account, or of all; one that is open already is joined. Poll it.",
        request=schemas.SyncInput,
        responses={202: schemas.SyncsBody, **errors(*WITH_BODY, 404, 409)},
        tags=["deposit addresses"],
    )
    def post(self, request: Request) -> Response:
        body = self.read(schemas.SyncInput)
        chosen = self._choose(body.get("exchange_account_id"))
        return queued(*syncs.request_syncs(chosen, currencies=body.get("currencies", ())))

    def _choose(self, uuid: UUID | None) -> list[ExchangeAccount]:
        if uuid is not None:
            return [self.get_account(uuid)]
        return list(queries.list_accounts(self.user).filter(is_active=True))


def answer_later(account: ExchangeAccount, currency: str, error: VenueTimeout) -> Response:
    """Return 202 with the synchronization that fetches what the exchange did not answer in time.

    :raises VenueTimeout: none can
    """
    return queued([syncs.fetch_later(account, currency, error)], [])


def queued(logs: list[AddressSyncLog], skipped: list[ExchangeAccount]) -> Response:
    """Return 202 with the synchronizations."""
    return Response(
        {
            "syncs": [show_sync(log) for log in logs],
            "skipped": [str(account.pk) for account in skipped],
        },
        status=status.HTTP_202_ACCEPTED,
    )


class SyncsView(AddressesBase):
    """The caller's synchronizations."""

    filter_backends: list[type[BaseFilterBackend]] = [FilterIfAsked]
    filterset_class = SyncFilter
    queryset = AddressSyncLog.objects.all()

    @extend_schema(
        operation_id="list_syncs",
        summary="List synchronizations",
        responses={200: schemas.SyncBody(many=True), **errors(400)},
        tags=["deposit addresses"],
    )
    def get(self, request: Request) -> Response:
        rows = self.filter_queryset(queries.list_syncs(self.user))
        page = self.paginate_queryset(rows) or []
        return self.get_paginated_response([show_sync(log) for log in page])


class SyncProgressView(AddressesBase):
    """One synchronization."""

    @extend_schema(
        operation_id="get_sync",
        summary="Progress and result of a synchronization",
        responses={200: schemas.SyncBody, **errors(404)},
        tags=["deposit addresses"],
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        return Response(show_sync(find(queries.list_syncs(self.user), uuid)))


def locate(address: DepositAddress) -> str:
    """Return the path of an address."""
    return reverse("exchange-address", args=[address.pk])


DAYS = OpenApiParameter(
    name="days",
    type={"type": "integer", "minimum": 1, "maximum": 365, "default": 30},
    description="How far back syncs and new addresses are counted.",
)
