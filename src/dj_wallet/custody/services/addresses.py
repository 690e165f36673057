"""Addresses: one current address for each wallet and network, derived from the public account key. No node is asked."""

from django.db import transaction

from dj_wallet.custody.chain.addresses import get_script
from dj_wallet.custody.chain.keys import CHANGE_CHAIN, DEPOSIT_CHAIN
from dj_wallet.custody.models import Address, Chain, KeyAccount
from dj_wallet.custody.served import Served, get_served
from dj_wallet.ledger.errors import AssetMismatch
from dj_wallet.models import Wallet

from .chains import ensure_chain, lock_key_account


def get_deposit_address(*, wallet: Wallet, network: str) -> Address:
    """Return the wallet's current address, made if it has none. The same one until it is rotated.

    :raises NetworkNotServed: the network is not configured
    :raises AssetMismatch: the wallet counts something else than the network's coin
    """
    served, chain = get_served(network), ensure_chain(network)
    check_asset(wallet, served)
    return _find_current(wallet, chain) or _issue(wallet, chain, served, replace=False)


def rotate_deposit_address(*, wallet: Wallet, network: str) -> Address:
    """Give the wallet a new current address and return it. The old ones are watched for ever.

    :raises NetworkNotServed: the network is not configured
    :raises AssetMismatch: the wallet counts something else than the network's coin
    """
    served, chain = get_served(network), ensure_chain(network)
    check_asset(wallet, served)
    return _issue(wallet, chain, served, replace=True)


def derive_change(chain: Chain, served: Served, key_account: KeyAccount) -> Address:
    """Return a new address for our own change; `key_account` is locked by the caller."""
    return _derive(chain, served, key_account, Address.Purpose.CHANGE, None)


def _issue(wallet: Wallet, chain: Chain, served: Served, *, replace: bool) -> Address:
    with transaction.atomic():
        key_account = lock_key_account(chain, served)
        current = _find_current(wallet, chain)
        if current is not None and not replace:
            return current
        Address.objects.filter(chain=chain, wallet=wallet, is_current=True).update(is_current=False)
        return _derive(chain, served, key_account, Address.Purpose.DEPOSIT, wallet)


def _derive(
    chain: Chain,
    served: Served,
    key_account: KeyAccount,
    purpose: Address.Purpose,
    wallet: Wallet | None,
) -> Address:
    """Take the next key of the branch. The row's lock, not a maximum, is what makes each index one address."""
    is_deposit = purpose == Address.Purpose.DEPOSIT
    column = "next_deposit_index" if is_deposit else "next_change_index"
    branch = DEPOSIT_CHAIN if is_deposit else CHANGE_CHAIN
    index = getattr(key_account, column)
    address = served.get_account(key_account.identifier).get_address(branch, index)
    setattr(key_account, column, index + 1)
    key_account.save(update_fields=[column])
    return Address.objects.create(
        chain=chain,
        key_account=key_account,
        purpose=purpose,
        derivation_index=index,
        address=address,
        script=get_script(address, served.network).hex(),
        wallet=wallet,
        is_current=is_deposit,
    )


def _find_current(wallet: Wallet, chain: Chain) -> Address | None:
    return Address.objects.filter(chain=chain, wallet=wallet, is_current=True).first()


def check_asset(wallet: Wallet, served: Served) -> None:
    """:raises AssetMismatch: the wallet counts something else than the network's coin"""
    if wallet.asset_id != served.network.asset:
        raise AssetMismatch(f"The wallet counts {wallet.asset_id}, not {served.network.asset}.")
