"""`python -m dj_wallet.custody.signer`: the only process that reads keys. It listens to nobody and broadcasts nothing.

It takes requests from the database's rows, signs what `chain.signer` lets it sign and puts the bytes back. Configure it
with a file beside the key (`--config`):

    {"keys": ["aws:wallet/doge/account0"], "journal": "/var/lib/wallet/signer.journal",
     "networks": {"DOGE:main": {"max_amount": "5000", "max_amount_per_day": "50000", "cold_addresses": ["D..."]}}}

and with the secret of approvals in `CUSTODY_APPROVAL_SECRET`. `--make-account DOGE:regtest --directory DIR` makes a key
for development, with the files that go with it.
"""

import argparse
import json
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

from .chain.addresses import get_script
from .chain.errors import ChainError, KeyInvalid
from .chain.key_store import KeyRing
from .chain.keys import AccountKey
from .chain.networks import get_network, to_base_units
from .chain.signer import Limits, SigningDesk, SigningJournal, SigningPolicy, answer_one

logger = logging.getLogger(__name__)

APPROVAL_VARIABLE: Final = "CUSTODY_APPROVAL_SECRET"
MIN_SECRET_LETTERS: Final = 32
IDLE_SECONDS: Final = 0.5
TROUBLE_SECONDS: Final = 5
PRIVATE_FILE: Final = 0o600


class Configuration(NamedTuple):
    keys: tuple[str, ...]
    journal: Path
    policy: SigningPolicy


def read_configuration(file: Path, approval_secret: str) -> Configuration:
    """Return what the signer is configured to sign.

    :raises ChainError: something is missing, or is no amount, address or network
    """
    if len(approval_secret) < MIN_SECRET_LETTERS:
        raise ChainError(f"{APPROVAL_VARIABLE} must have at least {MIN_SECRET_LETTERS} letters.")
    try:
        said = json.loads(file.read_text())
        limits = {name: _read_limits(name, told) for name, told in said["networks"].items()}
        keys, journal = tuple(map(str, said["keys"])), Path(said["journal"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidOperation) as error:
        raise ChainError(f"{file} is no configuration: {type(error).__name__} {error}.") from None
    return Configuration(keys, journal, SigningPolicy(approval_secret.encode(), limits))


def run(
    desk: SigningDesk,
    configuration: Configuration,
    *,
    stop: threading.Event | None = None,
    once: bool = False,
) -> None:
    """Answer requests until `stop` is set; with `once`, until there is none left.

    :raises ChainError: a key cannot be read at the start, or another signer has the journal
    """
    stop = stop or threading.Event()
    ring = KeyRing(configuration.keys, clock=time.monotonic)
    ring.fetch()
    journal = SigningJournal(configuration.journal)
    try:
        while not stop.is_set():
            try:
                answered = answer_one(
                    desk,
                    find_key=ring.find_key,
                    policy=configuration.policy,
                    journal=journal,
                    now=time.time(),
                )
            except KeyInvalid as error:
                # The keys are out of reach, not wrong for this request: it stays without an answer.
                logger.error("%s", error)
                if once:
                    raise
                stop.wait(TROUBLE_SECONDS)
                continue
            if not answered:
                if once:
                    return
                stop.wait(IDLE_SECONDS)
    finally:
        journal.close()


def make_account(network_name: str, directory: Path) -> None:
    """Make a key for development, unless the directory has one: key, extended public key and configuration as files.

    :raises ChainError: no such network, or not one for tests
    """
    network = get_network(network_name)
    if network.chain == "main":
        raise ChainError("Keys of a main network are made where nothing else runs, not here.")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    key_file = directory / "account.json"
    if not key_file.exists():
        key = AccountKey.from_seed(secrets.token_bytes(64), network)
        xpub = key.public.export()
        secret = {"network": network.name, "xprv": key.export(), "xpub": xpub}
        _write_private(directory / "account.xpub", xpub)
        _write_private(key_file, json.dumps(secret))
    limits = {"max_amount": "100000", "max_amount_per_day": "1000000", "cold_addresses": []}
    configuration = {
        "keys": [f"file:{key_file.resolve()}"],
        "journal": str((directory / "signer.journal").resolve()),
        "networks": {network.name: limits},
    }
    _write_private(directory / "signer.json", json.dumps(configuration, indent=2))


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    try:
        if options.make_account:
            make_account(options.make_account, options.directory)
        else:
            _sign(options.config, once=options.once)
    except ChainError as error:
        sys.exit(str(error))


def _sign(config: Path, *, once: bool) -> None:
    """Sign what waits in the database of the Django settings."""
    import django

    django.setup()
    from .services.signing import SigningRows

    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    configuration = read_configuration(config, os.environ.get(APPROVAL_VARIABLE, ""))
    run(SigningRows(), configuration, stop=stop, once=once)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dj_wallet.custody.signer", description="Sign what was approved."
    )
    work = parser.add_mutually_exclusive_group(required=True)
    work.add_argument("--config", type=Path, help="keys, journal and limits")
    work.add_argument("--make-account", metavar="NETWORK", help="make a key for development")
    parser.add_argument(
        "--directory", type=Path, default=Path(), help="where --make-account writes"
    )
    parser.add_argument("--once", action="store_true", help="stop when nothing waits")
    return parser.parse_args(arguments)


def _read_limits(network_name: str, said: Mapping[str, Any]) -> Limits:
    network = get_network(network_name)
    cold = frozenset(said.get("cold_addresses", ()))
    for address in cold:
        get_script(address, network)
    return Limits(
        max_amount=_read_coins(said["max_amount"]),
        max_amount_per_day=_read_coins(said["max_amount_per_day"]),
        cold_addresses=cold,
    )


def _read_coins(said: object) -> int:
    if not isinstance(said, str):
        raise ChainError("Limits are strings of digits.")
    amount = to_base_units(Decimal(said))
    if amount <= 0:
        raise ChainError("Limits are above zero.")
    return amount


def _write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read, all of it or nothing."""
    part = file.with_suffix(f"{file.suffix}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    with os.fdopen(descriptor, "w") as lines:
        lines.write(text)
    part.replace(file)


if __name__ == "__main__":
    main()
