"""The stores do what the engine says: every rule on each database, on the fast paths and the slow one."""

from decimal import Decimal

import pytest
from django.db import connection, transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from dj_wallet.ledger.engine import (
    Accepted,
    Bucket,
    Entry,
    Kind,
    KnownEntry,
    Movement,
    Posted,
    Repeated,
    decide,
    fingerprint,
)
from dj_wallet.ledger.errors import WalletException
from dj_wallet.ledger.models import Account, Asset, Posting
from dj_wallet.ledger.post import group_commit, post, post_one
from dj_wallet.ledger.store import get_store
from tests.ledger.worlds import (
    BANK,
    BATCHES,
    FEES,
    ROLES,
    UNKNOWN,
    Role,
    make_wallet,
    make_world,
    place,
    read_states,
    transfer_entry,
    undone,
)

pytestmark = pytest.mark.django_db

# An entry that is certain to be refused sends the whole batch down the slow path.
NONSENSE = Entry(Kind.TRANSFER, ())


def post_at_once(entries):
    return post(entries)


def post_twice(entries):
    """Make a batch of a single entry: what is refused is refused twice."""
    return post([*entries, *entries])[: len(entries)]


def post_slowly(entries):
    return post([*entries, NONSENSE])[:-1]


def post_one_by_one(entries):
    return [_catch(post_one, entry) for entry in entries]


def post_through_group_commit(entries):
    return [_catch(group_commit, entry) for entry in entries]


def _catch(door, entry):
    try:
        return door(entry)
    except WalletException as refusal:
        return refusal


DOORS = [post_at_once, post_slowly, post_one_by_one, post_through_group_commit]
every_door = pytest.mark.parametrize("door", DOORS)


class Oracle:
    """The pure engine with a memory: what the ledger should hold after some batches."""

    def __init__(self):
        self.accounts = read_states()
        self.known = {}
        self.lines = []

    def post(self, entries):
        decisions, changed = decide(
            entries,
            self.accounts,
            self.known,
            significant_digits=get_store("default").significant_digits,
        )
        self.accounts |= changed
        outcomes = []
        for decision in decisions:
            if isinstance(decision, Repeated):
                outcomes.append(outcomes[decision.position]._replace(replayed=True))
            elif isinstance(decision, Accepted):
                outcomes.append(self._write(decision))
            else:
                outcomes.append(decision)
        return outcomes

    def _write(self, decision):
        entry = decision.entry
        balances = tuple(
            (left.balance_after, right.balance_after) for left, right in decision.sides
        )
        posted = Posted(0, False, balances)
        if entry.idempotency_key is not None:
            self.known[entry.idempotency_key] = KnownEntry(posted, fingerprint(entry))
        for position, (movement, (left, right)) in enumerate(
            zip(entry.movements, decision.sides, strict=True)
        ):
            self.lines.append(
                (
                    str(entry.kind),
                    movement.amount,
                    (movement.source_bucket, movement.destination_bucket),
                    (left.balance_after, left.version),
                    (right.balance_after, right.version),
                    entry.reference_type,
                    entry.reference_id,
                    None if position else entry.idempotency_key,
                )
            )
        return posted


def describe(outcome):
    """Return what the engine decides of an outcome: everything but the number of the entry."""
    if isinstance(outcome, WalletException):
        return type(outcome), str(outcome)
    return outcome.replayed, outcome.balances


def list_lines(after):
    return [
        (
            line.kind,
            line.amount,
            (line.source_bucket, line.destination_bucket),
            (line.source_balance_after, line.source_version),
            (line.destination_balance_after, line.destination_version),
            line.reference_type,
            line.reference_id,
            line.idempotency_key,
        )
        for line in Posting.objects.filter(pk__gt=after).order_by("pk")
    ]


def assert_as_the_engine_says(batches, door):
    ids = make_world()
    oracle = Oracle()
    last = Posting.objects.order_by("-pk").values_list("pk", flat=True)[0]
    for batch in batches:
        entries = place(batch, ids)
        expected = oracle.post(entries)
        found = door(entries)
        assert [describe(outcome) for outcome in found] == [
            describe(outcome) for outcome in expected
        ]
        assert read_states() == oracle.accounts
    assert list_lines(last) == oracle.lines


@every_door
@settings(max_examples=25)
@given(batches=st.lists(BATCHES, min_size=1, max_size=3))
def test_every_batch_ends_as_the_engine_decides(door, batches):
    with undone():
        assert_as_the_engine_says(batches, door)


@pytest.mark.django_db(transaction=True)
@every_door
def test_doors_without_a_transaction_end_as_the_engine_decides(door):
    def make_batch(key):
        return [
            transfer_entry(BANK, 1, "70.5", key=key),
            transfer_entry(1, 2, 170),
            transfer_entry(1, 2, 170),
            transfer_entry(2, 3, "300.01", allow_overdraft=True),
            transfer_entry(1, 4, 1, allow_frozen=True),
            transfer_entry(2, FEES, 1),
            transfer_entry(BANK, 1, "70.5", key=key),
            transfer_entry(BANK, 1, "70.51", key=key),
        ]

    good = [transfer_entry(BANK, 1, 5, key="c"), transfer_entry(1, 3, 5), transfer_entry(3, 1, 1)]
    assert_as_the_engine_says([make_batch("a"), good, make_batch("b"), make_batch("a")], door)


