"""Balances now and then, statements, books."""

import threading
import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from dj_wallet.ledger.accounts import system_account
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.engine import Bucket, Entry, Kind, Movement
from dj_wallet.ledger.errors import AccountNotFound
from dj_wallet.ledger.models import Account, Checkpoint, Posting
from dj_wallet.ledger.post import post, post_one
from dj_wallet.ledger.queries import (
    checkpoint_system_balances,
    explain_balance,
    get_balance,
    get_statement,
    list_trial_balances,
)
from tests.ledger.together import Background
from tests.ledger.worlds import BANK, FEES, UNKNOWN, Role, make_wallet, transfer_entry, undone

pytestmark = pytest.mark.django_db


@pytest.fixture
def wallet(db):
    return make_wallet(Role())


def find_system(code=BANK):
    return Account.objects.values_list("pk", flat=True).get(code=code, asset="USD")


def deposit(wallet, amount, **options):
    return post_one(transfer_entry(BANK, wallet, amount, **options)).entry_id


def pay_with_fee(wallet, amount, fee):
    movements = (
        *transfer_entry(wallet, BANK, amount).movements,
        *transfer_entry(wallet, FEES, fee).movements,
    )
    return post_one(Entry(Kind.PURCHASE, movements)).entry_id


# Balances


def test_the_balance_of_a_wallet_is_what_it_holds_now(wallet):
    deposit(wallet, 10)
    assert get_balance(wallet.pk) == 10
    assert get_balance(wallet.pk, bucket=Bucket.LOCKED) == 0


def test_the_balance_of_a_system_account_is_derived_from_its_postings(wallet):
    deposit(wallet, 10)
    pay_with_fee(wallet, 3, 1)
    assert get_balance(find_system()) == -7
    assert get_balance(find_system(FEES)) == 1


@pytest.mark.parametrize("as_of", [None, 7, timezone.now()])
def test_an_unknown_account_has_no_balance(as_of, db):
    with pytest.raises(AccountNotFound):
        get_balance(UNKNOWN, as_of=as_of)
    with pytest.raises(AccountNotFound):
        get_statement(UNKNOWN, until=as_of)


def test_a_balance_as_of_an_entry_includes_it(wallet):
    first, second = deposit(wallet, 10), deposit(wallet, 5)
    assert get_balance(wallet.pk, as_of=first) == 10
    assert get_balance(wallet.pk, as_of=second) == 15
    assert get_balance(wallet.pk, as_of=first - 1) == 0
    assert get_balance(find_system(), as_of=first) == -10
    assert get_balance(wallet.pk, as_of=second + 1000) == 15


def test_a_balance_as_of_an_entry_of_several_movements_includes_all_of_them(wallet):
    deposit(wallet, 10)
    entry_id = pay_with_fee(wallet, 3, 1)
    deposit(wallet, 100)
    assert get_balance(wallet.pk, as_of=entry_id) == 6
    assert get_balance(find_system(FEES), as_of=entry_id) == 1


def wait_a_moment():
    """Make sure that the next posting gets a later time than now."""
    time.sleep(0.005)
    now = timezone.now()
    time.sleep(0.005)
    return now


def test_a_balance_as_of_a_time_is_what_had_been_recorded_by_then(wallet):
    before = wait_a_moment()
    deposit(wallet, 10)
    between = wait_a_moment()
    deposit(wallet, 5)
    after = wait_a_moment()
    assert [get_balance(wallet.pk, as_of=at) for at in (before, between, after)] == [0, 10, 15]
    assert [get_balance(find_system(), as_of=at) for at in (before, between, after)] == [
        0,
        -10,
        -15,
    ]


def test_the_time_that_counts_is_when_it_was_recorded(wallet):
    now = wait_a_moment()
    deposit(wallet, 10, event_at=now - timedelta(days=1))
    assert get_balance(wallet.pk, as_of=now) == 0


def test_the_moment_of_the_recording_is_included(wallet):
    entry_id = deposit(wallet, 10)
    recorded = Posting.objects.get(pk=entry_id).created_at
    assert get_balance(wallet.pk, as_of=recorded) == 10
    assert get_balance(wallet.pk, as_of=recorded - timedelta(microseconds=1)) == 0


