"""What a bank tells us on its own: signed, heard once, in any order."""

import itertools

import pytest

from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.models import Transaction
from dj_wallet.payouts.bank import Outcome, Report, get_bank
from dj_wallet.payouts.models import Discrepancy, HeardReport, Payout
from dj_wallet.payouts.services import execute_payout, hear_report, schedule_payout
from tests.payouts.conftest import RETURN, Bank, list_postings, list_steps, look

pytestmark = pytest.mark.django_db


def list_reports(bank: Bank) -> list[Report]:
    """Return the messages that the bank sent, as its adapter reads them."""
    adapter = get_bank("default")
    messages = bank.client.get("/messages").json()["messages"]
    reports = [adapter.read_report(one["headers"], one["body"].encode()) for one in messages]
    return [report for report in reports if report is not None]


@pytest.fixture
def payout(wallet) -> Payout:
    return schedule_payout(wallet=wallet, amount=30).payout


@pytest.fixture
def accepted(payout, keyed_bank) -> Payout:
    """A payout that the bank took over."""
    keyed_bank.break_down("accept")
    execute_payout(payout.pk)
    assert look(payout)[0] == "accepted"
    return payout


def hear(reference: object, outcome: Outcome, number: object = 1, **evidence: str) -> None:
    hear_report(bank="default", report=Report(f"m-{number}", str(reference), outcome, evidence))


def test_a_message_settles(accepted, keyed_bank):
    keyed_bank.client.post(f"/payments/{accepted.uuid}/settle")
    for report in list_reports(keyed_bank):
        hear_report(bank="default", report=report)
    assert look(accepted) == ("settled", "completed", 70, 0)
    assert "reported" in list_steps(accepted)


def test_a_rejection_gives_back(accepted, keyed_bank):
    keyed_bank.client.post(f"/payments/{accepted.uuid}/reject")
    hear_report(bank="default", report=list_reports(keyed_bank)[-1])
    assert look(accepted) == ("failed", "failed", 100, 0)
    assert accepted.failure_code == "bank_refused"


@pytest.mark.parametrize(
    "order",
    list(itertools.permutations([Outcome.ACCEPTED, Outcome.PAID, Outcome.RETURNED])),
    ids="-".join,
)
def test_in_any_order_and_twice_the_end_is_the_same(accepted, order):
    for number, outcome in enumerate([*order, *order]):
        hear(accepted.uuid, outcome, number)
    assert look(accepted) == ("returned", "completed", 100, 0)
    assert list_postings(accepted)[-1] == RETURN
    assert Discrepancy.objects.count() == 0
    assert Transaction.objects.filter(meta__action="payout_returned").count() == 1
    assert audit_ledger().is_clean


def test_the_same_message_is_heard_once(accepted):
    for _ in range(3):
        hear(accepted.uuid, Outcome.PAID)
    assert HeardReport.objects.count() == 1
    assert list_steps(accepted).count("reported") == 1


def test_news_that_contradict_what_we_did_are_put_before_people(accepted):
    hear(accepted.uuid, Outcome.REFUSED, 1)
    hear(accepted.uuid, Outcome.PAID, 2)
    assert look(accepted) == ("failed", "failed", 100, 0)
    assert Discrepancy.objects.get().kind == "contradict"


def test_news_of_a_payout_that_was_never_sent_are_put_before_people(payout, keyed_bank):
    hear(payout.uuid, Outcome.PAID)
    assert look(payout) == ("pending", "pending", 100, 0)
    assert Discrepancy.objects.get().kind == "contradict"


def test_another_amount_settles_nothing(accepted):
    hear(accepted.uuid, Outcome.PAID, amount="31.00", currency="USD")
    assert look(accepted)[0] == "accepted"
    assert Discrepancy.objects.get().kind == "amount"


@pytest.mark.parametrize("reference", ["", "x", "019aa000-0000-7000-8000-000000000000"])
def test_what_is_not_ours_changes_nothing(accepted, reference):
    hear(reference, Outcome.PAID)
    assert look(accepted)[0] == "accepted"


@pytest.mark.parametrize("harm", ["body", "webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_message_that_was_touched_is_nobodys(accepted, keyed_bank, harm):
    (message,) = keyed_bank.client.get("/messages").json()["messages"]
    if harm == "body":
        message["body"] = message["body"].replace("accepted", "paid")
    else:
        message["headers"][harm] = message["headers"][harm].replace("1", "2") + "2"
    read = get_bank("default").read_report
    assert read(message["headers"], message["body"].encode()) is None


def test_an_old_message_is_nobodys(keyed_bank):
    from datetime import UTC, datetime, timedelta

    from standardwebhooks.webhooks import Webhook

    from tests.payouts.conftest import WEBHOOK_SECRET

    old = datetime.now(UTC) - timedelta(hours=1)
    body = '{"reference": "r", "state": "paid"}'
    headers = {
        "webhook-id": "m",
        "webhook-timestamp": str(int(old.timestamp())),
        "webhook-signature": Webhook(WEBHOOK_SECRET).sign("m", old, body),
    }
    assert get_bank("default").read_report(headers, body.encode()) is None


def test_a_bank_without_a_secret_is_not_listened_to(blind_bank):
    assert get_bank("default").read_report({}, b"{}") is None
