"""Holds and escrows in the admin: looked at by staff, ended by who has the permission, edited by nobody."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dj_wallet.models import Escrow, Hold
from dj_wallet.services.escrow import open_escrow
from dj_wallet.services.holds import place_hold
from tests.testapp.models import Person


def url(model, page, *args):
    return reverse(f"admin:dj_wallet_{model._meta.model_name}_{page}", args=args)


@pytest.fixture
def fill_held(db):
    """A function that makes so many people with a hold and an escrow each."""

    def fill(count):
        people = [Person.objects.create(name=f"person {number}") for number in range(count)]
        for person in people:
            person.deposit(100)
        for one, other in zip(people, people[1:] + people[:1], strict=True):
            place_hold(wallet=one.wallet, amount=10, reference_type="auction", reference_id="17")
            open_escrow(
                buyer=one.wallet, seller=other.wallet, order_id=f"order-{one.pk}", amount=20
            )

    return fill


def run(browser, model, action, row):
    data = {"action": action, "_selected_action": [row.pk]}
    return browser.post(url(model, "changelist"), data, follow=True)


@pytest.mark.parametrize("model", [Hold, Escrow])
def test_a_list_of_fifty_rows_costs_as_many_queries_as_one_of_two(model, admin_client, fill_held):
    counts = []
    for people in (2, 48):
        fill_held(people)
        admin_client.get(url(model, "changelist"))  # content types and permissions are known now
        with CaptureQueriesContext(connection) as queries:
            page = admin_client.get(url(model, "changelist"))
        counts.append(len(queries))
    assert len(page.context["cl"].result_list) == 50
    assert counts[0] == counts[1]


@pytest.mark.parametrize("model", [Hold, Escrow])
def test_nothing_is_added_edited_or_deleted(model, admin_client, fill_held, snapshot):
    fill_held(2)
    row = model.objects.first()
    before = snapshot(), list(model.objects.values())
    assert admin_client.get(url(model, "add")).status_code == 403
    assert admin_client.get(url(model, "delete", row.pk)).status_code == 403
    assert admin_client.get(url(model, "change", row.pk)).status_code == 200
    admin_client.post(url(model, "change", row.pk), {"status": "released", "amount": "1"})
    assert (snapshot(), list(model.objects.values())) == before


def test_the_page_of_a_hold_tells_its_history(admin_client, fill_held):
    fill_held(2)
    hold = Hold.objects.first()
    text = admin_client.get(url(Hold, "change", hold.pk)).content.decode()
    assert (
        f"Placed 10.00000000 USD, 10.00000000 USD held, entry {hold.steps.get().entry_id}" in text
    )


def test_the_page_of_a_wallet_says_what_is_locked_and_why(admin_client, fill_held):
    fill_held(2)
    hold = Hold.objects.first()
    text = admin_client.get(
        reverse("admin:dj_wallet_wallet_change", args=[hold.wallet_id])
    ).content.decode()
    assert "Locked for" in text
    assert url(Hold, "change", hold.pk) in text
    assert url(Escrow, "change", Escrow.objects.get(buyer_wallet=hold.wallet_id).pk) in text


def test_a_hold_is_released_by_who_may(sign_in, fill_held):
    fill_held(2)
    hold = Hold.objects.first()
    browser = sign_in("view_hold", "release_hold")
    answer = run(browser, Hold, "release", hold)
    assert "Released" in answer.content.decode()
    hold.refresh_from_db()
    assert hold.status == "released"
    assert "has ended" in run(browser, Hold, "release", hold).content.decode()


@pytest.mark.parametrize(
    ("action", "status"),
    [("release", "RELEASED"), ("refund", "REFUNDED"), ("dispute", "DISPUTED")],
)
def test_an_escrow_is_ended_by_who_may(sign_in, fill_held, action, status):
    fill_held(2)
    escrow = Escrow.objects.first()
    run(sign_in("view_escrow", "end_escrow"), Escrow, action, escrow)
    escrow.refresh_from_db()
    assert escrow.status == status


@pytest.mark.parametrize(
    ("model", "permission", "action"),
    [
        (Hold, "view_hold", "release"),
        (Escrow, "view_escrow", "release"),
        (Escrow, "view_escrow", "refund"),
        (Escrow, "view_escrow", "dispute"),
    ],
)
def test_looking_is_not_ending(sign_in, fill_held, snapshot, model, permission, action):
    fill_held(2)
    row = model.objects.first()
    before = snapshot(), list(model.objects.values())
    run(sign_in(permission), model, action, row)
    assert (snapshot(), list(model.objects.values())) == before


@pytest.mark.parametrize("model", [Hold, Escrow])
def test_a_search_finds_the_uuid_and_the_reference(model, admin_client, fill_held):
    fill_held(3)
    row = model.objects.last()
    page = admin_client.get(url(model, "changelist"), {"q": str(row.uuid)})
    assert list(page.context["cl"].result_list) == [row]
    reference = "17" if model is Hold else row.order_id
    page = admin_client.get(url(model, "changelist"), {"q": reference})
    assert row in list(page.context["cl"].result_list)


@pytest.mark.parametrize("model", [Hold, Escrow])
def test_lists_are_exported(model, admin_client, fill_held):
    fill_held(2)
    data = {"action": "export_csv", "_selected_action": [row.pk for row in model.objects.all()]}
    answer = admin_client.post(url(model, "changelist"), data)
    assert len(b"".join(answer.streaming_content).splitlines()) == 3
