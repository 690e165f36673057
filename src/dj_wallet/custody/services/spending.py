"""Which outputs of ours a withdrawal or a sweep spends: reserved first, then asked of the signer. No node, no key.

Rows are the queue. The account of keys is the lock: outputs and change addresses of a network are given out one
plan at a time, which takes milliseconds.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from dj_wallet.custody.chain import coins
from dj_wallet.custody.chain.addresses import get_script
from dj_wallet.custody.chain.errors import FeeTooHigh, FundsShort, TransactionInvalid
from dj_wallet.custody.chain.networks import Network, to_base_units, to_coins
from dj_wallet.custody.chain.transactions import Outpoint, build_unsigned
from dj_wallet.custody.chain.transactions import Output as PaidOutput
from dj_wallet.custody.errors import ReplacementRefused, WithdrawalsFrozen
from dj_wallet.custody.models import (
    Chain,
    ChainTransaction,
    KeyAccount,
    Output,
    PreviousTransaction,
    Spend,
    WithdrawalRequest,
)
from dj_wallet.custody.served import Served, get_served
from dj_wallet.ledger.money import ZERO

from .addresses import derive_change
from .chains import ensure_chain, lock_key_account

# Nodes keep chains of 25 unconfirmed transactions; we stay well below.
MAX_DEPTH: Final = 10
# Largest first: enough for any payment that 250 inputs can carry.
CANDIDATES: Final = 1000

# What the newer ones may overtake: an old one that is too large for the hot wallet stops nobody.
WAITING: Final = 100

AWAITS_FUNDS: Final = "awaits_funds"
FEE_ABOVE_CAP: Final = "fee_above_cap"

Funds = tuple[KeyAccount, list[coins.Unspent]]


def plan_next_withdrawal(name: str) -> WithdrawalRequest | None:
    """Reserve outputs for the oldest withdrawal that waits, and ask the signer; return it, or None if none can go on."""
    served, chain = get_served(name), ensure_chain(name)
    with transaction.atomic():
        key_account = lock_key_account(chain, served)
        chain.refresh_from_db()
        if chain.frozen_because or chain.state == Chain.State.HALTED:
            return None
        waiting = list(_list_waiting(chain))
        accounts = [key_account, *_list_accounts(chain, other_than=key_account)] if waiting else []
        funds = [(account, _list_unspents(chain, account)) for account in accounts]
        for withdrawal in waiting:
            if _plan(chain, served, funds, withdrawal):
                return withdrawal
    return None


def bump_withdrawal(*, withdrawal_id: UUID, rate_per_kb: Decimal) -> ChainTransaction:
    """Ask the signer for a replacement with a higher fee: it pays the same, and spends all that the first one spends.

    At most one of the two can be mined, and the user pays nothing more.

    :raises ReplacementRefused: nothing was sent yet, it is mined, its change is spent, or the fee cannot be raised
    :raises WithdrawalsFrozen: chain and ledger are in doubt
    """
    withdrawal = WithdrawalRequest.objects.get(pk=withdrawal_id)
    served, chain = get_served(withdrawal.chain_id), ensure_chain(withdrawal.chain_id)
    with transaction.atomic():
        lock_key_account(chain, served)
        chain.refresh_from_db()
        if chain.frozen_because:
            raise WithdrawalsFrozen(
                "Withdrawals of this coin are stopped while we check our books."
            )
        newest = _get_replaceable(withdrawal)
        return _replace(chain, served.network, withdrawal, newest, to_base_units(rate_per_kb))


def plan_sweep(name: str) -> ChainTransaction | None:
    """Ask the signer to send up to 250 confirmed outputs, the smallest first, to the cold address of the network.

    Returns None if there is no cold address, nothing worth it, or the last sweep is not confirmed yet.
    """
    served, chain = get_served(name), ensure_chain(name)
    with transaction.atomic():
        lock_key_account(chain, served)
        chain.refresh_from_db()
        running = Spend.objects.filter(chain=chain, withdrawal__isnull=True, settled__isnull=True)
        if not chain.cold_address or chain.frozen_because or running.exists():
            return None
        for key_account in _list_accounts(chain):
            planned = _plan_sweep(chain, served.network, key_account)
            if planned is not None:
                return planned
    return None


def ask_again(chain_transaction_id: int) -> None:
    """Let the signer look at a transaction again that it refused: for operators, when its limits have room."""
    ChainTransaction.objects.filter(
        pk=chain_transaction_id, status=ChainTransaction.Status.REFUSED, raw__isnull=True
    ).update(status=ChainTransaction.Status.UNSIGNED, note="")


def _list_waiting(chain: Chain) -> "QuerySet[WithdrawalRequest]":
    """Return what waits and may go on, the oldest first, locked; what another worker holds is left out."""
    return (
        WithdrawalRequest.objects.filter(chain=chain, status=WithdrawalRequest.Status.PENDING)
        .exclude(seal=b"")
        .exclude(wallet__is_frozen=True)
        .select_for_update(of=("self",), skip_locked=True)
        .select_related("wallet")
        .order_by("pk")[:WAITING]
    )


def _plan(
    chain: Chain, served: Served, funds: Sequence[Funds], withdrawal: WithdrawalRequest
) -> bool:
    """Reserve what the withdrawal needs; False, with the reason on its row, if there is not enough."""
    network = served.network
    payment = PaidOutput(
        to_base_units(withdrawal.amount), get_script(withdrawal.destination_address, network)
    )
    reason = AWAITS_FUNDS
    for account, unspents in funds:
        try:
            plan = coins.select(
                unspents,
                [payment],
                rate_per_kb=to_base_units(chain.fee_rate_per_kb or ZERO),
                network=network,
            )
        except FundsShort:
            continue
        except (FeeTooHigh, TransactionInvalid):
            reason = FEE_ABOVE_CAP
            continue
        if to_coins(plan.fee) > withdrawal.max_network_fee:
            reason = FEE_ABOVE_CAP
            continue
        _begin(chain, served, account, withdrawal, plan)
        return True
    if withdrawal.hold_reason != reason:
        withdrawal.hold_reason = reason
        withdrawal.save(update_fields=["hold_reason", "updated_at"])
    return False


def _begin(
    chain: Chain,
    served: Served,
    key_account: KeyAccount,
    withdrawal: WithdrawalRequest,
    plan: coins.Plan,
) -> None:
    change = None
    if plan.change:
        # Change goes back to the account whose outputs are spent: the signer looks for it there.
        change = derive_change(chain, served, KeyAccount.objects.get(pk=key_account.pk))
    spend = Spend.objects.create(chain=chain, withdrawal=withdrawal, change=change)
    _ask_signer(chain, spend, plan)
    withdrawal.status, withdrawal.hold_reason = WithdrawalRequest.Status.PROCESSING, ""
    withdrawal.save(update_fields=["status", "hold_reason", "updated_at"])


def _ask_signer(chain: Chain, spend: Spend, plan: coins.Plan) -> ChainTransaction:
    """Reserve the plan's inputs and write the unsigned transaction.

    :raises ReplacementRefused: an input is somebody else's meanwhile, which the lock rules out
    """
    outputs = list(plan.payments)
    if plan.change and spend.change is not None:
        outputs.append(PaidOutput(plan.change, bytes.fromhex(spend.change.script)))
    _reserve(chain, spend, [unspent.outpoint for unspent in plan.inputs])
    unsigned = build_unsigned(
        [unspent.outpoint for unspent in plan.inputs], outputs, replaceable=True
    )
    return ChainTransaction.objects.create(
        chain=chain,
        spend=spend,
        unsigned=unsigned.serialize(),
        amount=to_coins(sum(payment.amount for payment in plan.payments)),
        change_amount=to_coins(plan.change),
        network_fee=to_coins(plan.fee),
        depth=1 + max(unspent.depth for unspent in plan.inputs),
    )


def _reserve(chain: Chain, spend: Spend, outpoints: Sequence[Outpoint]) -> None:
    """Make the outputs this spend's. An output that another has does not change hands."""
    wanted = Q()
    for outpoint in outpoints:
        wanted |= Q(txid=outpoint.txid, vout=outpoint.vout)
    free = Output.objects.filter(wanted, Q(spend__isnull=True) | Q(spend=spend), chain=chain)
    if free.update(spend=spend) != len(outpoints):
        raise ReplacementRefused("An output was reserved by somebody else.")


