"""The report that comes before anything is changed."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import Count

from dj_wallet.ledger.engine import Kind
from dj_wallet.ledger.models import Posting
from dj_wallet.ledger.money import EXACT, ZERO
from dj_wallet.models import Transfer

from .discrepancies import (
    Discrepancy,
    check_early_postings,
    check_history,
    check_holders,
    check_records,
)
from .histories import OPENING_KEY, iterate_pages, read_histories


class AssetTotal(NamedTuple):
    """What the opening entries of one asset will come to."""

    wallets: int
    balance: Decimal


class Report(NamedTuple):
    """What is there to adopt, and what is wrong with it."""

    already_adopted: int
    wallets: int
    transactions: int
    transfers: int
    assets: dict[str, AssetTotal]
    discrepancies: list[Discrepancy]

    @property
    def is_clean(self) -> bool:
        return not self.discrepancies

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values: numbers of money are texts."""
        return {
            **self._asdict(),
            "assets": {
                code: {"wallets": total.wallets, "balance": f"{total.balance:f}"}
                for code, total in self.assets.items()
            },
            "discrepancies": [
                {**one._asdict(), "amount": None if one.amount is None else f"{one.amount:f}"}
                for one in self.discrepancies
            ],
            "is_clean": self.is_clean,
        }


def inspect_release(
    *, using: str, on_progress: Callable[[int], None] = lambda wallets: None
) -> Report:
    """Read what release 0.1.0 left and is not adopted yet, and everything about it that cannot be right."""
    vendor = connections[using].vendor
    assets: dict[str, AssetTotal] = {}
    discrepancies = list(check_early_postings(using))
    wallets = transactions = 0
    for page in iterate_pages(using):
        for history in read_histories(page, using):
            if history.is_too_late:
                continue
            wallets += 1
            transactions += history.records
            total = assets.get(history.asset, AssetTotal(0, ZERO))
            assets[history.asset] = AssetTotal(
                total.wallets + 1, EXACT.add(total.balance, history.carried)
            )
            discrepancies += check_history(history, vendor)
        discrepancies += check_holders(page, using)
        on_progress(wallets)
    if wallets:
        discrepancies += check_records(using)
    openings = Posting.objects.using(using).filter(
        kind=Kind.OPENING, idempotency_key__startswith=OPENING_KEY
    )
    transfers = Transfer.objects.using(using).filter(entry_id__isnull=True)
    return Report(
        already_adopted=openings.count(),
        wallets=wallets,
        transactions=transactions,
        transfers=transfers.aggregate(count=Count("pk"))["count"],
        assets=dict(sorted(assets.items())),
        discrepancies=discrepancies,
    )
