"""Purchases, their lines and repaired balances: to look at, never to change."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dj_wallet.models import BalanceRepair, Purchase, PurchaseLine
from tests.admin.test_pages import list_found, url
from tests.testapp.models import Person, Shop

PAGES = (Purchase, PurchaseLine, BalanceRepair)


def fill(count):
    shop = Shop.objects.create(price=3)
    for number in range(count):
        person = Person.objects.create(name=f"buyer {number}")
        person.deposit(100)
        person.pay(shop, 2)
        BalanceRepair.objects.create(account_id=person.wallet.pk, found=5, restored=94)


@pytest.mark.parametrize("model", PAGES)
def test_a_list_of_many_rows_costs_as_many_queries_as_one_of_two(model, admin_client):
    counts = []
    for people in (2, 18):
        fill(people)
        admin_client.get(url(model, "changelist"))
        with CaptureQueriesContext(connection) as queries:
            page = admin_client.get(url(model, "changelist"))
        counts.append(len(queries))
    assert len(page.context["cl"].result_list) == 20
    assert counts[0] == counts[1]


@pytest.mark.parametrize("model", PAGES)
def test_nothing_is_added_edited_or_deleted(model, admin_client, db):
    fill(1)
    row = model.objects.get()
    assert admin_client.get(url(model, "change", row.pk)).status_code == 200
    for page in (url(model, "add"), url(model, "change", row.pk), url(model, "delete", row.pk)):
        assert admin_client.post(page, {"post": "yes", "total": 1}).status_code == 403
    assert list(model.objects.values()) == list(model.objects.filter(pk=row.pk).values())


def test_they_are_found_by_what_names_them(admin_client, alice):
    fill(1)
    alice.deposit(50)
    purchase = alice.pay(Shop.objects.get(), 4, idempotency_key="order 7").purchase
    for term in ("order 7", str(purchase.uuid), str(alice.wallet.uuid), str(purchase.entry_id)):
        assert list_found(admin_client, Purchase, term) == [purchase.pk]
    assert list_found(admin_client, PurchaseLine, str(purchase.uuid)) == [purchase.bought[0].pk]
    repair = BalanceRepair.objects.get()
    assert list_found(admin_client, BalanceRepair, str(repair.account_id)) == [repair.pk]
    assert list_found(admin_client, BalanceRepair, "nothing") == []


def test_the_page_of_a_purchase_shows_its_lines_and_what_was_given_back(admin_client, alice):
    alice.deposit(50)
    shop = Shop.objects.create(price=3)
    purchase = alice.pay(shop, 4).purchase
    page = admin_client.get(url(Purchase, "change", purchase.pk)).content.decode()
    assert f"4 x {shop}" in page
    assert url(PurchaseLine, "change", purchase.bought[0].pk) in page
    lines = admin_client.get(url(PurchaseLine, "changelist")).content.decode()
    assert "12.00" in lines
