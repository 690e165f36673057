"""Which networks this process serves, by its settings: public keys for every process, the node for those that ask it.

No private key comes here: the signer alone reads those (`signing`).
"""

from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings

from .chain.errors import KeyInvalid
from .chain.keys import AccountPublicKey
from .chain.networks import NETWORKS, Network
from .chain.node import Node
from .errors import NetworkNotServed


@dataclass(frozen=True)
class Served:
    """A network with the account keys that addresses are derived from. The last account is the current one."""

    network: Network
    accounts: tuple[AccountPublicKey, ...]

    @property
    def current(self) -> AccountPublicKey:
        return self.accounts[-1]

    def get_account(self, identifier: str) -> AccountPublicKey:
        """Return the account of that identifier.

        :raises NetworkNotServed: it is none of those configured
        """
        for account in self.accounts:
            if account.identifier == identifier:
                return account
        raise NetworkNotServed(f"No account key of {self.network.name} is {identifier}.")


def list_served() -> list[Served]:
    """Return the networks of CUSTODY_XPUBS, in its order."""
    return list(_parse(tuple(settings.CUSTODY_XPUBS)).values())


def get_served(name: str) -> Served:
    """Return the network.

    :raises NetworkNotServed: it is not in CUSTODY_XPUBS
    """
    served = _parse(tuple(settings.CUSTODY_XPUBS)).get(name)
    if served is None:
        raise NetworkNotServed(f"The network {name} is not served here.")
    return served


def get_served_asset(asset: str | None) -> Served:
    """Return the network of a coin, or the first without one.

    :raises NetworkNotServed: no network of this coin is served
    """
    for served in list_served():
        if asset in {None, served.network.asset}:
            return served
    raise NetworkNotServed(f"There is no network for {asset or 'any coin'} here.")


def find_first_coin() -> str | None:
    """Return the coin that is meant where none is named; None if custody serves nothing."""
    return next((served.network.asset for served in list_served()), None)


def connect_node(name: str) -> Node:
    """Return a connection to the network's node.

    :raises NetworkNotServed: CUSTODY_NODE_URLS does not name the network
    """
    network = get_served(name).network
    for pair in settings.CUSTODY_NODE_URLS:
        given, _, url = pair.partition("=")
        if given == name:
            return Node(url, network=network)
    raise NetworkNotServed(f"No node of {name} is configured.")


@lru_cache(maxsize=8)
def _parse(pairs: tuple[str, ...]) -> dict[str, Served]:
    """Return the networks of `NAME=xpub` pairs; a name may come again with a later account. No refusal repeats one.

    :raises KeyInvalid: what stands there is no account key of a network that we know
    """
    served: dict[str, Served] = {}
    for pair in pairs:
        name, _, xpub = pair.partition("=")
        if name not in NETWORKS:
            raise KeyInvalid("CUSTODY_XPUBS names no network that we know: it is NETWORK=XPUB,...")
        network = NETWORKS[name]
        known = served[name].accounts if name in served else ()
        served[name] = Served(network, (*known, AccountPublicKey(xpub, network)))
    return served
