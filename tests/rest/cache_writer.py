"""A process that moves money under the cache: `python -m tests.rest.cache_writer COMMAND WALLET [COUNT]`.

deposit WALLET COUNT   deposit 1 at a time, each in one of three ways; print how many are known to be committed
killed WALLET          deposit 1 in a transaction and die the moment it has committed
open WALLET            deposit 1 in a transaction, say so, and commit after a line on the standard input
"""

import os
import signal
import sys
from decimal import Decimal
from typing import Any

import django


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def deposit(wallet_id: str, count: str) -> None:
    from django.db import transaction

    from dj_wallet.models import Wallet

    wallet = Wallet.objects.get(pk=wallet_id)
    for number in range(int(count)):
        if number % 3 == 0:
            wallet.deposit(1)
        elif number % 3 == 1:
            with transaction.atomic():
                wallet.deposit(1)
        else:
            place_alone(wallet)
        say(number + 1)


def place_alone(wallet: Any) -> None:
    """Deposit with one statement that commits by itself."""
    from dj_wallet.ledger.engine import Entry, Kind, Movement
    from dj_wallet.ledger.post import post_one

    movement = Movement("external:bank", wallet.pk, Decimal(1), wallet.asset_id)
    post_one(Entry(Kind.DEPOSIT, (movement,)))


def killed(wallet_id: str) -> None:
    from django.db import transaction

    from dj_wallet.models import Wallet

    with transaction.atomic():
        transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
        Wallet.objects.get(pk=wallet_id).deposit(1)


def leave_open(wallet_id: str) -> None:
    from django.db import transaction

    from dj_wallet.models import Wallet

    with transaction.atomic():
        Wallet.objects.get(pk=wallet_id).deposit(1)
        say("open")
        sys.stdin.readline()
    say("committed")


if __name__ == "__main__":
    django.setup()
    {"deposit": deposit, "killed": killed, "open": leave_open}[sys.argv[1]](*sys.argv[2:])
