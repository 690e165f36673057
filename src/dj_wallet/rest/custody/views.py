"""Custody's paths: each view parses, makes one service call and renders."""

from io import BytesIO
from typing import Any
from uuid import UUID

import segno
from django.http import HttpResponse
from django.urls import reverse
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request
from rest_framework.response import Response

from dj_wallet.custody.models import Address, Chain, WithdrawalRequest
from dj_wallet.custody.served import get_served, get_served_asset
from dj_wallet.custody.services.addresses import get_deposit_address, rotate_deposit_address
from dj_wallet.custody.services.chains import ensure_chain
from dj_wallet.custody.services.users import get_or_create_coin_wallet
from dj_wallet.custody.services.withdrawals import (
    allow_address,
    approve_withdrawal,
    cancel_withdrawal,
    quote_fee,
    request_withdrawal,
)
from dj_wallet.ledger.models import LedgerEntry
from dj_wallet.models import Wallet
from dj_wallet.rest.bodies import show_amount
from dj_wallet.rest.conditions import is_known, tag_body
from dj_wallet.rest.headers import get_idempotency_key
from dj_wallet.rest.pagination import NewestFirst
from dj_wallet.rest.schema import IF_NONE_MATCH, REPLAYED, WITH_BODY, errors, idempotency_key
from dj_wallet.rest.views import ApiView

from . import queries, schemas
from .bodies import (
    show_address,
    show_allowed_address,
    show_balance,
    show_chain,
    show_line,
    show_new_withdrawal,
    show_withdrawal,
)
from .filters import LineFilter

COIN = OpenApiParameter(
    name="coin",
    type={"type": "string", "pattern": "^[A-Z0-9]+$", "maxLength": 32},
    description="Which coin is meant; without it, the first that is served.",
)


class CoinView(ApiView):
    """A view that speaks of one coin."""

    def get_coin(self) -> str:
        """Return the coin of the query.

        :raises ValidationError: it cannot be the code of a coin
        :raises NetworkNotServed: no network of it is served
        """
        given = {name: value for name, value in self.request.query_params.items() if name == "coin"}
        asked = schemas.CoinInput(data=given)
        asked.is_valid(raise_exception=True)
        return queries.get_coin(asked.validated_data.get("coin"))

    def get_wallet(self, coin: str) -> Wallet:
        """Return the user's wallet of the coin, opened if there is none."""
        return get_or_create_coin_wallet(user=self.user, asset=coin)


class BalanceView(CoinView):
    """What the caller has of a coin."""

    scope = "wallets"

    @extend_schema(
        operation_id="get_coin_balance",
        summary="Balance of a coin",
        parameters=[COIN, IF_NONE_MATCH],
        responses={200: schemas.BalanceBody, 304: None, **errors(400, 422)},
        tags=["coins"],
    )
    def get(self, request: Request) -> Response:
        coin = self.get_coin()
        wallet = queries.find_wallet_in_detail(self.user, coin) or self.get_wallet(coin)
        body = show_balance(wallet, self.user)
        headers = {"ETag": tag_body(body)}
        if is_known(request, headers["ETag"]):
            return Response(status=status.HTTP_304_NOT_MODIFIED, headers=headers)
        return Response(body, headers=headers)


class DepositAddressView(CoinView):
    """Where the caller's deposits go."""

    scope = "addresses"

    @extend_schema(
        operation_id="get_deposit_address",
        summary="Deposit address",
        parameters=[COIN],
        responses={200: schemas.CoinAddressBody, **errors(400, 422)},
        tags=["coins"],
    )
    def get(self, request: Request) -> Response:
        return Response(show_address(*self.get_address(self.get_coin())))

    def get_address(self, coin: str) -> tuple[Address, Chain]:
        network = get_served_asset(coin).network.name
        address = get_deposit_address(wallet=self.get_wallet(coin), network=network)
        return address, ensure_chain(network)


