"""The fast store: one statement per batch, one round trip per single entry.

Python computes, without knowing any balance, the running change of each account; SQL adds the balances.
Arrays travel as text literals, which psycopg passes on as they are (2.5x cheaper than adapting lists).
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import count
from operator import eq
from typing import Any, Final, NamedTuple, TypeVar

from django.db.backends.base.base import BaseDatabaseWrapper

from dj_wallet.ledger.engine import (
    Accepted,
    AccountState,
    Bucket,
    Entry,
    Kind,
    Movement,
    Posted,
    find_asset_malformation,
    find_key_malformation,
    find_malformation,
    find_place_malformation,
    find_reference_malformation,
    fingerprint,
)
from dj_wallet.ledger.money import EXACT, MAX_DECIMAL_PLACES, MAX_INTEGER_DIGITS, ZERO
from dj_wallet.ledger.statement import execute
from dj_wallet.ledger.watch import moving_entries

from .generic import GenericStore

T = TypeVar("T")

POST_ONE_PARAMETERS: Final = (
    "%s, %s, %s::numeric, %s::integer, %s::bigint, %s, %s::integer, %s::bigint, %s, %s::integer,"
    " %s::boolean, %s::boolean, %s, %s, %s, %s::uuid, %s::timestamptz"
)
POST_ONE: Final = f"SELECT * FROM dj_wallet_post_one({POST_ONE_PARAMETERS})"
BATCH_TYPES: Final = (
    *("bigint", "text", "integer", "integer", "boolean", "boolean"),
    *("numeric", "numeric", "numeric", "numeric", "numeric", "numeric"),
    *("text", "text", "integer"),
    *("integer", "text", "numeric"),
    *("bigint", "integer", "integer", "numeric", "integer"),
    *("bigint", "integer", "integer", "numeric", "integer"),
    *("text", "text", "text", "uuid", "timestamptz"),
)
POST_BATCH: Final = (
    f"select * from dj_wallet_post_batch({', '.join(f'%s::{name}[]' for name in BATCH_TYPES)})"
)


class PostgresStore(GenericStore):
    """Posts through the functions in `ledger/sql`."""

    def post_fast(self, entries: Sequence[Entry]) -> list[Posted] | None:
        if len(entries) == 1 and len(entries[0].movements) == 1:
            return self._post_one(entries[0])
        return self._post_batch(entries)

    def write(
        self,
        accepted: Sequence[Accepted],
        changed: Mapping[int, AccountState],
        accounts: Mapping[int | str, AccountState],
    ) -> list[Posted] | None:
        """Write accepted entries. The accounts are locked and the engine has checked them: waive the checks."""
        return self._post_batch(
            [
                decision.entry._replace(allow_overdraft=True, allow_frozen=True)
                for decision in accepted
            ],
            is_decided=True,
        )

    def _post_one(self, entry: Entry) -> list[Posted] | None:
        parameters = list_one_parameters(entry)
        if parameters is None:
            return None
        with moving_entries((entry,), self.using):
            entry_id, *balances = execute(POST_ONE, parameters, self.using).fetchone()
        return (
            None if entry_id is None else [Posted(entry_id, False, ((balances[0], balances[1]),))]
        )

    def _post_batch(
        self, entries: Sequence[Entry], *, is_decided: bool = False
    ) -> list[Posted] | None:
        if not entries:
            return []
        batch = Batch(is_decided=is_decided)
        if not all(map(batch.add, entries)):
            return None
        with moving_entries(entries, self.using):
            rows = execute(POST_BATCH, batch.list_parameters(), self.using).fetchall()
        return _group_rows(entries, rows) if rows else None


def list_one_parameters(entry: Entry) -> tuple[Any, ...] | None:
    """Return the parameters of POST_ONE, or None if the entry is not one sound movement."""
    if len(entry.movements) != 1 or needs_lots(entry) or find_malformation(entry):
        return None
    movement = entry.movements[0]
    amount = write_plainly(movement.amount)
    source, destination = movement.source, movement.destination
    key = entry.idempotency_key
    return (
        entry.kind.value,
        movement.asset,
        amount,
        count_decimal_places(amount),
        None if isinstance(source, str) else source,
        source if isinstance(source, str) else None,
        int(movement.source_bucket),
        None if isinstance(destination, str) else destination,
        destination if isinstance(destination, str) else None,
        int(movement.destination_bucket),
        entry.allow_overdraft,
        entry.allow_frozen,
        entry.reference_type,
        entry.reference_id,
        key,
        None if key is None else fingerprint(entry),
        entry.event_at,
    )


def needs_lots(entry: Entry) -> bool:
    """Tell whether the entry does something to lots beyond spending them."""
    return bool(entry.restores) or entry.lot_id is not None


class AccountChanges:
    """What a batch does to one account: by bucket, the total change and the lowest point after a checked taking."""

    __slots__ = ("asset", "lowest", "mind_frozen", "mind_rules", "scale", "totals", "touches")

    def __init__(self, asset: str) -> None:
        self.asset = asset
        self.scale = 0
        self.touches = 0
        self.mind_frozen = False
        self.mind_rules = False
        self.totals = [ZERO, ZERO, ZERO]
        self.lowest: list[Decimal | None] = [None, None, None]


# A side of a posting: account or -system, bucket, account if it keeps a balance, running change, running touches.
Touch = tuple[int, Bucket, int | None, Decimal | None, int | None]


class Run(NamedTuple):
    """Of one side of many postings: the running changes of its accounts and their running touches."""

    changes: list[Decimal]
    touches: list[int]


class Batch:
    """Collects entries into the arrays of dj_wallet_post_batch."""

    def __init__(self, *, is_decided: bool = False) -> None:
        """:param is_decided: limits and lots were asked already"""
        self.is_decided = is_decided
        self.accounts: dict[int, AccountChanges] = {}
        self.systems: dict[tuple[str, str], int] = {}
        self.system_scales: list[int] = []
        # One tuple per posting; the position of an account among the sorted ids is only known at the end.
        self.postings: list[tuple[Any, ...]] = []
        # The same, turned, where the postings came as columns.
        self.columns: list[Sequence[Any]] = []
        # The first posting and the fingerprint of each entry that has a key.
        self.keys: dict[str, tuple[int, str]] = {}

    @classmethod
    def of_columns(
        cls,
        kind: Kind,
        sources: Sequence[int | str],
        destinations: Sequence[int | str],
        amounts: Sequence[Decimal],
        assets: Sequence[str],
        scales: Sequence[int],
    ) -> "Batch | None":
        """Return what `add` makes of an entry for each movement of available money, in a quarter of the time.

        None if the fast path cannot carry one of them. The places of a side are all ids or all codes.

        :param amounts: as `parse_amount` returns them, with so many digits after the point as the scale says
        """
        batch = cls()
        for is_source, places in ((True, sources), (False, destinations)):
            for place, asset, scale in dict.fromkeys(zip(places, assets, scales, strict=True)):
                if not batch._open(place, asset, scale, is_source=is_source):
                    return None
        if any(map(eq, sources, destinations)):
            return None
        taken, given = batch._run(sources, destinations, amounts)
        nothing = (None,) * len(amounts)
        batch.columns = [
            *(range(1, len(amounts) + 1), (kind,) * len(amounts), list(map(str, amounts))),
            *batch._list_side(sources, assets, taken),
            *batch._list_side(destinations, assets, given),
            *(nothing, nothing, nothing),
        ]
        return batch

    def _open(self, place: int | str, asset: str, scale: int, *, is_source: bool) -> bool:
        if isinstance(place, str):
            return self._touch_system(place, asset, Bucket.AVAILABLE, scale) is not None
        account = self._touch(place, asset, Bucket.AVAILABLE, scale, allow_frozen=False)
        if account is None:
            return False
        account.touches = 0
        account.mind_rules |= is_source
        return True

    def _run(
        self,
        sources: Sequence[int | str],
        destinations: Sequence[int | str],
        amounts: Sequence[Decimal],
    ) -> tuple[Run, Run]:
        """Return the running changes and touches of the accounts that give and of those that get, movement by movement."""
        accounts: Mapping[Any, AccountChanges] = self.accounts
        taken, given = Run([], []), Run([], [])
        takes, gives = sources[0] in accounts, destinations[0] in accounts
        for source, destination, amount in zip(sources, destinations, amounts, strict=True):
            if takes:
                account = accounts[source]
                total = account.totals[0] = EXACT.subtract(account.totals[0], amount)
                lowest = account.lowest[0]
                if lowest is None or total < lowest:
                    account.lowest[0] = total
                account.touches += 1
                taken.changes.append(total)
                taken.touches.append(account.touches)
            if gives:
                account = accounts[destination]
                total = account.totals[0] = EXACT.add(account.totals[0], amount)
                account.touches += 1
                given.changes.append(total)
                given.touches.append(account.touches)
        return taken, given

    def _list_side(
        self, places: Sequence[int | str], assets: Sequence[str], run: Run
    ) -> list[Sequence[Any]]:
        """Return the five columns of one side: see `Touch`."""
        available, nothing = (Bucket.AVAILABLE,) * len(places), (None,) * len(places)
        if run.changes:
            return [places, available, places, *run]
        numbers = [-self.systems[own] for own in zip(places, assets, strict=True)]  # type: ignore[index]
        return [numbers, available, nothing, nothing, nothing]

    def add(self, entry: Entry) -> bool:
        """Take the entry in; False if the fast path cannot carry it.

        That is: malformed, with lots, a key twice, or one account with two assets. What `find_malformation` says of an
        entry is asked piece by piece, of a place or an asset only when it is first seen: asked of each entry as a
        whole it took a third of the time of a batch.
        """
        kind, movements, key, reference_type, reference_id, event_at = entry[:6]
        if (
            not movements
            or (key is not None and (find_key_malformation(key) or key in self.keys))
            or ((reference_type or reference_id) and find_reference_malformation(entry))
            or (not self.is_decided and needs_lots(entry))
        ):
            return False
        first = len(self.postings) + 1
        header = (reference_type, reference_id, event_at)
        allowed = entry.allow_overdraft, entry.allow_frozen
        for movement in movements:
            if not self._add_movement(kind, movement, *allowed, first=first, header=header):
                return False
        if key is not None:
            self.keys[key] = first, fingerprint(entry)
        return True

    def add_key(self, entry: Entry, first: int) -> bool:
        """Take in the key of an entry whose posting came without it; False as `add` says."""
        key = entry.idempotency_key
        if key is None or find_key_malformation(key) or key in self.keys:
            return False
        self.keys[key] = first, fingerprint(entry)
        return True

    def _add_movement(
        self,
        kind: Kind,
        movement: Movement,
        allow_overdraft: bool,
        allow_frozen: bool,
        *,
        first: int,
        header: tuple[Any, ...],
    ) -> bool:
        """Take in one movement of an entry, whose first posting it is told; False as `add` says."""
        source, destination, amount, asset, source_bucket, destination_bucket = movement
        if source == destination and source_bucket == destination_bucket:
            return False
        written = _write_amount(amount)
        if written is None:
            return False
        text, scale = written
        left = self._take(
            source, asset, source_bucket, amount, scale, allow_overdraft, allow_frozen
        )
        right = self._give(destination, asset, destination_bucket, amount, scale, allow_frozen)
        if left is None or right is None:
            return False
        self.postings.append((first, kind, text, *left, *right, *header))
        return True

    def _take(
        self,
        place: int | str,
        asset: str,
        bucket: Bucket,
        amount: Decimal,
        scale: int,
        allow_overdraft: bool,
        allow_frozen: bool,
    ) -> Touch | None:
        if isinstance(place, str):
            return self._touch_system(place, asset, bucket, scale)
        account = self._touch(place, asset, bucket, scale, allow_frozen)
        if account is None:
            return None
        total = account.totals[bucket] = EXACT.subtract(account.totals[bucket], amount)
        if not self.is_decided:
            account.mind_rules = True
        if bucket or not allow_overdraft:
            lowest = account.lowest[bucket]
            if lowest is None or total < lowest:
                account.lowest[bucket] = total
        return place, bucket, place, total, account.touches

    def _give(
        self,
        place: int | str,
        asset: str,
        bucket: Bucket,
        amount: Decimal,
        scale: int,
        allow_frozen: bool,
    ) -> Touch | None:
        if isinstance(place, str):
            return self._touch_system(place, asset, bucket, scale)
        account = self._touch(place, asset, bucket, scale, allow_frozen)
        if account is None:
            return None
        total = account.totals[bucket] = EXACT.add(account.totals[bucket], amount)
        return place, bucket, place, total, account.touches

    def _touch(
        self, place: int, asset: str, bucket: Bucket, scale: int, allow_frozen: bool
    ) -> AccountChanges | None:
        account = self.accounts.get(place)
        if account is None:
            if find_place_malformation(place, bucket) or find_asset_malformation(asset):
                return None
            account = self.accounts[place] = AccountChanges(asset)
        elif account.asset != asset:
            return None
        if scale > account.scale:
            account.scale = scale
        if not allow_frozen:
            account.mind_frozen = True
        account.touches += 1
        return account

    def _touch_system(self, code: str, asset: str, bucket: Bucket, scale: int) -> Touch | None:
        number = self.systems.get((code, asset))
        if bucket or number is None:
            if find_place_malformation(code, bucket) or find_asset_malformation(asset):
                return None
            number = self.systems[code, asset] = len(self.systems) + 1
            self.system_scales.append(scale)
        elif scale > self.system_scales[number - 1]:
            self.system_scales[number - 1] = scale
        return -number, bucket, None, None, None

    def list_parameters(self) -> list[str]:
        """Return the arrays as PostgreSQL literals, in the order of BATCH_TYPES."""
        ids = sorted(self.accounts)
        accounts = [self.accounts[account_id] for account_id in ids]
        position: dict[int | None, int | None] = dict(zip(ids, count(1), strict=False))
        position[None] = None
        find_position = position.__getitem__
        columns = self.columns or list(zip(*self.postings, strict=True))
        first, kind, amount, source, source_bucket, source_at, source_change, source_touch = (
            columns[:8]
        )
        (
            destination,
            destination_bucket,
            destination_at,
            destination_change,
            destination_touch,
        ) = columns[8:13]
        reference_type, reference_id, event_at = columns[13:]
        return [
            to_array(ids),
            to_text_array(shorten([account.asset for account in accounts])),
            to_array([account.scale for account in accounts]),
            to_array([account.touches for account in accounts]),
            to_array(shorten(["t" if account.mind_frozen else "f" for account in accounts])),
            to_array(shorten(["t" if account.mind_rules else "f" for account in accounts])),
            *self._list_bucket_arrays(accounts),
            to_text_array([code for code, _ in self.systems]),
            to_text_array([asset for _, asset in self.systems]),
            to_array(self.system_scales),
            "{}" if first[-1] == len(first) else to_array(first),
            to_array(shorten(kind)),
            to_array(amount),
            to_array(source),
            to_array(source_bucket) if any(source_bucket) else "{}",
            to_array(map(find_position, source_at)),
            to_array(source_change),
            to_array(source_touch),
            to_array(destination),
            to_array(destination_bucket) if any(destination_bucket) else "{}",
            to_array(map(find_position, destination_at)),
            to_array(destination_change),
            to_array(destination_touch),
            to_text_array(reference_type) if any(reference_type) else "{}",
            to_text_array(reference_id) if any(reference_id) else "{}",
            *self._list_key_arrays(len(first)),
            to_text_array([at and at.isoformat() for at in event_at]) if any(event_at) else "{}",
        ]

    def _list_key_arrays(self, size: int) -> tuple[str, str]:
        if not self.keys:
            return "{}", "{}"
        if len(self.keys) == size:
            contents = [content for _, content in self.keys.values()]
            return to_text_array(self.keys), to_array(contents)
        keys: list[str | None] = [None] * size
        contents_of: list[str | None] = [None] * size
        for key, (first, content) in self.keys.items():
            keys[first - 1], contents_of[first - 1] = key, content
        return to_text_array(keys), to_array(contents_of)

    def _list_bucket_arrays(self, accounts: Sequence[AccountChanges]) -> list[str]:
        arrays = []
        for bucket in range(3):
            if bucket and not any(
                account.totals[bucket] or account.lowest[bucket] for account in accounts
            ):
                arrays += ["{}", "{}"]
                continue
            arrays.append(to_array([account.totals[bucket] for account in accounts]))
            arrays.append(to_array([account.lowest[bucket] for account in accounts]))
        return arrays


def _write_amount(amount: Any) -> tuple[str, int] | None:
    """Return the digits of the amount and how many stand after the point; None if `find_amount_malformation` objects."""
    if (
        not isinstance(amount, Decimal)
        or not amount.is_finite()
        or amount <= 0
        or amount.adjusted() >= MAX_INTEGER_DIGITS
    ):
        return None
    text = write_plainly(amount)
    scale = count_decimal_places(text)
    return None if scale > MAX_DECIMAL_PLACES else (text, scale)


def write_plainly(amount: Decimal) -> str:
    """Return the digits of the amount, without exponent and trailing zeros after the point."""
    text = str(amount)
    if "E" in text:
        text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def count_decimal_places(amount: str) -> int:
    """Return the digits after the point of a plain decimal literal."""
    point = amount.find(".")
    return 0 if point < 0 else len(amount) - point - 1


def shorten(values: Sequence[T]) -> Sequence[T]:
    """Return the first element alone where all are the same."""
    return values[:1] if values and values.count(values[0]) == len(values) else values


def to_array(values: Iterable[object]) -> str:
    """Return an array literal of numbers, or of values whose text needs no quotes and never says "None"."""
    return "{" + ",".join(map(str, values)).replace("None", "NULL") + "}"


def to_text_array(values: Iterable[str | None]) -> str:
    """Return an array literal of any texts."""
    texts = list(values)
    if texts and None not in texts:
        joined = '","'.join(texts)  # type: ignore[arg-type]
        if "\\" not in joined and joined.count('"') == 2 * len(texts) - 2:
            return f'{{"{joined}"}}'
    return "{" + ",".join(["NULL" if text is None else _quote(text) for text in texts]) + "}"


def _quote(text: str) -> str:
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _group_rows(
    entries: Sequence[Entry], rows: Sequence[tuple[int, Decimal, Decimal]]
) -> list[Posted]:
    results = []
    position = 0
    for entry in entries:
        size = len(entry.movements)
        entry_id = rows[position][0]
        if size == 1:
            balances: tuple[tuple[Decimal | None, Decimal | None], ...] = (rows[position][1:],)
        else:
            balances = tuple(row[1:] for row in rows[position : position + size])
        results.append(Posted(entry_id, False, balances))
        position += size
    return results


def watch_commits(connection: BaseDatabaseWrapper) -> None:
    """Note on the connection when a COMMIT was not replicated although it was answered with success.

    In synchronous replication a cancelled wait ends in a normal answer and a warning (measured, research/ops_ux.md
    2.3): the commit stands here but may be lost with this server. `post` turns it into OutcomeUnknown.
    """
    raw = connection.connection
    if hasattr(raw, "dj_wallet_commit_in_doubt") or not hasattr(raw, "add_notice_handler"):
        return  # a pooled connection, seen before; or psycopg 2, which keeps its notices to itself

    def note(diagnostic: Any) -> None:
        if "synchronous replication" in (diagnostic.message_primary or ""):
            raw.dj_wallet_commit_in_doubt = True

    raw.dj_wallet_commit_in_doubt = False
    raw.add_notice_handler(note)
