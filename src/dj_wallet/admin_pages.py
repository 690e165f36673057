"""What the admin pages show: texts, tables and exports. Reads only; `admin` decides who may see them."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone

from .abstract_models import AbstractWallet
from .hold_queries import explain_locked
from .ledger.audit import Problem, audit_account
from .ledger.engine import Bucket
from .ledger.errors import AmountInvalid
from .ledger.models import BALANCE_COLUMNS, EntryMeta, LedgerEntry
from .ledger.money import to_scale, trim
from .models import Transaction

SHOWN: Final = 20
# Above this many postings the page asks before it adds them all up.
AUDITED_AT_ONCE: Final = 50_000
# A spreadsheet takes a cell that begins with one of these as a formula.
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
EXPORT_CHUNK: Final = 1000


def format_amount(amount: Decimal | None, decimal_places: int) -> str:
    """Return the number for people: at least the places of its asset, never fewer digits than it has."""
    if amount is None:
        return ""
    try:
        return f"{to_scale(amount, decimal_places):,f}"
    except AmountInvalid:
        return f"{trim(amount):,f}"


def name_holders(wallets: Iterable[AbstractWallet]) -> None:
    """Note on each wallet what its holder is called, with one query for each type of holder."""
    by_type: dict[int, list[AbstractWallet]] = {}
    for wallet in wallets:
        by_type.setdefault(wallet.holder_type_id, []).append(wallet)
    for type_id, held in by_type.items():
        names = _find_names(type_id, {str(wallet.holder_id) for wallet in held}, held[0]._state.db)
        for wallet in held:
            key = str(wallet.holder_id)
            wallet.holder_name = names.get(key, f"{key} (gone)")  # type: ignore[attr-defined]


def _find_names(type_id: int, keys: Iterable[str], using: str | None) -> dict[str, str]:
    model = ContentType.objects.db_manager(using).get_for_id(type_id).model_class()
    if model is None:
        return {}
    pks = []
    for key in keys:
        try:
            pks.append(model._meta.pk.to_python(key))
        except ValidationError:
            continue
    holders = model._base_manager.using(using).filter(pk__in=pks)
    return {str(holder.pk): str(holder) for holder in holders}


def describe_holder(wallet: AbstractWallet) -> str:
    """Return what to call the holder; ask the database unless `name_holders` did."""
    if not hasattr(wallet, "holder_name"):
        name_holders([wallet])
    kind = ContentType.objects.db_manager(wallet._state.db).get_for_id(wallet.holder_type_id)
    return f"{kind.name} {wallet.holder_name}"  # type: ignore[attr-defined]


# The page of one wallet


class BucketRow(NamedTuple):
    """One part of a wallet."""

    name: str
    balance: str
    meaning: str


class PostingRow(NamedTuple):
    """One line of a wallet's ledger, ready to show."""

    entry_id: int
    created_at: Any
    kind: str
    bucket: str
    change: str
    is_debit: bool
    balance_after: str
    reference: str
    reason: str


class OpenRow(NamedTuple):
    """A transaction that has not moved its money yet."""

    pk: int
    uuid: Any
    type: str
    amount: str
    created_at: Any
    payout: str


MEANINGS: Final = {
    Bucket.AVAILABLE: "can be spent",
    Bucket.LOCKED: "held for bids and escrow",
    Bucket.PENDING: "on its way out",
}


def list_buckets(wallet: AbstractWallet) -> list[BucketRow]:
    """Return the three parts of a wallet."""
    return [
        BucketRow(
            bucket.label,
            format_amount(getattr(wallet, column), wallet.decimal_places),
            MEANINGS[bucket],
        )
        for bucket, column in BALANCE_COLUMNS.items()
    ]


def list_last_postings(wallet: AbstractWallet, limit: int = SHOWN) -> list[PostingRow]:
    """Return the newest lines of all parts of a wallet; an index probe for each part."""
    using = wallet._state.db
    lines: list[LedgerEntry] = []
    for bucket in BALANCE_COLUMNS:
        of_bucket = LedgerEntry.objects.using(using).filter(account_id=wallet.pk, bucket=bucket)
        lines += of_bucket.order_by("-posting_id")[:limit]
    lines.sort(key=lambda line: (line.posting_id, line.version or 0), reverse=True)
    lines = lines[:limit]
    metas = EntryMeta.objects.using(using).in_bulk({line.entry_id for line in lines})
    return [_build_row(line, metas, wallet.decimal_places) for line in lines]


