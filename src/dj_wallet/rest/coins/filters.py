"""What a list of coin wallets can be narrowed to."""

from django.db.models import Q
from rest_framework.request import Request
from rest_framework.serializers import BooleanField

from dj_wallet.ledger.accounts import MAX_ASSET_CODE_LENGTH
from dj_wallet.rest.fields import StrictSerializer, TextField

from .queries import ARCHIVED

PAGING = ("cursor", "limit")


class CoinWalletFilter(StrictSerializer):
    """The parameters of the list."""

    coin = TextField(max_length=MAX_ASSET_CODE_LENGTH, required=False)
    with_balance = BooleanField(required=False)
    with_locked = BooleanField(required=False)
    archived = BooleanField(default=False)


def find_filters(request: Request) -> Q:
    """Return the condition that the request's parameters name.

    :raises ValidationError: one is unknown or makes no sense
    """
    given = {name: value for name, value in request.query_params.items() if name not in PAGING}
    asked = CoinWalletFilter(data=given)
    asked.is_valid(raise_exception=True)
    wanted = asked.validated_data
    put_away = Q(is_frozen=True, frozen_reason=ARCHIVED)
    condition = put_away if wanted["archived"] else ~put_away
    if "coin" in wanted:
        condition &= Q(asset_id=wanted["coin"])
    for name, column in (("with_balance", "balance"), ("with_locked", "locked_balance")):
        if name in wanted:
            has = Q(**{f"{column}__gt": 0})
            condition &= has if wanted[name] else ~has
    return condition
