"""Small worlds of accounts, and Hypothesis strategies for entries that move money between them, right or wrong."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from django.db import transaction
from hypothesis import strategies as st

from dj_wallet.ledger.accounts import system_account
from dj_wallet.ledger.engine import AccountState, Bucket, Entry, Kind, Movement, system_key
from dj_wallet.ledger.models import Account, Asset
from dj_wallet.ledger.post import post_one
from dj_wallet.models import Wallet
from tests.testapp.models import Person

BANK = "external:bank"
FEES = "fees"
SYSTEM_CODES = (BANK, FEES)
UNKNOWN = 2**62


class Role(NamedTuple):
    """What a wallet of the world starts with."""

    asset: str = "USD"
    balances: tuple[int, int, int] = (0, 0, 0)
    overdraft_limit: int | None = 0
    is_frozen: bool = False


ROLES = (
    Role(balances=(100, 20, 5)),
    Role(balances=(100, 0, 0), overdraft_limit=50),
    Role(balances=(10, 0, 0), overdraft_limit=None),
    Role(balances=(100, 10, 0), is_frozen=True),
    Role(asset="BTC", balances=(100, 0, 0)),
    Role(),
)
DECIMAL_PLACES = {"USD": 2, "BTC": 8}


def make_wallet(
    role: Role = ROLES[0], *, slug: str = "default", decimal_places: int | None = None
) -> Wallet:
    """Create a wallet of a new person with what the role holds, moved there by entries."""
    places = DECIMAL_PLACES.get(role.asset, 8) if decimal_places is None else decimal_places
    Asset.objects.get_or_create(code=role.asset, defaults={"decimal_places": places})
    holder = Person.objects.create(name=slug)
    wallet = holder.create_wallet(slug, currency=role.asset)
    for bucket, units in zip(Bucket, role.balances, strict=True):
        if units:
            fund(wallet, units, bucket=bucket)
    Account.objects.filter(pk=wallet.pk).update(
        overdraft_limit=role.overdraft_limit, is_frozen=role.is_frozen
    )
    wallet.refresh_from_db()
    return wallet


def fund(wallet: Wallet, amount: int | str, *, bucket: Bucket = Bucket.AVAILABLE) -> None:
    """Move money from the bank into a bucket of the wallet."""
    movement = Movement(
        BANK, wallet.pk, Decimal(amount), wallet.asset_id, destination_bucket=bucket
    )
    post_one(Entry(Kind.OPENING, (movement,)))


def transfer_entry(
    source: "int | str | Wallet",
    destination: "int | str | Wallet",
    amount: int | str | Decimal,
    *,
    asset: str = "USD",
    key: str | None = None,
    **options: object,
) -> Entry:
    """Return an entry of one movement between the available parts of two places."""
    places = [side.pk if isinstance(side, Wallet) else side for side in (source, destination)]
    movement = Movement(places[0], places[1], Decimal(amount), asset)
    return Entry(Kind.TRANSFER, (movement,), key, **options)  # type: ignore[arg-type]


def read_states() -> dict[int | str, AccountState]:
    """Return every account as the engine wants to know it."""
    states: dict[int | str, AccountState] = {}
    for account in Account.objects.all():
        is_system = account.kind == Account.Kind.SYSTEM
        key = system_key(account.code, account.asset_id) if is_system else account.pk
        states[key] = AccountState(
            id=account.pk,
            asset=account.asset_id,
            decimal_places=account.decimal_places,
            is_system=is_system,
            is_frozen=account.is_frozen,
            overdraft_limit=account.overdraft_limit,
            balances=(account.balance, account.locked_balance, account.pending_balance),
            version=account.version,
        )
    return states


def make_world() -> list[int]:
    """Create a wallet for each role and the system accounts; return the wallets' ids in the order of the roles."""
    ids = [make_wallet(role).pk for role in ROLES]
    for asset in DECIMAL_PLACES:
        for code in SYSTEM_CODES:
            system_account(code, asset)
    return ids