def _build_row(line: LedgerEntry, metas: Mapping[int, EntryMeta], places: int) -> PostingRow:
    is_debit = line.debit > 0
    change = format_amount(line.debit if is_debit else line.credit, places)
    meta = metas[line.entry_id].data if line.entry_id in metas else {}
    return PostingRow(
        line.entry_id,
        line.created_at,
        line.entry_type,
        Bucket(line.bucket).label,
        f"-{change}" if is_debit else f"+{change}",
        is_debit,
        format_amount(line.balance_after, places),
        " ".join(part for part in (line.reference_type, line.reference_id) if part),
        str(meta.get("reason", "")) if isinstance(meta, dict) else "",
    )


def list_open_transactions(wallet: AbstractWallet, limit: int = SHOWN) -> list[OpenRow]:
    """Return the newest pending transactions of a wallet, with the state of their payouts where there are such."""
    pending = Transaction.objects.using(wallet._state.db).filter(
        wallet_id=wallet.pk, status=Transaction.STATUS_PENDING
    )
    has_payouts = apps.is_installed("dj_wallet.payouts")
    if has_payouts:
        pending = pending.select_related("payout")
    return [
        OpenRow(
            one.pk,
            one.uuid,
            one.get_type_display(),
            format_amount(one.amount, wallet.decimal_places),
            one.created_at,
            _describe_payout(one) if has_payouts else "",
        )
        for one in pending.order_by("-pk")[:limit]
    ]


def _describe_payout(transaction: Transaction) -> str:
    payout = getattr(transaction, "payout", None)
    if payout is None:
        return ""
    due = f", due {payout.scheduled_for:%Y-%m-%d %H:%M}" if payout.scheduled_for else ""
    return f"{payout.get_status_display()}{due}"


class LockedRow(NamedTuple):
    """A hold or an escrow that keeps money of a wallet."""

    kind: str
    pk: int
    reference: str
    amount: str
    state: str
    expires_at: Any
    created_at: Any


def list_locked(wallet: AbstractWallet, limit: int = SHOWN) -> list[LockedRow]:
    """Return the newest open holds and escrows of a wallet: what its locked part is for."""
    return [
        LockedRow(
            one.kind,
            one.pk,
            one.reference,
            format_amount(one.amount, wallet.decimal_places),
            one.state,
            one.expires_at,
            one.created_at,
        )
        for one in reversed(explain_locked(wallet)[-limit:])
    ]


def audit_wallet(wallet: AbstractWallet, *, even_if_long: bool) -> list[Problem] | None:
    """Return what is wrong with a wallet's balance, or None if finding out would take long and nobody asked."""
    if wallet.version > AUDITED_AT_ONCE and not even_if_long:
        return None
    return audit_account(wallet.pk, using=wallet._state.db)


# Exports

Column = tuple[str, Callable[[Any], object]]


def escape_cell(value: object) -> object:
    """Return the value as a cell that no spreadsheet takes for a formula: such texts get an apostrophe in front.

    Numbers are no texts: a negative balance stays a number.
    """
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, int) or value is None:
        return value
    text = str(value)
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_STARTS) else text


class _Line:
    """A file that returns what is written to it."""

    def write(self, text: str) -> str:
        return text


def write_csv(rows: Iterable[Model], columns: Sequence[Column]) -> Iterator[str]:
    """Return the lines of a CSV file, one after the other."""
    writer = csv.writer(_Line())
    yield writer.writerow([name for name, _ in columns])
    for row in rows:
        yield writer.writerow([escape_cell(read(row)) for _, read in columns])


def answer_csv(
    name: str, queryset: QuerySet[Any], columns: Sequence[Column]
) -> StreamingHttpResponse:
    """Return the rows as a file that is sent while it is read: a million rows take no more memory than a thousand."""
    rows = queryset.iterator(chunk_size=EXPORT_CHUNK)
    response = StreamingHttpResponse(
        write_csv(rows, columns), content_type="text/csv; charset=utf-8"
    )
    stamp = timezone.now().strftime("%Y%m%d-%H%M%S")
    response["Content-Disposition"] = f'attachment; filename="{name}-{stamp}.csv"'
    return response