def test_a_balance_as_of_a_time_includes_all_movements_of_an_entry(wallet):
    deposit(wallet, 10)
    pay_with_fee(wallet, 3, 1)
    now = wait_a_moment()
    deposit(wallet, 100)
    assert get_balance(wallet.pk, as_of=now) == 6
    assert get_balance(find_system(FEES), as_of=now) == 1


HISTORY = st.lists(
    st.tuples(
        st.sampled_from(["deposit", "withdraw", "lock", "transfer", "fee"]),
        st.integers(1, 100),
    ),
    max_size=12,
)


@settings(max_examples=12)
@given(HISTORY)
def test_the_past_is_what_a_replay_of_the_postings_says(history):
    with undone():
        wallet, other = make_wallet(Role(overdraft_limit=None)), make_wallet(Role(), slug="other")
        places = [
            (wallet.pk, Bucket.AVAILABLE),
            (wallet.pk, Bucket.LOCKED),
            (other.pk, Bucket.AVAILABLE),
        ]
        bank, fees = system_account(BANK, "USD"), system_account(FEES, "USD")
        places += [(bank, Bucket.AVAILABLE), (fees, Bucket.AVAILABLE)]
        entries = {
            "deposit": lambda amount: transfer_entry(BANK, wallet, amount),
            "withdraw": lambda amount: transfer_entry(wallet, BANK, amount),
            "transfer": lambda amount: transfer_entry(wallet, other, amount),
            "lock": lambda amount: Entry(
                Kind.BID_LOCK,
                (Movement(wallet.pk, wallet.pk, Decimal(amount), "USD", Bucket(0), Bucket.LOCKED),),
            ),
            "fee": lambda amount: Entry(
                Kind.PURCHASE,
                (
                    *transfer_entry(wallet, other, amount).movements,
                    *transfer_entry(wallet, FEES, 1).movements,
                ),
            ),
        }
        held = dict.fromkeys(places, Decimal(0))
        moments = []
        for verb, amount in history:
            entry = entries[verb](amount)
            posted = post_one(entry)
            for movement in entry.movements:
                for place, bucket, sign in (
                    (movement.source, movement.source_bucket, -1),
                    (movement.destination, movement.destination_bucket, 1),
                ):
                    number = {BANK: bank, FEES: fees}.get(place, place)
                    held[number, bucket] += sign * movement.amount
            recorded = Posting.objects.filter(entry_id=posted.entry_id).latest("pk").created_at
            moments.append((posted.entry_id, recorded, dict(held)))
        times = [at for _, at, _ in moments]
        for entry_id, at, then in moments:
            for account, bucket in places:
                assert get_balance(account, bucket=bucket, as_of=entry_id) == then[account, bucket]
                if times.count(at) == 1:
                    assert get_balance(account, bucket=bucket, as_of=at) == then[account, bucket]
        for account, bucket in places:
            assert get_balance(account, bucket=bucket) == held[account, bucket]
            lines = list(explain_balance(account, bucket=bucket))
            assert sum(line.credit - line.debit for line in lines) == held[account, bucket]
            statement = get_statement(account, bucket=bucket, limit=3)
            assert statement.closing == held[account, bucket]
            moved = sum(line.credit - line.debit for line in statement.lines)
            assert statement.opening + moved == statement.closing


def raw_posting(number, entry_id, source, destination, balances, versions, at=None):
    """Write a posting with an id of our choice, as concurrent sessions would leave it."""
    Posting.objects.bulk_create(
        [
            Posting(
                id=number,
                entry_id=entry_id,
                kind="TRANSFER",
                source_account_id=source,
                destination_account_id=destination,
                amount=1,
                source_balance_after=balances[0],
                source_version=versions[0],
                destination_balance_after=balances[1],
                destination_version=versions[1],
                created_at=at or timezone.now(),
            )
        ]
    )


