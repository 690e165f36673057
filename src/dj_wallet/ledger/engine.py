"""The rules of the ledger: plain functions over immutable values. No Django, no clock, no settings.

`decide` is the only place where a movement of money is accepted or refused. The fast paths of the stores
only prove that nothing in a batch can be refused; whenever they cannot, they write nothing and the batch
comes here.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, Inexact
from enum import IntEnum, StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .errors import (
    AccountNotFound,
    AmountInvalid,
    AssetMismatch,
    IdempotencyConflict,
    InsufficientFunds,
    MovementInvalid,
    WalletException,
    WalletFrozen,
)
from .money import EXACT, MAX_DECIMAL_PLACES, MAX_INTEGER_DIGITS, UNITS, trim
from .rules import Rules, apply_rules

if TYPE_CHECKING:
    from datetime import datetime

MAX_ACCOUNT_ID: Final = 2**63
MAX_KEY_LENGTH: Final = 255
MAX_CODE_LENGTH: Final = 64
MAX_REFERENCE_TYPE_LENGTH: Final = 32
MAX_REFERENCE_ID_LENGTH: Final = 255


class Bucket(IntEnum):
    """The part of an account that a movement takes from or adds to."""

    AVAILABLE = 0
    LOCKED = 1
    PENDING = 2

    @property
    def label(self) -> str:
        return self.name.lower()


class Kind(StrEnum):
    """What business fact an entry records."""

    DEPOSIT = "DEPOSIT"
    WITHDRAWAL = "WITHDRAWAL"
    BID_LOCK = "BID_LOCK"
    BID_UNLOCK = "BID_UNLOCK"
    ESCROW_LOCK = "ESCROW_LOCK"
    SALE_CREDIT = "SALE_CREDIT"
    FEE_DEBIT = "FEE_DEBIT"
    REFUND = "REFUND"
    TRANSFER = "TRANSFER"
    EXCHANGE = "EXCHANGE"
    PURCHASE = "PURCHASE"
    REVERSAL = "REVERSAL"
    ADJUSTMENT = "ADJUSTMENT"
    OPENING = "OPENING"
    EXPIRY = "EXPIRY"


class Movement(NamedTuple):
    """A posting that is asked for: `amount` of `asset` goes from source to destination.

    A place is a wallet's account id, or the code of a system account of the asset such as "external:bank".
    """

    source: int | str
    destination: int | str
    amount: Decimal
    asset: str
    source_bucket: Bucket = Bucket.AVAILABLE
    destination_bucket: Bucket = Bucket.AVAILABLE


class Entry(NamedTuple):
    """A journal entry that is asked for: one business fact, all its movements or none.

    `allow_overdraft` lets a source go below its limit (force_withdraw); `allow_frozen` lets money that is
    already on its way arrive at, or leave, a frozen wallet (the outcome of a payout). For wallets with lots (`lots`):
    `restores` are the entries whose spending this gives back, `lot_id` is the one lot that this takes from,
    `takes_over` is the reference of an entry before it in the same batch whose money this reserves anew, and
    `acts_as` is the kind that it is a part of, for a service of the user's that makes one entry of each side.
    """

    kind: Kind
    movements: tuple[Movement, ...]
    idempotency_key: str | None = None
    reference_type: str = ""
    reference_id: str = ""
    event_at: "datetime | None" = None
    meta: Mapping[str, Any] | None = None
    allow_overdraft: bool = False
    allow_frozen: bool = False
    restores: tuple[int, ...] = ()
    lot_id: int | None = None
    acts_as: Kind | None = None
    takes_over: tuple[str, str] | None = None

    @property
    def purpose(self) -> Kind:
        """The kind that limits and lots look at."""
        return self.acts_as or self.kind


class AccountState(NamedTuple):
    """What the rules need to know of a locked account. `overdraft_limit` None means no limit.

    `rules` are its own, None for most accounts.
    """

    id: int
    asset: str
    decimal_places: int
    is_system: bool
    is_frozen: bool
    overdraft_limit: Decimal | None
    balances: tuple[Decimal, Decimal, Decimal]
    version: int
    rules: Rules | None = None


class Side(NamedTuple):
    """What a posting left on one of its sides. None on system accounts, whose balance is derived."""

    balance_after: Decimal | None
    version: int | None


class Posted(NamedTuple):
    """An entry that stands in the ledger. `balances` holds (source, destination) after each movement."""

    entry_id: int
    replayed: bool
    balances: tuple[tuple[Decimal | None, Decimal | None], ...] = ()


class KnownEntry(NamedTuple):
    """An entry found under an idempotency key."""

    posted: Posted
    fingerprint: str


class Accepted(NamedTuple):
    """An entry that may be written, with both sides of each movement, and the uses of lots it makes: (account, use)."""

    entry: Entry
    sides: tuple[tuple[Side, Side], ...]
    uses: tuple[tuple[int, int], ...] = ()


class Repeated(NamedTuple):
    """An entry with the same key and content as an earlier one of the same batch."""

    position: int


Outcome = Posted | WalletException
Decision = Accepted | Repeated | Posted | WalletException


def fingerprint(entry: Entry) -> str:
    """Return 32 hex digits that change with anything that moves money or says why, and with nothing else."""
    content = f"{entry.kind}\x1f{entry.reference_type}\x1f{entry.reference_id}"
    for source, destination, amount, asset, source_bucket, destination_bucket in entry.movements:
        content += (
            f"\x1f{source}\x1f{destination}\x1f{amount.normalize(EXACT):f}\x1f{asset}"
            f"\x1f{3 * source_bucket + destination_bucket}"
        )
    return blake2b(content.encode(), digest_size=16).hexdigest()


def find_malformation(entry: Entry) -> WalletException | None:
    """Return what is wrong with the entry before any account is looked at, or None."""
    if not entry.movements:
        return MovementInvalid("An entry needs at least one movement.")
    if problem := (
        find_key_malformation(entry.idempotency_key) or find_reference_malformation(entry)
    ):
        return problem
    for movement in entry.movements:
        if problem := _find_movement_malformation(movement):
            return problem
    return None


def find_key_malformation(key: str | None) -> WalletException | None:
    """Return what is wrong with an idempotency key, or None."""
    if key is None or (isinstance(key, str) and is_storable(key, MAX_KEY_LENGTH, minimum=1)):
        return None
    return MovementInvalid(f"An idempotency key has 1 to {MAX_KEY_LENGTH} characters.")


def find_reference_malformation(entry: Entry) -> WalletException | None:
    """Return what is wrong with the reference of an entry, or None."""
    if is_storable(entry.reference_type, MAX_REFERENCE_TYPE_LENGTH) and is_storable(
        entry.reference_id, MAX_REFERENCE_ID_LENGTH
    ):
        return None
    return MovementInvalid("The reference is too long.")


def is_storable(text: str, maximum: int, minimum: int = 0) -> bool:
    """Tell whether the text fits a column: its length, no NUL, and no lone surrogate, which UTF-8 cannot spell."""
    return (
        minimum <= len(text) <= maximum
        and "\x00" not in text
        and (text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text))
    )


def _find_movement_malformation(movement: Movement) -> WalletException | None:
    source, destination, amount, asset, source_bucket, destination_bucket = movement
    if problem := find_amount_malformation(amount):
        return problem
    if source == destination and source_bucket == destination_bucket:
        return MovementInvalid("A movement must not lead to where it started.")
    return (
        find_asset_malformation(asset)
        or find_place_malformation(source, source_bucket)
        or find_place_malformation(destination, destination_bucket)
    )


def find_amount_malformation(amount: Any) -> WalletException | None:
    """Return what is wrong with the amount of a movement, or None."""
    if not isinstance(amount, Decimal) or not amount.is_finite() or amount <= 0:
        return AmountInvalid(f"The amount must be a Decimal greater than zero, not {amount!r}.")
    if amount.adjusted() >= MAX_INTEGER_DIGITS or excess_digits(amount, MAX_DECIMAL_PLACES):
        return AmountInvalid(f"The amount {amount} has too many digits.")
    return None


def find_asset_malformation(asset: str) -> WalletException | None:
    """Return what is wrong with the code of an asset, or None."""
    if is_storable(asset, MAX_CODE_LENGTH, minimum=1):
        return None
    return AssetMismatch("There is no such asset.")


def find_place_malformation(place: int | str, bucket: Bucket) -> WalletException | None:
    """Return what is wrong with a side of a movement, or None."""
    if isinstance(place, int):
        return None if 0 < place < MAX_ACCOUNT_ID else AccountNotFound("There is no such account.")
    if not is_storable(place, MAX_CODE_LENGTH, minimum=1):
        return AccountNotFound("There is no such system account.")
    if bucket != Bucket.AVAILABLE:
        return MovementInvalid("A system account has no locked or pending part.")
    return None


def excess_digits(amount: Decimal, decimal_places: int) -> bool:
    """Tell whether the amount has a non-zero digit beyond `decimal_places`."""
    try:
        EXACT.quantize(amount, UNITS[decimal_places])
    except Inexact:
        return True
    return False


def decide(
    entries: Sequence[Entry],
    accounts: Mapping[int | str, AccountState],
    known: Mapping[str, KnownEntry],
    *,
    significant_digits: int | None = None,
) -> tuple[list[Decision], dict[int, AccountState]]:
    """Apply the entries one after the other; return a decision for each and the changed wallet accounts.

    :param accounts: every account that exists among those the entries name: wallets by id, system accounts by
        `system_key`
    :param known: entries already in the ledger, by idempotency key
    :param significant_digits: how many digits of a number the database keeps, None for all that are allowed
    """
    changed: dict[int, AccountState] = {}
    decisions: list[Decision] = []
    seen: dict[str, tuple[int, str]] = {}
    for index, entry in enumerate(entries):
        decision = (
            find_malformation(entry)
            or find_repetition(entry, known, seen)
            or _apply(entry, accounts, changed, significant_digits)
        )
        if isinstance(decision, Accepted) and entry.idempotency_key is not None:
            seen[entry.idempotency_key] = (index, fingerprint(entry))
        decisions.append(decision)
    return decisions, changed


def find_repetition(
    entry: Entry, known: Mapping[str, KnownEntry], seen: Mapping[str, tuple[int, str]]
) -> Repeated | Posted | IdempotencyConflict | None:
    """Return the first result of the entry's key, a conflict if it was used for something else, or None."""
    key = entry.idempotency_key
    if key is None:
        return None
    if key in known:
        if known[key].fingerprint == fingerprint(entry):
            return known[key].posted._replace(replayed=True)
    elif key in seen:
        index, content = seen[key]
        if content == fingerprint(entry):
            return Repeated(index)
    else:
        return None
    return IdempotencyConflict(f"The idempotency key {key!r} was used for something else.")


