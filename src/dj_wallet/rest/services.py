"""The writes that the interface adds to those of the library: opening wallets, and movements many at a time."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from uuid import UUID, uuid5

from django.db import (
    DEFAULT_DB_ALIAS,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connections,
    transaction,
)

from dj_wallet import signals
from dj_wallet.conf import wallet_settings
from dj_wallet.identity.models import User
from dj_wallet.ledger.accounts import ensure_asset
from dj_wallet.ledger.errors import OutcomeUnknown
from dj_wallet.ledger.group import GroupCommitter
from dj_wallet.models import Asset, Transfer, Wallet
from dj_wallet.services.movements import Record, Request, move, move_many, refuse_other_use
from dj_wallet.services.transfer import TransferService

from .errors import AssetNotFound, WalletExists

# Idempotency keys of wallets: the wallet of a key has the UUID that this namespace gives it.
WALLET_KEYS: Final = UUID("6f8a2a8e-7c1c-4f0c-9c39-2f6b7f0c9d51")

Outcome = Record | Exception


def open_wallet(
    *,
    user: User,
    slug: str | None = None,
    asset: str | None = None,
    meta: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> tuple[Wallet, bool]:
    """Create an empty wallet of the user; return it and whether it is that of an earlier call with the same key.

    :raises AssetNotFound: there is no asset of this code
    :raises WalletExists: the user has a wallet of this slug
    :raises IdempotencyConflict: the key was used for another wallet
    """
    wallet = Wallet(
        holder=user,
        slug=slug or f"wallet-{secrets.token_hex(8)}",
        asset=get_asset(asset),
        meta=dict(meta or {}),
    )
    if idempotency_key is not None:
        wallet.uuid = uuid5(WALLET_KEYS, idempotency_key)
    try:
        with transaction.atomic():
            wallet.save(force_insert=True)
            signals.announce(
                signals.wallet_created, Wallet, using=wallet._state.db, wallet=wallet, holder=user
            )
    except IntegrityError:
        return _find_opened(wallet, slug, idempotency_key), True
    return wallet, False


def transfer(request: Request) -> Transfer:
    """Move money from wallet to wallet in a commit shared with the concurrent callers of this process.

    :raises WalletException: refused, nothing moved
    """
    if connections[DEFAULT_DB_ALIAS].in_atomic_block:
        return cast(Transfer, move(request, sender=TransferService))
    outcome = _committer.submit(request)
    if isinstance(outcome, Exception):
        raise outcome
    return cast(Transfer, outcome)


def move_each(requests: Sequence[Request]) -> list[Outcome]:
    """Move the money of each request in one commit; return its record or why not, in order.

    If the batch as a whole breaks on one of them (a receiver of our signals may raise anything), each is moved on its
    own: nobody fails because of a neighbour.

    :raises OutcomeUnknown: the database did not confirm the commit
    """
    if len(requests) == 1:
        return [_move_alone(requests[0])]
    try:
        return list(move_many(requests, sender=TransferService))
    except (OutcomeUnknown, OperationalError, InterfaceError):
        raise
    except Exception:  # noqa: BLE001 - each request meets its own error again, alone
        return [_move_alone(request) for request in requests]


def _move_alone(request: Request) -> Outcome:
    try:
        return move(request, sender=TransferService)
    except Exception as error:  # noqa: BLE001 - raised again in the thread it belongs to
        return error


_committer: Final = GroupCommitter[Request, Outcome](move_each)


def get_asset(code: str | None) -> Asset:
    """Return the asset of this code, or the service's default without one.

    :raises AssetNotFound: there is none
    """
    default: str = wallet_settings.DEFAULT_CURRENCY
    if code is None or code == default:
        return ensure_asset(default, decimal_places=wallet_settings.MATH_SCALE)
    asset = Asset.objects.filter(pk=code).first()
    if asset is None:
        raise AssetNotFound
    return asset


def _find_opened(wallet: Wallet, slug: str | None, idempotency_key: str | None) -> Wallet:
    """Return the wallet that took the place of this one if it was opened by the same request.

    :raises WalletExists: another request took the slug
    :raises IdempotencyConflict: the key was used for another wallet
    """
    opened = Wallet.objects.filter(uuid=wallet.uuid).first()
    if opened is None:
        raise WalletExists
    if (slug or opened.slug, wallet.asset_id, wallet.meta) != (
        opened.slug,
        opened.asset_id,
        opened.meta,
    ):
        raise refuse_other_use(idempotency_key)
    return opened
