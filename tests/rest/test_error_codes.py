"""docs/reference/errors.md lists every error code with its status, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

from rest_framework import exceptions

from dj_wallet import exceptions as library
from dj_wallet.exceptions import WalletException
from dj_wallet.payouts.services import FAILURE_CODES
from dj_wallet.rest import errors

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "errors.md").read_text()
# The framework's errors that our views can meet.
FRAMEWORK = (
    exceptions.ValidationError({}),
    exceptions.ParseError(),
    exceptions.AuthenticationFailed(),
    exceptions.NotAuthenticated(),
    exceptions.PermissionDenied(),
    exceptions.NotFound(),
    exceptions.MethodNotAllowed("PUT"),
    exceptions.NotAcceptable(),
    exceptions.UnsupportedMediaType("text/plain"),
    exceptions.Throttled(wait=3),
    exceptions.APIException(),
)


def list_subclasses(base: type) -> Iterator[type]:
    for one in base.__subclasses__():
        yield one
        yield from list_subclasses(one)


def list_refusals() -> list[type[WalletException]]:
    ours = [
        one for one in list_subclasses(WalletException) if one.__module__.startswith("dj_wallet.")
    ]
    return [WalletException, *ours]


def list_problems() -> list[errors.Problem]:
    constants = [value for value in vars(errors).values() if isinstance(value, errors.Problem)]
    own = [
        one("") if one is errors.BodyTooLarge else one()
        for one in list_subclasses(exceptions.APIException)
        if one.__module__ == errors.__name__
    ]
    described = [errors.find_problem(error) for error in (*own, *FRAMEWORK)]
    return [*constants, *[problem for problem in described if problem]]


def read_table(heading: str) -> dict[str, list[str]]:
    section = TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE)
    assert len(rows) == len(dict(rows))
    return {code: cells.split(" | ") for code, cells in rows}


def test_every_code_over_http_is_documented_with_its_status():
    shown = {problem.code: str(int(problem.status)) for problem in list_problems()}
    in_python = set(read_table("In Python only"))
    for refusal in list_refusals():
        if refusal.code not in in_python:
            shown[refusal.code] = str(int(errors.describe_refusal(refusal("")).status))
    assert {code: cells[0] for code, cells in read_table("Over HTTP").items()} == shown


def test_every_refusal_is_documented_with_whether_to_retry():
    documented = {
        code: cells[-1]
        for heading in ("Over HTTP", "In Python only")
        for code, cells in read_table(heading).items()
    }
    for refusal in list_refusals():
        assert documented[refusal.code] == ("yes" if refusal.retryable else "no"), refusal


def test_what_is_documented_for_python_exists():
    assert set(read_table("In Python only")) <= {refusal.code for refusal in list_refusals()}
    assert {vars(library)[name] for name in library.__all__} <= set(list_refusals())


def test_failure_codes_are_documented():
    assert set(read_table("Of failed withdrawals")) == set(FAILURE_CODES)


def test_a_throttled_client_is_told_how_long_to_wait():
    problem = errors.find_problem(exceptions.Throttled(wait=2.2))
    assert problem is not None
    assert (problem.status, problem.headers) == (429, {"Retry-After": "3"})


def test_an_unknown_outcome_asks_for_another_try():
    problem = errors.find_problem(library.OutcomeUnknown("?"))
    assert problem is not None
    assert (problem.status, problem.headers) == (503, {"Retry-After": "1"})