def system_key(code: str, asset: str) -> str:
    """Return the key of a system account in the `accounts` of `decide`."""
    return f"{code}\x1f{asset}"


def _apply(
    entry: Entry,
    accounts: Mapping[int | str, AccountState],
    changed: dict[int, AccountState],
    significant_digits: int | None,
) -> Accepted | WalletException:
    touched: dict[int, AccountState] = {}
    sides = []
    try:
        for movement in entry.movements:
            source, destination = (
                _find_account(place, movement, accounts, changed, touched)
                for place in (movement.source, movement.destination)
            )
            _check_movement(entry, movement, source, destination)
            left = _move(source, movement.source_bucket, -movement.amount, touched)
            if source.id == destination.id:
                destination = touched[source.id]
            right = _move(destination, movement.destination_bucket, movement.amount, touched)
            _check_digits(
                (movement.amount, left.balance_after, right.balance_after), significant_digits
            )
            sides.append((left, right))
        uses = _apply_rules(entry, accounts, changed, touched)
    except WalletException as refusal:
        return refusal
    changed.update(touched)
    return Accepted(entry, tuple(sides), uses)


def _apply_rules(
    entry: Entry,
    accounts: Mapping[int | str, AccountState],
    changed: Mapping[int, AccountState],
    touched: dict[int, AccountState],
) -> tuple[tuple[int, int], ...]:
    """Let the accounts that have rules of their own obey them; return the new uses of lots."""
    uses: list[tuple[int, int]] = []
    for account_id, after in list(touched.items()):
        if after.rules is None:
            continue
        before = changed.get(account_id) or accounts[account_id]
        rules = apply_rules(after.rules, entry, account_id, before.balances, after.balances[0])
        known = after.rules.new_uses
        uses += [(account_id, use) for use in rules.new_uses if use not in known]
        touched[account_id] = after._replace(rules=rules)
    return tuple(uses)


