"""The fast store: one statement per batch, one round trip per single entry.

Python computes, without knowing any balance, the running change of each account; SQL adds the balances.
Arrays travel as text literals, which psycopg passes on as they are (2.5x cheaper than adapting lists).
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper

from dj_wallet.ledger.engine import (
    Accepted,
    AccountState,
    Bucket,
    Entry,
    Posted,
    find_malformation,
    fingerprint,
)
from dj_wallet.ledger.money import EXACT, ZERO
from dj_wallet.ledger.watch import moving_entries

from .generic import GenericStore

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
        if any(find_malformation(entry) for entry in entries):
            return None
        keys = [entry.idempotency_key for entry in entries if entry.idempotency_key is not None]
        if len(set(keys)) < len(keys):
            return None
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
        with moving_entries((entry,), self.using), self.connection.cursor() as cursor:
            cursor.execute(POST_ONE, parameters)
            entry_id, *balances = cursor.fetchone()
        return (
            None if entry_id is None else [Posted(entry_id, False, ((balances[0], balances[1]),))]
        )

    def _post_batch(
        self, entries: Sequence[Entry], *, is_decided: bool = False
    ) -> list[Posted] | None:
        if not entries:
            return []
        batch = Batch(is_decided=is_decided)
        for entry in entries:
            if not batch.add(entry):
                return None
        with moving_entries(entries, self.using), self.connection.cursor() as cursor:
            cursor.execute(POST_BATCH, batch.list_parameters())
            rows = cursor.fetchall()
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

    def add(self, entry: Entry) -> bool:
        """Take the entry in; False if the fast path cannot carry it (lots, or one account used with two assets)."""
        if not self.is_decided and needs_lots(entry):
            return False
        first = len(self.postings) + 1
        key = entry.idempotency_key
        content = None if key is None else fingerprint(entry)
        header = (entry.reference_type, entry.reference_id)
        for movement in entry.movements:
            source, destination, amount, asset, source_bucket, destination_bucket = movement
            text = write_plainly(amount)
            scale = count_decimal_places(text)
            left = self._touch(source, asset, source_bucket, EXACT.minus(amount), scale, entry)
            right = self._touch(destination, asset, destination_bucket, amount, scale, entry)
            if left is None or right is None:
                return False
            self.postings.append(
                (first, entry.kind, text, *left, *right, *header, key, content, entry.event_at)
            )
            key = content = None
        return True

    def _touch(
        self, place: int | str, asset: str, bucket: Bucket, delta: Decimal, scale: int, entry: Entry
    ) -> tuple[int, Bucket, int | None, Decimal | None, int | None] | None:
        """Return (account or -system, bucket, account if it keeps a balance, running change, running touches)."""
        if isinstance(place, str):
            return self._touch_system(place, asset, scale), bucket, None, None, None
        account = self.accounts.get(place)
        if account is None:
            account = self.accounts[place] = AccountChanges(asset)
        elif account.asset != asset:
            return None
        if scale > account.scale:
            account.scale = scale
        account.touches += 1
        if not entry.allow_frozen:
            account.mind_frozen = True
        if delta < 0 and not self.is_decided:
            account.mind_rules = True
        total = account.totals[bucket] = EXACT.add(account.totals[bucket], delta)
        if delta < 0 and (bucket or not entry.allow_overdraft):
            lowest = account.lowest[bucket]
            if lowest is None or total < lowest:
                account.lowest[bucket] = total
        return place, bucket, place, total, account.touches

    def _touch_system(self, code: str, asset: str, scale: int) -> int:
        number = self.systems.setdefault((code, asset), len(self.systems) + 1)
        if number > len(self.system_scales):
            self.system_scales.append(scale)
        elif scale > self.system_scales[number - 1]:
            self.system_scales[number - 1] = scale
        return -number

    def list_parameters(self) -> list[str]:
        """Return the arrays as PostgreSQL literals, in the order of BATCH_TYPES."""
        ids = sorted(self.accounts)
        accounts = [self.accounts[account_id] for account_id in ids]
        position: dict[int | None, int | None] = {
            account_id: at for at, account_id in enumerate(ids, 1)
        }
        position[None] = None
        columns = list(zip(*self.postings, strict=True))
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
        reference_type, reference_id, key, content, event_at = columns[13:]
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
            to_array([position[at] for at in source_at]),
            to_number_array(source_change),
            to_array(source_touch),
            to_array(destination),
            to_array(destination_bucket) if any(destination_bucket) else "{}",
            to_array([position[at] for at in destination_at]),
            to_number_array(destination_change),
            to_array(destination_touch),
            to_text_array(reference_type) if any(reference_type) else "{}",
            to_text_array(reference_id) if any(reference_id) else "{}",
            to_text_array(key) if any(key) else "{}",
            to_array(content) if any(content) else "{}",
            to_text_array([at and at.isoformat() for at in event_at]) if any(event_at) else "{}",
        ]

    def _list_bucket_arrays(self, accounts: Sequence[AccountChanges]) -> list[str]:
        arrays = []
        for bucket in range(3):
            if bucket and not any(
                account.totals[bucket] or account.lowest[bucket] for account in accounts
            ):
                arrays += ["{}", "{}"]
                continue
            arrays.append(to_number_array([account.totals[bucket] for account in accounts]))
            arrays.append(to_number_array([account.lowest[bucket] for account in accounts]))
        return arrays


def write_plainly(amount: Decimal) -> str:
    """Return the digits of the amount, without exponent and trailing zeros after the point."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def count_decimal_places(amount: str) -> int:
    """Return the digits after the point of a plain decimal literal."""
    point = amount.find(".")
    return 0 if point < 0 else len(amount) - point - 1


def shorten(values: Sequence[str]) -> Sequence[str]:
    """Return the first element alone where all are the same."""
    return values[:1] if values and values.count(values[0]) == len(values) else values


def to_array(values: Iterable[object]) -> str:
    """Return an array literal of values whose text needs no quotes."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def to_number_array(values: Iterable[Decimal | None]) -> str:
    """Return an array literal of decimals."""
    return (
        "{" + ",".join(["NULL" if value is None else format(value, "f") for value in values]) + "}"
    )


def to_text_array(values: Iterable[str | None]) -> str:
    """Return an array literal of any texts."""
    return "{" + ",".join(["NULL" if value is None else _quote(value) for value in values]) + "}"


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
