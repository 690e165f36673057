"""Do the holder-facing records agree with the ledger? Registered with `ledger.audit` when the app is ready."""

from collections.abc import Iterator

from django.db.models import Exists, OuterRef, Q

from .adoption.audit import without_adopted
from .ledger.audit import MAX_PROBLEMS, Problem
from .ledger.models import IS_NOT_FIRST, Posting
from .utils import get_transaction_model


def check_transactions(alias: str) -> Iterator[Problem]:
    """A completed transaction points at an entry that moved its amount into, or out of, its wallet, or release 0.1.0 recorded it."""
    model = get_transaction_model()
    completed = model._default_manager.using(alias).filter(status=model.STATUS_COMPLETED)
    completed = without_adopted(completed)
    for type_, side in ((model.TYPE_DEPOSIT, "destination"), (model.TYPE_WITHDRAW, "source")):
        wallet = Q(**{f"{side}_account_id": OuterRef("wallet_id")})
        moved = Posting.objects.filter(wallet, amount=OuterRef("amount"))
        first = moved.filter(pk=OuterRef("entry_id"))
        later = moved.filter(IS_NOT_FIRST, entry_id=OuterRef("entry_id"))
        unexplained = completed.filter(type=type_).filter(~Exists(first)).filter(~Exists(later))
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
