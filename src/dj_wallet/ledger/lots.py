"""Lots: parts of a wallet's available balance that were granted, are spent first, and may expire. No Django, no clock.

What is not in a lot is ordinary money. The lots of a wallet together never exceed its available balance, and the units
that were taken from lots into `locked` or `pending` never exceed what is there: whatever would break that is refused,
or takes from the lots itself.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from .errors import InsufficientFunds
from .money import EXACT, ZERO, trim

if TYPE_CHECKING:
    from .engine import Entry, Movement

AVAILABLE: Final = 0
# What credit that cannot be withdrawn is for: buying, and reserving money in order to buy.
PURCHASE_KINDS: Final = frozenset(
    {"PURCHASE", "FEE_DEBIT", "BID_LOCK", "ESCROW_LOCK", "SALE_CREDIT"}
)

Balances = tuple[Decimal, Decimal, Decimal]


class LotState(NamedTuple):
    """What is left of a grant."""

    id: int
    remaining: Decimal
    is_withdrawable: bool = True
    is_expired: bool = False


class UseState(NamedTuple):
    """Units that an entry took out of a lot.

    `held` of them are still in `bucket` of the same wallet; `returned` ones are no longer this entry's: they are in the
    lot again, or another entry took them on. New ones have a negative id.
    """

    id: int
    lot_id: int
    entry_id: int | None
    amount: Decimal
    returned: Decimal = ZERO
    bucket: int = AVAILABLE
    held: Decimal = ZERO
    reference: tuple[str, str] = ("", "")

    @property
    def spent(self) -> Decimal:
        """What left the wallet and has not come back."""
        return EXACT.subtract(EXACT.subtract(self.amount, self.returned), self.held)


class Lots(NamedTuple):
    """The lots of a wallet in the order in which they are spent, and the uses that an entry may undo, oldest first."""

    lots: tuple[LotState, ...] = ()
    uses: tuple[UseState, ...] = ()


def apply_lots(lots: Lots, entry: "Entry", account_id: int, balances: Balances) -> Lots:
    """Return the lots after the entry.

    :param balances: of the wallet, before the entry
    :raises InsufficientFunds: what the wallet holds is credit that may not be used for this
    """
    book = _Book(lots, entry, balances)
    for movement in entry.movements:
        leaves, arrives = movement.source == account_id, movement.destination == account_id
        if leaves:
            book.move(movement.source_bucket, EXACT.minus(movement.amount))
        if arrives:
            book.move(movement.destination_bucket, movement.amount)
        if leaves and movement.source_bucket == AVAILABLE:
            book.take(movement, movement.destination_bucket if arrives else AVAILABLE)
        elif leaves:
            book.pass_on(movement, stays=arrives)
        elif arrives and movement.destination_bucket == AVAILABLE:
            book.restore(movement.amount)
    return Lots(tuple(book.lots.values()), tuple(book.uses))


class _Book:
    """The lots while an entry is applied."""

    def __init__(self, lots: Lots, entry: "Entry", balances: Balances) -> None:
        self.entry = entry
        self.lots = {lot.id: lot for lot in lots.lots}
        self.uses = list(lots.uses)
        self.balances = list(balances)

    def move(self, bucket: int, change: Decimal) -> None:
        self.balances[bucket] = EXACT.add(self.balances[bucket], change)

    @property
    def room(self) -> Decimal:
        """How much of the available balance is in no lot; below zero if the lots say more than there is."""
        return EXACT.subtract(
            max(ZERO, self.balances[AVAILABLE]), add(lot.remaining for lot in self.lots.values())
        )

    def take(self, movement: "Movement", bucket: int) -> None:
        """Take out of the lots what leaves `available`: as much as they hold, the rest is ordinary money."""
        left = movement.amount
        for lot in [lot for lot in self.lots.values() if self._may_use(lot)]:
            left = EXACT.subtract(left, self._use(lot, left, bucket))
        if self.entry.lot_id is not None and left:
            raise InsufficientFunds(f"The lot holds {trim(left):f} less than {movement.amount:f}.")
        if self.room >= 0:
            return
        if not self.entry.allow_overdraft:
            held = EXACT.add(self.balances[AVAILABLE], movement.amount)
            raise InsufficientFunds(
                f"Insufficient funds. Balance: {trim(held):f}, Required: {movement.amount:f}."
                f" The balance is {trim(EXACT.minus(self.room)):f} short without credit that may not be used for this."
            )
        for lot in list(self.lots.values()):
            self._use(lot, EXACT.minus(self.room), bucket)

    def _may_use(self, lot: LotState) -> bool:
        if self.entry.lot_id is not None:
            return lot.id == self.entry.lot_id
        may_leave = lot.is_withdrawable or self.entry.purpose in PURCHASE_KINDS
        return may_leave and not lot.is_expired

    def _use(self, lot: LotState, wanted: Decimal, bucket: int) -> Decimal:
        part = min(lot.remaining, wanted)
        if part > 0:
            self.lots[lot.id] = lot._replace(remaining=EXACT.subtract(lot.remaining, part))
            self._note(lot.id, part, bucket)
        return max(part, ZERO)

    def _note(self, lot_id: int, amount: Decimal, bucket: int) -> None:
        number = min([0, *(use.id for use in self.uses)]) - 1
        held = ZERO if bucket == AVAILABLE else amount
        reference = self.entry.reference_type, self.entry.reference_id
        self.uses.append(
            UseState(number, lot_id, None, amount, bucket=bucket, held=held, reference=reference)
        )

    def pass_on(self, movement: "Movement", *, stays: bool) -> None:
        """Let units of lots go where money of `locked` or `pending` goes: first those of the same reference."""
        bucket = movement.source_bucket
        held = [at for at, use in enumerate(self.uses) if use.bucket == bucket and use.held > 0]
        own = [at for at in held if self._is_same(self.uses[at])]
        left = movement.amount
        for at in own:
            left = EXACT.subtract(left, self._pass_on(at, left, movement, stays=stays))
        for at in held:
            excess = EXACT.subtract(
                add(self.uses[one].held for one in held), max(ZERO, self.balances[bucket])
            )
            self._pass_on(at, excess, movement, stays=stays)

    def _is_same(self, use: UseState) -> bool:
        return use.reference == (self.entry.reference_type, self.entry.reference_id) != ("", "")

    def _pass_on(self, at: int, wanted: Decimal, movement: "Movement", *, stays: bool) -> Decimal:
        use = self.uses[at]
        part = min(use.held, wanted)
        if part <= 0:
            return ZERO
        if stays and movement.destination_bucket == AVAILABLE:
            self._put_back(at, part, held=part)
        else:
            self.uses[at] = use._replace(
                held=EXACT.subtract(use.held, part), returned=EXACT.add(use.returned, part)
            )
            self._note(use.lot_id, part, movement.destination_bucket if stays else AVAILABLE)
        return part

    def restore(self, amount: Decimal) -> None:
        """Put units that earlier entries spent back into their lots, the last ones first."""
        left = amount
        for at in reversed(range(len(self.uses))):
            use = self.uses[at]
            if use.entry_id is not None and use.entry_id in self.entry.restores:
                part = min(use.spent, left)
                self._put_back(at, part)
                left = EXACT.subtract(left, part)

    def _put_back(self, at: int, amount: Decimal, *, held: Decimal = ZERO) -> None:
        """Return units to their lot, as far as the balance covers them: an overdraft is repaid first."""
        use = self.uses[at]
        covered = max(ZERO, min(amount, self.room))
        lot = self.lots[use.lot_id]
        self.lots[lot.id] = lot._replace(remaining=EXACT.add(lot.remaining, covered))
        self.uses[at] = use._replace(
            held=EXACT.subtract(use.held, held), returned=EXACT.add(use.returned, covered)
        )


def add(numbers: Iterable[Decimal]) -> Decimal:
    """Return the exact sum."""
    total = ZERO
    for number in numbers:
        total = EXACT.add(total, number)
    return total
