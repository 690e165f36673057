"""What custody's answers look like. Amounts are decimal strings with the eight places of the coins."""

from decimal import Decimal
from typing import Any

from dj_wallet.custody.models import (
    Address,
    AllowedAddress,
    Chain,
    Reconciliation,
    WithdrawalRequest,
)
from dj_wallet.custody.served import get_served
from dj_wallet.custody.services.withdrawals import AWAITS_APPROVAL
from dj_wallet.identity.models import User
from dj_wallet.ledger.engine import Bucket
from dj_wallet.ledger.models import LedgerEntry
from dj_wallet.ledger.money import EXACT, ZERO
from dj_wallet.models import Wallet
from dj_wallet.rest.bodies import show_amount, show_time
from dj_wallet.rest.coins.queries import find_change


def show_balance(wallet: Wallet, user: User) -> dict[str, Any]:
    """Return the balances of a wallet: of one that was loaded in detail, or was opened just now."""
    places = wallet.decimal_places
    incoming = getattr(wallet, "incoming", [])
    bids = getattr(wallet, "locked_bids", None) or ZERO
    return {
        "user_id": str(user.pk),
        "wallet": str(wallet.uuid),
        "coin": wallet.asset_id,
        "available": show_amount(wallet.balance, places),
        "locked": show_amount(wallet.locked_balance, places),
        "locked_bids": show_amount(bids, places),
        # What is locked is held or in escrow (the audit proves it); ended escrows are many and need not be read.
        "locked_escrow": show_amount(EXACT.subtract(wallet.locked_balance, bids), places),
        "pending": show_amount(wallet.pending_balance, places),
        "incoming": [
            {**one, "amount": show_amount(Decimal(one["amount"]), places)} for one in incoming
        ],
        "version": wallet.version,
        "updated_at": show_time(find_change(wallet)),
    }


def show_address(address: Address, chain: Chain) -> dict[str, Any]:
    """Return a deposit address and what to know before paying to it."""
    return {
        "coin": chain.asset_id,
        "network": chain.pk,
        "address": address.address,
        "derivation_index": address.derivation_index,
        "min_deposit": show_amount(chain.min_deposit, 8),
        "required_confirmations": chain.confirmations,
        "uri": get_served(chain.pk).network.uri(address.address),
    }


def show_withdrawal(withdrawal: WithdrawalRequest) -> dict[str, Any]:
    """Return a withdrawal as it stands."""
    return {
        "id": str(withdrawal.pk),
        "status": withdrawal.status,
        "coin": withdrawal.wallet.asset_id,
        "network": withdrawal.chain_id,
        "amount": show_amount(withdrawal.amount, 8),
        "fee": show_amount(withdrawal.fee, 8),
        "total": show_amount(withdrawal.amount + withdrawal.fee, 8),
        "destination_address": withdrawal.destination_address,
        "txid": withdrawal.txid,
        "hold_reason": withdrawal.hold_reason or None,
        "failure_code": withdrawal.failure_code or None,
        "created_at": show_time(withdrawal.created_at),
    }


def show_new_withdrawal(withdrawal: WithdrawalRequest) -> dict[str, Any]:
    """Return the withdrawal as it was when it was taken: what the first call answered."""
    withdrawal.status, withdrawal.txid = WithdrawalRequest.Status.PENDING, None
    withdrawal.hold_reason = AWAITS_APPROVAL if withdrawal.needed_approvals else ""
    withdrawal.failure_code = ""
    return show_withdrawal(withdrawal)


def show_line(line: LedgerEntry, user: User, decimal_places: int) -> dict[str, Any]:
    """Return a line of the ledger in the words of seed 001. A key is shown to whom it belongs only."""
    scope = f"rest:{user.pk}:"
    key = line.idempotency_key or ""
    return {
        "id": line.pk,
        "journal_id": line.entry_id,
        "user_id": str(user.pk),
        "account": Bucket(line.bucket).label,
        "entry_type": line.entry_type,
        "debit": show_amount(line.debit, decimal_places),
        "credit": show_amount(line.credit, decimal_places),
        "balance_after": None
        if line.balance_after is None
        else show_amount(line.balance_after, decimal_places),
        "reference_type": line.reference_type or None,
        "reference_id": line.reference_id or None,
        "idempotency_key": key.removeprefix(scope) if key.startswith(scope) else None,
        "created_at": show_time(line.created_at),
    }


def show_allowed_address(allowed: AllowedAddress) -> dict[str, Any]:
    """Return a destination of the list and when it can be used."""
    return {
        "coin": allowed.wallet.asset_id,
        "network": allowed.chain_id,
        "address": allowed.address,
        "usable_at": show_time(allowed.usable_at),
        "created_at": show_time(allowed.created_at),
    }


def show_chain(chain: Chain, last: Reconciliation | None) -> dict[str, Any]:
    """Return how a network fares: the cursor, its node, and whether the books agree."""
    return {
        "network": chain.pk,
        "coin": chain.asset_id,
        "state": chain.state,
        "state_note": chain.state_note or None,
        "height": chain.height,
        "node_height": chain.node_height,
        "frozen_because": chain.frozen_because or None,
        "reconciliation": None
        if last is None
        else {
            "height": last.height,
            "ledger": show_amount(last.ledger, 8),
            "outputs": show_amount(last.outputs, 8),
            "explained": last.explained,
            "unexplained": show_amount(last.unexplained, 8),
        },
    }
