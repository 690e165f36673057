"""Do ledger, our rows and the node agree? To the last unit, with a name for every difference.

    what the ledger says is on the chain  =  what our unspent outputs are worth  -  what explains the difference

Deposits that are not deep enough are on the chain and not in the ledger; withdrawals that are not deep enough have left
the chain and not the ledger; a reorganization turns both around. Whatever remains is unexplained: it freezes withdrawals.
"""

import logging
from decimal import Decimal
from typing import Final

from django.db import transaction
from django.db.models import Q, QuerySet, Sum

from dj_wallet.custody.chain.node import Node
from dj_wallet.custody.models import Chain, ChainTransaction, Output, Reconciliation, Spend
from dj_wallet.ledger.accounts import system_account
from dj_wallet.ledger.money import EXACT, ZERO
from dj_wallet.ledger.queries import get_balance

from .chains import ensure_chain, freeze

logger = logging.getLogger(__name__)

SAMPLE: Final = 25
KEPT_RECONCILIATIONS: Final = 1000
COUNTED: Final = (Output.Status.CREDITED, Output.Status.KEPT)


def reconcile(name: str, node: Node | None = None, *, full: bool = False) -> Reconciliation:
    """Compare the books with our rows, and a sample of the rows (or all) with the node; return and keep what was found.

    Anything that is not explained freezes the network's withdrawals and raises the alert `reserve.mismatch`.

    :raises NodeError: the node did not answer
    """
    chain = ensure_chain(name)
    problems = [] if node is None else _compare_with_node(chain, node, full=full)
    with transaction.atomic():
        locked = Chain.objects.select_for_update().get(pk=chain.pk)
        found = compare(locked)
        found.node_problems = problems
        found.save()
        _forget_old(locked, found)
        if found.unexplained:
            freeze(
                locked,
                "Ledger and chain differ.",
                height=found.height,
                unexplained=f"{found.unexplained:.8f}",
            )
        if problems:
            freeze(locked, "The node does not have what we hold.", problems=problems[:10])
    return found


def compare(chain: Chain) -> Reconciliation:
    """Return the comparison of ledger and rows as it stands, unsaved. Reads only."""
    ledger = -get_balance(system_account(chain.system_account, chain.asset_id))
    outputs = _sum(_list_unspent(chain))
    explained = {
        "deposits_not_deep_enough": _sum(_list_undecided(chain)),
        "counted_deposits_out_of_chain": -_sum(_list_lost(chain)),
        "withdrawals_not_deep_enough": -_sum_left(_list_unsettled(chain)),
        "settled_withdrawals_out_of_chain": _sum_left(_list_unsettled(chain, mined=False)),
    }
    total = sum(explained.values(), ZERO)
    return Reconciliation(
        chain=chain,
        height=chain.height or 0,
        block_hash=chain.block_hash,
        ledger=ledger,
        outputs=outputs,
        explained={name: f"{amount:.8f}" for name, amount in explained.items() if amount},
        unexplained=EXACT.subtract(EXACT.subtract(outputs, ledger), total),
    )


def _list_unspent(chain: Chain) -> "QuerySet[Output]":
    return Output.objects.filter(chain=chain, height__isnull=False, spent_height__isnull=True)


def _list_undecided(chain: Chain) -> "QuerySet[Output]":
    """Return what is in the chain and in no book: strangers' outputs that are not deep enough, spent or not."""
    return Output.objects.filter(
        chain=chain, height__isnull=False, made_by__isnull=True, status=Output.Status.SEEN
    )


def _list_lost(chain: Chain) -> "QuerySet[Output]":
    return Output.objects.filter(
        chain=chain, height__isnull=True, made_by__isnull=True, status__in=COUNTED
    )


def _list_unsettled(chain: Chain, *, mined: bool = True) -> "QuerySet[ChainTransaction]":
    """Return our transactions in blocks that the books do not know; or those in the books that are in no block."""
    if mined:
        spends = Spend.objects.filter(
            Q(settled__isnull=True) | Q(settled__height__isnull=True), chain=chain
        )
        return ChainTransaction.objects.filter(spend__in=spends, height__isnull=False)
    lost = Spend.objects.filter(chain=chain, settled__isnull=False, settled__height__isnull=True)
    return ChainTransaction.objects.filter(pk__in=lost.values("settled"))


def _sum_left(rows: "QuerySet[ChainTransaction]") -> Decimal:
    """Return what these transactions take from us: what they pay, and their fees."""
    total = ZERO
    for amount, fee in rows.values_list("amount", "network_fee"):
        total = EXACT.add(total, EXACT.add(amount, fee))
    return total


def _sum(rows: "QuerySet[Output]") -> Decimal:
    return rows.aggregate(total=Sum("amount"))["total"] or ZERO


def _compare_with_node(chain: Chain, node: Node, *, full: bool) -> list[str]:
    """Return our unspent outputs that the node does not have, or has with another amount.

    What the node sees at another block than ours is left for the next time.
    """
    chain.refresh_from_db()
    rows = list(_list_unspent(chain).order_by("pk" if full else "?")[: None if full else SAMPLE])
    calls = [("gettxout", (row.txid, row.vout, False)) for row in rows]
    answers = node.call_many(calls)
    if node.find_block_hash(node.get_block_count()) != chain.block_hash:
        return []
    problems = []
    for row, said in zip(rows, answers, strict=True):
        value = said.get("value") if isinstance(said, dict) else None
        if value != row.amount:
            problems.append(f"{row}: expected {row.amount:.8f}, the node says {value}")
    return problems


def _forget_old(chain: Chain, newest: Reconciliation) -> None:
    old = Reconciliation.objects.filter(chain=chain, pk__lt=newest.pk, unexplained=ZERO)
    keep = old.order_by("-pk").values_list("pk", flat=True)[KEPT_RECONCILIATIONS:]
    Reconciliation.objects.filter(pk__in=list(keep)).delete()
