"""Limits are set from the page of a wallet; lots are looked at."""

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dj_wallet.models import Lot, WalletLimits
from dj_wallet.services.limits import get_limits, set_limits
from tests.testapp.models import Person


def url(model, page, *args):
    return reverse(f"admin:dj_wallet_{model}_{page}", args=args)


FORM = {
    "overdraft_limit": "20",
    "minimum_balance": "",
    "per_transaction": " 50.5 ",
    "per_day": "100",
    "per_month": "",
    "reason": "new customer",
}


def test_limits_are_set_with_a_reason(sign_in, alice):
    wallet = alice.wallet
    set_limits(wallet=wallet, per_month=5)
    operator = sign_in("view_wallet", "limit_wallet")
    answer = operator.post(url("wallet", "limits", wallet.pk), FORM)
    assert answer["Location"] == url("wallet", "change", wallet.pk)
    status = get_limits(wallet=wallet)
    assert [str(value) for value in status[:5]] == [
        "20.00000000",
        "None",
        "50.50000000",
        "100.00000000",
        "None",
    ]
    row = WalletLimits.objects.get()
    assert (row.reason, row.operator) == ("new customer", str(operator.operator.pk))
    assert "new customer" in LogEntry.objects.get().change_message


@pytest.mark.parametrize(
    "change", [{"reason": " "}, {"per_day": "-1"}, {"per_day": "x"}, {"overdraft_limit": ""}]
)
def test_limits_that_make_no_sense_are_refused(admin_client, alice, change):
    wallet = alice.wallet
    answer = admin_client.post(url("wallet", "limits", wallet.pk), {**FORM, **change})
    assert answer.status_code == 200
    assert get_limits(wallet=wallet).per_day is None
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("rights", [("view_wallet",), ("limit_wallet",)])
def test_setting_limits_needs_its_own_permission(sign_in, alice, rights):
    wallet = alice.wallet
    operator = sign_in(*rights)
    for answer in (
        operator.get(url("wallet", "limits", wallet.pk)),
        operator.post(url("wallet", "limits", wallet.pk), FORM),
    ):
        assert answer.status_code == 403
    assert not WalletLimits.objects.exists()


def test_the_form_shows_the_limits_there_are(admin_client, alice):
    set_limits(wallet=alice.wallet, per_day="12.5")
    page = admin_client.get(url("wallet", "limits", alice.wallet.pk)).content.decode()
    assert 'value="12.50000000"' in page


def test_the_page_of_a_wallet_shows_its_limits_and_lots(admin_client, alice):
    alice.deposit(50)
    set_limits(wallet=alice.wallet, per_day=30, minimum_balance=0)
    alice.grant_credit(20, source="welcome")
    alice.withdraw(10)
    page = admin_client.get(url("wallet", "change", alice.wallet.pk)).content.decode()
    for shown in ("Per day", "30.00000000", "20.00000000", "welcome", "purchases"):
        assert shown in page


def test_a_list_of_fifty_lots_costs_as_many_queries_as_one_of_two(admin_client):
    counts = []
    for people in (2, 48):
        for number in range(people):
            Person.objects.create(name=f"{people} {number}").grant_credit(5)
        admin_client.get(url("lot", "changelist"))
        with CaptureQueriesContext(connection) as queries:
            page = admin_client.get(url("lot", "changelist"))
        counts.append(len(queries))
    assert len(page.context["cl"].result_list) == 50
    assert counts[0] == counts[1]


def test_lots_are_looked_at_and_not_changed(admin_client, alice):
    lot = alice.grant_credit(5)
    assert admin_client.get(url("lot", "change", lot.pk)).status_code == 200
    for page, arguments in (("add", ()), ("change", (lot.pk,)), ("delete", (lot.pk,))):
        assert admin_client.post(url("lot", page, *arguments), {"remaining": 9}).status_code == 403
    assert Lot.objects.get().remaining == 5


def test_lots_are_found_by_uuid_source_and_account_and_exported(admin_client, alice, bob):
    lot = alice.grant_credit(5, source="welcome")
    bob.grant_credit(7)
    for term in (str(lot.uuid), "welcome", str(lot.entry_id)):
        page = admin_client.get(url("lot", "changelist"), {"q": term})
        assert [found.pk for found in page.context["cl"].result_list] == [lot.pk]
    answer = admin_client.post(
        url("lot", "changelist"), {"action": "export_csv", "_selected_action": [lot.pk]}
    )
    assert b"welcome" in b"".join(answer.streaming_content)
