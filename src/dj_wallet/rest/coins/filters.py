"""What a list of coin wallets can be narrowed to."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Q
from rest_framework.request import Request
from rest_framework.serializers import BooleanField

from dj_wallet.ledger.accounts import MAX_ASSET_CODE_LENGTH
from dj_wallet.models import Wallet
from dj_wallet.rest.fields import StrictSerializer, TextField

from .queries import ARCHIVED

PAGING = ("cursor", "limit")


class CoinWalletFilter(StrictSerializer):
    """The parameters of the list."""

    coin = TextField(max_length=MAX_ASSET_CODE_LENGTH, required=False)
    with_balance = BooleanField(required=False)
    with_locked = BooleanField(required=False)
    archived = BooleanField(default=False)


def read_filters(request: Request) -> dict[str, Any]:
    """Return what the request's parameters ask for.

    :raises ValidationError: one is unknown or makes no sense
    """
    given = {name: value for name, value in request.query_params.items() if name not in PAGING}
    asked = CoinWalletFilter(data=given)
    asked.is_valid(raise_exception=True)
    wanted: dict[str, Any] = asked.validated_data
    return wanted


def build_condition(wanted: Mapping[str, Any]) -> Q:
    """Return the condition that picks what is asked for."""
    put_away = Q(is_frozen=True, frozen_reason=ARCHIVED)
    condition = put_away if wanted["archived"] else ~put_away
    if "coin" in wanted:
        condition &= Q(asset_id=wanted["coin"])
    for name, column in (("with_balance", "balance"), ("with_locked", "locked_balance")):
        if name in wanted:
            has = Q(**{f"{column}__gt": 0})
            condition &= has if wanted[name] else ~has
    return condition


def describe(wallet: Wallet) -> dict[str, Any]:
    """Return what a wallet can be picked by; see `is_wanted`."""
    return {
        "coin": wallet.asset_id,
        "with_balance": wallet.balance > 0,
        "with_locked": wallet.locked_balance > 0,
        "archived": bool(wallet.is_frozen and wallet.frozen_reason == ARCHIVED),
    }


def is_wanted(description: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether what is asked for includes a wallet of this description: as `build_condition` does."""
    return all(description[name] == value for name, value in wanted.items())
