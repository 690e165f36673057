"""Everything can be looked at in the admin, by staff; nothing can be changed there but by its actions."""

import pytest
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dj_wallet import admin as ours
from dj_wallet.ledger.models import Account, Asset, LedgerEntry, Posting
from dj_wallet.models import Transaction, Transfer, Wallet

READ_ONLY = (Wallet, Transaction, Transfer, Account, Posting, LedgerEntry)
LISTED = (*READ_ONLY, Asset)


def url(model, page, *args):
    return reverse(f"admin:dj_wallet_{model._meta.model_name}_{page}", args=args)


def pick(model):
    rows = model.objects.all()
    return (rows.filter(kind="system") if model is Account else rows).first()


def test_the_public_names_are_registered():
    assert isinstance(admin.site.get_model_admin(Wallet), ours.WalletAdmin)
    assert isinstance(admin.site.get_model_admin(Transaction), ours.TransactionAdmin)
    assert isinstance(admin.site.get_model_admin(Transfer), ours.TransferAdmin)


@pytest.mark.parametrize("model", LISTED)
def test_a_list_of_fifty_rows_costs_as_many_queries_as_one_of_two(model, admin_client, fill):
    counts = []
    for people in (2, 48):
        fill(people)
        if model in {Account, Asset}:
            for number in range(people):
                asset = Asset.objects.create(code=f"A{people}-{number}")
                Account.objects.create(kind="system", code="fees", asset=asset)
        admin_client.get(url(model, "changelist"))  # content types and permissions are known now
        with CaptureQueriesContext(connection) as queries:
            page = admin_client.get(url(model, "changelist"))
        counts.append(len(queries))
    assert len(page.context["cl"].result_list) >= 50
    assert counts[0] == counts[1]


@pytest.mark.parametrize("model", LISTED)
def test_only_staff_gets_in(model, client, sign_in, fill):
    fill(2)
    for browser in (client, sign_in("view_wallet", is_staff=False)):
        answer = browser.get(url(model, "changelist"))
        assert (answer.status_code, "/login/" in answer["Location"]) == (302, True)


@pytest.mark.parametrize("model", READ_ONLY)
def test_nothing_that_money_touched_is_added_edited_or_deleted(model, admin_client, fill, snapshot):
    fill(2)
    row = pick(model)
    before = snapshot()
    assert admin_client.get(url(model, "add")).status_code == 403
    assert admin_client.post(url(model, "add"), {"balance": 5}).status_code == 403
    assert admin_client.post(url(model, "change", row.pk), {"balance": 5}).status_code == 403
    assert admin_client.get(url(model, "delete", row.pk)).status_code == 403
    assert admin_client.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    action = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    admin_client.post(url(model, "changelist"), action)
    assert snapshot() == before


@pytest.mark.parametrize("model", LISTED)
def test_each_row_has_a_page(model, admin_client, fill):
    fill(2)
    assert admin_client.get(url(model, "change", pick(model).pk)).status_code == 200


def test_an_asset_keeps_its_code_and_its_places(admin_client, fill):
    fill(2)
    changed = {"code": "EUR", "name": "Euro", "kind": "points", "decimal_places": 0}
    admin_client.post(url(Asset, "change", "USD"), changed)
    asset = Asset.objects.get()
    assert (asset.code, asset.decimal_places, asset.name) == ("USD", 8, "Euro")
    assert admin_client.post(url(Asset, "delete", "USD"), {"post": "yes"}).status_code == 403


def list_found(client, model, term):
    page = client.get(url(model, "changelist"), {"q": term})
    return [row.pk for row in page.context["cl"].result_list]


def test_wallets_are_found_by_uuid_holder_slug_and_number(admin_client, alice, bob):
    alice.create_wallet("savings")
    wallet, other = alice.get_wallet("savings"), bob.wallet
    assert list_found(admin_client, Wallet, str(wallet.uuid)) == [wallet.pk]
    assert list_found(admin_client, Wallet, wallet.uuid.hex) == [wallet.pk]
    assert list_found(admin_client, Wallet, "savings") == [wallet.pk]
    assert other.pk in list_found(admin_client, Wallet, str(bob.pk))
    assert list_found(admin_client, Wallet, "nothing like it") == []
    assert list_found(admin_client, Wallet, "\x00") == [other.pk, wallet.pk]


