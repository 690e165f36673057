"""Transfers from wallet to wallet."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from dj_wallet.abstract_models import AbstractTransfer, AbstractWallet
from dj_wallet.holders import with_wallets
from dj_wallet.ledger.engine import Kind
from dj_wallet.models import Transfer

from .movements import Request, move

if TYPE_CHECKING:
    from dj_wallet.mixins import WalletMixin


class TransferService:
    """Moves value between holders. Every method is atomic and joins the caller's transaction."""

    @classmethod
    def transfer(
        cls,
        from_holder: "WalletMixin",
        to_holder: "WalletMixin",
        amount: Any,
        meta: Mapping[str, Any] | None = None,
        status: str | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Transfer:
        """Move from the default wallet of one holder to that of another; see `transfer_between`."""
        return with_wallets(
            lambda from_wallet, to_wallet: cls.transfer_between(
                from_wallet, to_wallet, amount, meta, status, idempotency_key=idempotency_key
            ),
            from_holder,
            to_holder,
        )

    @classmethod
    def transfer_between(
        cls,
        from_wallet: AbstractWallet,
        to_wallet: AbstractWallet,
        amount: Any,
        meta: Mapping[str, Any] | None = None,
        status: str | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Transfer:
        """Move from one wallet to another of the same asset: one journal entry, two transactions, one transfer.

        :raises AmountInvalid: not a positive amount of the asset
        :raises AssetMismatch: the wallets count different things
        :raises WalletFrozen: one of them is frozen
        :raises InsufficientFunds: the first holds less
        :raises IdempotencyConflict: the key was used for something else
        """
        request = build_transfer_request(
            from_wallet, to_wallet, amount, meta, status, idempotency_key
        )
        return cast(Transfer, move(request, sender=cls))


def build_transfer_request(
    from_wallet: AbstractWallet,
    to_wallet: AbstractWallet,
    amount: Any,
    meta: Mapping[str, Any] | None = None,
    status: str | None = None,
    idempotency_key: str | None = None,
) -> Request:
    """Return the request of a transfer; its two records say in `meta["action"]` which side they are."""
    return Request(
        Kind.TRANSFER,
        from_wallet,
        to_wallet,
        amount,
        meta,
        idempotency_key,
        transfer_status=status or AbstractTransfer.STATUS_TRANSFER,
        source_meta={"action": "transfer_send"},
        destination_meta={"action": "transfer_receive"},
    )
