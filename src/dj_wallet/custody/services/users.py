"""Seed 001's names, by the id of a user."""

from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model

from dj_wallet.custody.models import Address
from dj_wallet.custody.served import get_served_asset, list_served
from dj_wallet.ledger.errors import AssetMismatch
from dj_wallet.models import Wallet

from .addresses import get_deposit_address
from .chains import ensure_chain


def get_or_create_wallet(user_id: UUID, *, asset: str | None = None) -> Wallet:
    """Return the user's wallet of a coin, or of the first coin served; opened if there is none.

    :raises NetworkNotServed: no network of the coin is served
    """
    user = get_user_model()._default_manager.get(pk=user_id)
    return get_or_create_coin_wallet(user=user, asset=get_served_asset(asset).network.asset)


def generate_deposit_address(user_id: UUID, *, asset: str | None = None) -> Address:
    """Return the current deposit address of the user, derived if there is none.

    :raises NetworkNotServed: no network of the coin is served
    """
    network = get_served_asset(asset).network
    wallet = get_or_create_wallet(user_id, asset=network.asset)
    return get_deposit_address(wallet=wallet, network=network.name)


def get_or_create_coin_wallet(*, user: Any, asset: str) -> Wallet:
    """Return a user's wallet of a coin: the one whose slug is the coin's code in small letters.

    :raises AssetMismatch: the user has given this slug to a wallet of something else
    """
    ensure_chain(get_served_asset(asset).network.name)
    wallet = Wallet.objects.get_or_create_wallet(user, asset.lower(), asset_id=asset)[0]
    if wallet.asset_id != asset:
        raise AssetMismatch(f"The wallet {wallet.slug!r} counts {wallet.asset_id}, not {asset}.")
    return wallet


def open_served_wallet(*, user_id: UUID, asset: str) -> None:
    """Open the user's wallet of a coin that is served, so that the user can be paid; nothing for who does not exist."""
    user = get_user_model()._default_manager.filter(pk=user_id).first()
    if user is not None and asset in {served.network.asset for served in list_served()}:
        get_or_create_coin_wallet(user=user, asset=asset)
