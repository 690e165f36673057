"""The API: each view parses, makes one service call and renders."""

from typing import Any, cast
from uuid import UUID

from django.urls import reverse
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.filters import BaseFilterBackend
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from dj_wallet.identity.access import (
    INTERNAL,
    Credential,
    find_needs,
    has_one_of,
    reads_all,
)
from dj_wallet.identity.models import User
from dj_wallet.leases import Cache
from dj_wallet.ledger.money import from_minor_units
from dj_wallet.models import Transaction, Transfer, Wallet
from dj_wallet.payouts.services import schedule_payout
from dj_wallet.services.common import WalletService
from dj_wallet.services.transfer import build_transfer_request

from . import batches, queries, schemas, services, wallet_cache
from .ahead import Wish, find_cache
from .bodies import (
    find_payout,
    show_new_deposit,
    show_new_payout,
    show_new_wallet,
    show_transaction,
    show_transfer,
    show_wallet,
)
from .errors import InternalOnly, LengthRequired, ScopeMissing
from .fields import StrictSerializer
from .filters import TransactionFilter
from .headers import find_asked_key, find_idempotency_key, find_moment, get_idempotency_key
from .limits import LimitedView
from .pagination import NewestFirst
from .rendered import Rendered
from .schema import AS_OF, ASKED_KEY, REPLAYED, WITH_BODY, errors, idempotency_key
from .wallet_cache import PLAIN


class ApiView(LimitedView, GenericAPIView[Any]):
    """What every view has in common."""

    # The group of endpoints in `identity.access` that the view belongs to: "holds" needs holds:read or holds:write.
    scope: str | None = None
    # Internal views are for our own services, which need the scope `internal` or `internal:<group>`.
    internal = False
    pagination_class = NewestFirst
    filter_backends: list[type[BaseFilterBackend]] = []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse bodies of unknown length, which would be taken for empty ones."""
        super().initial(request, *args, **kwargs)
        if "HTTP_TRANSFER_ENCODING" in request.META and not request.META.get("CONTENT_LENGTH"):
            raise LengthRequired

    def check_permissions(self, request: Request) -> None:
        """Refuse a credential that is not for this.

        :raises InternalOnly: the view is for services, and this is none
        :raises ScopeMissing: the credential lacks the scope
        """
        super().check_permissions(request)
        method = request.method or ""
        needs = find_needs(
            group=self.scope, is_internal=self.is_internal_for(method), method=method
        )
        if needs.is_internal and not self.credential.is_service:
            raise InternalOnly
        self.need_one_of(*needs.scopes)

    @classmethod
    def is_internal_for(cls, method: str) -> bool:
        """Tell whether this method is for our own services."""
        return cls.internal

    @property
    def reads_all(self) -> bool:
        """Whether the caller sees what is others': staff, and our own services."""
        is_ours = self.credential.is_service and has_one_of(self.credential, [INTERNAL])
        return is_ours or reads_all(self.user)

    def need_one_of(self, *scopes: str) -> None:
        """:raises ScopeMissing: the credential carries none of the scopes"""
        if not has_one_of(self.credential, scopes):
            raise ScopeMissing(scopes)

    @property
    def credential(self) -> Credential:
        return cast(Credential, self.request.auth)

    @property
    def user(self) -> User:
        return cast(User, self.request.user)

    def foresee(self, request: Request, user: User) -> Wish | None:
        """Return what the view is going to read from the cache, if it can be told before it is asked."""
        return None

    def find_cache(self) -> Cache | None:
        """Return the cache that the caller is answered from, if any."""
        return find_cache(self.request, self.user)

    def read(self, serializer: type[StrictSerializer]) -> dict[str, Any]:
        """Return the request's body, checked.

        :raises ValidationError: it is not what the serializer describes
        """
        body = serializer(data=self.request.data)
        body.is_valid(raise_exception=True)
        return cast(dict[str, Any], body.validated_data)


