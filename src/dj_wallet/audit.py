"""Do the holder-facing records agree with the ledger? Registered with `ledger.audit` when the app is ready."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from django.db import connections
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Sum

from .adoption.histories import MOVED, OPENING_KEY, batched
from .ledger.audit import MAX_PROBLEMS, Problem
from .ledger.engine import Kind
from .ledger.models import IS_NOT_FIRST, EntryMeta, Posting
from .ledger.money import EXACT, ZERO
from .models import Transaction


def check_transactions(alias: str) -> Iterator[Problem]:
    """A completed transaction points at an entry that moved its amount on its wallet, or at the wallet's opening.

    What release 0.1.0 recorded has no entry of its own: `check_openings` compares it with the opening as a whole.
    """
    wallet = Q(source_account_id=OuterRef("wallet_id")) | Q(
        destination_account_id=OuterRef("wallet_id")
    )
    moved = Posting.objects.filter(wallet, amount=OuterRef("amount"))
    opened = Posting.objects.filter(
        wallet, kind=Kind.OPENING, idempotency_key__startswith=OPENING_KEY
    )
    first = moved.filter(pk=OuterRef("entry_id"))
    later = moved.filter(IS_NOT_FIRST, entry_id=OuterRef("entry_id"))
    completed = Transaction.objects.using(alias).filter(status=Transaction.STATUS_COMPLETED)
    unexplained = completed.filter(~Exists(first)).filter(~Exists(later))
    unexplained = unexplained.filter(~Exists(opened.filter(pk=OuterRef("entry_id"))))
    for pk, wallet_id, entry_id in unexplained.values_list("pk", "wallet_id", "entry_id")[
        :MAX_PROBLEMS
    ]:
        yield Problem(
            "transaction_without_entry",
            wallet_id,
            entry_id,
            f"an entry of transaction {pk}",
            "none",
        )


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
