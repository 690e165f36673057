"""Public identifiers."""

from uuid import UUID

from dj_wallet.ledger.ids import make_uuid_numbers


def test_identifiers_made_together_ascend_and_all_differ():
    made = [UUID(int=number) for number in make_uuid_numbers(1_000)]
    assert made == sorted(set(made))
    assert {(one.version, one.variant) for one in made} == {(7, "specified in RFC 4122")}
