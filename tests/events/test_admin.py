"""Events and deliveries in the admin: found by index, shown at the same cost, sent again by an action."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dj_wallet.events.models import Delivery, Event
from dj_wallet.identity.models import User
from tests.events.conftest import happen, relay

pytestmark = pytest.mark.django_db

EVENTS, DELIVERIES = "/admin/dj_wallet_events/event/", "/admin/dj_wallet_events/delivery/"


@pytest.fixture
def operator(db) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator", password="x"))
    return client


def test_an_event_is_found_by_its_id_type_or_subject(wallet, other_wallet, operator):
    (event,) = happen(wallet, 1)
    happen(other_wallet, 2, event_type="withdrawal.requested")
    for term in (event.uuid, event.type, event.subject):
        found = operator.get(EVENTS, {"q": str(term)}).context["cl"].queryset
        assert list(found) == [event]
    assert not operator.get(EVENTS, {"q": "nothing"}).context["cl"].queryset


@pytest.mark.parametrize("path", [EVENTS, DELIVERIES, "/admin/dj_wallet_events/destination/"])
def test_a_list_costs_the_same_for_few_and_for_many(wallet, webhook, operator, path):
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert operator.get(path).status_code == 200
        return len(queries)

    happen(wallet, 1)
    relay()
    count()
    few = count()
    happen(wallet, 2, 3, 4)
    relay()
    assert count() == few


def test_an_operator_sends_a_delivery_again(wallet, webhook, receiver, operator):
    happen(wallet, 1)
    relay()
    delivery = Delivery.objects.get()
    data = {"action": "replay", "_selected_action": [str(delivery.pk)]}
    assert operator.post(DELIVERIES, data).status_code == 302
    relay()
    assert receiver.numbers == [1, 1]
    assert Event.objects.count() == 1
