"""Three payouts, told as stories: a bank that fails, one that pays and does not say so, and money that comes back."""

from decimal import Decimal

import pytest
from django.db.models.functions import Now

from dj_wallet.ledger.accounts import system_account
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.queries import get_balance
from dj_wallet.models import Transaction, Wallet
from dj_wallet.payouts.iso20022 import read_statements
from dj_wallet.payouts.models import Payout
from dj_wallet.payouts.queries import list_timeline
from dj_wallet.payouts.services import execute_payout, import_statement, schedule_payout
from tests.payouts.conftest import short_waits

__all__ = ["short_waits"]

pytestmark = pytest.mark.django_db


def look(wallet: Wallet) -> tuple[Decimal, Decimal, Decimal]:
    """Return what the wallet can spend, what is on its way, and what the bank got."""
    wallet.refresh_from_db()
    return (
        wallet.balance,
        wallet.pending_balance,
        get_balance(system_account("external:bank", "USD")),
    )


def tell(payout: Payout) -> list[str]:
    return [one.kind for one in list_timeline(payout)]


def test_a_failed_payout(wallet, blind_bank):
    """Alice has 100 and asks for 60. The bank fails four times; her money is back, and she sees why."""
    record = schedule_payout(wallet=wallet, amount=60)
    payout = record.payout
    assert look(wallet) == (100, 0, 0)  # scheduled is not held

    blind_bank.break_down("refuse")
    execute_payout(payout.pk)
    assert look(wallet) == (40, 60, 0)  # on its way: she cannot spend it twice
    payout.refresh_from_db()
    assert payout.status == "retrying"

    for _ in range(3):
        execute_payout(payout.pk)
    assert look(wallet) == (100, 0, 0)
    payout.refresh_from_db()
    record.refresh_from_db()
    assert (payout.status, payout.failure_code, record.status) == (
        "failed",
        "bank_refused",
        "failed",
    )
    assert tell(payout) == ["requested", "held", *["sent", "answered"] * 4, "failed"]
    assert blind_bank.payments() == []
    assert audit_ledger().is_clean


def test_paid_and_then_a_timeout(wallet, bank, impatient):
    """The bank pays and its answer is lost. Nobody sends again, nobody refunds: the bank is asked."""
    payout = schedule_payout(wallet=wallet, amount=60).payout
    bank.break_down("paid_timeout", seconds=4)
    with impatient():
        execute_payout(payout.pk)
    payout.refresh_from_db()
    assert payout.status == "unknown"
    assert look(wallet) == (40, 60, 0)

    execute_payout(payout.pk)
    payout.refresh_from_db()
    assert payout.status == "settled"
    assert look(wallet) == (40, 0, 60)
    assert tell(payout) == ["requested", "held", "sent", "answered", "looked_up", "settled"]
    assert bank.payments() == [{"amount": 6000, "reference": str(payout.uuid)}]
    assert audit_ledger().is_clean


def test_returned_after_three_days(wallet, keyed_bank):
    """The account was closed: three days later the statement brings the money back. History stays as it was."""
    payout = schedule_payout(wallet=wallet, amount=60).payout
    execute_payout(payout.pk)
    assert look(wallet) == (40, 0, 60)
    settled_by = Transaction.objects.get(pk=payout.transaction_id).entry_id

    keyed_bank.client.post(f"/payments/{payout.uuid}/return")
    (statement,) = read_statements(keyed_bank.client.get("/statement").content)
    import_statement(bank="default", statement=statement)

    assert look(wallet) == (100, 0, 0)
    payout.refresh_from_db()
    assert payout.status == "returned"
    assert tell(payout)[-3:] == ["stated", "stated", "returned"]
    first, back = Transaction.objects.filter(wallet=wallet).order_by("pk")[1:]
    assert (first.type, first.status, first.entry_id) == ("withdraw", "completed", settled_by)
    assert (back.type, back.amount, back.meta["action"]) == ("deposit", 60, "payout_returned")
    assert audit_ledger().is_clean
    assert Payout.objects.filter(due_at__lte=Now()).count() == 0
