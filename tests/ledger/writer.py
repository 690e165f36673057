"""A process that posts, for tests that kill it or its server: `python -m tests.ledger.writer COMMAND ...`.

    migrate                       make the tables
    wallets COUNT AMOUNT          create wallets with that much each; print their ids
    transfer NAME SEED [COUNT]    transfer at random until SIGTERM, or COUNT times; print each key once it is known to
                                  have been committed. Keys are NAME-0, NAME-1, ...; an unknown outcome is tried again
    one KEY                       post one movement under the key; print what came of it
    own-commit KEY                post inside a transaction of the caller's own; then, after a line on the standard
                                  input, post KEY-after; print what came of both
    check                         print balances, keys and what the audit finds
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
from typing import Any

import django
from django.conf import settings

from wallet_service.settings import parse_database_url


def configure() -> None:
    database = parse_database_url(os.environ["DATABASE_URL"])
    del database["OPTIONS"]["pool"]
    settings.configure(
        DATABASES={"default": database},
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "dj_wallet",
            "tests.testapp",
        ],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def migrate() -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0, run_syncdb=True)
    say("{}")


def wallets(count: str, amount: str) -> None:
    from dj_wallet.ledger.post import post
    from tests.ledger.worlds import BANK, Role, make_wallet, transfer_entry

    made = [make_wallet(Role()) for _ in range(int(count))]
    post([transfer_entry(BANK, wallet, amount) for wallet in made])
    say(json.dumps([wallet.pk for wallet in made]))


def transfer(name: str, seed: str, count: str = "0") -> None:
    from django.db import InterfaceError, OperationalError, connection

    from dj_wallet.ledger.errors import InsufficientFunds, OutcomeUnknown
    from dj_wallet.ledger.models import Account
    from tests.ledger.worlds import transfer_entry

    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    dice = random.Random(seed)
    ids = list(Account.objects.filter(kind="wallet").order_by("pk").values_list("pk", flat=True))
    number = 0
    while not stopping and (not int(count) or number < int(count)):
        key = f"{name}-{number}"
        number += 1
        source, destination = dice.sample(ids, 2)
        entry = transfer_entry(source, destination, dice.randint(1, 30), key=key)
        door = dice.choice([post_alone, post_in_a_batch, post_in_own_transaction])
        while True:
            try:
                door(entry)
            except InsufficientFunds:
                break
            except (OutcomeUnknown, OperationalError, InterfaceError):
                with contextlib.suppress(OperationalError, InterfaceError):
                    connection.close()
                time.sleep(0.05)
                continue
            say(key)
            break


def post_alone(entry: Any) -> None:
    from dj_wallet.ledger.post import post_one

    post_one(entry)


def post_in_a_batch(entry: Any) -> None:
    """Post the entry and its reversal, which has a key of its own."""
    from dj_wallet.ledger.post import post

    movement = entry.movements[0]
    back = movement._replace(source=movement.destination, destination=movement.source)
    reversal = entry._replace(movements=(back,), idempotency_key=f"{entry.idempotency_key}-back")
    outcome, _ = post([entry, reversal])
    if isinstance(outcome, Exception):
        raise outcome


def post_in_own_transaction(entry: Any) -> None:
    from dj_wallet.ledger.post import post_one, run_in_transaction

    run_in_transaction(lambda: post_one(entry))


def one(key: str) -> None:
    say(json.dumps(try_to_post(key)))


def own_commit(key: str) -> None:
    from django.db import transaction

    from dj_wallet.ledger.post import post_one

    with transaction.atomic():
        post_one(make_deposit(key))
    say("committed")
    sys.stdin.readline()
    say(json.dumps(try_to_post(f"{key}-after")))


def try_to_post(key: str) -> str:
    from dj_wallet.ledger.errors import WalletException
    from dj_wallet.ledger.post import post_one

    try:
        return "replayed" if post_one(make_deposit(key)).replayed else "posted"
    except WalletException as error:
        return error.code


def make_deposit(key: str) -> Any:
    from dj_wallet.ledger.models import Account
    from tests.ledger.worlds import BANK, transfer_entry

    wallet = Account.objects.filter(kind="wallet").order_by("pk").values_list("pk", flat=True)[0]
    return transfer_entry(BANK, wallet, 1, key=key)


def check() -> None:
    from dj_wallet.ledger.audit import audit_ledger
    from dj_wallet.ledger.models import Account, Posting

    balances = Account.objects.filter(kind="wallet").values_list("balance", flat=True)
    keys = Posting.objects.filter(idempotency_key__isnull=False)
    say(
        json.dumps(
            {
                "total": str(sum(balances)),
                "lowest": str(min(balances)),
                "keys": list(keys.values_list("idempotency_key", flat=True)),
                "problems": [str(problem) for problem in audit_ledger().problems],
            }
        )
    )


COMMANDS = {
    "migrate": migrate,
    "wallets": wallets,
    "transfer": transfer,
    "one": one,
    "own-commit": own_commit,
    "check": check,
}

if __name__ == "__main__":
    configure()
    COMMANDS[sys.argv[1]](*sys.argv[2:])
