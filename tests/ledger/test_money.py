"""Amounts: what is a number, what is too much of one."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dj_wallet.ledger.errors import AmountInvalid
from dj_wallet.ledger.money import (
    EXACT,
    from_minor_units,
    parse_amount,
    read_number,
    to_minor_units,
    to_scale,
    trim,
)

NOT_A_NUMBER = [
    *("", " ", "abc", "NaN", "nan", "sNaN", "Infinity", "-Infinity", "inf", "1e400", "1e+9999"),
    *(
        "1_000",
        "1 000",
        " 1",
        "1 ",
        "\t1",
        "1\n",
        "1,5",
        "1.",
        ".5",
        "0x10",
        "\u0967\u0968",
        "\uff11\uff12",
        "\u0663",
    ),
    *("1e", "e5", "--1", "+-1", "1.2.3", "½", "1\x00", "9" * 171),
    *(True, False, None, b"1", bytearray(b"1"), 1j, [], {}, (1,), object),
    *(float("nan"), float("inf"), float("-inf"), 1e400, 10**62, -(10**62), 2**5000),
    *(Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("-Infinity")),
    *(Decimal("1E+62"), Decimal("1E+999999"), Decimal("-1E+62")),
]


@pytest.mark.parametrize("value", NOT_A_NUMBER, ids=lambda value: repr(value)[:30])
def test_what_is_not_a_finite_number_of_62_digits_is_refused(value):
    with pytest.raises(AmountInvalid):
        read_number(value)
    with pytest.raises(AmountInvalid):
        parse_amount(value)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (5, "5"),
        (10**50, "1E+50"),
        (10**62 - 1, "9" * 62),
        ("5", "5"),
        ("+5", "5"),
        ("0005", "5"),
        ("1e3", "1000"),
        ("1E-3", "0.001"),
        ("0.1", "0.1"),
        (0.1, "0.1"),
        (99.99, "99.99"),
        (1e-8, "0.00000001"),
        (1e22, "1E+22"),
        (Decimal("0.10"), "0.1"),
        (Decimal("1E+61"), "1E+61"),
        (0, "0"),
        (-3, "-3"),
    ],
)
def test_a_number_is_read_as_it_is_written(value, number):
    assert read_number(value) == Decimal(number)


@pytest.mark.parametrize("value", [0, "0", "0.00", 0.0, -0.0, Decimal("0E+5"), Decimal("-0"), "-0"])
def test_zero_is_no_amount(value):
    with pytest.raises(AmountInvalid):
        parse_amount(value, 8)


@pytest.mark.parametrize("value", [-1, "-1", -0.01, Decimal("-1E-18"), -(10**50)])
def test_a_negative_number_is_no_amount(value):
    with pytest.raises(AmountInvalid):
        parse_amount(value, 18)


@pytest.mark.parametrize(
    ("value", "places"),
    [
        ("0.001", 2),
        ("0.5", 0),
        (1e-9, 8),
        ("1E-19", 18),
        (Decimal("1E-999999"), 18),
        (Decimal("1E-1000000000000"), 18),
        (Decimal("1." + "0" * 150 + "1"), 18),
        (Decimal("0.1000000000000000055511151231257827"), 18),
    ],
)
def test_more_digits_than_the_asset_has_are_refused_and_not_rounded(value, places):
    with pytest.raises(AmountInvalid):
        parse_amount(value, places)


@pytest.mark.parametrize(
    ("value", "places", "written"),
    [
        ("1.50", 2, "1.50"),
        ("1.500000000000", 2, "1.50"),
        (7, 2, "7.00"),
        (7, 0, "7"),
        ("1e2", 0, "100"),
        (Decimal("1." + "0" * 150), 2, "1.00"),
        ("0.00000001", 8, "0.00000001"),
        ("1E-18", 18, "0.000000000000000001"),
        ("9" * 62 + "." + "9" * 18, 18, "9" * 62 + "." + "9" * 18),
    ],
)
def test_an_amount_is_written_with_the_digits_of_its_asset(value, places, written):
    assert format(parse_amount(value, places), "f") == written


def test_exact_arithmetic_raises_instead_of_rounding():
    from decimal import Inexact

    with pytest.raises(Inexact):
        EXACT.add(Decimal("9E+99"), Decimal("1E-30"))


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("100.000000000000000000", "100.00000000"),
        ("0.000000010000000000", "0.00000001"),
        ("0.000000001000000000", "0.000000001000000000"),
        ("9" * 62 + "." + "0" * 18, "9" * 62 + "." + "0" * 8),
    ],
)
def test_a_stored_number_is_shown_with_eight_places_where_that_is_exact(stored, shown):
    assert format(trim(Decimal(stored)), "f") == shown


@pytest.mark.parametrize("units", [0, -1, True, 1.0, "1", None, Decimal(1), 10**400])
def test_minor_units_are_a_positive_whole_number(units):
    with pytest.raises(AmountInvalid):
        from_minor_units(units, 2)


def test_minor_units_are_the_smallest_parts_of_the_asset():
    assert from_minor_units(1050, 2) == Decimal("10.50")
    assert from_minor_units(7, 0) == Decimal(7)
    assert to_minor_units(Decimal("10.50"), 2) == 1050
    assert to_minor_units(Decimal("1E-18"), 18) == 1


def test_an_amount_with_excess_digits_has_no_minor_units():
    with pytest.raises(AmountInvalid):
        to_minor_units(Decimal("0.001"), 2)


@given(st.integers(1, 10**43), st.integers(0, 18))
def test_minor_units_and_amounts_are_the_same_number(units, places):
    assert to_minor_units(from_minor_units(units, places), places) == units


@given(
    st.one_of(
        st.text(max_size=30),
        st.text(alphabet="0123456789+-.eE_ ", max_size=20),
        st.integers(),
        st.floats(),
        st.decimals(),
        st.booleans(),
        st.binary(max_size=5),
        st.none(),
    ),
    st.integers(0, 18),
)
def test_whatever_is_given_is_an_amount_of_the_asset_or_refused(value, places):
    try:
        amount = parse_amount(value, places)
    except AmountInvalid:
        return
    assert amount > 0
    assert amount.as_tuple().exponent == -places
    assert amount.adjusted() < 62
    assert amount == Decimal(repr(value) if isinstance(value, float) else value)


@given(st.floats(min_value=1e-8, max_value=1e15, allow_subnormal=False))
def test_a_float_means_the_number_it_prints_as(number):
    assert read_number(number) == Decimal(repr(number))


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=8, min_value=-(10**9), max_value=10**9
    )
)
def test_to_scale_never_changes_the_number(number):
    assert to_scale(number, 18) == number
