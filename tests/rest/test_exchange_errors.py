"""docs/reference/errors.md lists every code of exchanges with its status; none is 401, none tells a secret."""

import pytest

from dj_wallet.exchanges import errors as ours
from dj_wallet.exchanges.venues import errors as venues
from dj_wallet.rest.errors import find_problem
from tests.rest.test_error_codes import list_subclasses, read_table

BY_US = {kind for kind in vars(ours).values() if isinstance(kind, type)}
KINDS = {
    kind
    for kind in list_subclasses(venues.VenueError)
    if kind in BY_US or kind.__module__ == venues.__name__
}


def build(kind):
    guide = {"guide": "how"} if issubclass(kind, ours.WithdrawPermissionPresent) else {}
    return kind("words", venue="binance", **guide)


def test_every_code_of_exchanges_is_documented_with_its_status_and_whether_to_retry():
    shown = {}
    for kind in KINDS:
        problem = find_problem(build(kind))
        shown[kind.code] = [str(int(problem.status)), "yes" if kind.retryable else "no"]
    documented = {code: [cells[0], cells[-1]] for code, cells in read_table("Of exchanges").items()}
    assert documented == shown


@pytest.mark.parametrize("kind", sorted(KINDS, key=lambda kind: kind.code))
def test_no_failure_of_an_exchange_signs_the_caller_out(kind):
    assert find_problem(build(kind)).status != 401


def test_the_wait_is_in_the_details_and_in_the_header():
    problem = find_problem(venues.RateLimited("words", venue="okx", retry_after=2.2))
    assert problem.headers == {"Retry-After": "3"}
    assert problem.details == {"exchange": "okx", "retry_after": 2.2}