class DepositCodeView(DepositAddressView):
    """The address as a picture that wallets scan."""

    @extend_schema(
        operation_id="get_deposit_address_qr",
        summary="Deposit address as a QR code",
        parameters=[COIN],
        responses={(200, "image/svg+xml"): OpenApiTypes.BYTE, **errors(400, 422)},
        tags=["coins"],
    )
    def get(self, request: Request) -> Any:
        address, chain = self.get_address(self.get_coin())
        uri = get_served(chain.pk).network.uri(address.address)
        picture = BytesIO()
        segno.make(uri, error="m", micro=False).save(picture, kind="svg", scale=6)
        return HttpResponse(picture.getvalue(), content_type="image/svg+xml")


class RotateAddressView(CoinView):
    """A new address."""

    scope = "addresses"

    @extend_schema(
        operation_id="rotate_deposit_address",
        summary="Take a new deposit address",
        description="The old ones go on working.",
        request=schemas.CoinInput,
        responses={201: schemas.CoinAddressBody, **errors(*WITH_BODY)},
        tags=["coins"],
    )
    def post(self, request: Request) -> Response:
        served = get_served_asset(self.read(schemas.CoinInput).get("coin"))
        wallet = self.get_wallet(served.network.asset)
        address = rotate_deposit_address(wallet=wallet, network=served.network.name)
        body = show_address(address, ensure_chain(served.network.name))
        return Response(body, status=status.HTTP_201_CREATED)


class WithdrawCoinsView(CoinView):
    """Coins to an address."""

    scope = "withdrawals"

    @extend_schema(
        operation_id="withdraw_coins",
        summary="Withdraw coins",
        description="The fee is on top of the amount, or taken out of it with `subtract_fee`.",
        request=schemas.WithdrawInput,
        parameters=[idempotency_key(required=True), REPLAYED],
        responses={202: schemas.WithdrawalBody, **errors(*WITH_BODY, 403, 409)},
        tags=["coins"],
    )
    def post(self, request: Request) -> Response:
        key = get_idempotency_key(request)
        body = self.read(schemas.WithdrawInput)
        network = get_served_asset(body.get("coin")).network
        withdrawal, replayed = request_withdrawal(
            wallet=self.get_wallet(network.asset),
            network=network.name,
            amount=body["amount"],
            address=body["address"],
            subtract_fee=body["subtract_fee"],
            idempotency_key=key,
        )
        headers = {"Location": reverse("coin-withdrawal", args=[withdrawal.pk])}
        if replayed:
            headers["Idempotent-Replayed"] = "true"
        return Response(
            show_new_withdrawal(withdrawal), status=status.HTTP_202_ACCEPTED, headers=headers
        )


class WithdrawalsView(ApiView):
    """The caller's withdrawals."""

    scope = "withdrawals"

    queryset = WithdrawalRequest.objects.all()

    class Pages(NewestFirst):
        """Pages by creation: the ids are UUIDs."""

        ordering = "-transaction_id"

    pagination_class = Pages

    @extend_schema(
        operation_id="list_coin_withdrawals",
        summary="List withdrawals of coins",
        responses={200: schemas.WithdrawalBody(many=True), **errors(400)},
        tags=["coins"],
    )
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(queries.list_withdrawals(self.user))
        return self.get_paginated_response([show_withdrawal(one) for one in page or []])


