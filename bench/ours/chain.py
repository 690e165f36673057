"""Deriving addresses from an account's public key: what a web process does for every new deposit address.

embit is the peer: the other maintained library that does it over the same C library (libsecp256k1).
"""

from itertools import count

from embit import bip32, script

from bench.measure import Step
from bench.worker import Scenario
from dj_wallet.custody.chain.keys import DEPOSIT_CHAIN, AccountKey
from dj_wallet.custody.chain.networks import get_network

NETWORK = get_network("DOGE:main")
SEED = bytes(range(64))
ADDRESSES = 100


def make_derivation() -> Step:
    account = AccountKey.from_seed(SEED, NETWORK).public
    numbers = count()

    def derive() -> int:
        for _ in range(ADDRESSES):
            account.get_address(DEPOSIT_CHAIN, next(numbers))
        return ADDRESSES

    return derive


def make_derivation_of_embit() -> Step:
    root = bip32.HDKey.from_seed(SEED)
    parent = root.derive("m/44h/3h/0h").to_public().derive([DEPOSIT_CHAIN])
    versions = {"p2pkh": bytes([NETWORK.p2pkh_version])}
    numbers = count()

    def derive() -> int:
        for _ in range(ADDRESSES):
            script.p2pkh(parent.child(next(numbers)).key).address(versions)
        return ADDRESSES

    return derive


SCENARIOS = {
    "derive": Scenario(make_derivation),
    "derive embit": Scenario(make_derivation_of_embit),
}
