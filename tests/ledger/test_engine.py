"""The rules, without a database."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dj_wallet.ledger.engine import (
    Accepted,
    AccountState,
    Bucket,
    Entry,
    KnownEntry,
    Kind,
    Movement,
    Posted,
    Repeated,
    decide,
    fingerprint,
    system_key,
)
from dj_wallet.ledger.errors import (
    AccountNotFound,
    AmountInvalid,
    AssetMismatch,
    IdempotencyConflict,
    InsufficientFunds,
    MovementInvalid,
    WalletException,
    WalletFrozen,
)
from tests.ledger.worlds import BANK, BATCHES, FEES, make_states

ALICE, BOB, CAROL = 1, 2, 3


def make_account(number, balance=0, *, locked=0, pending=0, limit=0, asset="USD", places=2, **given):
    return AccountState(
        id=number,
        asset=asset,
        decimal_places=places,
        is_system=given.get("is_system", False),
        is_frozen=given.get("is_frozen", False),
        overdraft_limit=None if limit is None else Decimal(limit),
        balances=(Decimal(balance), Decimal(locked), Decimal(pending)),
        version=7,
    )


def make_accounts(*accounts):
    bank = make_account(99, is_system=True)
    return {system_key(BANK, "USD"): bank, **{account.id: account for account in accounts}}


def move(source, destination, amount, *, asset="USD", buckets=(0, 0)):
    return Movement(source, destination, Decimal(amount), asset, *map(Bucket, buckets))


def make_entry(*movements, key=None, **options):
    return Entry(Kind.TRANSFER, movements, key, **options)


def decide_one(entry, *accounts, known=None, **options):
    decisions, changed = decide([entry], make_accounts(*accounts), known or {}, **options)
    return decisions[0], changed


def assert_refused(error, entry, *accounts, known=None, **options):
    decision, changed = decide_one(entry, *accounts, known=known, **options)
    assert type(decision) is error
    assert changed == {}


# What moves


def test_a_movement_takes_from_one_side_what_it_adds_to_the_other():
    decision, changed = decide_one(
        make_entry(move(ALICE, BOB, "40.25")), make_account(ALICE, 100), make_account(BOB, 5)
    )
    assert isinstance(decision, Accepted)
    assert decision.sides == (((Decimal("59.75"), 8), (Decimal("45.25"), 8)),)
    assert changed[ALICE].balances == (Decimal("59.75"), 0, 0)
    assert changed[BOB].balances == (Decimal("45.25"), 0, 0)


def test_a_system_account_keeps_no_balance():
    decision, changed = decide_one(make_entry(move(BANK, ALICE, 10)), make_account(ALICE))
    assert decision.sides == (((None, None), (Decimal(10), 8)),)
    assert list(changed) == [ALICE]


def test_a_system_account_has_no_limit():
    decision, _ = decide_one(make_entry(move(BANK, ALICE, 10**50)), make_account(ALICE))
    assert isinstance(decision, Accepted)


def test_money_moves_between_the_buckets_of_one_wallet():
    decision, changed = decide_one(
        make_entry(move(ALICE, ALICE, 30, buckets=(Bucket.AVAILABLE, Bucket.LOCKED))),
        make_account(ALICE, 100, locked=1),
    )
    assert changed[ALICE].balances == (Decimal(70), Decimal(31), 0)
    assert changed[ALICE].version == 9
    assert decision.sides == (((Decimal(70), 8), (Decimal(31), 9)),)


def test_the_movements_of_an_entry_follow_one_another():
    decision, changed = decide_one(
        make_entry(move(BANK, ALICE, 10), move(ALICE, BOB, 10)),
        make_account(ALICE),
        make_account(BOB),
    )
    assert isinstance(decision, Accepted)
    assert changed[ALICE].balances[0] == 0
    assert changed[BOB].balances[0] == 10


def test_an_entry_whose_later_movement_is_refused_moves_nothing():
    assert_refused(
        InsufficientFunds,
        make_entry(move(ALICE, BOB, 60), move(ALICE, BOB, 60)),
        make_account(ALICE, 100),
        make_account(BOB),
    )


def test_a_refused_entry_does_not_disturb_its_neighbours():
    entries = [
        make_entry(move(ALICE, BOB, 60)),
        make_entry(move(ALICE, BOB, 60)),
        make_entry(move(ALICE, BOB, 40)),
    ]
    accounts = make_accounts(make_account(ALICE, 100), make_account(BOB))
    decisions, changed = decide(entries, accounts, {})
    assert [type(decision) for decision in decisions] == [Accepted, InsufficientFunds, Accepted]
    assert changed[ALICE].balances[0] == 0
    assert changed[BOB].balances[0] == 100


def test_entries_of_a_batch_see_what_earlier_ones_moved():
    entries = [make_entry(move(BANK, ALICE, 10)), make_entry(move(ALICE, BOB, 10))]
    decisions, _ = decide(entries, make_accounts(make_account(ALICE), make_account(BOB)), {})
    assert [type(decision) for decision in decisions] == [Accepted, Accepted]


# Limits


@pytest.mark.parametrize(
    ("limit", "amount", "is_accepted"),
    [
        (0, "100", True),
        (0, "100.01", False),
        (50, "150", True),
        (50, "150.01", False),
        (None, "1E+40", True),
        (-50, "50", True),
        (-50, "50.01", False),
    ],
)
def test_available_money_may_fall_to_the_overdraft_limit_and_no_further(limit, amount, is_accepted):
    decision, _ = decide_one(
        make_entry(move(ALICE, BANK, amount)), make_account(ALICE, 100, limit=limit)
    )
    assert isinstance(decision, Accepted) is is_accepted


def test_an_entry_that_may_overdraw_goes_below_the_limit():
    _, changed = decide_one(
        make_entry(move(ALICE, BANK, 300), allow_overdraft=True), make_account(ALICE, 100)
    )
    assert changed[ALICE].balances[0] == -200


@pytest.mark.parametrize("bucket", [Bucket.LOCKED, Bucket.PENDING])
def test_nothing_lets_a_locked_or_pending_part_fall_below_zero(bucket):
    assert_refused(
        InsufficientFunds,
        make_entry(move(ALICE, BANK, "20.01", buckets=(bucket, 0)), allow_overdraft=True),
        make_account(ALICE, 100, locked=20, pending=20, limit=None),
    )


@pytest.mark.parametrize("bucket", [Bucket.LOCKED, Bucket.PENDING])
def test_a_locked_or_pending_part_can_be_emptied(bucket):
    _, changed = decide_one(
        make_entry(move(ALICE, BANK, 20, buckets=(bucket, 0))),
        make_account(ALICE, 100, locked=20, pending=20),
    )
    assert changed[ALICE].balances[bucket] == 0


def test_a_balance_of_more_than_62_digits_is_refused():
    assert_refused(
        AmountInvalid, make_entry(move(BANK, ALICE, "9E+61")), make_account(ALICE, Decimal("9E+61"))
    )


def test_a_debt_of_more_than_62_digits_is_refused():
    assert_refused(
        AmountInvalid,
        make_entry(move(ALICE, BANK, "9E+61"), allow_overdraft=True),
        make_account(ALICE, Decimal("-9E+61")),
    )


# Frozen


@pytest.mark.parametrize("movement", [move(ALICE, BANK, 1), move(BANK, ALICE, 1)])
def test_a_frozen_wallet_neither_gives_nor_takes(movement):
    assert_refused(
        WalletFrozen, make_entry(movement), make_account(ALICE, 100, is_frozen=True)
    )


def test_money_on_its_way_reaches_a_frozen_wallet():
    decision, _ = decide_one(
        make_entry(move(BANK, ALICE, 1), allow_frozen=True), make_account(ALICE, is_frozen=True)
    )
    assert isinstance(decision, Accepted)


# What cannot be meant


@pytest.mark.parametrize("amount", ["0", "-1", "NaN", "sNaN", "Infinity", "1E+62", "1E-19", "1E-99999"])
def test_a_movement_of_no_real_amount_is_refused(amount):
    assert_refused(AmountInvalid, make_entry(move(BANK, ALICE, amount)), make_account(ALICE))


@pytest.mark.parametrize("amount", [1, 1.0, "1", None, True])
def test_only_a_decimal_is_an_amount(amount):
    entry = make_entry(Movement(BANK, ALICE, amount, "USD"))
    assert_refused(AmountInvalid, entry, make_account(ALICE))


def test_more_digits_than_the_account_keeps_are_refused():
    assert_refused(AmountInvalid, make_entry(move(BANK, ALICE, "0.001")), make_account(ALICE))


def test_zeros_beyond_the_digits_of_the_account_are_no_digits():
    decision, _ = decide_one(make_entry(move(BANK, ALICE, "1.50000")), make_account(ALICE))
    assert isinstance(decision, Accepted)


def test_an_entry_without_movements_is_refused():
    assert_refused(MovementInvalid, make_entry())


@pytest.mark.parametrize("bucket", list(Bucket))
def test_a_movement_onto_itself_is_refused(bucket):
    assert_refused(
        MovementInvalid,
        make_entry(move(ALICE, ALICE, 1, buckets=(bucket, bucket))),
        make_account(ALICE, 100, locked=100, pending=100),
    )


@pytest.mark.parametrize("bucket", [Bucket.LOCKED, Bucket.PENDING])
def test_a_system_account_has_only_an_available_part(bucket):
    assert_refused(
        MovementInvalid, make_entry(move(ALICE, BANK, 1, buckets=(0, bucket))), make_account(ALICE, 9)
    )


@pytest.mark.parametrize("place", [5, 0, -1, 2**63, 2**200, "nobody", "", "x" * 65, "a\x00b", "\ud800"])
def test_an_unknown_account_is_refused(place):
    assert_refused(AccountNotFound, make_entry(move(ALICE, place, 1)), make_account(ALICE, 9))


def test_the_number_of_a_system_account_does_not_make_it_a_wallet():
    bank = make_account(99, is_system=True)
    assert_refused(AccountNotFound, make_entry(move(ALICE, 99, 1)), make_account(ALICE, 9), bank)


@pytest.mark.parametrize("asset", ["EUR", "", "x" * 65, "\x00"])
def test_a_wallet_of_another_asset_is_refused(asset):
    assert_refused(
        AssetMismatch,
        make_entry(move(ALICE, BOB, 1, asset=asset)),
        make_account(ALICE, 9),
        make_account(BOB),
    )


def test_two_wallets_of_different_assets_exchange_nothing():
    assert_refused(
        AssetMismatch,
        make_entry(move(ALICE, BOB, 1)),
        make_account(ALICE, 9),
        make_account(BOB, asset="EUR"),
    )


@pytest.mark.parametrize("key", ["", "k" * 256, "a\x00", "\udfff"])
def test_a_key_that_cannot_be_stored_is_refused(key):
    assert_refused(MovementInvalid, make_entry(move(BANK, ALICE, 1), key=key), make_account(ALICE))


@pytest.mark.parametrize(
    "reference",
    [{"reference_type": "t" * 33}, {"reference_id": "i" * 256}, {"reference_id": "\x00"}],
)
def test_a_reference_that_cannot_be_stored_is_refused(reference):
    assert_refused(
        MovementInvalid, make_entry(move(BANK, ALICE, 1), **reference), make_account(ALICE)
    )


# Precedence


def test_of_several_reasons_the_first_is_reported():
    """Each account repairs one thing more."""
    poor = {"balance": 1, "asset": "EUR", "places": 1, "is_frozen": True}
    entry = make_entry(move(ALICE, BANK, "5.55"))
    repairs = [
        (AccountNotFound, None),
        (AssetMismatch, {}),
        (AmountInvalid, {"asset": "USD"}),
        (WalletFrozen, {"asset": "USD", "places": 2}),
        (InsufficientFunds, {"asset": "USD", "places": 2, "is_frozen": False}),
    ]
    for error, repair in repairs:
        accounts = [] if repair is None else [make_account(ALICE, **(poor | repair))]
        assert_refused(error, entry, *accounts)


def test_a_malformed_entry_is_no_replay():
    known = {"k": KnownEntry(Posted(1, True), "something")}
    assert_refused(
        AmountInvalid, make_entry(move(BANK, ALICE, 0), key="k"), make_account(ALICE), known=known
    )


def test_a_used_key_is_looked_at_before_the_accounts():
    known = {"k": KnownEntry(Posted(1, True), "something")}
    assert_refused(IdempotencyConflict, make_entry(move(BANK, ALICE, 1), key="k"), known=known)


def test_a_replay_succeeds_although_the_same_would_be_refused_now():
    entry = make_entry(move(ALICE, BANK, 50), key="k")
    known = {"k": KnownEntry(Posted(12, False, ((Decimal(3), None),)), fingerprint(entry))}
    decision, changed = decide_one(entry, make_account(ALICE, 0, is_frozen=True), known=known)
    assert decision == Posted(12, True, ((Decimal(3), None),))
    assert changed == {}


# Keys


def test_a_key_repeated_in_a_batch_moves_once():
    entry = make_entry(move(BANK, ALICE, 10), key="k")
    decisions, changed = decide([entry, entry], make_accounts(make_account(ALICE)), {})
    assert decisions[1] == Repeated(0)
    assert changed[ALICE].balances[0] == 10


def test_a_key_repeated_in_a_batch_with_other_content_conflicts():
    entries = [make_entry(move(BANK, ALICE, amount), key="k") for amount in (10, 11)]
    decisions, changed = decide(entries, make_accounts(make_account(ALICE)), {})
    assert type(decisions[1]) is IdempotencyConflict
    assert changed[ALICE].balances[0] == 10


def test_a_refused_entry_does_not_use_up_its_key():
    entries = [
        make_entry(move(ALICE, BANK, 10), key="k"),
        make_entry(move(BANK, ALICE, 10), key="k"),
    ]
    decisions, changed = decide(entries, make_accounts(make_account(ALICE)), {})
    assert type(decisions[0]) is InsufficientFunds
    assert isinstance(decisions[1], Accepted)
    assert changed[ALICE].balances[0] == 10


BASE = make_entry(move(ALICE, BOB, "1.5"), key="k", reference_type="order", reference_id="7")


@pytest.mark.parametrize(
    "other",
    [
        BASE._replace(kind=Kind.REFUND),
        BASE._replace(reference_type="bid"),
        BASE._replace(reference_id="8"),
        BASE._replace(movements=(move(ALICE, BOB, "1.51"),)),
        BASE._replace(movements=(move(BOB, ALICE, "1.5"),)),
        BASE._replace(movements=(move(ALICE, CAROL, "1.5"),)),
        BASE._replace(movements=(move(ALICE, BOB, "1.5", asset="EUR"),)),
        BASE._replace(movements=(move(ALICE, BOB, "1.5", buckets=(1, 0)),)),
        BASE._replace(movements=(move(ALICE, BOB, "1.5", buckets=(0, 1)),)),
        BASE._replace(movements=BASE.movements * 2),
    ],
)
def test_other_content_has_another_fingerprint(other):
    assert fingerprint(other) != fingerprint(BASE)


@pytest.mark.parametrize(
    "same",
    [
        BASE._replace(idempotency_key="other"),
        BASE._replace(meta={"note": "x"}),
        BASE._replace(movements=(move(ALICE, BOB, "1.50000"),)),
        BASE._replace(movements=(move(ALICE, BOB, Decimal("15E-1")),)),
        BASE._replace(allow_overdraft=True),
        BASE._replace(allow_frozen=True),
    ],
)
def test_how_the_same_content_is_written_does_not_change_its_fingerprint(same):
    assert fingerprint(same) == fingerprint(BASE)


# Databases that keep few digits


@pytest.mark.parametrize(
    ("balance", "amount", "is_accepted"),
    [
        ("0", "1E+50", True),
        ("0", "1234567890123.45", True),
        ("0", "12345678901234.56", False),
        ("1E+14", "0.01", False),
        ("1E+13", "0.01", False),
        ("1E+12", "0.01", True),
    ],
)
def test_a_number_the_database_would_alter_is_refused(balance, amount, is_accepted):
    decision, _ = decide_one(
        make_entry(move(BANK, ALICE, amount)), make_account(ALICE, balance), significant_digits=15
    )
    assert isinstance(decision, Accepted) is is_accepted


# Whatever is asked for


@settings(max_examples=150)
@given(BATCHES)
def test_a_batch_neither_makes_nor_destroys_money(entries):
    accounts = make_states()
    decisions, changed = decide(entries, accounts, {})
    expected = {}
    for decision in decisions:
        if isinstance(decision, Accepted):
            for movement in decision.entry.movements:
                for place, bucket, amount in (
                    (movement.source, movement.source_bucket, -movement.amount),
                    (movement.destination, movement.destination_bucket, movement.amount),
                ):
                    if isinstance(place, int):
                        key = place, bucket
                        expected[key] = expected.get(key, Decimal(0)) + amount
    for number, state in changed.items():
        for bucket in Bucket:
            delta = state.balances[bucket] - accounts[number].balances[bucket]
            assert delta == expected.pop((number, bucket), 0)
    assert not any(expected.values())


@settings(max_examples=150)
@given(BATCHES)
def test_every_taking_respects_the_limits_at_its_moment(entries):
    accounts = make_states()
    decisions, _ = decide(entries, accounts, {})
    for decision in decisions:
        if not isinstance(decision, Accepted):
            continue
        for movement, (left, _) in zip(decision.entry.movements, decision.sides, strict=True):
            if left.balance_after is None:
                continue
            limit = accounts[movement.source].overdraft_limit
            if movement.source_bucket != Bucket.AVAILABLE:
                assert left.balance_after >= 0
            elif limit is not None and not decision.entry.allow_overdraft:
                assert left.balance_after >= -limit


@settings(max_examples=150)
@given(BATCHES)
def test_what_is_refused_leaves_no_trace(entries):
    accounts = make_states()
    decisions, changed = decide(entries, accounts, {})
    accepted = [decision.entry for decision in decisions if isinstance(decision, Accepted)]
    again, same = decide(accepted, accounts, {})
    assert all(isinstance(decision, Accepted) for decision in again)
    assert same == changed


@settings(max_examples=150)
@given(BATCHES)
def test_every_version_counts_the_sides_of_postings(entries):
    accounts = make_states()
    decisions, changed = decide(entries, accounts, {})
    versions = {number: [] for number in changed}
    for decision in decisions:
        if isinstance(decision, Accepted):
            for movement, sides in zip(decision.entry.movements, decision.sides, strict=True):
                for place, side in zip((movement.source, movement.destination), sides, strict=True):
                    if isinstance(place, int):
                        versions[place].append(side.version)
    for number, found in versions.items():
        first = accounts[number].version + 1
        assert found == list(range(first, first + len(found)))
        assert changed[number].version == found[-1]


@settings(max_examples=100)
@given(BATCHES, st.data())
def test_posting_a_batch_at_once_or_in_two_halves_is_the_same(entries, data):
    accounts = make_states()
    _, at_once = decide(entries, accounts, {})
    cut = data.draw(st.integers(0, len(entries)))
    first, changed = decide(entries[:cut], accounts, {})
    known = {
        decision.entry.idempotency_key: KnownEntry(Posted(1, False), fingerprint(decision.entry))
        for decision in first
        if isinstance(decision, Accepted) and decision.entry.idempotency_key
    }
    _, later = decide(entries[cut:], accounts | changed, known)
    assert changed | later == at_once


@settings(max_examples=100)
@given(BATCHES)
def test_every_decision_is_one_of_four(entries):
    decisions, _ = decide(entries, make_states(), {})
    assert len(decisions) == len(entries)
    for decision in decisions:
        assert isinstance(decision, Accepted | Repeated | Posted | WalletException)


def test_fees_and_bank_are_different_accounts():
    accounts = make_states()
    decision = decide([make_entry(move(FEES, BANK, 5))], accounts, {})[0][0]
    assert decision.sides == (((None, None), (None, None)),)
