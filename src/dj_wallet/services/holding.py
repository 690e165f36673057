"""The wallets of many holders at once."""

from collections.abc import Sequence
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import models

from dj_wallet.abstract_models import DEFAULT_SLUG, AbstractWallet
from dj_wallet.holders import forget_wallets, recall_wallet, remember_wallet, with_wallets
from dj_wallet.utils import get_wallet_model


def find_wallets(things: Sequence[Any], *, are_remembered: bool = False) -> list[Any]:
    """Return the wallet of each: itself, or the holder's default one, created if necessary. One object for each wallet.

    One query for the holders of a model, and one more for a holder without any wallet.

    :param are_remembered: do not ask for a wallet that its holder remembers; it may have been rolled back since
    """
    given = {id(one): one for one in things}
    holders = {at: one for at, one in given.items() if not isinstance(one, AbstractWallet)}
    if not are_remembered:
        for holder in holders.values():
            forget_wallets(holder)
    default = find_default_wallets(list(holders.values()))
    same: dict[Any, Any] = {}
    found: dict[int, Any] = {}
    for at, one in given.items():
        wallet = default.get(at, one)
        found[at] = same.setdefault(wallet.pk, wallet)
    return [found[id(one)] for one in things]


def find_default_wallets(holders: Sequence[Any]) -> dict[int, Any]:
    """Return the default wallets of these holders by the identity of the holder, with one query per model.

    The wallet that a holder remembers is not asked for again.
    """
    found: dict[int, Any] = {}
    by_type: dict[type, list[Any]] = {}
    for holder in holders:
        if (wallet := recall_wallet(holder, DEFAULT_SLUG)) is not None:
            found[id(holder)] = wallet
        else:
            by_type.setdefault(type(holder), []).append(holder)
    for model, alike in by_type.items():
        if len(alike) > 1 and issubclass(model, models.Model):
            found |= _find_wallets_of(alike)
        for holder in alike:
            if id(holder) not in found:
                found[id(holder)] = with_wallets(lambda wallet: wallet, holder)
    return found


def _find_wallets_of(holders: Sequence[models.Model]) -> dict[int, Any]:
    wallets = get_wallet_model()._default_manager.filter(
        holder_type=ContentType.objects.get_for_model(holders[0]),
        holder_id__in=[holder.pk for holder in holders],
        slug=DEFAULT_SLUG,
    )
    by_key = {wallet.holder_id: wallet for wallet in wallets}
    found = {id(holder): by_key[holder.pk] for holder in holders if holder.pk in by_key}
    for holder in holders:
        if id(holder) in found:
            remember_wallet(holder, found[id(holder)])
    return found
