"""Signals: which, in what order, with what, and that they are part of the transaction."""

import pytest
from django.db import connection

from dj_wallet import signals
from dj_wallet.exceptions import InsufficientFunds
from dj_wallet.ledger.engine import Kind
from dj_wallet.models import Wallet
from dj_wallet.services import TransferService, WalletService
from dj_wallet.services.movements import OUTSIDE, Request, move_many

pytestmark = pytest.mark.django_db


@pytest.fixture
def veto():
    """A function that makes a signal's receiver raise."""
    connected = []

    def connect(signal):
        def refuse(**arguments):
            raise PermissionError("vetoed")

        signal.connect(refuse, weak=False)
        connected.append((signal, refuse))

    yield connect
    for signal, receiver in connected:
        signal.disconnect(receiver)


def names(sent):
    return [name for name, _ in sent]


def test_a_first_deposit_tells_of_the_wallet_and_the_money(alice, sent):
    record = alice.deposit(5, {"note": "x"})
    assert names(sent) == [
        "wallet_created",
        "pre_deposit",
        "balance_changed",
        "transaction_created",
    ]
    arguments = dict(sent)
    assert arguments["wallet_created"] == {
        "sender": Wallet,
        "wallet": alice.wallet,
        "holder": alice,
    }
    assert arguments["pre_deposit"] == {
        "sender": WalletService,
        "wallet": alice.wallet,
        "amount": 5,
        "meta": {"note": "x"},
    }
    assert arguments["balance_changed"] == {
        "sender": WalletService,
        "wallet": alice.wallet,
        "transaction": record,
    }
    assert arguments["transaction_created"] == {"sender": WalletService, "transaction": record}
    assert arguments["balance_changed"]["wallet"].balance == 5


def test_a_withdrawal_tells_of_the_money(alice, sent):
    alice.deposit(5)
    sent.clear()
    alice.withdraw(2)
    assert names(sent) == ["pre_withdraw", "balance_changed", "transaction_created"]
    assert sent[1][1]["wallet"].balance == 3


def test_a_transfer_tells_of_both_sides_with_fresh_wallets(alice, bob, sent):
    alice.deposit(100)
    assert bob.wallet.balance == 0
    sent.clear()
    transfer = alice.transfer(bob, 40)
    assert names(sent) == [
        "pre_withdraw",
        "pre_deposit",
        *["balance_changed", "transaction_created"] * 2,
        "transfer_completed",
    ]
    changed = [arguments for name, arguments in sent if name == "balance_changed"]
    assert [one["transaction"] for one in changed] == [transfer.withdraw, transfer.deposit]
    done = sent[-1][1]
    assert done["sender"] is TransferService
    assert done["transfer"] == transfer
    assert (done["from_wallet"].balance, done["to_wallet"].balance) == (60, 40)


def test_a_pending_record_tells_of_itself_and_of_no_money(alice, sent):
    assert alice.wallet.balance == 0
    sent.clear()
    record = alice.deposit(5, confirmed=False)
    assert names(sent) == ["pre_deposit", "transaction_created"]
    assert sent[1][1] == {"sender": WalletService, "transaction": record}


def test_a_confirmation_tells_of_the_money(alice, sent):
    record = alice.deposit(5, confirmed=False)
    sent.clear()
    done = WalletService.confirm_transaction(record)
    assert names(sent) == ["balance_changed", "transaction_confirmed"]
    assert sent[0][1] == {"sender": WalletService, "wallet": alice.wallet, "transaction": done}
    assert sent[0][1]["wallet"].balance == 5
    assert sent[1][1] == {"sender": WalletService, "transaction": done}


def test_a_replay_tells_of_no_money(alice, sent):
    alice.deposit(5, idempotency_key="k")
    sent.clear()
    alice.deposit(5, idempotency_key="k")
    assert set(names(sent)) <= {"pre_deposit"}


def test_a_refusal_tells_of_no_money(alice, sent):
    alice.deposit(5)
    sent.clear()
    with pytest.raises(InsufficientFunds):
        alice.withdraw(6)
    assert set(names(sent)) <= {"pre_withdraw"}


def test_a_new_wallet_tells_of_itself(alice, sent):
    wallet = alice.create_wallet("savings")
    assert sent == [("wallet_created", {"sender": Wallet, "wallet": wallet, "holder": alice})]


def test_a_wallet_that_exists_is_not_announced_again(alice, sent):
    alice.create_wallet("savings")
    sent.clear()
    assert alice.get_wallet("savings")
    assert sent == []


def test_signals_are_sent_inside_the_transaction(alice):
    depths = []

    def receive(**arguments):
        depths.append(connection.in_atomic_block)

    signals.balance_changed.connect(receive)
    alice.deposit(5)
    signals.balance_changed.disconnect(receive)
    assert depths == [True]


@pytest.mark.parametrize("name", ["pre_deposit", "pre_withdraw"])
def test_a_receiver_can_veto_what_has_not_happened(alice, bob, veto, snapshot, name):
    alice.deposit(10)
    assert bob.wallet.balance == 0
    before = snapshot()
    veto(getattr(signals, name))
    with pytest.raises(PermissionError):
        alice.transfer(bob, 5)
    with pytest.raises(PermissionError):
        alice.deposit(5) if name == "pre_deposit" else alice.withdraw(5)
    assert snapshot() == before


def test_a_veto_stops_a_bulk_call_whole(alice, veto, snapshot):
    alice.deposit(10)
    before = snapshot()
    veto(signals.pre_deposit)
    requests = [
        Request(Kind.WITHDRAWAL, alice.wallet, OUTSIDE, 1),
        Request(Kind.DEPOSIT, OUTSIDE, alice.wallet, 1),
    ]
    with pytest.raises(PermissionError):
        move_many(requests, sender=WalletService)
    assert snapshot() == before


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["balance_changed", "transaction_created", "transfer_completed"])
def test_a_receiver_that_raises_undoes_the_movement(alice, bob, veto, snapshot, name):
    alice.deposit(10)
    assert bob.wallet.balance == 0
    before = snapshot()
    veto(getattr(signals, name))
    with pytest.raises(PermissionError):
        alice.transfer(bob, 5)
    assert snapshot() == before


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("create", ["get_wallet", "create_wallet"])
def test_a_receiver_that_raises_undoes_the_new_wallet(alice, veto, create):
    veto(signals.wallet_created)
    with pytest.raises(PermissionError):
        getattr(alice, create)("savings")
    assert Wallet.objects.count() == 0


def test_a_bulk_call_tells_of_each_movement(alice, bob, sent):
    alice.deposit(10)
    requests = [Request(Kind.TRANSFER, alice.wallet, bob.wallet, 1)] * 3
    sent.clear()
    move_many(requests, sender=TransferService)
    assert names(sent).count("balance_changed") == 6
    assert names(sent).count("transfer_completed") == 3
    last = sent[-1][1]
    assert (last["from_wallet"].balance, last["to_wallet"].balance) == (7, 3)
