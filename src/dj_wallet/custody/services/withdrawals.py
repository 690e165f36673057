"""Withdrawals as their holders see them: asked for, approved, cancelled, failed. What happens on the chain is
`spending`'s, `signing`'s and `broadcast`'s.

The money goes to the pending bucket when a withdrawal is taken, and leaves it when the chain has confirmed it or
when nothing was ever sent.
"""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import Sum
from django.db.models.functions import Now

from dj_wallet import signals
from dj_wallet.custody.chain.addresses import get_script
from dj_wallet.custody.chain.errors import AddressInvalid, AddressOfOtherNetwork
from dj_wallet.custody.chain.networks import Network, to_base_units, to_coins
from dj_wallet.custody.chain.signer import seal_approval
from dj_wallet.custody.chain.transactions import INPUT_BYTES, OVERHEAD_BYTES, get_fee
from dj_wallet.custody.errors import (
    ApprovalRefused,
    BelowMinimum,
    DestinationInvalid,
    DestinationIsInternal,
    DestinationOfOtherNetwork,
    PolicyDenied,
    WithdrawalsFrozen,
    WithdrawalsPaused,
)
from dj_wallet.custody.models import (
    Address,
    AllowedAddress,
    Approval,
    Chain,
    ChainTransaction,
    Output,
    WithdrawalRequest,
)
from dj_wallet.custody.served import get_served
from dj_wallet.events.services import publish_event
from dj_wallet.ledger.engine import Bucket, Entry, Kind, Movement
from dj_wallet.ledger.errors import AmountInvalid, TransactionAlreadyProcessed
from dj_wallet.ledger.models import Account
from dj_wallet.ledger.money import EXACT, ZERO, parse_amount
from dj_wallet.ledger.post import post_one
from dj_wallet.models import Transaction, Wallet
from dj_wallet.services.common import WalletService, record_pending
from dj_wallet.services.movements import (
    Request,
    refuse_other_use,
    run_with_keys,
    update_balances,
)

from .addresses import check_asset
from .chains import ensure_chain

# Two inputs, payment and change: what most withdrawals come to.
USUAL_BYTES: Final = OVERHEAD_BYTES + 2 * INPUT_BYTES + 2 * 34
# Replacements may cost this many times the quote, or this part of the amount, whichever is more.
MAX_FEE_TIMES: Final = 20
MAX_FEE_PART: Final = Decimal("0.1")

CANCELLED: Final = "cancelled"
AWAITS_APPROVAL: Final = "awaits_approval"

R = TypeVar("R")


def quote_fee(chain: Chain) -> Decimal:
    """Return what a withdrawal costs now: the operator's price, or what the network asks for a usual transaction."""
    if chain.withdrawal_fee is not None:
        return Decimal(chain.withdrawal_fee)
    return to_coins(get_fee(USUAL_BYTES, to_base_units(chain.fee_rate_per_kb or ZERO)))


def request_withdrawal(
    *,
    wallet: Wallet,
    network: str,
    amount: Any,
    address: str,
    subtract_fee: bool = False,
    idempotency_key: str | None = None,
) -> tuple[WithdrawalRequest, bool]:
    """Take a withdrawal: hold amount and fee, and queue it; return it and whether it is that of an earlier call.

    The fee is on top of the amount, or with `subtract_fee` taken out of it. Idempotent with a key. Joins the caller's
    transaction.

    :raises AmountInvalid: not a positive amount of the coin, or more than any payment can be
    :raises DestinationInvalid: no address
    :raises DestinationOfOtherNetwork: an address of another network
    :raises DestinationIsInternal: an address of ours
    :raises BelowMinimum: less than a withdrawal may be
    :raises WithdrawalsFrozen: chain and ledger are in doubt
    :raises WithdrawalsPaused: the operator's pause, or the hot wallet runs low
    :raises PolicyDenied: a limit or the list of allowed addresses
    :raises WalletFrozen: the wallet is frozen
    :raises InsufficientFunds: the wallet holds less than amount and fee
    :raises IdempotencyConflict: the key was used for something else
    """
    served, chain = get_served(network), ensure_chain(network)
    check_asset(wallet, served)
    asked = parse_amount(amount, wallet.decimal_places)

    def take() -> tuple[WithdrawalRequest, bool]:
        # The lock makes callers with the same key, and those that share a limit, wait for each other.
        Account.objects.select_for_update().get(pk=wallet.pk)
        found = _find_same(wallet, idempotency_key, asked, address, subtract_fee)
        if found is not None:
            return found, True
        fee = quote_fee(chain)
        sent = EXACT.subtract(asked, fee) if subtract_fee else asked
        _check_destination(chain, served.network, address)
        _check_amount(chain, served.network, sent)
        _check_policy(chain, wallet, sent, address)
        return _take(chain, wallet, sent, fee, address, subtract_fee, idempotency_key), False

    return run_with_keys(lambda: _undo_if_refused(take), using=DEFAULT_DB_ALIAS)