class WalletsView(ApiView):
    """The caller's wallets."""

    scope = "wallets"

    @extend_schema(
        operation_id="create_wallet",
        summary="Create a wallet",
        request=schemas.WalletInput,
        parameters=[idempotency_key(required=False), REPLAYED],
        responses={201: schemas.WalletBody, **errors(*WITH_BODY, 409)},
        tags=["wallets"],
    )
    def post(self, request: Request) -> Response:
        wallet, replayed = services.open_wallet(
            user=self.user,
            idempotency_key=find_idempotency_key(request),
            **self.read(schemas.WalletInput),
        )
        location = reverse("wallet", args=[wallet.uuid])
        return created(show_new_wallet(wallet), replayed=replayed, location=location)

    @extend_schema(
        operation_id="list_wallets",
        summary="List wallets",
        responses={200: schemas.WalletBody(many=True), **errors(400)},
        tags=["wallets"],
    )
    def get(self, request: Request) -> Response:
        if (kept := self.find_kept(request)) is not None:
            return Response(kept)
        page = self.paginate_queryset(queries.list_wallets(self.user))
        return self.get_paginated_response([show_wallet(wallet) for wallet in page or []])

    def foresee(self, request: Request, user: User) -> Wish | None:
        return wallet_cache.wish_list(user, PLAIN) if request.method == "GET" else None

    def find_kept(self, request: Request) -> Rendered | None:
        """Return the first page as the cache keeps it, or None if the database has to be asked."""
        cache = self.find_cache()
        entries = None if cache is None else wallet_cache.list_of_user(cache, self.user, PLAIN)
        if entries is None:
            return None
        members = [(entry.pk, entry.body) for entry in entries]
        return NewestFirst().render_first(members, request)