def test_records_are_found_by_uuid_and_entry(admin_client, alice, bob):
    transaction = alice.deposit(5, idempotency_key="order 1")
    transfer = alice.transfer(bob, 1)
    for term in (str(transaction.uuid), "order 1", str(transaction.entry_id)):
        assert list_found(admin_client, Transaction, term) == [transaction.pk]
    for term in (str(transfer.uuid), str(bob.wallet.uuid)):
        assert list_found(admin_client, Transfer, term) == [transfer.pk]
    assert list_found(admin_client, Posting, "order 1") == [transaction.entry_id]
    assert len(list_found(admin_client, LedgerEntry, "order 1")) == 2
    assert len(list_found(admin_client, Account, "external:cash")) == 1


def test_wallets_are_filtered_by_what_they_hold(admin_client, alice, bob, charlie):
    alice.deposit(5)
    bob.force_withdraw(5)
    empty = charlie.wallet
    found = {
        choice: [
            row.pk
            for row in admin_client.get(url(Wallet, "changelist"), {"holds": choice})
            .context["cl"]
            .result_list
        ]
        for choice in ("positive", "zero", "negative", "reserved")
    }
    assert found == {
        "positive": [alice.wallet.pk],
        "zero": [empty.pk],
        "negative": [bob.wallet.pk],
        "reserved": [],
    }


def test_a_wallet_whose_holder_is_gone_is_still_listed(admin_client, alice):
    alice.deposit(5)
    key = alice.pk
    type(alice).objects.all().delete()
    assert f"{key} (gone)" in admin_client.get(url(Wallet, "changelist")).content.decode()


def read_page(client, wallet, **query):
    return client.get(url(Wallet, "change", wallet.pk), query).content.decode()


def test_the_page_of_a_wallet_shows_its_parts_and_last_postings(admin_client, alice, bob):
    alice.deposit(1000)
    alice.transfer(bob, "12.5")
    page = read_page(admin_client, alice.wallet)
    assert "987.50000000 USD" in page
    assert "-12.50000000" in page
    assert "+1,000.00000000" in page
    assert "the balances are what 2 postings say" in page
    assert "<input" not in page.split('class="djw"')[1].split("</section>")[0]


def test_the_page_of_a_wallet_shows_what_is_open(admin_client, alice):
    pending = alice.deposit(75, confirmed=False)
    done = alice.deposit(5)
    page = read_page(admin_client, alice.wallet)
    assert str(pending.uuid) in page
    assert str(done.uuid) not in page


@pytest.mark.postgres
def test_the_page_of_a_wallet_shows_its_payouts(admin_client, alice):
    from dj_wallet.payouts.services import schedule_payout

    alice.deposit(100)
    schedule_payout(wallet=alice.wallet, amount=50)
    assert "<td>Pending</td>" in read_page(admin_client, alice.wallet)


def test_the_page_of_a_wallet_says_when_its_balance_is_wrong(admin_client, alice):
    alice.deposit(10)
    Wallet.objects.filter(pk=alice.wallet.pk).update(balance=11)
    page = read_page(admin_client, alice.wallet)
    assert "balance_mismatch" in page
    assert "what its postings say" in page


def test_a_long_wallet_is_audited_when_asked(admin_client, alice, monkeypatch):
    alice.deposit(10)
    monkeypatch.setattr("dj_wallet.admin_pages.AUDITED_AT_ONCE", 0)
    assert "Audit now" in read_page(admin_client, alice.wallet)
    assert "are what 1 posting says" in read_page(admin_client, alice.wallet, audit=1)


def test_viewers_see_no_actions_that_they_may_not_do(sign_in, alice):
    wallet = alice.wallet
    viewer = sign_in("view_wallet")
    page = read_page(viewer, wallet)
    assert "/adjust/" not in page
    assert "/freeze/" not in page
    for verb in ("freeze", "unfreeze", "adjust"):
        for answer in (
            viewer.get(url(Wallet, verb, wallet.pk)),
            viewer.post(url(Wallet, verb, wallet.pk)),
        ):
            assert answer.status_code == 403


def test_a_system_account_shows_its_derived_balance(admin_client, alice):
    alice.deposit(1500)
    account = Account.objects.get(code="external:cash")
    page = admin_client.get(url(Account, "change", account.pk)).content.decode()
    assert "-1,500.00000000 USD" in page


def test_the_theme_is_used_where_it_is_installed():
    from django.apps import apps

    name = "unfold.admin" if apps.is_installed("unfold") else "django.contrib.admin.options"
    assert any(base.__module__ == name for base in ours.WalletAdmin.__mro__)
