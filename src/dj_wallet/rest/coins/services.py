"""Writes of coin wallets that the library does not have."""

from collections.abc import Mapping
from typing import Any, Final

from django.db import IntegrityError, transaction

from dj_wallet import signals
from dj_wallet.custody.errors import NetworkNotServed
from dj_wallet.custody.served import get_served_asset
from dj_wallet.custody.services.addresses import get_deposit_address
from dj_wallet.identity.models import User
from dj_wallet.ledger.errors import WalletFrozen
from dj_wallet.ledger.models import BALANCE_COLUMNS, Asset
from dj_wallet.models import Wallet
from dj_wallet.rest.errors import WalletExists, WalletNotEmpty

from .queries import ARCHIVED

LABEL: Final = "label"


def open_coin_wallet(
    *, user: User, asset: Asset, label: str | None = None, meta: Mapping[str, Any] | None = None
) -> Wallet:
    """Open the user's wallet of a coin, or bring it back from the archive; give it an address if its chain is served.

    :raises WalletExists: the user has it
    """
    kept = build_meta(label, meta or {})
    with transaction.atomic():
        wallet = _restore(user, asset, kept) or _create(user, asset, kept)
        issue_address(wallet)
    return wallet


def change_coin_wallet(wallet: Wallet, changes: Mapping[str, Any]) -> None:
    """Change label and meta, nothing else."""
    meta = dict(wallet.meta or {})
    label = changes["label"] if "label" in changes else meta.get(LABEL)
    rest = changes.get("meta", meta)
    wallet.meta = build_meta(label, rest)
    wallet.save(update_fields=["meta", "updated_at"])


def remove_coin_wallet(wallet: Wallet) -> bool:
    """Delete a wallet that was never used; archive an empty one that was. Tell whether it was deleted.

    :raises WalletNotEmpty: it holds something
    :raises WalletFrozen: an operator has frozen it
    """
    with transaction.atomic():
        locked = Wallet.objects.select_for_update(of=("account_ptr",)).get(pk=wallet.pk)
        if any(getattr(locked, column) for column in BALANCE_COLUMNS.values()):
            raise WalletNotEmpty
        if locked.is_frozen and locked.frozen_reason != ARCHIVED:
            raise WalletFrozen(f"Wallet {locked.uuid} is frozen.")
        if locked.version or locked.deposit_addresses.exists() or locked.transactions.exists():
            locked.freeze(ARCHIVED)
            return False
        locked.delete()
        return True


def issue_address(wallet: Wallet) -> None:
    """Give the wallet a deposit address, derived from our public key, if its coin is on a chain that we serve."""
    try:
        network = get_served_asset(wallet.asset_id).network.name
    except NetworkNotServed:
        return
    get_deposit_address(wallet=wallet, network=network)


def build_meta(label: str | None, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is stored: the label is part of it."""
    rest = {name: value for name, value in meta.items() if name != LABEL}
    return rest if label is None else {**rest, LABEL: label}


def _restore(user: User, asset: Asset, meta: dict[str, Any]) -> Wallet | None:
    archived = Wallet.objects.held_by(user).filter(
        slug=asset.pk.lower(), is_frozen=True, frozen_reason=ARCHIVED
    )
    wallet = archived.select_for_update(of=("account_ptr",)).first()
    if wallet is not None:
        wallet.meta = meta
        wallet.save(update_fields=["meta", "updated_at"])
        wallet.unfreeze()
    return wallet


def _create(user: User, asset: Asset, meta: dict[str, Any]) -> Wallet:
    """:raises WalletExists: the user has a wallet of the coin"""
    wallet = Wallet(holder=user, slug=asset.pk.lower(), asset=asset, meta=meta)
    try:
        with transaction.atomic():
            wallet.save(force_insert=True)
    except IntegrityError:
        raise WalletExists from None
    signals.announce(
        signals.wallet_created, Wallet, using=wallet._state.db, wallet=wallet, holder=user
    )
    return wallet