def _list_unspents(chain: Chain, account: KeyAccount) -> list[coins.Unspent]:
    """Return what of an account can be spent: confirmed outputs, and change of ours that the node took, not too deep."""
    confirmed = Q(
        height__lte=(chain.height or 0) - chain.confirmations + 1,
        status__in=[Output.Status.CREDITED, Output.Status.KEPT],
    )
    change = Q(
        made_by__isnull=False,
        made_by__accepted_at__isnull=False,
        made_by__depth__lt=MAX_DEPTH,
        status=Output.Status.SEEN,
    )
    previous = PreviousTransaction.objects.filter(chain=chain, txid=OuterRef("txid"))
    rows = (
        Output.objects.filter(confirmed | change, chain=chain, address__key_account=account)
        .filter(spend__isnull=True, spent_height__isnull=True)
        # Without these bytes the signer does not believe what the output is worth.
        .filter(Exists(previous))
        .select_related("made_by")
        .order_by("-amount")[:CANDIDATES]
    )
    return [_show_unspent(row) for row in rows if not _may_vanish(row)]


def _show_unspent(row: Output) -> coins.Unspent:
    depth = 0
    if row.status == Output.Status.SEEN and row.made_by is not None:
        depth = row.made_by.depth if row.height is None else 1
    return coins.Unspent(Outpoint(row.txid, row.vout), to_base_units(row.amount), depth)