def approve_withdrawal(*, withdrawal_id: UUID, approver: Any) -> WithdrawalRequest:
    """Record somebody else's yes to a large withdrawal; with the last one needed it is sealed and goes on.

    :raises ApprovalRefused: it awaits none, the approver asked for it, has approved it before, or is no staff
    """
    with transaction.atomic():
        withdrawal = _lock(withdrawal_id)
        if withdrawal.hold_reason != AWAITS_APPROVAL:
            raise ApprovalRefused("This withdrawal awaits no approval.")
        if not approver.is_staff:
            raise ApprovalRefused("Only staff approve withdrawals.")
        if approver == withdrawal.wallet.holder:
            raise ApprovalRefused("Nobody approves a withdrawal of their own.")
        _, is_new = Approval.objects.get_or_create(withdrawal=withdrawal, approver=approver)
        if not is_new:
            raise ApprovalRefused("You have approved this withdrawal before.")
        if withdrawal.approvals.count() >= withdrawal.needed_approvals:
            withdrawal.seal, withdrawal.hold_reason = _seal(withdrawal), ""
            withdrawal.save(update_fields=["seal", "hold_reason", "updated_at"])
        return withdrawal


def cancel_withdrawal(*, withdrawal_id: UUID) -> WithdrawalRequest:
    """Give a withdrawal up that nothing was done for yet; the money is available again.

    :raises TransactionAlreadyProcessed: it is not PENDING any more
    """
    with transaction.atomic():
        withdrawal = _lock(withdrawal_id)
        if withdrawal.status != WithdrawalRequest.Status.PENDING:
            raise TransactionAlreadyProcessed(f"The withdrawal is {withdrawal.status} already.")
        give_back(withdrawal, CANCELLED)
        return withdrawal


def fail_withdrawal(*, withdrawal_id: UUID, failure_code: str) -> WithdrawalRequest:
    """Give a withdrawal up that the signer refuses: only while no transaction of it was ever signed, so that none can
    be mined. Its outputs are free again.

    :raises TransactionAlreadyProcessed: it is over, or a transaction of it was signed
    """
    with transaction.atomic():
        withdrawal = _lock(withdrawal_id)
        ours = ChainTransaction.objects.select_for_update().filter(spend__withdrawal=withdrawal)
        if withdrawal.status not in {
            WithdrawalRequest.Status.PENDING,
            WithdrawalRequest.Status.PROCESSING,
        } or any(one.raw is not None for one in ours):
            raise TransactionAlreadyProcessed("A transaction of the withdrawal may be mined.")
        ours.update(status=ChainTransaction.Status.REFUSED)
        Output.objects.filter(spend__withdrawal=withdrawal).update(spend=None)
        give_back(withdrawal, failure_code)
        return withdrawal


def allow_address(*, wallet: Wallet, network: str, address: str) -> AllowedAddress:
    """Put a destination on the wallet's list. It can be used after the cooling-off; the first call counts.

    :raises DestinationInvalid: no address
    :raises DestinationOfOtherNetwork: an address of another network
    """
    chain = ensure_chain(network)
    _read_script(get_served(network).network, address)
    usable_at = Now() + timedelta(hours=chain.cooling_off_hours)
    allowed, _ = AllowedAddress.objects.get_or_create(
        chain=chain, wallet=wallet, address=address, defaults={"usable_at": usable_at}
    )
    allowed.refresh_from_db()
    return allowed


def give_back(withdrawal: WithdrawalRequest, failure_code: str) -> None:
    """Fail a withdrawal, locked by the caller, of which nothing can be mined."""
    _move(withdrawal, "refund", Kind.REFUND, Bucket.PENDING, Bucket.AVAILABLE)
    withdrawal.status = WithdrawalRequest.Status.FAILED
    withdrawal.failure_code, withdrawal.hold_reason = failure_code, ""
    withdrawal.save(update_fields=["status", "failure_code", "hold_reason", "updated_at"])
    record = withdrawal.transaction
    record.status = Transaction.STATUS_FAILED
    record.save(update_fields=["status", "updated_at"])
    publish(withdrawal, "withdrawal.failed")


