"""Transfers from wallet to wallet, gifts of money, and refunds."""

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from dj_wallet.abstract_models import AbstractTransfer, AbstractWallet
from dj_wallet.holders import with_wallets
from dj_wallet.ledger.engine import Entry, Kind, Movement
from dj_wallet.ledger.errors import AssetMismatch, MovementInvalid
from dj_wallet.ledger.money import parse_amount
from dj_wallet.models import Transfer
from dj_wallet.utils import get_transfer_model, get_wallet_service

from .at_once import RECEIVED, SENT
from .movements import (
    Request,
    build_transaction,
    build_transfer,
    find_alias,
    is_customised,
    lock_wallets,
    move,
    post_records,
    refuse_other_use,
    run_undoing,
    take_part,
)
from .refunds import refund_transfer

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
        if is_customised(get_wallet_service(), "deposit", "withdraw"):
            return _transfer_by_service(request, from_wallet, to_wallet, sender=cls)
        return cast(Transfer, move(request, sender=cls))

    @classmethod
    def refund(
        cls,
        transfer: Transfer,
        reason: str = "",
        *,
        amount: Any = None,
        idempotency_key: str | None = None,
    ) -> Transfer:
        """Give back what is left of a transfer, or an amount of it; return the transfer that does.

        A payment for a product is given back by the rule of its fee. An exchange is given back whole, at its rate.

        :raises TransactionAlreadyProcessed: nothing is left to give back
        :raises RefundTooLarge: less is left
        :raises InsufficientFunds: the receiver does not hold it any more
        :raises WalletFrozen: a wallet is frozen
        :raises IdempotencyConflict: the key was used for something else
        """
        return refund_transfer(
            transfer, amount=amount, reason=reason, idempotency_key=idempotency_key, sender=cls
        )

    @classmethod
    def gift(
        cls,
        from_holder: "WalletMixin",
        to_holder: "WalletMixin",
        amount: Any,
        meta: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Transfer:
        """Give money away: a transfer of status `gift`, whose records say so in `meta["action"]`."""
        options = {} if idempotency_key is None else {"idempotency_key": idempotency_key}
        return cls.transfer(
            from_holder,
            to_holder,
            amount,
            {**(meta or {}), "action": "gift"},
            AbstractTransfer.STATUS_GIFT,
            **options,
        )


def build_transfer_request(
    from_wallet: AbstractWallet,
    to_wallet: AbstractWallet,
    amount: Any,
    meta: Mapping[str, Any] | None = None,
    status: str | None = None,
    idempotency_key: str | None = None,
) -> Request:
    """Return the request of a transfer; its two records say in `meta["action"]` which side they are."""
    is_gift = status == AbstractTransfer.STATUS_GIFT
    return Request(
        Kind.TRANSFER,
        from_wallet,
        to_wallet,
        amount,
        meta,
        idempotency_key,
        transfer_status=status or AbstractTransfer.STATUS_TRANSFER,
        source_meta={} if is_gift else SENT,
        destination_meta={} if is_gift else RECEIVED,
    )


def _transfer_by_service(
    request: Request, from_wallet: AbstractWallet, to_wallet: AbstractWallet, *, sender: type
) -> Transfer:
    """Transfer by the deposits and withdrawals of a wallet service of the user's."""
    using = find_alias([request])
    amount = parse_amount(request.amount, from_wallet.decimal_places)
    entry = Entry(
        request.kind, (Movement(from_wallet.pk, to_wallet.pk, amount, from_wallet.asset_id),)
    )
    if from_wallet.asset_id != to_wallet.asset_id:
        raise AssetMismatch(f"{to_wallet} counts {to_wallet.asset_id}, not {from_wallet.asset_id}.")
    if from_wallet.pk == to_wallet.pk:
        raise MovementInvalid("A movement must not lead to where it started.")

    entry = take_part(entry, from_wallet)

    def transfer() -> Transfer:
        lock_wallets([from_wallet, to_wallet], using)
        if found := _find_replayed(request, amount, using):
            return found
        meta = request.meta or {}
        withdraw = build_transaction(
            from_wallet, "withdraw", amount, meta={**meta, **request.source_meta}
        )
        deposit = build_transaction(
            to_wallet, "deposit", amount, meta={**meta, **request.destination_meta}
        )
        made = build_transfer(
            withdraw,
            deposit,
            status=request.transfer_status,
            idempotency_key=request.idempotency_key,
        )
        post_records(entry, [withdraw, deposit], [made], sender=sender, using=using)
        return made

    return run_undoing(transfer, sender=sender, using=using)


def _find_replayed(request: Request, amount: Decimal, using: str) -> Transfer | None:
    key = request.idempotency_key
    if key is None:
        return None
    transfers = get_transfer_model()._default_manager.using(using)
    found = transfers.select_related("withdraw", "deposit").filter(idempotency_key=key).first()
    if found is None:
        return None
    content = found.withdraw.wallet_id, found.deposit.wallet_id, found.withdraw.amount
    if content != (*(wallet.pk for wallet in request.wallets), amount):
        raise refuse_other_use(key)
    found.replayed = True
    return found