def _may_vanish(row: Output) -> bool:
    """Tell whether the output is change of a transaction that has a replacement: only one of them will exist."""
    if row.status != Output.Status.SEEN or row.made_by is None or row.height is not None:
        return False
    return ChainTransaction.objects.filter(spend_id=row.made_by.spend_id).count() > 1


def _list_accounts(chain: Chain, other_than: KeyAccount | None = None) -> "QuerySet[KeyAccount]":
    """Return the accounts of keys, the newest first, locked: rotated ones still hold what came to them."""
    accounts = KeyAccount.objects.filter(chain=chain).order_by("-pk").select_for_update()
    return accounts if other_than is None else accounts.exclude(pk=other_than.pk)


def _get_replaceable(withdrawal: WithdrawalRequest) -> ChainTransaction:
    """Return the newest transaction of the withdrawal.

    :raises ReplacementRefused: it cannot be replaced
    """
    ours = ChainTransaction.objects.select_for_update().filter(spend__withdrawal=withdrawal)
    newest = ours.order_by("-pk").first()
    if newest is None or newest.status != ChainTransaction.Status.SENT:
        raise ReplacementRefused("Nothing of the withdrawal was sent yet, or a replacement waits.")
    if ours.filter(height__isnull=False).exists():
        raise ReplacementRefused("The withdrawal is in a block already.")
    if Output.objects.filter(made_by__in=ours, spend__isnull=False).exists():
        raise ReplacementRefused("Its change is being spent: replace that transaction instead.")
    return newest


def _replace(
    chain: Chain,
    network: Network,
    withdrawal: WithdrawalRequest,
    newest: ChainTransaction,
    rate_per_kb: int,
) -> ChainTransaction:
    spend = Spend.objects.select_related("change__key_account").get(pk=newest.spend_id)
    rows = list(spend.outputs.select_related("address", "made_by").order_by("pk"))
    inputs = tuple(_show_unspent(row) for row in rows)
    payment = PaidOutput(
        to_base_units(withdrawal.amount), get_script(withdrawal.destination_address, network)
    )
    change, fee = to_base_units(newest.change_amount), to_base_units(newest.network_fee)
    plan = coins.Plan(inputs, (payment,), change, fee, 0)
    more = _list_unspents(chain, rows[0].address.key_account) if spend.change else []
    try:
        bumped = coins.bump(plan, more, rate_per_kb=rate_per_kb, network=network)
    except (FundsShort, FeeTooHigh) as refusal:
        raise ReplacementRefused(str(refusal)) from None
    if to_coins(bumped.fee) > withdrawal.max_network_fee:
        raise ReplacementRefused("The fee would pass what was approved for this withdrawal.")
    return _ask_signer(chain, spend, bumped)


def _plan_sweep(chain: Chain, network: Network, key_account: KeyAccount) -> ChainTransaction | None:
    try:
        plan = coins.sweep(
            _list_unspents(chain, key_account),
            get_script(chain.cold_address, network),
            rate_per_kb=to_base_units(chain.fee_rate_per_kb or ZERO),
            network=network,
        )
    except (FundsShort, FeeTooHigh):
        return None
    return _ask_signer(chain, Spend.objects.create(chain=chain), plan)
