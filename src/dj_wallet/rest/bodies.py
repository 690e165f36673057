"""What answers look like: plain dictionaries. `schemas` describes them; a test holds the two together.

Seed 004's paths speak of amounts as whole numbers of the smallest unit, /api/v1 as decimal strings.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.core.exceptions import ObjectDoesNotExist

from dj_wallet.ledger.money import ZERO, to_minor_units, to_scale
from dj_wallet.models import Transaction, Transfer, Wallet
from dj_wallet.payouts.models import Payout

STATUSES: Final = {kept: kept.upper() for kept, _ in Transaction.STATUS_CHOICES}
TYPES: Final = {
    Transaction.TYPE_DEPOSIT: "DEPOSIT",
    Transaction.TYPE_WITHDRAW: "WITHDRAWAL",
}


def show_wallet(wallet: Wallet) -> dict[str, Any]:
    """Return a wallet, its balances in the smallest unit."""
    places = wallet.decimal_places
    return {
        "uuid": str(wallet.uuid),
        "slug": wallet.slug,
        "asset": wallet.asset_id,
        "decimal_places": places,
        "balance": to_minor_units(wallet.balance, places),
        "locked_balance": to_minor_units(wallet.locked_balance, places),
        "pending_balance": to_minor_units(wallet.pending_balance, places),
        "is_frozen": wallet.is_frozen,
        "meta": wallet.meta or {},
        "created_at": show_time(wallet.created_at),
    }


def show_new_wallet(wallet: Wallet) -> dict[str, Any]:
    """Return the wallet as it was when it was created: what the first call answered."""
    wallet.balance = wallet.locked_balance = wallet.pending_balance = ZERO
    wallet.is_frozen = False
    return show_wallet(wallet)


def show_transaction(record: Transaction, wallet: Wallet, payout: Payout | None) -> dict[str, Any]:
    """Return a deposit or withdrawal, the amount in the smallest unit, with its payout if it is one."""
    return {
        "id": record.pk,
        "uuid": str(record.uuid),
        "wallet": str(wallet.uuid),
        "type": TYPES[record.type],
        "status": STATUSES[record.status],
        "amount": to_minor_units(record.amount, wallet.decimal_places),
        "asset": wallet.asset_id,
        "decimal_places": wallet.decimal_places,
        "meta": record.meta or {},
        "created_at": show_time(record.created_at),
        "scheduled_for": None
        if payout is None
        else show_time(payout.scheduled_for or record.created_at),
        "retry_count": 0 if payout is None else max(0, payout.attempts - 1),
        "bank_response": None if payout is None else payout.bank_response,
        "failure_code": None if payout is None else payout.failure_code or None,
        "payout_status": None if payout is None else payout.status.upper(),
    }


def show_new_deposit(record: Transaction, wallet: Wallet) -> dict[str, Any]:
    """Return the deposit as it was when it was made: what the first call answered."""
    record.status = Transaction.STATUS_COMPLETED
    return show_transaction(record, wallet, None)


def show_new_payout(record: Transaction, wallet: Wallet) -> dict[str, Any]:
    """Return the withdrawal as it was when it was scheduled: what the first call answered."""
    record.status = Transaction.STATUS_PENDING
    payout = record.payout
    payout.status = Payout.Status.PENDING
    payout.attempts, payout.bank_response, payout.failure_code = 0, None, ""
    return show_transaction(record, wallet, payout)


def show_transfer(transfer: Transfer) -> dict[str, Any]:
    """Return a transfer, the amount a decimal string."""
    source, destination = transfer.withdraw.wallet, transfer.deposit.wallet
    meta = transfer.withdraw.meta or {}
    return {
        "uuid": str(transfer.uuid),
        "from": str(source.uuid),
        "to": str(destination.uuid),
        "amount": show_amount(transfer.withdraw.amount, source.decimal_places),
        "asset": source.asset_id,
        "status": transfer.status.upper(),
        "meta": {name: value for name, value in meta.items() if name != "action"},
        "created_at": show_time(transfer.created_at),
    }


def show_deposit(record: Transaction, wallet: Wallet) -> dict[str, Any]:
    """Return a deposit of a batch, the amount a decimal string."""
    return {
        "id": record.pk,
        "uuid": str(record.uuid),
        "wallet": str(wallet.uuid),
        "type": TYPES[record.type],
        "status": STATUSES[Transaction.STATUS_COMPLETED],
        "amount": show_amount(record.amount, wallet.decimal_places),
        "asset": wallet.asset_id,
        "meta": record.meta or {},
        "created_at": show_time(record.created_at),
    }


def show_amount(amount: Decimal, decimal_places: int) -> str:
    """Return the amount with all decimal places of its asset: "12.50"."""
    return format(to_scale(amount, decimal_places), "f")


def show_time(instant: datetime) -> str:
    """Return the time in UTC as ISO 8601."""
    return instant.isoformat().replace("+00:00", "Z")


def find_payout(record: Transaction) -> Payout | None:
    """Return the payout of a transaction that was loaded with it."""
    try:
        payout: Payout = record.payout
    except ObjectDoesNotExist:
        return None
    return payout
