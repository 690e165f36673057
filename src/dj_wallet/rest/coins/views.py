"""Seed 000's wallets: list, open, see, change, remove, and what they hold together."""

from typing import Any, Final

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from dj_wallet.identity.models import User
from dj_wallet.models import Wallet
from dj_wallet.rest.ahead import Wish
from dj_wallet.rest.bodies import show_amount, show_time
from dj_wallet.rest.conditions import check_precondition, is_known, tag
from dj_wallet.rest.pagination import NewestFirst
from dj_wallet.rest.rendered import Rendered, render
from dj_wallet.rest.schema import IF_MATCH, IF_NONE_MATCH, WITH_BODY, errors
from dj_wallet.rest.services import get_asset
from dj_wallet.rest.views import ApiView
from dj_wallet.rest.wallet_cache import (
    Entry,
    Form,
    get_by_id,
    list_of_user,
    pack,
    wish_id,
    wish_list,
)

from . import queries, schemas, services
from .filters import build_condition, describe, is_wanted, read_filters

# Seed 000 shows eight decimals; a coin with more shows all it has.
DECIMALS = 8


class CoinWalletsView(ApiView):
    """The caller's coin wallets."""

    scope = "wallets"

    @extend_schema(
        operation_id="list_coin_wallets",
        summary="List the wallets of coins",
        parameters=[
            OpenApiParameter("coin", str, description="Only of this coin."),
            OpenApiParameter(
                "with_balance",
                bool,
                description="Only those that have something available, or nothing.",
            ),
            OpenApiParameter(
                "with_locked",
                bool,
                description="Only those that have something locked, or nothing.",
            ),
            OpenApiParameter("archived", bool, description="The archived ones instead."),
        ],
        responses={200: schemas.CoinWalletBody(many=True), **errors(400)},
        tags=["coin wallets"],
    )
    def get(self, request: Request) -> Response:
        wanted = read_filters(request)
        if (kept := self.find_kept(request, wanted)) is not None:
            return Response(kept)
        wallets = queries.list_coin_wallets(self.user).filter(build_condition(wanted))
        page = self.paginate_queryset(wallets) or []
        return self.get_paginated_response(show_coin_wallets(page))

    def foresee(self, request: Request, user: User) -> Wish | None:
        return wish_list(user, COIN) if request.method == "GET" else None

    def find_kept(self, request: Request, wanted: dict[str, Any]) -> Rendered | None:
        """Return the first page as the cache keeps it, or None if the database has to be asked."""
        cache = self.find_cache()
        entries = None if cache is None else list_of_user(cache, self.user, COIN)
        if entries is None:
            return None
        members = [
            (entry.pk, add_owner(entry, self.user))
            for entry in entries
            if is_wanted(entry.head, wanted)
        ]
        return NewestFirst().render_first(members, request)

    @extend_schema(
        operation_id="open_coin_wallet",
        summary="Open a wallet of a coin",
        description="One for each user and coin. An archived one is brought back.",
        request=schemas.CoinWalletInput,
        responses={201: schemas.CoinWalletBody, **errors(*WITH_BODY, 409)},
        tags=["coin wallets"],
    )
    def post(self, request: Request) -> Response:
        body = self.read(schemas.CoinWalletInput)
        asset = get_asset(body.pop("coin"))
        pk = services.open_coin_wallet(user=self.user, asset=asset, **body).pk
        headers = {"Location": reverse("coin-wallet", args=[pk])}
        return answer(queries.get_coin_wallet(self.user, pk), status.HTTP_201_CREATED, headers)


class CoinWalletView(ApiView):
    """One coin wallet."""

    scope = "wallets"

    @extend_schema(
        operation_id="get_coin_wallet",
        summary="Get a wallet of a coin",
        parameters=[IF_NONE_MATCH],
        responses={200: schemas.CoinWalletBody, 304: None, **errors(404)},
        tags=["coin wallets"],
    )
    def get(self, request: Request, pk: int) -> Response:
        cache = self.find_cache()
        if cache is None:
            wallet = queries.get_coin_wallet(self.user, pk)
            current, body = build_tag(wallet), None
        else:
            entry = get_by_id(cache, self.user, pk, COIN)
            current, body = entry.head["tag"], Rendered(add_owner(entry, self.user))
        if is_known(request, current):
            return Response(status=status.HTTP_304_NOT_MODIFIED, headers={"ETag": current})
        return answer(wallet) if body is None else Response(body, headers={"ETag": current})

    def foresee(self, request: Request, user: User) -> Wish | None:
        return wish_id(self.kwargs["pk"], COIN) if request.method == "GET" else None

    @extend_schema(
        operation_id="change_coin_wallet",
        summary="Change label and meta",
        parameters=[IF_MATCH],
        request=schemas.CoinWalletChange,
        responses={200: schemas.CoinWalletBody, **errors(*WITH_BODY, 404, 412)},
        tags=["coin wallets"],
    )
    def patch(self, request: Request, pk: int) -> Response:
        changes = self.read(schemas.CoinWalletChange)
        wallet = queries.get_own_coin_wallet(self.user, pk)
        check_precondition(request, build_tag(wallet))
        services.change_coin_wallet(wallet, changes)
        return answer(queries.get_coin_wallet(self.user, pk))

    @extend_schema(
        operation_id="remove_coin_wallet",
        summary="Delete or archive a wallet",
        description="One that was never used is deleted (204). An empty one with a history is archived, since history "
        "is kept: the answer shows it (200). One that holds something is refused.",
        responses={200: schemas.CoinWalletBody, 204: None, **errors(404, 409, 422)},
        tags=["coin wallets"],
    )
    def delete(self, request: Request, pk: int) -> Response:
        wallet = queries.get_own_coin_wallet(self.user, pk)
        if services.remove_coin_wallet(wallet):
            return Response(status=status.HTTP_204_NO_CONTENT)
        return answer(queries.get_coin_wallet(self.user, pk))