def _find_account(
    place: int | str,
    movement: Movement,
    accounts: Mapping[int | str, AccountState],
    changed: Mapping[int, AccountState],
    touched: Mapping[int, AccountState],
) -> AccountState:
    if isinstance(place, str):
        account = accounts.get(system_key(place, movement.asset))
    else:
        account = touched.get(place) or changed.get(place) or accounts.get(place)
        if account is not None and account.is_system:
            account = None
    if account is None:
        raise AccountNotFound(f"There is no account {place!r}.")
    return account


def _check_movement(
    entry: Entry, movement: Movement, source: AccountState, destination: AccountState
) -> None:
    for account in (source, destination):
        if account.asset != movement.asset:
            raise AssetMismatch(
                f"Account {account.id} counts {account.asset}, not {movement.asset}."
            )
        if excess_digits(movement.amount, account.decimal_places):
            raise AmountInvalid(f"{account.asset} has {account.decimal_places} decimal places.")
    for account in (source, destination):
        if account.is_frozen and not entry.allow_frozen:
            raise WalletFrozen(f"Account {account.id} is frozen.")
    if not source.is_system:
        _check_funds(entry, movement, source)


def _check_funds(entry: Entry, movement: Movement, source: AccountState) -> None:
    bucket = movement.source_bucket
    held = source.balances[bucket]
    if bucket == Bucket.AVAILABLE:
        if entry.allow_overdraft or source.overdraft_limit is None:
            return
        spendable = EXACT.add(held, source.overdraft_limit)
    else:
        spendable = held
    if spendable < movement.amount:
        raise InsufficientFunds(
            f"Insufficient funds. Balance: {trim(held):f}, Required: {movement.amount:f}"
        )