# Each rule once by hand, so that a failure names it.

REFUSALS = {
    "insufficient_funds": [
        transfer_entry(1, 2, "100.01"),
        transfer_entry(2, 1, "150.01"),
        Entry(Kind.REFUND, (Movement(1, 2, Decimal("20.01"), "USD", Bucket.LOCKED),)),
        Entry(
            Kind.REFUND,
            (Movement(1, BANK, Decimal("5.01"), "USD", Bucket.PENDING),),
            allow_overdraft=True,
        ),
        Entry(Kind.TRANSFER, (transfer_entry(1, 2, 60).movements * 2)),
    ],
    "wallet_frozen": [
        transfer_entry(1, 4, 1),
        transfer_entry(4, 1, 1),
        transfer_entry(BANK, 4, 1),
        transfer_entry(4, BANK, 10**6, allow_overdraft=True),
        Entry(Kind.BID_UNLOCK, (Movement(4, 4, Decimal(1), "USD", Bucket.LOCKED),)),
    ],
    "account_not_found": [
        transfer_entry(1, UNKNOWN, 1),
        transfer_entry(UNKNOWN, 1, 1),
        transfer_entry(1, 0, 1),
        transfer_entry(-1, 1, 1),
        transfer_entry(2**70, 1, 1),
        transfer_entry(BANK, FEES, 1, asset="XXX"),
        transfer_entry(1, "", 1),
    ],
    "asset_mismatch": [
        transfer_entry(1, 5, 1),
        transfer_entry(5, 1, 1, asset="BTC"),
        transfer_entry(BANK, 1, 1, asset="BTC"),
        transfer_entry(1, 2, 1, asset="BTC"),
        transfer_entry(1, 2, 1, asset=""),
    ],
    "amount_invalid": [
        transfer_entry(1, 2, 0),
        transfer_entry(1, 2, -1),
        transfer_entry(1, 2, "NaN"),
        transfer_entry(1, 2, "Infinity"),
        transfer_entry(1, 2, "0.001"),
        transfer_entry(BANK, FEES, "0.001"),
        transfer_entry(BANK, 1, "1E+62"),
        transfer_entry(BANK, 1, "1E-400"),
    ],
    "movement_invalid": [
        NONSENSE,
        transfer_entry(1, 1, 1),
        transfer_entry(BANK, BANK, 1),
        transfer_entry(1, 2, 1, key=""),
        transfer_entry(1, 2, 1, key="k" * 256),
        transfer_entry(1, 2, 1, reference_type="t" * 33),
        transfer_entry(1, 2, 1, reference_id="\x00"),
        Entry(Kind.BID_LOCK, (Movement(1, BANK, Decimal(1), "USD", Bucket(0), Bucket.LOCKED),)),
    ],
}


@pytest.mark.parametrize(
    ("code", "entry"),
    [(code, entry) for code, entries in REFUSALS.items() for entry in entries],
)
def test_a_refusal_has_its_code_and_moves_nothing(code, entry, snapshot):
    (entry,) = place([entry], make_world())
    before = snapshot()
    for door in (*DOORS, post_twice):
        (outcome,) = door([entry])
        assert isinstance(outcome, WalletException)
        assert outcome.code == code
    assert snapshot() == before


@every_door
def test_zeros_beyond_the_digits_of_the_asset_are_no_digits(door):
    ids = make_world()
    entries = place(
        [transfer_entry(BANK, 1, "1.5000"), transfer_entry(1, 2, "1.50" + "0" * 100)], ids
    )
    outcomes = door(entries)
    assert [outcome.balances for outcome in outcomes] == [
        ((None, Decimal("101.5")),),
        ((Decimal(100), Decimal("101.5")),),
    ]


@every_door
def test_an_account_may_keep_fewer_digits_than_its_asset(door):
    wallet = make_wallet()
    Account.objects.filter(pk=wallet.pk).update(decimal_places=1)
    first, second = door(
        [transfer_entry(BANK, wallet, "0.1"), transfer_entry(BANK, wallet, "0.11")]
    )
    assert first.balances == ((None, Decimal("100.1")),)
    assert second.code == "amount_invalid"


@pytest.mark.parametrize("door", [*DOORS, post_twice])
def test_the_number_of_a_system_account_is_no_wallet(door, snapshot):
    wallet = make_wallet()
    bank = Account.objects.get(kind=Account.Kind.SYSTEM, code=BANK)
    before = snapshot()
    for entry in (transfer_entry(bank.pk, wallet, 1), transfer_entry(wallet, bank.pk, 1)):
        (outcome,) = door([entry])
        assert outcome.code == "account_not_found"
    assert snapshot() == before
    bank.refresh_from_db()
    assert (bank.balance, bank.version) == (0, 0)