class WithdrawalView(ApiView):
    """One withdrawal."""

    scope = "withdrawals"

    @extend_schema(
        operation_id="get_coin_withdrawal",
        summary="Get a withdrawal of coins",
        responses={200: schemas.WithdrawalBody, **errors(404)},
        tags=["coins"],
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        return Response(show_withdrawal(queries.get_withdrawal(self.user, uuid)))


class CancelWithdrawalView(ApiView):
    """A withdrawal given up."""

    scope = "withdrawals"

    @extend_schema(
        operation_id="cancel_coin_withdrawal",
        summary="Cancel a withdrawal that is pending",
        description="Repeated, it is refused with 409: the first call has done it.",
        request=None,
        responses={200: schemas.WithdrawalBody, **errors(404, 409)},
        tags=["coins"],
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        withdrawal = queries.get_own_withdrawal(self.user, uuid)
        return Response(show_withdrawal(cancel_withdrawal(withdrawal_id=withdrawal.pk)))


class FeeQuoteView(CoinView):
    """What a withdrawal costs."""

    scope = "withdrawals"

    @extend_schema(
        operation_id="get_fee_quote",
        summary="Fee of a withdrawal",
        parameters=[COIN],
        responses={200: schemas.FeeQuoteBody, **errors(400, 422)},
        tags=["coins"],
    )
    def get(self, request: Request) -> Response:
        chain = ensure_chain(get_served_asset(self.get_coin()).network.name)
        return Response(
            {
                "coin": chain.asset_id,
                "network": chain.pk,
                "fee": show_amount(quote_fee(chain), 8),
                "min_withdrawal": show_amount(chain.min_withdrawal, 8),
            }
        )


class HistoryView(CoinView):
    """The ledger's lines of the caller's wallet."""

    scope = "statements"

    filter_backends: list[type[BaseFilterBackend]] = [DjangoFilterBackend]
    filterset_class = LineFilter
    queryset = LedgerEntry.objects.all()

    class Pages(NewestFirst):
        """Pages by posting; what has two sides in one wallet has two lines."""

        ordering = ("-posting_id", "-id")  # type: ignore[assignment]

    pagination_class = Pages

    @extend_schema(
        operation_id="list_coin_history",
        summary="Ledger history of a coin",
        parameters=[
            COIN,
            OpenApiParameter(
                "account",
                enum=[*schemas.LEDGER_ACCOUNTS, queries.EVERY_ACCOUNT],
                description="Which part of the wallet; without it, what is available.",
            ),
        ],
        responses={200: schemas.LineBody(many=True), **errors(400, 422)},
        tags=["coins"],
    )
    def get(self, request: Request) -> Response:
        account = request.query_params.get("account", "available")
        if account not in {*schemas.LEDGER_ACCOUNTS, queries.EVERY_ACCOUNT}:
            raise ValidationError({"account": ["There is no such part of a wallet."]})
        wallet = self.get_wallet(self.get_coin())
        lines = self.filter_queryset(queries.list_lines(wallet, account))
        page = self.paginate_queryset(lines) or []
        return self.get_paginated_response(
            [show_line(line, self.user, wallet.decimal_places) for line in page]
        )


class AllowedAddressesView(CoinView):
    """Destinations that the caller trusts."""

    scope = "withdrawals"

    @extend_schema(
        operation_id="list_allowed_addresses",
        summary="List allowed destinations",
        responses={200: schemas.AllowedAddressBody(many=True), **errors(400)},
        tags=["coins"],
    )
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(queries.list_allowed_addresses(self.user))
        return self.get_paginated_response([show_allowed_address(one) for one in page or []])

    @extend_schema(
        operation_id="allow_address",
        summary="Allow a destination",
        description="It can be used after the operator's cooling-off. Repeated, it answers as the first time.",
        request=schemas.AllowedAddressInput,
        responses={201: schemas.AllowedAddressBody, **errors(*WITH_BODY)},
        tags=["coins"],
    )
    def post(self, request: Request) -> Response:
        body = self.read(schemas.AllowedAddressInput)
        network = get_served_asset(body.get("coin")).network
        allowed = allow_address(
            wallet=self.get_wallet(network.asset), network=network.name, address=body["address"]
        )
        return Response(show_allowed_address(allowed), status=status.HTTP_201_CREATED)


class ChainsView(ApiView):
    """How the networks fare, for our own services and their monitors."""

    scope = "withdrawals"
    internal = True

    @extend_schema(
        operation_id="list_chains",
        summary="How the networks fare",
        responses={200: schemas.ChainsBody, **errors(403)},
        tags=["coins"],
    )
    def get(self, request: Request) -> Response:
        rows = [
            show_chain(chain, chain.reconciliations.order_by("-pk").first())
            for chain in queries.list_chains()
        ]
        return Response({"results": rows})


class ApproveWithdrawalView(ApiView):
    """The second pair of eyes: a member of staff through a service of ours."""

    scope = "withdrawals"
    internal = True

    @extend_schema(
        operation_id="approve_coin_withdrawal",
        summary="Approve a large withdrawal",
        request=None,
        responses={200: schemas.WithdrawalBody, **errors(403, 404, 422)},
        tags=["coins"],
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        withdrawal = queries.get_withdrawal(self.user, uuid)
        approved = approve_withdrawal(withdrawal_id=withdrawal.pk, approver=self.user)
        return Response(show_withdrawal(approved))