def refuse_other_hands(record: Transaction) -> None:
    """Let nobody else confirm or reject the record of a withdrawal: the chain does.

    :raises TransactionAlreadyProcessed: it has a withdrawal
    """
    if (
        isinstance(record, Transaction)
        and WithdrawalRequest.objects.filter(transaction=record).exists()
    ):
        raise TransactionAlreadyProcessed("Transaction is already in the hands of its withdrawal.")


def publish(withdrawal: WithdrawalRequest, event_type: str, **data: Any) -> None:
    """Tell what became of a withdrawal, in the caller's transaction."""
    publish_event(
        event_type=event_type,
        subject=f"wallet:{withdrawal.wallet.uuid}",
        data={**describe_withdrawal(withdrawal), **data},
    )


def describe_withdrawal(withdrawal: WithdrawalRequest) -> dict[str, Any]:
    """Return the data of an event about a withdrawal."""
    return {
        "withdrawal_id": str(withdrawal.pk),
        "user_id": str(withdrawal.wallet.holder_id),
        "wallet": str(withdrawal.wallet.uuid),
        "coin": withdrawal.wallet.asset_id,
        "network": withdrawal.chain_id,
        "amount": f"{withdrawal.amount:.8f}",
        "fee": f"{withdrawal.fee:.8f}",
        "destination_address": withdrawal.destination_address,
        "status": str(withdrawal.status),
        "txid": withdrawal.txid,
        "failure_code": withdrawal.failure_code or None,
    }


def _find_same(
    wallet: Wallet, key: str | None, asked: Decimal, address: str, subtract_fee: bool
) -> WithdrawalRequest | None:
    """Return the withdrawal of an earlier call with the same key.

    :raises IdempotencyConflict: it was another withdrawal
    """
    if key is None:
        return None
    rows = WithdrawalRequest.objects.select_related("transaction", "wallet")
    found = rows.filter(transaction__idempotency_key=key).first()
    if found is None:
        return None
    first = EXACT.add(found.amount, found.fee) if found.fee_subtracted else found.amount
    same = (wallet.pk, asked, address, subtract_fee)
    if (found.wallet_id, first, found.destination_address, found.fee_subtracted) != same:
        raise refuse_other_use(key)
    return found


def _take(
    chain: Chain,
    wallet: Wallet,
    sent: Decimal,
    fee: Decimal,
    address: str,
    fee_subtracted: bool,
    key: str | None,
) -> WithdrawalRequest:
    request = Request(
        Kind.WITHDRAWAL,
        wallet,
        chain.system_account,
        sent,
        {"address": address, "fee": f"{fee:.8f}", "network": chain.pk},
        key,
    )
    record = record_pending(request, Transaction.TYPE_WITHDRAW, sender=WalletService)
    if record.replayed:
        raise refuse_other_use(key)
    is_large = chain.approval_above is not None and sent > chain.approval_above
    withdrawal = WithdrawalRequest(
        chain=chain,
        wallet=wallet,
        transaction=record,
        amount=sent,
        fee=fee,
        fee_subtracted=fee_subtracted,
        max_network_fee=_get_max_network_fee(chain, sent),
        destination_address=address,
        needed_approvals=chain.required_approvals if is_large else 0,
        hold_reason=AWAITS_APPROVAL if is_large else "",
    )
    # A large one is sealed by its last approval: without the seal the signer signs nothing.
    withdrawal.seal = b"" if is_large else _seal(withdrawal)
    withdrawal.save(force_insert=True)
    _move(withdrawal, "hold", Kind.WITHDRAWAL, Bucket.AVAILABLE, Bucket.PENDING)
    publish(withdrawal, "withdrawal.requested")
    return withdrawal


def _move(
    withdrawal: WithdrawalRequest, step: str, kind: Kind, source: Bucket, destination: Bucket
) -> None:
    """Move amount and fee between two buckets of the wallet, once for each step."""
    wallet = withdrawal.wallet
    total = EXACT.add(withdrawal.amount, withdrawal.fee)
    entry = Entry(
        kind,
        (Movement(wallet.pk, wallet.pk, total, wallet.asset_id, source, destination),),
        f"withdrawal:{withdrawal.pk}:{step}",
        reference_type="withdrawal",
        reference_id=str(withdrawal.pk),
        allow_frozen=step != "hold",
    )
    posted = post_one(entry)
    if not posted.replayed:
        update_balances(wallet, entry, posted)
        signals.announce(
            signals.balance_changed,
            WalletService,
            using=wallet._state.db,
            wallet=wallet,
            transaction=withdrawal.transaction,
        )


