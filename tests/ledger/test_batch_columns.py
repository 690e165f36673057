"""A batch made of columns is the batch that its entries make one by one."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dj_wallet.ledger.engine import Entry, Kind, Movement
from dj_wallet.ledger.store.postgres import BATCH_TYPES, Batch

WALLETS = st.integers(1, 4)
CODES = st.sampled_from(["outside", "fees"])
AMOUNTS = st.integers(1, 10**6).map(Decimal)
SHAPES = {
    Kind.DEPOSIT: (CODES, WALLETS),
    Kind.WITHDRAWAL: (WALLETS, CODES),
    Kind.TRANSFER: (WALLETS, WALLETS),
}


@st.composite
def columns(draw: st.DrawFn):
    kind = draw(st.sampled_from(sorted(SHAPES)))
    rows = draw(st.lists(st.tuples(*SHAPES[kind], AMOUNTS), min_size=1, max_size=12))
    keys = draw(st.lists(st.none() | st.text("abc", max_size=2), min_size=12, max_size=12))
    return kind, rows, keys[: len(rows)]


def make_of_entries(entries):
    batch = Batch()
    return batch if all(map(batch.add, entries)) else None


def make_of_columns(kind, rows, keys, entries):
    sources, destinations, amounts = zip(*rows, strict=True)
    batch = Batch.of_columns(
        kind, sources, destinations, amounts, ["USD"] * len(rows), [0] * len(rows)
    )
    if batch is None:
        return None
    keyed = [
        (entry, at) for at, entry in enumerate(entries, 1) if entry.idempotency_key is not None
    ]
    return batch if all(batch.add_key(*one) for one in keyed) else None


@given(columns())
def test_columns_say_what_their_entries_say(given_columns):
    kind, rows, keys = given_columns
    entries = [
        Entry(kind, (Movement(source, destination, amount, "USD"),), key)
        for (source, destination, amount), key in zip(rows, keys, strict=True)
    ]

    one_by_one = make_of_entries(entries)
    together = make_of_columns(kind, rows, keys, entries)

    assert (together is None) == (one_by_one is None)
    if one_by_one is not None and together is not None:
        assert together.list_parameters() == one_by_one.list_parameters()
        assert len(together.list_parameters()) == len(BATCH_TYPES)


@pytest.mark.parametrize("place", [0, -1, 2**63, "", "x" * 100])
def test_columns_with_a_place_that_cannot_be_are_not_carried(place):
    column = [Decimal(1)], ["USD"], [0]

    assert Batch.of_columns(Kind.DEPOSIT, [place], [1], *column) is None
    assert Batch.of_columns(Kind.WITHDRAWAL, [1], [place], *column) is None


def test_columns_with_one_account_of_two_assets_are_not_carried():
    amounts, scales = [Decimal(1)] * 2, [0, 0]

    assert Batch.of_columns(Kind.TRANSFER, [1, 1], [2, 2], amounts, ["USD", "EUR"], scales) is None