@every_door
def test_our_own_side_may_owe_any_amount(door):
    wallet = make_wallet(Role())
    (outcome,) = door([transfer_entry(BANK, wallet, 10**50)])
    assert outcome.balances == ((None, Decimal(10**50)),)
    wallet.refresh_from_db()
    assert wallet.balance == 10**50


@every_door
def test_money_moves_between_two_system_accounts(door):
    make_wallet()
    (outcome,) = door([transfer_entry(BANK, FEES, 7)])
    assert outcome.balances == ((None, None),)


@every_door
def test_money_moves_between_the_buckets_of_one_wallet(door):
    wallet = make_wallet(Role(balances=(100, 0, 0)))
    lock = Movement(wallet.pk, wallet.pk, Decimal(30), "USD", Bucket.AVAILABLE, Bucket.LOCKED)
    unlock = Movement(wallet.pk, wallet.pk, Decimal(10), "USD", Bucket.LOCKED, Bucket.PENDING)
    first, second = door([Entry(Kind.BID_LOCK, (lock,)), Entry(Kind.ESCROW_LOCK, (unlock,))])
    assert first.balances == ((Decimal(70), Decimal(30)),)
    assert second.balances == ((Decimal(20), Decimal(10)),)
    wallet.refresh_from_db()
    assert (wallet.balance, wallet.locked_balance, wallet.pending_balance) == (70, 20, 10)
    assert wallet.version == 5


@every_door
def test_a_replay_gives_the_first_result_whatever_happened_since(door):
    wallet = make_wallet()
    entry = Entry(
        Kind.PURCHASE,
        (
            *transfer_entry(wallet, BANK, 90).movements,
            *transfer_entry(wallet, FEES, 10).movements,
        ),
        "k",
    )
    (first,) = door([entry])
    Account.objects.filter(pk=wallet.pk).update(is_frozen=True)
    (again,) = door([entry])
    assert again == first._replace(replayed=True)
    assert first.balances == ((Decimal(10), None), (Decimal(0), None))


@every_door
def test_an_empty_batch_is_nothing(door, snapshot):
    make_wallet()
    before = snapshot()
    assert door([]) == []
    assert snapshot() == before


@every_door
@pytest.mark.parametrize(
    "text",
    [
        '"',
        "\\",
        "{}",
        "NULL",
        "null",
        ",",
        "'",
        "é",
        "日本",
        "\U0001f4b0",
        " x ",
        "%s",
        "a\nb",
        "\x1f",
    ],
)
def test_any_text_is_kept_as_it_is(door, text):
    wallet = make_wallet()
    entries = [
        transfer_entry(BANK, wallet, 1, key=text, reference_type=text, reference_id=text),
        transfer_entry(text, wallet, 1),
    ]
    outcomes = door(entries)
    first, second = (Posting.objects.get(pk=outcome.entry_id) for outcome in outcomes)
    assert (first.idempotency_key, first.reference_type, first.reference_id) == (text, text, text)
    assert second.source_account.code == text


@pytest.mark.postgres
def test_a_balance_of_more_than_62_digits_is_refused_and_the_transaction_lives(snapshot):
    wallet = make_wallet(Role())
    post_one(transfer_entry(BANK, wallet, "9E+61"))
    before = snapshot()
    for door in DOORS:
        with transaction.atomic():
            (outcome,) = door([transfer_entry(BANK, wallet, "9E+61")])
            assert outcome.code == "amount_invalid"
            assert snapshot() == before


@pytest.mark.postgres
def test_a_debt_of_more_than_62_digits_is_refused_and_the_transaction_lives(snapshot):
    wallet = make_wallet(Role(overdraft_limit=None))
    post_one(transfer_entry(wallet, BANK, "9E+61"))
    before = snapshot()
    for door in DOORS:
        (outcome,) = door([transfer_entry(wallet, BANK, "9E+61")])
        assert outcome.code == "amount_invalid"
        assert snapshot() == before


@pytest.mark.sqlite
def test_a_number_that_sqlite_would_alter_is_refused(snapshot):
    Asset.objects.create(code="DOGE", decimal_places=8)
    wallet = make_wallet(Role("DOGE"))
    post_one(transfer_entry(BANK, wallet, "1234567.12345678", asset="DOGE"))
    before = snapshot()
    for door in DOORS:
        for amount in ("12345678.12345678", "10000000"):
            (outcome,) = door([transfer_entry(BANK, wallet, amount, asset="DOGE")])
            assert outcome.code == "amount_invalid"
    assert snapshot() == before


@pytest.mark.postgres
def test_numbers_keep_80_digits():
    Asset.objects.create(code="ETH", decimal_places=18)
    wallet = make_wallet(Role("ETH"))
    amount = Decimal("9" * 62 + "." + "9" * 18)
    assert post_one(transfer_entry(BANK, wallet, amount, asset="ETH")).balances == ((None, amount),)
    wallet.refresh_from_db()
    assert wallet.balance == amount


def test_the_role_of_every_wallet_is_as_written():
    """The world the random batches run in."""
    ids = make_world()
    states = read_states()
    for number, role in zip(ids, ROLES, strict=True):
        assert states[number].balances == role.balances
        assert states[number].is_frozen == role.is_frozen
    assert connection.vendor in {"postgresql", "sqlite"}