def test_an_entry_between_whose_postings_another_came_does_not_count_the_other(wallet):
    """An entry is posted as `at` and `at + 2` by one session, another in between by a second."""
    deposit(wallet, 1)
    at = Posting.objects.latest("pk").pk + 1000
    other = make_wallet(Role(), slug="other")
    bank = find_system()
    raw_posting(at, at, bank, other.pk, (None, 1), (None, 1))
    raw_posting(at + 1, at + 1, bank, wallet.pk, (None, 2), (None, 2))
    raw_posting(at + 2, at, bank, other.pk, (None, 2), (None, 2))
    assert get_balance(wallet.pk, as_of=at) == 1
    assert get_balance(other.pk, as_of=at) == 2
    assert get_balance(bank, as_of=at) == -3
    assert get_balance(bank, as_of=at + 1) == -4


# Statements


def test_a_statement_shows_the_newest_lines_between_two_balances(wallet):
    for amount in (1, 2, 3, 4):
        deposit(wallet, amount)
    statement = get_statement(wallet.pk, limit=2)
    assert (statement.opening, statement.closing) == (3, 10)
    assert [line.credit for line in statement.lines] == [4, 3]
    assert [line.balance_after for line in statement.lines] == [10, 6]


def test_a_statement_of_an_unused_wallet_is_empty(wallet):
    assert get_statement(wallet.pk) == (0, 0, [])


def test_a_statement_shows_one_bucket(wallet):
    deposit(wallet, 10)
    lock = Movement(wallet.pk, wallet.pk, Decimal(4), "USD", Bucket.AVAILABLE, Bucket.LOCKED)
    post_one(Entry(Kind.BID_LOCK, (lock,)))
    statement = get_statement(wallet.pk, bucket=Bucket.LOCKED)
    assert (statement.opening, statement.closing) == (0, 4)
    assert [(line.credit, line.debit) for line in statement.lines] == [(4, 0)]
    available = get_statement(wallet.pk)
    assert [(line.credit, line.debit) for line in available.lines] == [(0, 4), (10, 0)]


def test_a_statement_ends_where_it_is_told(wallet):
    first = deposit(wallet, 1)
    at = wait_a_moment()
    deposit(wallet, 2)
    for until in (first, at):
        statement = get_statement(wallet.pk, until=until)
        assert (statement.opening, statement.closing) == (0, 1)
        assert [line.credit for line in statement.lines] == [1]


def test_a_statement_begins_where_it_is_told(wallet):
    deposit(wallet, 1)
    at = wait_a_moment()
    deposit(wallet, 2)
    statement = get_statement(wallet.pk, since=at)
    assert (statement.opening, statement.closing) == (1, 3)
    assert [line.credit for line in statement.lines] == [2]


def test_a_statement_of_a_system_account_is_like_that_of_a_wallet(wallet):
    deposit(wallet, 1)
    pay_with_fee(wallet, "0.5", "0.25")
    statement = get_statement(find_system())
    assert (statement.opening, statement.closing) == (0, Decimal("-0.5"))
    assert [(line.debit, line.credit) for line in statement.lines] == [(0, Decimal("0.5")), (1, 0)]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 50])
def test_the_pages_of_a_statement_show_each_line_once(wallet, limit):
    """The next page ends before the last line's entry; entries of several lines are not torn apart."""
    deposit(wallet, 100)
    for number in range(4):
        pay_with_fee(wallet, 5 + number, 1)
        deposit(wallet, 2)
    pages, until = [], None
    while True:
        page = get_statement(wallet.pk, until=until, limit=limit)
        if not page.lines:
            break
        if pages:
            assert page.closing == pages[-1].opening
        pages.append(page)
        until = page.lines[-1].entry_id - 1
    lines = [line.pk for page in pages for line in page.lines]
    assert lines == [line.pk for line in reversed(list(explain_balance(wallet.pk)))]
    assert pages[0].closing == 100 - 26 - 4 + 8
    assert pages[-1].opening == 0