class PortfolioView(ApiView):
    """What the caller holds."""

    scope = "wallets"

    @extend_schema(
        operation_id="get_portfolio",
        summary="Get what you hold, coin by coin",
        responses={200: schemas.PortfolioBody, **errors()},
        tags=["coin wallets"],
    )
    def get(self, request: Request) -> Response:
        return Response(
            {"results": [show_holding(row) for row in queries.list_holdings(self.user)]}
        )


def answer(
    wallet: Wallet, status_code: int = status.HTTP_200_OK, headers: dict[str, str] | None = None
) -> Response:
    """Return the wallet with its tag."""
    tagged = {**(headers or {}), "ETag": build_tag(wallet)}
    return Response(show_coin_wallets([wallet])[0], status_code, headers=tagged)


def build_tag(wallet: Wallet) -> str:
    """Return what changes whenever the wallet or what it holds does."""
    return tag(wallet.version, wallet.updated_at)


def show_coin_wallets(wallets: list[Wallet]) -> list[dict[str, Any]]:
    """Return wallets as the seed shows them. One query for whose they are."""
    users = queries.find_holders(wallets)
    return [show_coin_wallet(wallet, users[wallet.holder_id]) for wallet in wallets]


def show_coin_wallet(wallet: Wallet, user: Any) -> dict[str, Any]:
    """Return a wallet as the seed shows it."""
    return {"id": wallet.pk, "user": show_owner(user), **show_details(wallet)}


def show_owner(user: User) -> dict[str, str]:
    """Return whose a wallet is."""
    return {"id": str(user.pk), "username": user.username, "email": user.email}


def show_details(wallet: Wallet) -> dict[str, Any]:
    """Return what a wallet is and holds."""
    meta = dict(wallet.meta or {})
    places = max(wallet.decimal_places, DECIMALS)
    return {
        "coin": {"symbol": wallet.asset_id, "name": wallet.asset.name or wallet.asset_id},
        "balance": show_amount(wallet.balance, places),
        "locked_balance": show_amount(wallet.locked_balance, places),
        "pending_balance": show_amount(wallet.pending_balance, places),
        "address": getattr(wallet, "address", None),
        "label": meta.pop(services.LABEL, None),
        "meta": meta,
        "is_archived": wallet.is_frozen and wallet.frozen_reason == queries.ARCHIVED,
        "created_at": show_time(wallet.created_at),
        "updated_at": show_time(queries.find_change(wallet)),
    }


def show_in_cache(wallet: Wallet) -> bytes:
    """Return what is kept of a coin wallet: everything but whose it is, who may be renamed."""
    if not queries.is_coin_wallet(wallet):
        return b""
    body = render(show_details(wallet))
    return pack(wallet, body, tag=build_tag(wallet), **describe(wallet))


def add_owner(entry: Entry, user: User) -> bytes:
    """Return what is kept of the user's coin wallet as `show_coin_wallet` shows it."""
    owner = render({"id": entry.pk, "user": show_owner(user)})
    return owner[:-1] + b"," + entry.body[1:]


COIN: Final = Form("coin", queries.select_details, show_in_cache)


def show_holding(row: dict[str, Any]) -> dict[str, Any]:
    """Return what all wallets of a coin hold together."""
    places = max(row["places"], DECIMALS)
    parts = {name: row[f"{name}_sum"] for name in ("balance", "locked_balance", "pending_balance")}
    return {
        "coin": row["coin"],
        "wallets": row["wallets"],
        **{name: show_amount(amount, places) for name, amount in parts.items()},
        "total": show_amount(sum(parts.values()), places),
    }
