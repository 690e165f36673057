"""A sale with an escrow and a fee, told with the entries of the ledger alone."""

from decimal import Decimal

import pytest

from dj_wallet.exceptions import InsufficientFunds
from dj_wallet.ledger.accounts import system_account
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.engine import Bucket, Entry, Kind, Movement
from dj_wallet.ledger.post import post_one
from dj_wallet.ledger.queries import explain_balance, get_balance, list_trial_balances

pytestmark = pytest.mark.django_db


def held(person):
    wallet = person.wallet
    return wallet.balance, wallet.locked_balance, wallet.pending_balance


def test_alice_buys_from_bob_and_the_house_takes_its_fee(alice, bob, charlie):
    # Alice pays 100 in at the bank and bids 60 for what Bob sells. The bid is locked.
    alice.deposit(100)
    lock = Movement(
        alice.wallet.pk, alice.wallet.pk, Decimal(60), "USD", Bucket.AVAILABLE, Bucket.LOCKED
    )
    post_one(Entry(Kind.BID_LOCK, (lock,), "bid-1", "bid", "1"))
    assert held(alice) == (40, 60, 0)

    # What is locked cannot be spent elsewhere, and locking it again by mistake does nothing.
    with pytest.raises(InsufficientFunds):
        alice.transfer(charlie, 41)
    assert post_one(Entry(Kind.BID_LOCK, (lock,), "bid-1", "bid", "1")).replayed
    assert held(alice) == (40, 60, 0)

    # Bob delivers. In one entry he is paid and the house takes 5 %: all of it, or nothing.
    sale = Entry(
        Kind.SALE_CREDIT,
        (
            Movement(alice.wallet.pk, bob.wallet.pk, Decimal(57), "USD", Bucket.LOCKED),
            Movement(alice.wallet.pk, "fees", Decimal(3), "USD", Bucket.LOCKED),
        ),
        "sale-1",
        "order",
        "1",
    )
    posted = post_one(sale)
    assert posted.balances == ((Decimal(3), Decimal(57)), (Decimal(0), None))
    assert held(alice) == (40, 0, 0)
    assert held(bob) == (57, 0, 0)

    # The worker that recorded the sale was killed before it heard so, and records it again.
    assert post_one(sale)._replace(replayed=False) == posted

    # Bob takes his money home; the house knows where everything is.
    bob.withdraw(57)
    cash, fees = find_system("external:cash"), find_system("fees")
    assert (get_balance(cash), get_balance(fees)) == (-43, 3)
    assert [row.difference for row in list_trial_balances()] == [0]
    assert [line.entry_type for line in explain_balance(alice.wallet.pk)] == ["DEPOSIT", "BID_LOCK"]
    assert audit_ledger().is_clean


def find_system(code):
    return system_account(code, "USD")
