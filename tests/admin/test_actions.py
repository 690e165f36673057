"""Freezing, adjusting and exporting from the admin."""

import csv
import io
import re
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from dj_wallet.admin_pages import escape_cell
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.models import EntryMeta, Posting
from dj_wallet.models import Transaction, Wallet


def url(page, *args):
    return reverse(f"admin:dj_wallet_wallet_{page}", args=args)


# Freezing


def test_a_wallet_is_frozen_and_unfrozen_with_a_reason(sign_in, alice):
    wallet = alice.wallet
    operator = sign_in("view_wallet", "change_wallet")
    operator.post(url("freeze", wallet.pk), {"reason": "chargeback"})
    wallet.refresh_from_db()
    assert (wallet.is_frozen, wallet.frozen_reason) == (True, "chargeback")
    operator.post(url("unfreeze", wallet.pk), {"reason": "it was the bank"})
    wallet.refresh_from_db()
    assert (wallet.is_frozen, wallet.frozen_reason) == (False, "")
    messages = LogEntry.objects.order_by("pk").values_list("user_id", "change_message")
    assert list(messages) == [
        (operator.operator.pk, "Frozen: chargeback"),
        (operator.operator.pk, "Unfrozen: it was the bank"),
    ]


def test_freezing_needs_a_reason(admin_client, alice):
    answer = admin_client.post(url("freeze", alice.wallet.pk), {"reason": " "})
    assert "This field is required" in answer.content.decode()
    assert not alice.wallet.is_frozen


def test_many_wallets_are_frozen_after_a_question(admin_client, alice, bob, charlie):
    ids = [alice.wallet.pk, bob.wallet.pk]
    charlie.wallet  # noqa: B018 - is created
    chosen = {"action": "freeze_wallets", "_selected_action": ids}
    question = admin_client.post(url("changelist"), chosen).content.decode()
    assert "person alice" in question
    assert Wallet.objects.filter(is_frozen=True).count() == 0
    admin_client.post(url("changelist"), {**chosen, "confirmed": 1, "reason": "audit"})
    frozen = Wallet.objects.filter(is_frozen=True, frozen_reason="audit")
    assert sorted(frozen.values_list("pk", flat=True)) == sorted(ids)


def test_all_that_a_filter_finds_are_frozen_together(admin_client, fill):
    fill(60)
    chosen = {
        "action": "freeze_wallets",
        "_selected_action": [Wallet.objects.first().pk],
        "select_across": 1,
        "index": 0,
    }
    question = admin_client.post(url("changelist"), chosen).content.decode()
    assert "And 10 more." in question
    admin_client.post(url("changelist"), {**chosen, "confirmed": 1, "reason": "audit"})
    assert Wallet.objects.filter(is_frozen=True).count() == 60


def test_freezing_many_needs_the_permission(sign_in, alice):
    chosen = {"action": "freeze_wallets", "_selected_action": [alice.wallet.pk]}
    sign_in("view_wallet").post(url("changelist"), {**chosen, "confirmed": 1, "reason": "no"})
    assert not alice.wallet.is_frozen


# Adjusting


@pytest.fixture
def operator(sign_in):
    return sign_in("view_wallet", "adjust_wallet")


def open_form(client, wallet):
    page = client.get(url("adjust", wallet.pk)).content.decode()
    return re.search(r'name="idempotency_key" value="([^"]+)"', page).group(1)


def fill_in(key, amount="2.5", direction="take", **more):
    fields = {"amount": amount, "direction": direction, "reason": "ticket 1"}
    return {"idempotency_key": key, **fields, **more}


def test_an_adjustment_is_shown_before_it_is_posted(operator, alice, snapshot):
    alice.deposit(10)
    before = snapshot()
    form = fill_in(open_form(operator, alice.wallet))
    page = operator.post(url("adjust", alice.wallet.pk), form).content.decode()
    assert "7.50000000 USD" in page
    assert snapshot() == before


def test_an_adjustment_posts_an_entry_with_reason_and_operator(operator, alice):
    alice.deposit(10)
    key = open_form(operator, alice.wallet)
    operator.post(url("adjust", alice.wallet.pk), fill_in(key, confirmed=1))
    assert alice.wallet.balance == Decimal("7.5")
    posting = Posting.objects.get(kind="ADJUSTMENT")
    assert posting.source_account_id == alice.wallet.pk
    assert posting.destination_account.code == "adjustment"
    assert (posting.amount, posting.idempotency_key) == (Decimal("2.5"), f"adjustment:{key}")
    assert EntryMeta.objects.get(pk=posting.entry_id).data == {
        "reason": "ticket 1",
        "operator": str(operator.operator.pk),
    }
    assert audit_ledger().problems == []
    assert LogEntry.objects.get().change_message == (
        f"Adjusted by -2.50000000 USD, entry {posting.entry_id}: ticket 1"
    )