def test_explaining_a_balance_shows_every_line_oldest_first(wallet):
    deposit(wallet, 10, key="k")
    pay_with_fee(wallet, 3, 1)
    lines = list(explain_balance(wallet.pk))
    assert [(line.entry_type, line.credit - line.debit, line.balance_after) for line in lines] == [
        ("TRANSFER", 10, 10),
        ("PURCHASE", -3, 7),
        ("PURCHASE", -1, 6),
    ]
    assert [line.idempotency_key for line in lines] == ["k", None, None]
    assert [line.version for line in lines] == [1, 2, 3]


# Books


def test_the_books_of_each_asset_balance():
    usd, btc = make_wallet(Role(balances=(5, 3, 2))), make_wallet(Role(asset="BTC"), slug="btc")
    post_one(transfer_entry(BANK, btc, "0.00000001", asset="BTC"))
    pay_with_fee(usd, 1, "0.5")
    assert list_trial_balances() == [
        ("BTC", Decimal("0.00000001"), Decimal("-0.00000001")),
        ("USD", Decimal("8.5"), Decimal("-8.5")),
    ]
    assert [row.difference for row in list_trial_balances()] == [0, 0]


def test_books_that_do_not_balance_say_by_how_much(wallet):
    deposit(wallet, 5)
    Account.objects.filter(pk=wallet.pk).update(balance=7)
    (row,) = list_trial_balances()
    assert row.difference == 2


def test_books_of_numbers_that_floats_would_round_balance(wallet):
    for _ in range(10):
        deposit(wallet, "0.1")
    assert list_trial_balances() == [("USD", Decimal(1), Decimal(-1))]


@pytest.mark.postgres
def test_the_most_money_there_can_be_is_added_exactly():
    wallets = [make_wallet(Role(), slug=f"w{number}") for number in range(3)]
    for wallet in wallets:
        deposit(wallet, "9" * 61 + ".01")
    assert list_trial_balances()[0].difference == 0
    assert get_balance(find_system()) == Decimal("-2" + "9" * 60 + "7.03")


# Checkpoints


def advance_checkpoints():
    checkpoint_system_balances()
    return checkpoint_system_balances()


def sum_of_postings(account_id):
    total = Decimal(0)
    for side, sign in (("source", -1), ("destination", 1)):
        for amount in Posting.objects.filter(**{f"{side}_account_id": account_id}).values_list(
            "amount", flat=True
        ):
            total += sign * amount
    return total


@pytest.mark.django_db(transaction=True)
def test_a_balance_is_the_same_with_a_checkpoint_and_without():
    wallet = make_wallet(Role())
    deposit(wallet, 10)
    first = deposit(wallet, 1)
    early = wait_a_moment()
    advance_checkpoints()
    assert Checkpoint.objects.get().balance == -11
    deposit(wallet, 5)
    assert get_balance(find_system()) == -16
    assert get_balance(find_system(), as_of=first) == -11
    assert get_balance(find_system(), as_of=first - 1) == -10
    assert get_balance(find_system(), as_of=early) == -11
    advance_checkpoints()
    assert get_balance(find_system()) == -16
    assert audit_ledger().is_clean


@pytest.mark.django_db(transaction=True)
def test_a_checkpoint_is_not_repeated_without_news():
    deposit(make_wallet(Role()), 10)
    advance_checkpoints()
    checkpoint_system_balances()
    assert checkpoint_system_balances() == 0


