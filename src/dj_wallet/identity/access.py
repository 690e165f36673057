"""Who may do what: the one table of scopes, and the rules that REST and the admin ask. No queries, no answers.

Owners see and use what is theirs. Staff read all and move only what is theirs. Operators act in the admin, each by a
permission of their own. Services reach the internal endpoints, people do not. Nobody edits a balance.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

READ: Final = "read"
WRITE: Final = "write"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

# Opens all internal endpoints; `internal:<group>` those of one group.
INTERNAL: Final = "internal"


class Group(NamedTuple):
    """Endpoints that are opened together, by the scopes `<name>:read` and `<name>:write`."""

    name: str
    says: str
    # Whether people have it in the browser, and keys that were made without naming scopes.
    is_common: bool = True


GROUPS: Final = (
    Group("wallets", "wallets, their balances and transactions"),
    # Whoever deposits says that money came in from outside: for programs that the operator trusts.
    Group("deposits", "deposits into wallets", is_common=False),
    Group("withdrawals", "withdrawals and payouts to banks and chains"),
    Group("transfers", "transfers between wallets, one or many"),
    Group("holds", "holds and escrows"),
    Group("addresses", "deposit addresses"),
    Group("exchanges", "exchange accounts and their addresses"),
    Group("purchases", "purchases and refunds"),
    Group("statements", "statements, history and exports"),
    Group("events", "events and webhooks"),
    Group("keys", "API keys"),
    Group("ledger", "the ledger service: accounts and their transactions", is_common=False),
    Group("operations", "what operators see across all users", is_common=False),
)
NAMES: Final = frozenset(group.name for group in GROUPS)


def _name_scopes(groups: Iterable[Group]) -> frozenset[str]:
    return frozenset(f"{group.name}:{verb}" for group in groups for verb in (READ, WRITE))


SCOPES: Final = _name_scopes(GROUPS)
INTERNAL_SCOPES: Final = frozenset({INTERNAL, *(f"{INTERNAL}:{name}" for name in NAMES)})
ALL_SCOPES: Final = SCOPES | INTERNAL_SCOPES
# What a person may do in the browser, and what a key may that was made without naming scopes.
COMMON_SCOPES: Final = _name_scopes(group for group in GROUPS if group.is_common)
DEFAULT_KEY_SCOPES: Final = COMMON_SCOPES - {"keys:write"}


class Kind(StrEnum):
    """By what a request says who it is from."""

    API_KEY = "api_key"
    SIGNATURE = "signature"
    TOKEN = "token"  # noqa: S105 - a word
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request came with: `request.auth`. Its user is `request.user`."""

    kind: Kind
    # Tells one credential from another, in logs and for limits: "key:<prefix>", "client:<id>", "session".
    name: str
    scopes: frozenset[str]
    # A program that acts for itself; only those reach internal endpoints.
    is_service: bool = False
    key: Any = None


class Needs(NamedTuple):
    """What an endpoint asks of a credential: one of the scopes, and being a service if it is internal."""

    scopes: tuple[str, ...]
    is_internal: bool = False


def find_needs(*, group: str | None, is_internal: bool, method: str) -> Needs:
    """Return what an endpoint of this group asks for this method.

    :raises LookupError: it is in no group of the table; nobody may call what nobody placed
    """
    if is_internal:
        own = () if group is None else (f"{INTERNAL}:{group}",)
        return Needs((INTERNAL, *own), is_internal=True)
    if group not in NAMES:
        raise LookupError(f"{group!r} is no group of endpoints.")
    return Needs((f"{group}:{READ if method in SAFE_METHODS else WRITE}",))


def has_one_of(credential: Credential, scopes: Iterable[str]) -> bool:
    """Tell whether the credential carries one of the scopes."""
    return not credential.scopes.isdisjoint(scopes)


def reads_all(user: Any) -> bool:
    """Tell whether the user sees what belongs to others. Seeing is all: it moves nothing."""
    return bool(user.is_active and user.is_staff)


def list_consents() -> Mapping[str, str]:
    """Return what a person is asked for each scope when a program wants to act for them."""
    verbs = {READ: "See", WRITE: "Use and change"}
    return {
        f"{group.name}:{verb}": f"{verbs[verb]} {group.says}" for group in GROUPS for verb in verbs
    }
