"""The cast: alice owns, bob shares, charlie must see nothing."""

import gc
from collections.abc import Callable, Generator, Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.dispatch import Signal
from django.test import TransactionTestCase
from hypothesis import settings
from pytest_django.plugin import DjangoDbBlocker
from xdist.scheduler import LoadScopeScheduling

from dj_wallet import signals
from dj_wallet.ledger.models import Account, Posting
from dj_wallet.models import Transaction, Transfer
from tests.beginning import remember_beginning, return_to_beginning
from tests.testapp.models import Person

# The same cases in every run, so that what passes here passes everywhere; `make explore` draws new ones.
settings.register_profile("wallets", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile("wallets")


# What takes longest begins first, lest one process work on it alone at the end.
LONGEST = (
    "tests/payouts/test_chaos.py",
    "tests/rest/test_schema_fuzz.py",
    "tests/library/test_stateful.py",
    "tests/custody/test_killed.py",
    "tests/ledger/test_stateful.py",
    "tests/holds/test_stateful.py",
    "tests/runtime/",
    "tests/library/test_adoption.py",
)

# What shares something that is dear to start, a whole `wallet up` or a broker: one process runs all of it.
# (Marks named xdist_group are without effect: pytest 9.2 does not read the names that pytest-xdist 3.8 gives them.)
TOGETHER = {
    "tests/runtime/test_start_and_end.py": "wallet up",
    "tests/runtime/test_healing.py": "wallet up",
    "tests/runtime/test_ledger_service.py": "ledger service",
    "tests/events/test_buses.py": "buses",
    "tests/custody/chain/test_litecoin.py": "litecoin",
    "tests/custody/chain/test_psbt.py": "litecoin",
    "tests/ledger/test_killed_server.py": "durable server",
    "tests/library/test_adoption.py": "states of release 0.1.0",
}


class Distribution(LoadScopeScheduling):
    """Gives each test to whichever process is free, and what belongs together to one."""

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER.get(nodeid.partition("::")[0], nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Distribution:
    return Distribution(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for garbage: what is made stays to the end, and looking at it again takes seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000)
        gc.enable()


@pytest.hookimpl(trylast=True)  # after they were shuffled
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the other database, and begin with what takes longest."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
    vendor = {"postgresql": "postgres"}.get(connection.vendor, connection.vendor)
    for item in items:
        for name in {"postgres", "sqlite"} - {vendor}:
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"needs {name}"))


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """The test database, and our own way back to its beginning after tests that commit."""
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock():
            remember_beginning()
        TransactionTestCase._fixture_teardown = lambda case: return_to_beginning()  # type: ignore[attr-defined]


@pytest.fixture
def alice(db: None) -> Person:
    return Person.objects.create(name="alice")


@pytest.fixture
def bob(db: None) -> Person:
    return Person.objects.create(name="bob")


@pytest.fixture
def charlie(db: None) -> Person:
    return Person.objects.create(name="charlie")


@pytest.fixture
def snapshot(db: None) -> Callable[[], Any]:
    """A function that returns all that money is made of: a refusal test compares before and after.

    System accounts keep no balance; a refused movement may leave one behind that it was the first to name.
    """

    def take() -> tuple[dict[int, tuple[Decimal, ...]], int, int, int]:
        rows = Account.objects.filter(kind=Account.Kind.WALLET).values_list(
            "pk", "balance", "locked_balance", "pending_balance", "version"
        )
        return (
            {row[0]: row[1:] for row in rows},
            Posting.objects.count(),
            Transaction.objects.count(),
            Transfer.objects.count(),
        )

    return take


@pytest.fixture
def sent() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """The signals of the library as they are sent: name and arguments, the sender included."""
    log: list[tuple[str, dict[str, Any]]] = []
    receivers = []
    for name, signal in vars(signals).items():
        if isinstance(signal, Signal):

            def receive(signal: Signal, name: str = name, **arguments: Any) -> None:
                log.append((name, arguments))

            signal.connect(receive, weak=False)
            receivers.append((signal, receive))
    yield log
    for signal, receive in receivers:
        signal.disconnect(receive)
