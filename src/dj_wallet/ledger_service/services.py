"""Writes of the ledger service that the library does not have."""

from dj_wallet import signals
from dj_wallet.ledger.models import Asset
from dj_wallet.models import Wallet

from .models import Owner


def open_account(*, external_owner_id: str, asset: Asset) -> tuple[Wallet, bool]:
    """Return the owner's account of the asset, and whether it was opened just now.

    Idempotent: asked for by many at once, it is opened once.
    """
    owner, _ = Owner.objects.get_or_create(external_id=external_owner_id)
    account, is_new = Wallet.objects.get_or_create_wallet(owner, asset.pk, asset=asset)
    if is_new:
        signals.announce(
            signals.wallet_created, Wallet, using=account._state.db, wallet=account, holder=owner
        )
    return account, is_new