def make_states() -> dict[int | str, AccountState]:
    """Return the same world without a database: the wallets have the ids 1, 2, ..."""
    states: dict[int | str, AccountState] = {}
    for number, role in enumerate(ROLES, 1):
        limit = None if role.overdraft_limit is None else Decimal(role.overdraft_limit)
        available, locked, pending = map(Decimal, role.balances)
        states[number] = AccountState(
            number,
            role.asset,
            DECIMAL_PLACES[role.asset],
            False,
            role.is_frozen,
            limit,
            (available, locked, pending),
            sum(1 for units in role.balances if units),
        )
    for number, (asset, code) in enumerate(
        ((asset, code) for asset in DECIMAL_PLACES for code in SYSTEM_CODES), 1000
    ):
        states[system_key(code, asset)] = AccountState(
            number, asset, DECIMAL_PLACES[asset], True, False, Decimal(0), (Decimal(0),) * 3, 0
        )
    return states


# Places are drawn as numbers of roles and translated to ids: the world is made after the entries are drawn.
PLACES = st.one_of(
    st.integers(1, len(ROLES)),
    st.integers(1, 3),
    st.sampled_from(SYSTEM_CODES),
    st.just(UNKNOWN),
)
GOOD_AMOUNTS = st.one_of(
    st.integers(1, 15000).map(lambda cents: Decimal(cents).scaleb(-2)),
    st.sampled_from([Decimal(amount) for amount in ("1", "10", "50", "100", "1E+1", "5.000000000")]),
)
BAD_AMOUNTS = st.sampled_from(
    [
        Decimal(amount)
        for amount in (
            ("0", "-1", "NaN", "sNaN", "Infinity", "0.001", "0.000000001", "1E-30", "1E+62")
            + ("1E+20", "9E+61", "123456789012345678", "1E+999999", "1E-999999")
        )
    ]
)
AMOUNTS = st.one_of(*[GOOD_AMOUNTS] * 6, BAD_AMOUNTS)
BUCKETS = st.one_of(*[st.just(Bucket.AVAILABLE)] * 4, st.sampled_from(Bucket))
ASSETS = st.one_of(*[st.just("USD")] * 8, st.sampled_from(["BTC", "XXX", ""]))
MOVEMENTS = st.builds(Movement, PLACES, PLACES, AMOUNTS, ASSETS, BUCKETS, BUCKETS)
GOOD_MOVEMENTS = st.builds(
    Movement,
    st.one_of(st.integers(1, 3), st.sampled_from(SYSTEM_CODES)),
    st.one_of(st.integers(1, 3), st.sampled_from(SYSTEM_CODES)),
    GOOD_AMOUNTS,
    st.just("USD"),
).filter(lambda movement: movement.source != movement.destination)
KEYS = st.one_of(
    *[st.none()] * 4, *[st.sampled_from(["k1", "k2", "k3"])] * 3, st.sampled_from(["", "k" * 256])
)
ENTRIES = st.builds(
    Entry,
    kind=st.sampled_from([Kind.TRANSFER, Kind.PURCHASE]),
    movements=st.one_of(
        st.tuples(GOOD_MOVEMENTS),
        st.tuples(MOVEMENTS),
        st.lists(GOOD_MOVEMENTS, min_size=2, max_size=4).map(tuple),
        st.lists(MOVEMENTS, max_size=3).map(tuple),
    ),
    idempotency_key=KEYS,
    reference_type=st.sampled_from(["", "order"]),
    reference_id=st.sampled_from(["", "", "", "7", 'quo"te\\{},NULL', "r" * 256]),
    allow_overdraft=st.sampled_from([False, False, True]),
    allow_frozen=st.sampled_from([False, False, True]),
)
BATCHES = st.lists(ENTRIES, min_size=1, max_size=6)


def place(entries: Sequence[Entry], ids: Sequence[int]) -> list[Entry]:
    """Translate the numbers of roles into the ids of a world."""
    numbers: Mapping[int, int] = dict(enumerate(ids, 1))
    return [
        entry._replace(
            movements=tuple(
                movement._replace(
                    source=numbers.get(movement.source, movement.source),  # type: ignore[arg-type]
                    destination=numbers.get(movement.destination, movement.destination),  # type: ignore[arg-type]
                )
                for movement in entry.movements
            )
        )
        for entry in entries
    ]


class Undone(Exception):
    """Ends a block whose work shall be rolled back."""


@contextlib.contextmanager
def undone() -> Iterator[None]:
    """Run a block in a transaction, or savepoint, that is rolled back at its end: an example leaves nothing behind."""
    with contextlib.suppress(Undone), transaction.atomic():
        yield
        raise Undone
