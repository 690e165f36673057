"""The operators' pages of payouts: what they show, what they may do, and that nobody does more."""

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from dj_wallet.payouts.models import Discrepancy, Payout, Statement
from dj_wallet.payouts.services import execute_payout, schedule_payout
from tests.payouts.conftest import blind_bank, payouts_setting, sandbox, session_bank, short_waits

__all__ = ["blind_bank", "payouts_setting", "sandbox", "session_bank", "short_waits"]

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]


def url(verb, payout):
    return reverse(f"admin:dj_wallet_payouts_payout_{verb}", args=[payout.pk])


@pytest.fixture
def doubtful(alice, blind_bank):
    alice.deposit(100)
    payout = schedule_payout(wallet=alice.wallet, amount=50).payout
    blind_bank.break_down("paid_cut")
    execute_payout(payout.pk)
    payout.refresh_from_db()
    assert payout.status == "review"
    return payout


@pytest.fixture
def operator(sign_in):
    """A function that signs in an operator with these permissions of payouts."""

    def sign_in_with(*names):
        client = sign_in(*["x"] * len(names))
        found = Permission.objects.filter(
            content_type__app_label="dj_wallet_payouts", codename__in=["view_payout", *names]
        )
        client.operator.user_permissions.set(found)
        return client

    return sign_in_with


def test_the_queue_shows_what_is_in_doubt_with_its_evidence(operator, doubtful):
    client = operator()
    page = client.get(reverse("admin:dj_wallet_payouts_payout_changelist") + "?doubt=operator")
    assert str(doubtful.uuid) in page.content.decode()
    page = client.get(url("change", doubtful)).content.decode()
    assert "RemoteProtocolError" in page
    assert "outcome_unknown" in page
    assert "/propose/" not in page


def test_two_operators_decide(operator, doubtful):
    anna = operator("propose_resolution", "approve_resolution")
    otto = operator("propose_resolution", "approve_resolution", "view_discrepancy")
    proposal = {"verdict": "paid", "reason": "called the bank"}
    assert anna.post(url("propose", doubtful), proposal).status_code == 302
    anna.post(url("decide", doubtful), {"approve": "1"})
    doubtful.refresh_from_db()
    assert doubtful.status == "review"
    assert "called the bank" in otto.get(url("change", doubtful)).content.decode()
    otto.post(url("decide", doubtful), {"approve": "1"})
    doubtful.refresh_from_db()
    assert doubtful.status == "settled"


@pytest.mark.parametrize("verb", ["cancel", "ask_bank", "propose", "decide"])
def test_nothing_is_done_without_its_permission(operator, doubtful, verb, snapshot):
    before = snapshot()
    data = {"verdict": "paid", "reason": "x", "approve": "1"}
    assert operator().post(url(verb, doubtful), data).status_code == 403
    assert snapshot() == before
    assert Payout.objects.get().status == "review"


def test_a_get_changes_nothing(operator, doubtful):
    client = operator("cancel_payout", "ask_bank", "propose_resolution", "approve_resolution")
    for verb in ("cancel", "ask_bank", "propose"):
        assert client.get(url(verb, doubtful)).status_code == 200
    assert client.get(url("decide", doubtful)).status_code == 302
    assert Payout.objects.get().status == "review"


def test_a_refusal_is_shown(operator, doubtful):
    client = operator("ask_bank", "cancel_payout")
    page = client.post(url("ask_bank", doubtful), follow=True).content.decode()
    assert "has no look-up" in page
    page = client.post(url("cancel", doubtful), follow=True).content.decode()
    assert "cannot be cancelled" in page


def test_a_statement_is_imported_and_a_discrepancy_closed(admin_client, doubtful, blind_bank):
    add = reverse("admin:dj_wallet_payouts_statement_add")
    assert admin_client.get(add).status_code == 200
    text = blind_bank.client.get("/statement", params={"double": str(doubtful.uuid)}).content
    data = {"bank": "default", "file": SimpleUploadedFile("s.xml", text)}
    # The sandbox counts in dollars of two places, like the statement says.
    assert admin_client.post(add, data).status_code == 302
    assert Statement.objects.count() == 1
    found = Discrepancy.objects.first()
    assert found is not None
    close = reverse("admin:dj_wallet_payouts_discrepancy_close", args=[found.pk])
    assert admin_client.post(close, {"note": "seen"}).status_code == 302
    found.refresh_from_db()
    assert (found.note, found.closed_by) == ("seen", "admin")
    wrong = {"bank": "default", "file": SimpleUploadedFile("s.xml", b"no xml")}
    assert "no XML" in admin_client.post(add, wrong).content.decode()
