"""django-hordak 2.0.0: its own short-cut for moving money between two accounts."""

from decimal import Decimal

from django.core.management import call_command
from django.db import transaction
from hordak.models import Account
from moneyed import Money

from bench.measure import Step
from bench.worker import Scenario, pick_two

ACCOUNT_COUNT = 1_000
AMOUNT = Money(Decimal("1.25"), "USD")


def setup() -> None:
    """Create the tables and 1,000 income accounts; hordak has no overdraft check to satisfy."""
    call_command("migrate", verbosity=0)
    for number in range(ACCOUNT_COUNT):
        Account.objects.create(
            name=f"account {number}", type=Account.TYPES.income, currencies=["USD"]
        )


def make_transfer() -> Step:
    accounts = list(Account.objects.all())

    def transfer() -> int:
        source, destination = pick_two(accounts)
        with transaction.atomic():
            source.transfer_to(destination, AMOUNT)
        return 1

    return transfer


SCENARIOS = {"transfer": Scenario(make_transfer)}