def test_an_adjustment_can_add(operator, alice):
    key = open_form(operator, alice.wallet)
    operator.post(url("adjust", alice.wallet.pk), fill_in(key, "3", "add", confirmed=1))
    assert alice.wallet.balance == 3


def test_a_form_sent_twice_posts_once(operator, alice):
    alice.deposit(10)
    form = fill_in(open_form(operator, alice.wallet), confirmed=1)
    operator.post(url("adjust", alice.wallet.pk), form)
    answer = operator.post(url("adjust", alice.wallet.pk), form, follow=True)
    assert "nothing moved a second time" in answer.content.decode()
    assert alice.wallet.balance == Decimal("7.5")
    assert LogEntry.objects.count() == 1


def test_a_form_with_another_amount_under_the_same_key_is_refused(operator, alice, snapshot):
    alice.deposit(10)
    key = open_form(operator, alice.wallet)
    operator.post(url("adjust", alice.wallet.pk), fill_in(key, confirmed=1))
    before = snapshot()
    answer = operator.post(url("adjust", alice.wallet.pk), fill_in(key, "3", confirmed=1))
    assert "was used for something else" in answer.content.decode()
    assert snapshot() == before


def test_two_forms_are_two_adjustments(operator, alice):
    alice.deposit(10)
    for _ in range(2):
        form = fill_in(open_form(operator, alice.wallet), confirmed=1)
        operator.post(url("adjust", alice.wallet.pk), form)
    assert alice.wallet.balance == 5


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        ("11", "Insufficient"),
        ("0", "greater than zero"),
        ("-1", "greater than zero"),
        ("1e-9", "decimal places"),
        ("nan", "Not a number"),
        ("many", "Not a number"),
    ],
)
def test_a_refused_adjustment_says_why_and_moves_nothing(operator, alice, snapshot, amount, said):
    alice.deposit(10)
    before = snapshot()
    form = fill_in(open_form(operator, alice.wallet), amount, confirmed=1)
    answer = operator.post(url("adjust", alice.wallet.pk), form)
    assert answer.status_code == 200
    assert said in answer.content.decode()
    assert snapshot() == before


def test_a_frozen_wallet_is_not_adjusted(operator, alice, snapshot):
    alice.deposit(10)
    alice.freeze_wallet()
    before = snapshot()
    form = fill_in(open_form(operator, alice.wallet), confirmed=1)
    assert "frozen" in operator.post(url("adjust", alice.wallet.pk), form).content.decode()
    assert snapshot() == before


def test_changing_wallets_does_not_mean_adjusting_them(sign_in, alice, snapshot):
    alice.deposit(10)
    before = snapshot()
    browser = sign_in("view_wallet", "change_wallet")
    form = fill_in("7f8d1f8e-0000-4000-8000-000000000000", confirmed=1)
    assert browser.post(url("adjust", alice.wallet.pk), form).status_code == 403
    assert snapshot() == before


# Exporting


def export(client, model, ids):
    address = reverse(f"admin:dj_wallet_{model._meta.model_name}_changelist")
    answer = client.post(address, {"action": "export_csv", "_selected_action": ids})
    assert answer.streaming
    assert answer["Content-Type"].startswith("text/csv")
    text = b"".join(answer.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(text)))


def test_wallets_are_exported(sign_in, alice, bob):
    alice.deposit(10)
    bob.force_withdraw(5)
    bob.freeze_wallet(reason='=HYPERLINK("evil")')
    rows = export(sign_in("view_wallet"), Wallet, [alice.wallet.pk, bob.wallet.pk])
    found = {row["uuid"]: (row["balance"], row["frozen_reason"]) for row in rows}
    assert found == {
        str(alice.wallet.uuid): ("10.00000000", ""),
        str(bob.wallet.uuid): ("-5.00000000", '\'=HYPERLINK("evil")'),
    }


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        (" =1", "' =1"),
        ("plain = text", "plain = text"),
        (Decimal("-1.50"), "-1.50"),
        (-1, -1),
        (None, None),
    ],
)
def test_a_cell_is_no_formula(value, cell):
    assert escape_cell(value) == cell


@pytest.mark.parametrize("name", ["transaction", "transfer", "posting", "ledgerentry", "account"])
def test_every_list_is_exported(admin_client, alice, bob, name):
    from django.apps import apps

    alice.deposit(10, idempotency_key="@evil")
    alice.transfer(bob, 1)
    model = apps.get_model("dj_wallet", name)
    rows = model.objects.filter(kind="system") if name == "account" else model.objects.all()
    ids = [row.pk for row in rows]
    assert len(export(admin_client, model, ids)) == len(ids)


def test_keys_in_an_export_are_no_formulas(admin_client, alice):
    transaction = alice.deposit(10, idempotency_key="@evil")
    (row,) = export(admin_client, Transaction, [transaction.pk])
    assert (row["idempotency_key"], row["amount"]) == ("'@evil", "10.00000000")
