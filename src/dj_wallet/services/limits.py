"""Limits of a wallet: set, and read with what they leave."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from django.utils import timezone

from dj_wallet.abstract_models import AbstractWallet
from dj_wallet.ledger.errors import AccountNotFound, AmountInvalid, MovementInvalid
from dj_wallet.ledger.limits import Limits, compute_left
from dj_wallet.ledger.models import Account
from dj_wallet.ledger.money import ZERO, read_number, to_scale
from dj_wallet.ledger.post import run_in_transaction
from dj_wallet.ledger.store.rules import LIMITS, count_spent, find_period, read_limits
from dj_wallet.models import Lot, WalletLimits

from .movements import find_alias_of, lock_wallets

# The value of a limit that is left as it is.
UNCHANGED: Final[Any] = object()
MAX_REASON_LENGTH: Final = 255


class LimitStatus(NamedTuple):
    """The limits of a wallet, None for none, and what they leave now. An `overdraft_limit` of None is without limit."""

    overdraft_limit: Decimal | None
    minimum_balance: Decimal | None
    per_transaction: Decimal | None
    per_day: Decimal | None
    per_month: Decimal | None
    spent_today: Decimal
    spent_this_month: Decimal
    left_today: Decimal | None
    left_this_month: Decimal | None
    day_renews_at: datetime | None
    month_renews_at: datetime | None


def set_limits(
    *,
    wallet: AbstractWallet,
    overdraft_limit: Any = UNCHANGED,
    minimum_balance: Any = UNCHANGED,
    per_transaction: Any = UNCHANGED,
    per_day: Any = UNCHANGED,
    per_month: Any = UNCHANGED,
    reason: str = "",
    operator: str = "",
) -> LimitStatus:
    """Set the named limits of a wallet, None to lift one, and return all of them. Joins the caller's transaction.

    They hold for every movement that is decided after this is committed. What left the wallet earlier in the day and
    month counts. Nothing that happened before is undone: a wallet may be above a new limit, and then nothing leaves it.

    :param overdraft_limit: how far below zero the available balance may go; None for any depth
    :raises AmountInvalid: not a number of the wallet's asset, or below zero
    :raises MovementInvalid: the reason or the operator has more than 255 characters
    :raises AccountNotFound: the wallet does not exist (any more)
    """
    given = {
        "minimum_balance": minimum_balance,
        "per_transaction": per_transaction,
        "per_day": per_day,
        "per_month": per_month,
    }
    values = {
        name: _read_limit(value, wallet) for name, value in given.items() if value is not UNCHANGED
    }
    if overdraft_limit is not UNCHANGED:
        values["overdraft_limit"] = _read_limit(overdraft_limit, wallet)
    if len(reason) > MAX_REASON_LENGTH or len(operator) > MAX_REASON_LENGTH:
        raise MovementInvalid(f"A reason has at most {MAX_REASON_LENGTH} characters.")
    using = find_alias_of(wallet)

    def write() -> LimitStatus:
        lock_wallets([wallet], using)
        return _write(wallet, values, {"reason": reason, "operator": operator}, using)

    return run_in_transaction(write, using=using)


def get_limits(*, wallet: AbstractWallet) -> LimitStatus:
    """Return the limits of the wallet and what they leave at this moment."""
    using = find_alias_of(wallet)
    row = WalletLimits.objects.using(using).filter(account=wallet.pk).first()
    overdraft = Account.objects.using(using).filter(pk=wallet.pk)
    depth = overdraft.values_list("overdraft_limit", flat=True).first()
    return _describe(depth, None if row is None else read_limits(row, timezone.now()))


def _read_limit(value: Any, wallet: AbstractWallet) -> Decimal | None:
    if value is None:
        return None
    number = read_number(value)
    if number < 0:
        raise AmountInvalid(f"A limit is not below zero: {number}.")
    return to_scale(number, wallet.decimal_places)


def _write(
    wallet: AbstractWallet,
    values: dict[str, Decimal | None],
    why: dict[str, str],
    using: str,
) -> LimitStatus:
    account = Account.objects.using(using).filter(pk=wallet.pk).first()
    if account is None:
        raise AccountNotFound("There is no such wallet.")
    overdraft = values.pop("overdraft_limit", account.overdraft_limit)
    row = WalletLimits.objects.using(using).filter(account=wallet.pk).first()
    if row is None:
        row = _start_counting(wallet, using)
    for name, value in {**values, **why}.items():
        setattr(row, name, value)
    is_limited = any(getattr(row, name) is not None for name in LIMITS)
    if is_limited:
        row.save(using=using)
    elif not row._state.adding:
        row.delete(using=using)
    has_rules = is_limited or Lot.objects.using(using).filter(account=wallet.pk).exists()
    # Also where nothing changes: who decides with an older view of the limits has to look again.
    Account.objects.using(using).filter(pk=wallet.pk).update(
        overdraft_limit=overdraft, has_rules=has_rules
    )
    wallet.overdraft_limit, wallet.has_rules = overdraft, has_rules
    return _describe(overdraft, read_limits(row, timezone.now()) if is_limited else None)


def _start_counting(wallet: AbstractWallet, using: str) -> WalletLimits:
    now = timezone.now()
    spent_today, spent_this_month = count_spent(wallet.pk, now, using)
    return WalletLimits(
        account_id=wallet.pk,
        spent_today=spent_today,
        spent_this_month=spent_this_month,
        counted_on=find_period(now).today,
    )


def _describe(overdraft: Decimal | None, limits: Limits | None) -> LimitStatus:
    known = Limits() if limits is None else limits
    return LimitStatus(
        overdraft,
        known.minimum_balance,
        known.per_transaction,
        known.per_day,
        known.per_month,
        known.spent_today or ZERO,
        known.spent_this_month or ZERO,
        compute_left(known.per_day, known.spent_today),
        compute_left(known.per_month, known.spent_this_month),
        known.day_ends_at,
        known.month_ends_at,
    )
