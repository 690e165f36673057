"""The doors: in the caller's transaction or their own, in how many statements, with what written."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dj_wallet.ledger.accounts import ensure_asset, system_account
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.engine import Entry, Kind, Movement, Posted
from dj_wallet.ledger.errors import (
    AccountNotFound,
    IdempotencyConflict,
    InsufficientFunds,
    WalletException,
    WalletFrozen,
)
from dj_wallet.ledger.models import Account, EntryMeta, Posting
from dj_wallet.ledger.post import group_commit, post, post_one, run_in_transaction
from dj_wallet.ledger.queries import get_balance
from dj_wallet.models import Transaction, Transfer
from dj_wallet.services import TransferService, WalletService
from dj_wallet.services.movements import Request, move_many
from tests.ledger.together import Background
from tests.ledger.worlds import BANK, FEES, UNKNOWN, Role, fund, make_wallet, transfer_entry, undone

pytestmark = pytest.mark.django_db

DOORS = [post_one, group_commit, lambda entry: refuse(post([entry])[0])]
every_door = pytest.mark.parametrize("door", DOORS, ids=["post_one", "group_commit", "post"])


def refuse(outcome):
    if isinstance(outcome, WalletException):
        raise outcome
    return outcome


def balance_of(wallet):
    return Account.objects.values_list("balance", flat=True).get(pk=wallet.pk)


# The caller's transaction


@every_door
def test_a_rollback_of_the_caller_restores_everything(door, snapshot):
    wallet = make_wallet()
    before = snapshot()
    with undone():
        door(transfer_entry(wallet, BANK, 30, key="k"))
        assert balance_of(wallet) == 70
    assert snapshot() == before
    assert not door(transfer_entry(wallet, BANK, 30, key="k")).replayed


@every_door
def test_a_rollback_to_a_savepoint_restores_what_was_there(door):
    wallet = make_wallet()
    with transaction.atomic():
        door(transfer_entry(wallet, BANK, 30))
        with undone():
            door(transfer_entry(wallet, BANK, 30))
        door(transfer_entry(wallet, BANK, 1))
    assert balance_of(wallet) == 69


@every_door
@pytest.mark.parametrize(
    ("error", "amount", "destination"),
    [(InsufficientFunds, "100.01", BANK), (AccountNotFound, "1", UNKNOWN)],
)
def test_a_refusal_leaves_the_callers_transaction_usable(
    door, error, amount, destination, snapshot
):
    wallet = make_wallet()
    before = snapshot()
    with transaction.atomic():
        with pytest.raises(error):
            door(transfer_entry(wallet, destination, amount))
        assert snapshot() == before
        door(transfer_entry(wallet, BANK, 1))
    assert balance_of(wallet) == 99


@every_door
def test_a_conflict_leaves_the_callers_transaction_usable(door):
    wallet = make_wallet()
    with transaction.atomic():
        door(transfer_entry(wallet, BANK, 1, key="k"))
        with pytest.raises(IdempotencyConflict):
            door(transfer_entry(wallet, BANK, 2, key="k"))
        door(transfer_entry(wallet, BANK, 3))
    assert balance_of(wallet) == 96


@pytest.mark.django_db(transaction=True)
def test_verbs_that_are_refused_leave_the_callers_transaction_usable(alice, bob, charlie, snapshot):
    assert charlie.wallet.balance == 0
    alice.deposit(10)
    bob.freeze_wallet()
    before = snapshot()
    with transaction.atomic():
        for error, call in (
            (InsufficientFunds, lambda: alice.withdraw(11)),
            (InsufficientFunds, lambda: alice.transfer(charlie, 11)),
            (WalletFrozen, lambda: alice.transfer(bob, 1)),
            (WalletFrozen, lambda: bob.deposit(1)),
            (WalletFrozen, lambda: bob.deposit(1, confirmed=False)),
        ):
            with pytest.raises(error):
                call()
            assert snapshot() == before
        alice.withdraw(1)
    assert alice.balance == 9


@pytest.mark.django_db(transaction=True)
def test_a_refused_batch_item_commits_its_neighbours():
    wallet = make_wallet(Role(balances=(100, 0, 0)))
    outcomes = post(
        [
            transfer_entry(wallet, BANK, 60),
            transfer_entry(wallet, BANK, 60),
            transfer_entry(wallet, BANK, 40),
        ]
    )
    assert [isinstance(outcome, WalletException) for outcome in outcomes] == [False, True, False]
    assert balance_of(wallet) == 0


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_wallets_stay_locked_until_the_caller_ends():
    wallet = make_wallet()
    with transaction.atomic():
        post_one(transfer_entry(wallet, BANK, 60))
        other = Background(lambda: post_one(transfer_entry(wallet, BANK, 60)))
        other._thread.join(0.3)
        assert other.result is None
        transaction.set_rollback(True)
    assert other.wait().balances == ((Decimal(40), None),)


# Deadlocks


class TwoWallets:
    """Two transactions that take two wallets in opposite order: one of them is undone by the database."""

    def __init__(self):
        self.wallets = [make_wallet(slug="one"), make_wallet(slug="two")]

    def take_one_then_the_other(self, order, met, runs):
        first, second = (self.wallets[position] for position in order)

        def work():
            runs.append(order)
            post_one(transfer_entry(BANK, first, 1))
            met.wait(120) if len(runs) <= 2 else None
            post_one(transfer_entry(BANK, second, 1))

        return work


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_deadlock_of_an_outermost_call_is_tried_again():
    import threading

    two, met, runs = TwoWallets(), threading.Barrier(2), []
    calls = [two.take_one_then_the_other(order, met, runs) for order in ((0, 1), (1, 0))]
    both = [Background(lambda call=call: run_in_transaction(call)) for call in calls]
    assert [background.wait() for background in both] == [None, None]
    assert len(runs) == 3
    assert [balance_of(wallet) for wallet in two.wallets] == [102, 102]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_deadlock_inside_the_callers_transaction_is_the_callers():
    import threading

    two, met, runs = TwoWallets(), threading.Barrier(2), []

    def run(call):
        with transaction.atomic():
            run_in_transaction(call)

    calls = [two.take_one_then_the_other(order, met, runs) for order in ((0, 1), (1, 0))]
    results = [
        background.wait()
        for background in [Background(lambda call=call: run(call)) for call in calls]
    ]
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "OperationalError"]
    assert [balance_of(wallet) for wallet in two.wallets] == [101, 101]


@pytest.mark.django_db(transaction=True)
def test_an_error_that_no_retry_cures_is_raised_at_once():
    runs = []

    def work():
        runs.append(1)
        raise OperationalError("the disk is full")

    with pytest.raises(OperationalError, match="the disk is full"):
        run_in_transaction(work)
    assert len(runs) == 1


# Statements


def count_statements(call):
    with CaptureQueriesContext(connection) as captured:
        call()
    return len(captured)


@pytest.mark.postgres
def test_a_deposit_is_one_statement(alice):
    alice.deposit(10)
    assert count_statements(lambda: alice.deposit(10)) == 1


@pytest.mark.postgres
def test_a_withdrawal_is_one_statement(alice):
    alice.deposit(10)
    assert count_statements(lambda: alice.withdraw(1, {"note": "x"})) == 1


@pytest.mark.postgres
def test_a_transfer_is_one_statement(alice, bob):
    alice.deposit(10)
    alice.transfer(bob, 1)
    assert count_statements(lambda: alice.transfer(bob, 1)) == 1


@pytest.mark.postgres
def test_services_on_known_wallets_take_one_statement(alice, bob):
    alice.deposit(10)
    sender, receiver = alice.wallet, bob.wallet
    assert count_statements(lambda: WalletService.deposit(sender, 1)) == 1
    assert count_statements(lambda: TransferService.transfer_between(sender, receiver, 1)) == 1


@pytest.mark.postgres
def test_a_single_entry_is_one_statement():
    wallet = make_wallet()
    entry = transfer_entry(wallet, BANK, 1, key="k", reference_type="order", reference_id="1")
    assert count_statements(lambda: post_one(entry)) == 1


@pytest.mark.postgres
def test_a_batch_of_a_thousand_is_one_statement():
    wallets = [make_wallet(slug=f"w{number}") for number in range(20)]
    entries = [
        transfer_entry(wallets[number % 20], wallets[(number + 1) % 20], 1, key=f"k{number}")
        for number in range(1000)
    ]
    assert count_statements(lambda: post(entries)) == 1
    assert Posting.objects.filter(idempotency_key__isnull=False).count() == 1000


@pytest.mark.postgres
def test_a_batch_that_uses_up_the_last_of_a_limit_is_one_statement():
    wallet = make_wallet(Role(balances=(100, 0, 0), overdraft_limit=50))
    entries = [transfer_entry(wallet, BANK, 75)] * 2
    assert count_statements(lambda: post(entries)) == 1
    assert balance_of(wallet) == -50


@pytest.mark.postgres
def test_the_statements_of_a_bulk_call_do_not_grow_with_its_requests(alice, bob):
    alice.deposit(1000)
    sender, receiver = alice.wallet, bob.wallet

    def make_requests(count):
        kinds = [
            Request(Kind.DEPOSIT, BANK, sender, 1),
            Request(Kind.TRANSFER, sender, receiver, 1),
            Request(Kind.WITHDRAWAL, receiver, BANK, 1),
        ]
        return [
            kinds[number % 3]._replace(idempotency_key=f"{count}-{number}")
            for number in range(count)
        ]

    move_many(make_requests(9), sender=WalletService)
    few, many = (
        count_statements(lambda count=count: move_many(make_requests(count), sender=WalletService))
        for count in (3, 300)
    )
    assert few == many
    again = count_statements(lambda: move_many(make_requests(300), sender=WalletService))
    fresh = count_statements(lambda: move_many(make_requests(3), sender=WalletService))
    assert again == fresh


@pytest.mark.parametrize("count", [1, 400])
def test_a_bulk_call_of_any_size_moves_all(alice, bob, count):
    alice.deposit(count)
    requests = [Request(Kind.TRANSFER, alice.wallet, bob.wallet, 1)] * count
    records = move_many(requests, sender=TransferService)
    assert len({record.pk for record in records}) == count
    assert (alice.balance, bob.balance) == (0, count)
    assert Transaction.objects.count() == 2 * count + 1
    assert Transfer.objects.count() == count


def test_a_bulk_call_may_exceed_the_parameters_of_one_statement(alice, bob):
    alice.deposit(3000)
    requests = [Request(Kind.TRANSFER, alice.wallet, bob.wallet, 1)] * 3000
    records = move_many(requests, sender=TransferService)
    assert len({record.pk for record in records}) == 3000
    assert (alice.balance, bob.balance) == (0, 3000)


def test_a_bulk_call_answers_each_request_in_order(alice, bob):
    alice.deposit(10)
    wallet, other = alice.wallet, bob.wallet
    records = move_many(
        [
            Request(Kind.TRANSFER, wallet, other, 10, idempotency_key="a"),
            Request(Kind.TRANSFER, wallet, other, 1),
            Request(Kind.DEPOSIT, BANK, wallet, "nonsense"),
            Request(Kind.DEPOSIT, BANK, wallet, 3, idempotency_key="b"),
            Request(Kind.TRANSFER, wallet, other, 10, idempotency_key="a"),
            Request(Kind.DEPOSIT, BANK, wallet, 4, idempotency_key="b"),
        ],
        sender=WalletService,
    )
    assert [getattr(record, "code", type(record).__name__) for record in records] == [
        "Transfer",
        "insufficient_funds",
        "amount_invalid",
        "Transaction",
        "Transfer",
        "idempotency_conflict",
    ]
    assert records[4].pk == records[0].pk
    assert records[4].replayed
    assert (wallet.balance, other.balance) == (3, 10)
    assert (alice.balance, bob.balance) == (3, 10)


# What is written


def test_the_movements_of_an_entry_share_its_number():
    wallet = make_wallet()
    entry = Entry(
        Kind.PURCHASE,
        (
            *transfer_entry(wallet, BANK, 9).movements,
            *transfer_entry(wallet, FEES, 1).movements,
        ),
        "k",
        "order",
        "7",
    )
    posted = post_one(entry)
    rows = Posting.objects.filter(entry_id=posted.entry_id).order_by("pk")
    assert [row.pk for row in rows] == [posted.entry_id, posted.entry_id + 1]
    assert [row.amount for row in rows] == [9, 1]
    assert [row.idempotency_key for row in rows] == ["k", None]
    assert [row.fingerprint is None for row in rows] == [False, True]
    assert {(row.kind, row.reference_type, row.reference_id) for row in rows} == {
        ("PURCHASE", "order", "7")
    }


def test_entries_of_a_batch_have_numbers_of_their_own():
    wallet = make_wallet()
    outcomes = post([transfer_entry(BANK, wallet, 1)] * 3)
    assert len({outcome.entry_id for outcome in outcomes}) == 3
    for outcome in outcomes:
        assert Posting.objects.get(pk=outcome.entry_id).entry_id == outcome.entry_id


@every_door
def test_free_form_data_is_kept_beside_the_entry(door):
    wallet = make_wallet()
    with_meta = door(transfer_entry(BANK, wallet, 1, meta={"note": "é", "n": [1, None]}))
    without = door(transfer_entry(BANK, wallet, 1, meta={}))
    assert EntryMeta.objects.get(pk=with_meta.entry_id).data == {"note": "é", "n": [1, None]}
    assert not EntryMeta.objects.filter(pk=without.entry_id).exists()


@pytest.mark.django_db(transaction=True)
def test_free_form_data_is_kept_without_a_transaction_of_the_caller():
    wallet = make_wallet()
    entries = [transfer_entry(BANK, wallet, 1, meta={"n": number}) for number in range(3)]
    outcomes = post(entries)
    metas = EntryMeta.objects.in_bulk([outcome.entry_id for outcome in outcomes])
    assert [metas[outcome.entry_id].data["n"] for outcome in outcomes] == [0, 1, 2]


def test_a_replay_writes_no_free_form_data():
    wallet = make_wallet()
    first = post_one(transfer_entry(BANK, wallet, 1, key="k", meta={"n": 1}))
    again = post_one(transfer_entry(BANK, wallet, 1, key="k", meta={"n": 2}))
    assert again.entry_id == first.entry_id
    assert EntryMeta.objects.get().data == {"n": 1}


@pytest.mark.parametrize("count", [1, 2])
def test_when_it_happened_is_kept_beside_when_it_was_recorded(count):
    wallet = make_wallet()
    happened = datetime(2020, 2, 29, 23, 59, 59, 123456, tzinfo=UTC)
    before = timezone.now() - timedelta(seconds=5)
    posted = post([transfer_entry(BANK, wallet, 1, event_at=happened)] * count)[0]
    row = Posting.objects.get(pk=posted.entry_id)
    assert row.event_at == happened
    assert before < row.created_at < timezone.now() + timedelta(seconds=5)


def test_no_event_time_is_no_event_time():
    wallet = make_wallet()
    assert (
        Posting.objects.get(pk=post_one(transfer_entry(BANK, wallet, 1)).entry_id).event_at is None
    )


def test_a_system_account_comes_into_being_when_first_used():
    wallet = make_wallet(Role())
    assert not Account.objects.filter(code="promotions").exists()
    post_one(transfer_entry("promotions", wallet, 1))
    account = Account.objects.get(code="promotions")
    assert (account.kind, account.asset_id, account.decimal_places) == ("system", "USD", 2)
    assert (account.balance, account.version) == (0, 0)


def test_an_asset_does_not_come_into_being_by_a_typo(snapshot):
    wallet = make_wallet()
    before = snapshot()
    with pytest.raises(WalletException):
        post_one(Entry(Kind.DEPOSIT, (Movement(BANK, wallet.pk, Decimal(1), "USDD"),)))
    assert snapshot() == before
    assert not Account.objects.filter(asset_id="USDD").exists()


def test_a_used_up_wallet_can_be_filled_again():
    wallet = make_wallet(Role(balances=(100, 0, 0)))
    post_one(transfer_entry(wallet, BANK, 100))
    fund(wallet, 3)
    assert balance_of(wallet) == 3


@pytest.mark.postgres
def test_a_batch_on_a_small_table_with_assets_against_the_order_of_accounts_is_posted():
    """The planner liked the index on assets, which visits the accounts in another order."""
    wallets = []
    for asset in ("ZZZ", "AAA"):
        ensure_asset(asset, decimal_places=2)
        wallets.append(make_wallet(Role(asset=asset), slug=f"small-{len(wallets)}"))
    entries = [
        Entry(
            Kind.DEPOSIT,
            (Movement("external:bank", wallet.pk, Decimal(number + 1), wallet.asset_id),),
        )
        for number, wallet in enumerate(wallets)
    ]
    for wallet in wallets:
        system_account("external:bank", wallet.asset_id)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE dj_wallet_account")
    with CaptureQueriesContext(connection) as queries:
        outcomes = post(entries)
    assert all(isinstance(outcome, Posted) for outcome in outcomes)
    assert len(queries) == 1
    assert [get_balance(wallet.pk) for wallet in wallets] == [1, 2]
    assert audit_ledger().is_clean
