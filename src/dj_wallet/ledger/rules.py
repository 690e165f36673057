"""Rules that only some wallets have: limits and lots. The row of the account says whether there are any."""

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from .limits import Limits, apply_limits
from .lots import Balances, Lots, apply_lots

if TYPE_CHECKING:
    from .engine import Entry


class Rules(NamedTuple):
    """What the rules of one wallet know of it, read while it is locked."""

    limits: Limits | None = None
    lots: Lots | None = None

    @property
    def new_uses(self) -> tuple[int, ...]:
        """The ids of uses of lots that are not written yet."""
        return () if self.lots is None else tuple(use.id for use in self.lots.uses if use.id < 0)


def apply_rules(
    rules: Rules, entry: "Entry", account_id: int, before: Balances, available: Decimal
) -> Rules:
    """Return the rules after the entry.

    :param before: the balances before the entry
    :param available: the available balance after it
    :raises InsufficientFunds: what the wallet holds may not be used for this
    :raises LimitExceeded: too much would leave the wallet
    """
    lots, limits = rules.lots, rules.limits
    if lots is not None:
        lots = apply_lots(lots, entry, account_id, before)
    if limits is not None:
        limits = apply_limits(limits, entry, account_id, available)
    return Rules(limits, lots)
