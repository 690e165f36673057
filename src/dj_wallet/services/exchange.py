"""Exchanges between two wallets of one holder."""

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING, Any, Final, cast

from dj_wallet.abstract_models import AbstractTransfer, AbstractWallet
from dj_wallet.ledger.engine import Entry, Kind, Movement
from dj_wallet.ledger.errors import AmountInvalid, MovementInvalid
from dj_wallet.ledger.money import parse_amount, read_number
from dj_wallet.ledger.post import start_writing
from dj_wallet.models import Transaction
from dj_wallet.pricing import convert
from dj_wallet.utils import get_transfer_model

from .movements import (
    build_transaction,
    build_transfer,
    find_alias_of,
    lock_wallets,
    post_records,
    refuse_other_use,
    run_undoing,
)
from .refunds import TRADING

if TYPE_CHECKING:
    from dj_wallet.mixins import WalletMixin

DEFAULT_RATE: Final = Decimal("1.0")


class ExchangeService:
    """Turns value of one wallet into that of another, through the system account `trading` of both assets."""

    @classmethod
    def exchange(
        cls,
        holder: "WalletMixin",
        from_slug: str,
        to_slug: str,
        amount: Any,
        rate: Any = None,
        *,
        rounding: str = ROUND_DOWN,
        meta: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Transaction:
        """Exchange between two wallets of the holder, created if necessary; return the deposit. See `exchange_between`."""
        if from_slug == to_slug:
            raise MovementInvalid("A wallet is not exchanged with itself.")
        return cls.exchange_between(
            holder.get_wallet(from_slug),
            holder.get_wallet(to_slug),
            amount,
            rate,
            rounding=rounding,
            meta=meta,
            idempotency_key=idempotency_key,
        )

    @classmethod
    def exchange_between(
        cls,
        from_wallet: AbstractWallet,
        to_wallet: AbstractWallet,
        amount: Any,
        rate: Any = None,
        *,
        rounding: str = ROUND_DOWN,
        meta: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Transaction:
        """Take `amount` from one wallet and put `amount * rate` into the other: one journal entry. Return the deposit.

        The rate stands in the meta of both records, and how the product was rounded if it had to be.

        :param rate: units of the second asset for one of the first, 1 if not given
        :param rounding: how excess digits are rounded, a constant of `decimal`
        :raises AmountInvalid: the amount or the rate is not a positive number, or nothing is left after rounding
        :raises MovementInvalid: both are the same wallet
        :raises InsufficientFunds: the first wallet holds less
        :raises WalletFrozen: one of them is frozen
        :raises IdempotencyConflict: the key was used for something else
        """
        if from_wallet.pk == to_wallet.pk:
            raise MovementInvalid("A wallet is not exchanged with itself.")
        rate = DEFAULT_RATE if rate is None else rate
        paid = parse_amount(amount, from_wallet.decimal_places)
        received, notes = _convert(paid, rate, to_wallet.decimal_places, rounding)
        using = find_alias_of(from_wallet)
        described = {**(meta or {}), "exchange_rate": str(rate), **notes}

        def exchange() -> Transaction:
            if idempotency_key is not None:
                # Callers with the same key wait for each other.
                lock_wallets([from_wallet, to_wallet], using)
            start_writing(using)
            if found := _find_replayed(
                from_wallet, to_wallet, paid, str(rate), idempotency_key, using
            ):
                return found
            withdraw = build_transaction(
                from_wallet, "withdraw", paid, meta={**described, "target": to_wallet.slug}
            )
            deposit = build_transaction(
                to_wallet, "deposit", received, meta={**described, "source": from_wallet.slug}
            )
            transfer = build_transfer(
                withdraw,
                deposit,
                status=AbstractTransfer.STATUS_EXCHANGE,
                idempotency_key=idempotency_key,
            )
            movements = (
                Movement(from_wallet.pk, TRADING, paid, from_wallet.asset_id),
                Movement(TRADING, to_wallet.pk, received, to_wallet.asset_id),
            )
            entry = Entry(Kind.EXCHANGE, movements, idempotency_key)
            post_records(entry, [withdraw, deposit], [transfer], sender=cls, using=using)
            return cast(Transaction, transfer.deposit)

        return run_undoing(exchange, sender=cls, using=using)


def _convert(
    amount: Decimal, rate: Any, decimal_places: int, rounding: str
) -> tuple[Decimal, dict[str, str]]:
    number = read_number(rate)
    if number <= 0:
        raise AmountInvalid(f"The rate must be greater than zero, not {rate}.")
    received = convert(amount, number, decimal_places, rounding)
    if received <= 0:
        raise AmountInvalid(f"{amount} at the rate {rate} is less than the smallest unit.")
    is_exact = convert(amount, number, decimal_places, "ROUND_UP") == convert(
        amount, number, decimal_places, "ROUND_DOWN"
    )
    return received, {} if is_exact else {"exchange_rounding": rounding}


def _find_replayed(
    from_wallet: AbstractWallet,
    to_wallet: AbstractWallet,
    paid: Decimal,
    rate: str,
    idempotency_key: str | None,
    using: str,
) -> Transaction | None:
    if idempotency_key is None:
        return None
    transfers = get_transfer_model()._default_manager.using(using)
    found = (
        transfers.select_related("withdraw", "deposit__wallet")
        .filter(idempotency_key=idempotency_key)
        .first()
    )
    if found is None:
        return None
    content = (
        found.withdraw.wallet_id,
        found.deposit.wallet_id,
        found.withdraw.amount,
        (found.deposit.meta or {}).get("exchange_rate"),
    )
    if content != (from_wallet.pk, to_wallet.pk, paid, rate):
        raise refuse_other_use(idempotency_key)
    deposit = cast(Transaction, found.deposit)
    deposit.replayed = True
    return deposit
