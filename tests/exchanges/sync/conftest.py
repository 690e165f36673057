"""Users of the service, and keys to seal with."""

from tests.exchanges.fixtures import alice, bob, keys

__all__ = ["alice", "bob", "keys"]