class WalletView(ApiView):
    """One wallet."""

    scope = "wallets"

    @extend_schema(
        operation_id="get_wallet",
        summary="Get a wallet",
        description="With `as_of`, what it held then: after everything recorded up to that moment.",
        parameters=[AS_OF],
        responses={200: schemas.WalletBody, **errors(400, 404)},
        tags=["wallets"],
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        moment = find_moment(request)
        cache = self.find_cache() if moment is None else None
        if cache is not None:
            return Response(Rendered(wallet_cache.get_by_uuid(cache, self.user, uuid, PLAIN).body))
        wallet = queries.get_wallet(self.user, uuid)
        if moment is not None:
            queries.go_back(wallet, moment)
        return Response(show_wallet(wallet))

    def foresee(self, request: Request, user: User) -> Wish | None:
        return wallet_cache.wish_uuid(self.kwargs["uuid"], PLAIN)


class DepositView(ApiView):
    """Money into a wallet."""

    scope = "deposits"

    @extend_schema(
        operation_id="deposit",
        summary="Deposit",
        request=schemas.DepositInput,
        parameters=[idempotency_key(required=False), REPLAYED],
        responses={201: schemas.TransactionBody, **errors(*WITH_BODY, 404, 409)},
        tags=["wallets"],
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        key = find_idempotency_key(request)
        units = self.read(schemas.DepositInput)["amount"]
        wallet = queries.get_own_wallet(self.user, uuid)
        record = WalletService.deposit(
            wallet, from_minor_units(units, wallet.decimal_places), idempotency_key=key
        )
        return created(
            show_new_deposit(record, wallet),
            replayed=record.replayed,
            location=locate_transaction(record, wallet),
        )


class WithdrawView(ApiView):
    """Money out of a wallet, to a bank."""

    scope = "withdrawals"

    @extend_schema(
        operation_id="withdraw",
        summary="Schedule a withdrawal to the bank",
        description="The balance is checked when the withdrawal executes, not now. A time in the past means now.",
        request=schemas.WithdrawalInput,
        parameters=[idempotency_key(required=False), REPLAYED],
        responses={201: schemas.TransactionBody, **errors(*WITH_BODY, 404, 409)},
        tags=["wallets"],
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        key = find_idempotency_key(request)
        body = self.read(schemas.WithdrawalInput)
        wallet = queries.get_own_wallet(self.user, uuid)
        record = schedule_payout(
            wallet=wallet,
            amount=from_minor_units(body["amount"], wallet.decimal_places),
            scheduled_for=body.get("scheduled_for"),
            idempotency_key=key,
        )
        return created(
            show_new_payout(record, wallet),
            replayed=record.replayed,
            location=locate_transaction(record, wallet),
        )


class TransactionsView(ApiView):
    """The deposits and withdrawals of a wallet."""

    scope = "wallets"
    filter_backends: list[type[BaseFilterBackend]] = [DjangoFilterBackend]
    filterset_class = TransactionFilter
    queryset = Transaction.objects.all()

    @extend_schema(
        operation_id="list_transactions",
        summary="List transactions",
        parameters=[ASKED_KEY],
        responses={200: schemas.TransactionBody(many=True), **errors(400, 404)},
        tags=["wallets"],
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        wallet = queries.get_wallet(self.user, uuid)
        records = self.filter_queryset(queries.list_transactions(wallet))
        if (key := find_asked_key(request)) is not None:
            records = records.filter(idempotency_key=key)
        page = self.paginate_queryset(records) or []
        return self.get_paginated_response(
            [show_transaction(record, wallet, find_payout(record)) for record in page]
        )


class TransactionView(ApiView):
    """One deposit or withdrawal."""

    scope = "wallets"

    @extend_schema(
        operation_id="get_transaction",
        summary="Get a transaction",
        responses={200: schemas.TransactionBody, **errors(404)},
        tags=["wallets"],
    )
    def get(self, request: Request, uuid: UUID, transaction_id: int) -> Response:
        wallet = queries.get_wallet(self.user, uuid)
        record = queries.get_transaction(wallet, transaction_id)
        return Response(show_transaction(record, wallet, find_payout(record)))


class TransfersView(ApiView):
    """Movements between wallets."""

    scope = "transfers"

    @extend_schema(
        operation_id="create_transfer",
        summary="Transfer to another wallet",
        request=schemas.TransferInput,
        parameters=[idempotency_key(required=True), REPLAYED],
        responses={201: schemas.TransferBody, **errors(*WITH_BODY, 404, 409)},
        tags=["transfers"],
    )
    def post(self, request: Request) -> Response:
        key = get_idempotency_key(request)
        body = self.read(schemas.TransferInput)
        source, destination = queries.get_transfer_wallets(self.user, body["from"], body["to"])
        transfer = services.transfer(
            build_transfer_request(
                source, destination, body["amount"], body.get("meta"), idempotency_key=key
            )
        )
        if transfer.replayed:
            transfer = queries.get_transfer(self.user, transfer.uuid)
            return created(show_transfer(transfer), replayed=True, location=locate(transfer))
        return created(show_transfer(transfer), replayed=False, location=locate(transfer))

    @extend_schema(
        operation_id="list_transfers",
        summary="List transfers sent and received",
        parameters=[ASKED_KEY],
        responses={200: schemas.TransferBody(many=True), **errors(400)},
        tags=["transfers"],
    )
    def get(self, request: Request) -> Response:
        transfers = queries.list_transfers(self.user)
        if (key := find_asked_key(request)) is not None:
            transfers = transfers.filter(idempotency_key=key)
        page = self.paginate_queryset(transfers)
        return self.get_paginated_response([show_transfer(transfer) for transfer in page or []])


class TransferView(ApiView):
    """One movement between wallets."""

    scope = "transfers"

    @extend_schema(
        operation_id="get_transfer",
        summary="Get a transfer",
        responses={200: schemas.TransferBody, **errors(404)},
        tags=["transfers"],
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        return Response(show_transfer(queries.get_transfer(self.user, uuid)))


class BatchesView(ApiView):
    """Many movements with one request."""

    scope = "transfers"

    @extend_schema(
        operation_id="create_batch",
        summary="Make up to 1000 movements",
        description="Each item is posted or refused on its own and has its own idempotency key; the results are in "
        "the order of the items. Repeat a batch as it was after a 503: what was posted is replayed.",
        request=schemas.BatchInput,
        responses={200: schemas.BatchBody, **errors(*WITH_BODY)},
        tags=["transfers"],
    )
    def post(self, request: Request) -> Response:
        items = self.read(schemas.BatchInput)["items"]
        if any(item["type"] == "deposit" for item in items):
            self.need_one_of("deposits:write")
        return Response({"results": batches.move_items(self.user, items)})


def created(body: dict[str, Any], *, replayed: bool, location: str) -> Response:
    """Return 201 with the body, marked if an earlier request with the same key made it."""
    headers = {"Location": location}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(body, status=status.HTTP_201_CREATED, headers=headers)


def locate_transaction(record: Transaction, wallet: Wallet) -> str:
    """Return the path of a transaction."""
    return reverse("transaction", args=[wallet.uuid, record.pk])


def locate(transfer: Transfer) -> str:
    """Return the path of a transfer."""
    return reverse("transfer", args=[transfer.uuid])