def _seal(withdrawal: WithdrawalRequest) -> bytes:
    return seal_approval(
        settings.CUSTODY_APPROVAL_SECRET.encode(),
        get_served(withdrawal.chain_id).network,
        withdrawal_id=str(withdrawal.pk),
        address=withdrawal.destination_address,
        amount=to_base_units(withdrawal.amount),
        max_fee=to_base_units(withdrawal.max_network_fee),
    )


def _get_max_network_fee(chain: Chain, sent: Decimal) -> Decimal:
    part = to_base_units(sent) // int(1 / MAX_FEE_PART)
    usual = get_fee(USUAL_BYTES, to_base_units(chain.fee_rate_per_kb or ZERO))
    most = max(part, MAX_FEE_TIMES * usual)
    return to_coins(min(most, get_served(chain.pk).network.max_fee))


def _check_destination(chain: Chain, network: Network, address: str) -> None:
    script = _read_script(network, address)
    if Address.objects.filter(chain=chain, script=script.hex()).exists():
        raise DestinationIsInternal("This address is one of ours: transfer to the wallet instead.")


def _read_script(network: Network, address: str) -> bytes:
    try:
        return get_script(address, network)
    except AddressOfOtherNetwork as refusal:
        raise DestinationOfOtherNetwork(str(refusal)) from None
    except AddressInvalid as refusal:
        raise DestinationInvalid(str(refusal)) from None


def _check_amount(chain: Chain, network: Network, sent: Decimal) -> None:
    if sent < max(chain.min_withdrawal, to_coins(network.min_output)):
        raise BelowMinimum(f"A withdrawal is at least {chain.min_withdrawal:.8f}, after its fee.")
    if sent > to_coins(network.max_money):
        raise AmountInvalid("No payment on this network is that large.")


def _check_policy(chain: Chain, wallet: Wallet, sent: Decimal, address: str) -> None:
    if chain.frozen_because:
        raise WithdrawalsFrozen("Withdrawals of this coin are stopped while we check our books.")
    if chain.is_paused or _runs_low(chain):
        raise WithdrawalsPaused("Withdrawals of this coin are stopped for a while.")
    if chain.max_withdrawal is not None and sent > chain.max_withdrawal:
        raise PolicyDenied(f"A withdrawal is at most {chain.max_withdrawal:.8f}.")
    _check_recent(chain, wallet, sent)
    if chain.only_allowed_addresses and not _is_allowed(chain, wallet, address):
        raise PolicyDenied("The address is not on the list of allowed ones, or not long enough.")


def _check_recent(chain: Chain, wallet: Wallet, sent: Decimal) -> None:
    """Hold the limits of a day and an hour. The wallet is locked, so nobody else counts at the same time."""
    mine = WithdrawalRequest.objects.filter(wallet=wallet, chain=chain).exclude(
        status=WithdrawalRequest.Status.FAILED
    )
    if chain.daily_limit is not None:
        day = mine.filter(created_at__gt=Now() - timedelta(days=1))
        before = day.aggregate(total=Sum("amount"))["total"] or ZERO
        if EXACT.add(before, sent) > chain.daily_limit:
            raise PolicyDenied(f"At most {chain.daily_limit:.8f} leave a wallet in 24 hours.")
    if chain.hourly_count is not None:
        hour = mine.filter(created_at__gt=Now() - timedelta(hours=1))
        if hour.count() >= chain.hourly_count:
            raise PolicyDenied(f"At most {chain.hourly_count} withdrawals an hour.")


def _is_allowed(chain: Chain, wallet: Wallet, address: str) -> bool:
    allowed = AllowedAddress.objects.filter(chain=chain, wallet=wallet, address=address)
    return allowed.filter(usable_at__lte=Now()).exists()


def _runs_low(chain: Chain) -> bool:
    if chain.pause_below is None:
        return False
    free = Output.objects.filter(
        chain=chain,
        spend__isnull=True,
        spent_height__isnull=True,
        height__isnull=False,
        status__in=[Output.Status.CREDITED, Output.Status.KEPT],
    )
    held: Decimal = free.aggregate(total=Sum("amount"))["total"] or ZERO
    return bool(held < chain.pause_below)


def _lock(withdrawal_id: UUID) -> WithdrawalRequest:
    rows = WithdrawalRequest.objects.select_for_update(of=("self",))
    return rows.select_related("transaction", "wallet", "chain").get(pk=withdrawal_id)


def _undo_if_refused(work: Callable[[], R]) -> R:
    """Run the work in a savepoint: a refusal leaves nothing behind, and the caller's transaction usable."""
    with transaction.atomic():
        return work()
