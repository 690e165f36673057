"""The port: what a bank can be asked, what it says it can do, and what is certain afterwards.

An adapter is a class with the constructor `Adapter(**options)` and the methods of `Bank`. It never raises for what
the network does: whatever is not a clear answer is `UNKNOWN`.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, cast

from django.utils.module_loading import import_string

from .conf import get_setting
from .errors import BankNotFound


class Outcome(StrEnum):
    """What is known of an order."""

    PAID = "paid"
    # Taken over for payment: nothing to repeat, and not yet paid.
    ACCEPTED = "accepted"
    # Refused for good: a listed, definitive answer.
    REFUSED = "refused"
    # The bank says that it did not pay, for now.
    FAILED = "failed"
    # The bank was provably not reached.
    NOT_SENT = "not_sent"
    # Only of a look-up: the bank has no such order.
    NOT_FOUND = "not_found"
    # Only of reports: it was paid, and the money came back.
    RETURNED = "returned"
    UNKNOWN = "unknown"


class Answer(NamedTuple):
    """The outcome, and as evidence what the bank said or how the connection ended."""

    outcome: Outcome
    evidence: dict[str, Any]
    bank_reference: str = ""


class Order(NamedTuple):
    """What a bank is told to pay. The reference is the payout's, for ever: it is the bank's idempotency key."""

    reference: str
    amount: Decimal
    minor_units: int
    asset: str
    destination: Mapping[str, str]


class Report(NamedTuple):
    """What a bank tells us on its own: the outcome of an order, under the bank's own id of the message."""

    id: str
    reference: str
    outcome: Outcome
    evidence: dict[str, Any]
    bank_reference: str = ""


class Capabilities(NamedTuple):
    """What a bank declares that it can do. What is done after an unclear answer follows from it.

    `keys`: an order repeated with its reference is paid once, for `keys_kept_seconds`. `lookup`: the bank can be asked
    for an order by its reference, and knows it at the latest `in_flight_seconds` after it was sent. `statement`: it
    sends statements. `failed_is_unpaid`: its "failed" can be believed without looking. `is_file`: it takes orders as
    files, not one by one. `needs_destination`: an order without name and IBAN makes no sense.
    """

    keys: bool = False
    lookup: bool = False
    statement: bool = False
    failed_is_unpaid: bool = False
    is_file: bool = False
    needs_destination: bool = False
    in_flight_seconds: float = 0
    keys_kept_seconds: float = 24 * 3600


class Bank(Protocol):
    """One bank, set up. Its methods may be called from several threads."""

    capabilities: Capabilities
    # The longest that one call may take.
    call_seconds: float

    def send(self, order: Order) -> Answer:
        """Send the order once."""

    def look_up(self, order: Order) -> Answer:
        """Ask what became of the order."""

    def read_report(self, headers: Mapping[str, str], body: bytes) -> Report | None:
        """Return what a message of the bank says, or None if it is not the bank's."""


def get_bank(name: str) -> Bank:
    """Return the bank that the settings set up under this name.

    :raises BankNotFound: there is none
    """
    options = get_setting("BANKS").get(name)
    if options is None:
        raise BankNotFound(f"There is no bank {name!r}.")
    return _build(json.dumps(options, sort_keys=True))


def list_banks() -> list[str]:
    """Return the names of all banks."""
    return list(get_setting("BANKS"))


@lru_cache(maxsize=64)
def _build(options: str) -> Bank:
    """Build an adapter once for each set of options: clients are kept, and changed settings are followed."""
    given = json.loads(options)
    adapter = import_string(given.pop("ADAPTER"))
    return cast(Bank, adapter(**{name.lower(): value for name, value in given.items()}))