def _move(
    account: AccountState, bucket: Bucket, delta: Decimal, touched: dict[int, AccountState]
) -> Side:
    if account.is_system:
        return Side(None, None)
    balances = list(account.balances)
    balances[bucket] = EXACT.add(balances[bucket], delta)
    if balances[bucket].adjusted() >= MAX_INTEGER_DIGITS:
        raise AmountInvalid(
            f"The balance would have more than {MAX_INTEGER_DIGITS} digits before the decimal point."
        )
    after = account._replace(
        balances=(balances[0], balances[1], balances[2]), version=account.version + 1
    )
    touched[account.id] = after
    return Side(balances[bucket], after.version)


def _check_digits(numbers: Iterable[Decimal | None], significant_digits: int | None) -> None:
    if significant_digits is None:
        return
    for number in numbers:
        if number is not None and count_significant_digits(number) > significant_digits:
            raise AmountInvalid(
                f"This database keeps {significant_digits} digits and cannot hold {number} exactly."
            )


def count_significant_digits(number: Decimal) -> int:
    """Return the digits of the number without leading and trailing zeros."""
    return len("".join(map(str, number.as_tuple().digits)).strip("0"))


def list_wallet_ids(entries: Iterable[Entry]) -> list[int]:
    """Return the distinct wallet accounts that the entries name, in the order in which they must be locked."""
    return sorted(
        {
            place
            for entry in entries
            for movement in entry.movements
            for place in (movement.source, movement.destination)
            if isinstance(place, int)
        }
    )


def list_system_accounts(entries: Iterable[Entry]) -> list[tuple[str, str]]:
    """Return the distinct (code, asset) pairs of system accounts that the entries name, sorted."""
    return sorted(
        {
            (place, movement.asset)
            for entry in entries
            for movement in entry.movements
            for place in (movement.source, movement.destination)
            if isinstance(place, str)
        }
    )
