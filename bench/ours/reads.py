"""The three reads that must stay flat while the ledger grows."""

import random
from datetime import timedelta

from django.db.models import Max, Min

from bench.measure import Step
from bench.ours.ledger import list_accounts
from bench.worker import Scenario
from dj_wallet.ledger.models import Posting
from dj_wallet.ledger.queries import get_balance, get_statement

STATEMENT_LINES = 50


def make_balance() -> Step:
    accounts = list_accounts()

    def balance() -> int:
        get_balance(random.choice(accounts))
        return 1

    return balance


def make_balance_as_of() -> Step:
    """Return a read at any moment between the first posting and the last."""
    accounts = list_accounts()
    first, last = Posting.objects.aggregate(
        first=Min("created_at"), last=Max("created_at")
    ).values()
    span: timedelta = last - first

    def balance_as_of() -> int:
        get_balance(random.choice(accounts), as_of=first + span * random.random())
        return 1

    return balance_as_of


def make_statement() -> Step:
    accounts = list_accounts()

    def statement() -> int:
        get_statement(random.choice(accounts), limit=STATEMENT_LINES)
        return 1

    return statement


SCENARIOS = {
    "balance": Scenario(make_balance),
    "as_of": Scenario(make_balance_as_of),
    "statement": Scenario(make_statement),
}
