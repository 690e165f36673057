"""Whose key a call uses."""

from collections.abc import Callable
from dataclasses import dataclass, field

from dj_wallet.exchanges.venues.contract import Credentials


@dataclass(frozen=True, slots=True)
class Account:
    """An exchange account. A client is shared by calls whose account has the same key, and by no others."""

    id: str
    owner: str
    venue: str
    credentials_version: int
    load_credentials: Callable[[], Credentials] = field(repr=False, compare=False)
    sandbox: bool = False

    @property
    def key(self) -> tuple[str, str, str, bool, int]:
        return (self.owner, self.id, self.venue, self.sandbox, self.credentials_version)
