"""Do the records of release 0.1.0 agree with the opening entries they point at? Part of the audit of the ledger."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from django.db import connections
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Sum

from dj_wallet.ledger.audit import Problem
from dj_wallet.ledger.engine import Kind
from dj_wallet.ledger.models import EntryMeta, Posting
from dj_wallet.ledger.money import EXACT, ZERO
from dj_wallet.models import Transaction

from .histories import MOVED, OPENING_KEY, batched


def without_adopted(transactions: QuerySet[Transaction]) -> QuerySet[Transaction]:
    """Leave out what needs no entry of its own: records of zero, and those that point at the opening of their wallet.

    What points at an opening is compared with it as a whole, by `check_openings`.
    """
    wallet = Q(source_account_id=OuterRef("wallet_id")) | Q(
        destination_account_id=OuterRef("wallet_id")
    )
    opening = Posting.objects.filter(
        wallet, kind=Kind.OPENING, pk=OuterRef("entry_id"), idempotency_key__startswith=OPENING_KEY
    )
    return transactions.exclude(amount=0, entry_id__isnull=True).filter(~Exists(opening))


def check_openings(alias: str) -> Iterator[Problem]:
    """The records of release 0.1.0 that point at an opening add up to it, but for the difference it was made with."""
    openings = Posting.objects.using(alias).filter(
        kind=Kind.OPENING, entry_id=F("pk"), idempotency_key__startswith=OPENING_KEY
    )
    recorded = _sum_records(openings.values("pk"), alias)
    for page in batched(list(openings.order_by("pk").values_list("pk", flat=True))):
        metas = EntryMeta.objects.using(alias).in_bulk(page)
        for entry_id, (wallet_id, opened) in _sum_openings(page, alias).items():
            meta = metas[entry_id].data if entry_id in metas else {}
            difference = Decimal(meta.get("difference", "0"))
            expected = EXACT.add(recorded.get(entry_id, ZERO), difference)
            if opened != expected:
                yield Problem("opening_mismatch", wallet_id, entry_id, str(expected), str(opened))


def _sum_openings(entry_ids: Sequence[int], alias: str) -> dict[int, tuple[int, Decimal]]:
    """Return the wallet of each opening and what it brought there. The system account keeps no version."""
    sums: dict[int, tuple[int, Decimal]] = {}
    columns = (
        "entry_id",
        "amount",
        "source_account_id",
        "destination_account_id",
        "source_version",
    )
    for entry_id, amount, source, destination, version in (
        Posting.objects.using(alias).of_entries(entry_ids).values_list(*columns)
    ):
        wallet, change = (destination, amount) if version is None else (source, -amount)
        sums[entry_id] = wallet, EXACT.add(sums.get(entry_id, (0, ZERO))[1], change)
    return sums


def _sum_records(entry_ids: QuerySet[Posting, Any], alias: str) -> dict[int, Decimal]:
    records = Transaction.objects.using(alias).filter(entry_id__in=entry_ids, status__in=MOVED)
    columns = ("entry_id", "type")
    if connections[alias].vendor == "sqlite":  # adds floats
        rows = records.values_list(*columns, "amount")
    else:
        rows = records.order_by().values_list(*columns).annotate(total=Sum("amount"))
    sums: dict[int, Decimal] = {}
    for entry_id, type_, amount in rows.iterator():
        change = amount if type_ == Transaction.TYPE_DEPOSIT else EXACT.minus(amount)
        sums[entry_id] = EXACT.add(sums.get(entry_id, ZERO), change)
    return sums