@pytest.mark.django_db(transaction=True)
def test_a_system_account_that_is_used_after_the_checkpoints_counts_all():
    """It was named by an entry that was refused, and checkpointed while the ledger was empty."""
    wallet = make_wallet(Role())
    (refusal,) = post([transfer_entry(wallet, BANK, 10)])
    assert refusal.code == "insufficient_funds"
    for _ in range(3):
        checkpoint_system_balances()
    deposit(wallet, 10)
    assert get_balance(find_system()) == -10
    advance_checkpoints()
    assert get_balance(find_system()) == -10
    assert audit_ledger().is_clean


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_the_first_posting_of_all_is_not_skipped_by_an_early_checkpoint():
    """As on a new server: the sequence has never been used."""
    wallet = make_wallet(Role())
    system_account(BANK, "USD")
    with connection.cursor() as cursor:
        cursor.execute("ALTER SEQUENCE dj_wallet_posting_id_seq RESTART")
    for _ in range(3):
        checkpoint_system_balances()
    assert deposit(wallet, 10) == 1
    assert get_balance(find_system()) == -10
    advance_checkpoints()
    assert get_balance(find_system()) == -10


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("others", [0, 1, 3])
def test_a_checkpoint_never_skips_a_transaction_that_is_still_running(others):
    wallet, other = make_wallet(Role()), make_wallet(Role(), slug="other")
    deposit(wallet, 1)
    with transaction.atomic():
        deposit(wallet, 10)
        for _ in range(others):
            Background(lambda: deposit(other, 100)).wait()
        assert Background(checkpoint_all_the_time).wait() is None
    total = -11 - 100 * others
    assert get_balance(find_system()) == total
    advance_checkpoints()
    assert Checkpoint.objects.get().balance == total
    assert get_balance(find_system()) == total
    assert audit_ledger().is_clean


def checkpoint_all_the_time():
    for _ in range(4):
        checkpoint_system_balances()
        assert get_balance(find_system()) == sum_of_postings(find_system())


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("count", [1, 2])
def test_a_checkpoint_never_skips_a_movement_between_system_accounts(count):
    """No wallet is updated, so nothing but the posting itself makes the database know of the transaction."""
    deposit(make_wallet(Role()), 1)
    system_account(FEES, "USD")

    def post_and_wait(key):
        with transaction.atomic():
            found = post([transfer_entry(BANK, FEES, 7, key=f"{key}{n}") for n in range(count)])
            ready.append(found)
            assert release.wait(120)

    ready, release = [], threading.Event()
    with transaction.atomic():
        post([transfer_entry(BANK, FEES, 7, key=f"k{n}") for n in range(count)])
        # It has taken its number and waits for us, who may still give the key back.
        other = Background(lambda: post_and_wait("k"))
        other._thread.join(0.4)
        Background(checkpoint_system_balances).wait()
        transaction.set_rollback(True)
    while not ready and other._thread.is_alive():
        time.sleep(0.01)
    for _ in range(3):
        Background(checkpoint_system_balances).wait()
    release.set()
    assert other.wait() is None
    for _ in range(3):
        checkpoint_system_balances()
    assert get_balance(find_system(FEES)) == 7 * count
    assert sum_of_postings(find_system(FEES)) == 7 * count
    assert audit_ledger().is_clean


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_balance_of_now_counts_those_who_recorded_while_a_batch_waited():
    """A batch takes its numbers, waits for a key, and is recorded late under early numbers."""
    wallet, other = make_wallet(Role()), make_wallet(Role(), slug="other")
    for code in (BANK, FEES):
        system_account(code, "USD")
    with transaction.atomic():
        post([transfer_entry(BANK, FEES, 1, key="k")])
        batch = [transfer_entry(BANK, wallet, 1), transfer_entry(BANK, wallet, 1, key="k")]
        waiting = Background(lambda: post(batch))
        waiting._thread.join(0.4)
        Background(lambda: deposit(other, 5)).wait()
        time.sleep(1.2)
        transaction.set_rollback(True)
    waiting.wait()
    assert get_balance(other.pk, as_of=timezone.now()) == 5
    assert get_balance(wallet.pk, as_of=timezone.now()) == 2


# Cost


def test_reads_take_the_same_number_of_queries_however_long_the_history(wallet):
    bank_calls = [
        lambda: get_balance(wallet.pk),
        lambda: get_balance(wallet.pk, as_of=first),
        lambda: get_balance(wallet.pk, as_of=timezone.now()),
        lambda: get_balance(find_system()),
        lambda: get_statement(wallet.pk),
        lambda: list(explain_balance(wallet.pk)),
        list_trial_balances,
    ]
    first = deposit(wallet, 1)
    few = [count_queries(call) for call in bank_calls]
    post([transfer_entry(BANK, wallet, 1)] * 60)
    assert [count_queries(call) for call in bank_calls] == few
    assert few[0] == 1


def count_queries(call):
    with CaptureQueriesContext(connection) as captured:
        call()
    return len(captured)
