"""The feed of events and webhooks over REST."""

from uuid import uuid4

import pytest
from standardwebhooks import Webhook

from dj_wallet.events import services
from dj_wallet.events.models import Delivery, Destination, Event
from dj_wallet.identity.services import create_api_key
from tests.events.conftest import Receiver, happen, receiver, relay  # noqa: F401
from tests.rest.api import Api

pytestmark = pytest.mark.django_db


@pytest.fixture
def services_api(alice) -> Api:
    """One of our own services."""
    return Api(
        create_api_key(
            user=alice, name="service", scopes=["internal", "events:read", "events:write"]
        )[1]
    )


@pytest.fixture
def webhook(alice, receiver: Receiver) -> Destination:  # noqa: F811
    return services.create_webhook(user=alice, url=receiver.url)[0]


def numbers(answer) -> list[int]:
    return [event["data"]["number"] for event in answer.body["results"]]


def test_the_feed_goes_on_where_it_stopped(api, wallet):
    happen(wallet, 1, 2, 3)
    services.fan_out_events()
    first = api.get("/api/v1/events?limit=2")
    rest = api.get(f"/api/v1/events?after={first.body['next_after']}")
    assert (numbers(first), numbers(rest)) == ([1, 2], [3])
    end = api.get(f"/api/v1/events?after={rest.body['next_after']}")
    assert (end.body["results"], end.body["next_after"]) == ([], rest.body["next_after"])


def test_the_feed_takes_one_query_for_its_events(api, wallet, django_assert_num_queries):
    happen(wallet, *range(20))
    services.fan_out_events()
    api.get("/api/v1/events")
    with django_assert_num_queries(2):
        assert len(api.get("/api/v1/events").body["results"]) == 20


def test_the_feed_shows_nobody_what_happens_to_others(charlies_api, wallet):
    happen(wallet, 1)
    services.fan_out_events()
    assert charlies_api.get("/api/v1/events").body["results"] == []


def test_staff_and_services_see_all_that_happens(staffs_api, services_api, bobs_wallet):
    happen(bobs_wallet, 1)
    services.fan_out_events()
    assert numbers(staffs_api.get("/api/v1/events")) == [1]
    assert numbers(services_api.get("/api/v1/events")) == [1]


def test_the_feed_can_be_of_one_type(api, wallet):
    happen(wallet, 1)
    happen(wallet, 2, event_type="withdrawal.requested")
    services.fan_out_events()
    assert numbers(api.get("/api/v1/events?type=withdrawal.requested")) == [2]


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "after=9223372036854775808", "limit=0", "limit=201", "x=1"]
)
def test_a_feed_that_makes_no_sense_is_refused(api, query):
    answer = api.get(f"/api/v1/events?{query}")
    assert (answer.status, answer.code) == (400, "invalid_request")


def test_the_secret_of_a_new_webhook_is_shown_once_and_signs(api, wallet, receiver):  # noqa: F811
    made = api.post("/api/v1/webhooks", {"url": receiver.url, "event_types": ["deposit.*"]})
    assert made.status == 201
    assert "secret" not in api.get(made.headers["Location"]).body
    happen(wallet, 1)
    relay()
    ((headers, body),) = receiver.received
    Webhook(made.body["secret"]).verify(body, headers)


@pytest.mark.parametrize(
    "body",
    [{}, {"url": 1}, {"url": ""}, {"url": "https://example.com/", "secret": "mine"},
     {"url": "https://example.com/", "event_types": "deposit.confirmed"},
     {"url": "https://example.com/", "event_types": ["Ü"]}],
)  # fmt: skip
def test_a_webhook_that_makes_no_sense_is_refused(api, body):
    answer = api.post("/api/v1/webhooks", body)
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert not Destination.objects.exists()


def test_an_address_that_events_may_not_be_sent_to_is_refused(api, settings):
    settings.WEBHOOKS_TO_PRIVATE_ADDRESSES = False
    answer = api.post("/api/v1/webhooks", {"url": "https://169.254.169.254/latest/meta-data"})
    assert (answer.status, answer.code) == (422, "webhook_invalid")
    assert not Destination.objects.exists()


def test_a_webhook_is_changed_and_deleted_by_its_owner(api, webhook):
    path = f"/api/v1/webhooks/{webhook.uuid}"
    changed = api.send("PATCH", path, b'{"is_enabled": false, "event_types": ["a.b"]}')
    assert (changed.status, changed.body["is_enabled"], changed.body["event_types"]) == (200, False, ["a.b"])  # fmt: skip
    assert api.client.delete(path, headers={"Authorization": f"Bearer {api.key}"}).status_code == 204  # fmt: skip
    assert not Destination.objects.exists()


def test_a_webhook_of_somebody_else_does_not_exist(charlies_api, staffs_api, webhook):
    path = f"/api/v1/webhooks/{webhook.uuid}"
    for stranger in (charlies_api, staffs_api):
        assert stranger.get(path).status == 404
        assert stranger.send("PATCH", path, b'{"is_enabled": false}').status == 404
        assert stranger.send("DELETE", path, b"").status == 404
        for action in ("secret", "replay", "deliveries/1/replay"):
            assert stranger.post(f"{path}/{action}", {"after": 0}).status == 404
        assert stranger.get(f"{path}/deliveries").status == 404
        assert stranger.get("/api/v1/webhooks").body["results"] == []
    webhook.refresh_from_db()
    assert webhook.disabled_at is None


def test_the_operators_webhooks_are_managed_by_services(services_api, api, bobs_wallet, receiver):  # noqa: F811
    services_api.post("/api/v1/webhooks", {"url": receiver.url})
    assert api.get("/api/v1/webhooks").body["results"] == []
    happen(bobs_wallet, 1)
    relay()
    assert receiver.numbers == [1]


def test_a_new_secret_is_shown_once(api, webhook):
    first = api.post(f"/api/v1/webhooks/{webhook.uuid}/secret").body["secret"]
    second = api.post(f"/api/v1/webhooks/{webhook.uuid}/secret").body["secret"]
    assert first != second


def test_deliveries_show_every_attempt(api, wallet, webhook, receiver):  # noqa: F811
    receiver.statuses = [500]
    happen(wallet, 1)
    relay()
    (delivery,) = api.get(f"/api/v1/webhooks/{webhook.uuid}/deliveries?status=pending").body["results"]  # fmt: skip
    assert delivery["status"] == "pending"
    assert [(one["outcome"], one["answer"]) for one in delivery["attempts"]] == [("retry", "500 ok")]  # fmt: skip
    refused = api.get(f"/api/v1/webhooks/{webhook.uuid}/deliveries?status=lost")
    assert (refused.status, refused.code) == (400, "invalid_request")


def test_listing_deliveries_takes_as_many_queries_for_many(
    api, wallet, webhook, django_assert_max_num_queries
):
    happen(wallet, *range(20))
    relay()
    with django_assert_max_num_queries(5):
        page = api.get(f"/api/v1/webhooks/{webhook.uuid}/deliveries")
    assert len(page.body["results"]) == 20


def test_a_dead_letter_is_sent_again(api, wallet, webhook, receiver):  # noqa: F811
    happen(wallet, 1)
    services.fan_out_events()
    Delivery.objects.update(status="dead")
    pk = Delivery.objects.get().pk
    answer = api.post(f"/api/v1/webhooks/{webhook.uuid}/deliveries/{pk}/replay")
    assert (answer.status, answer.body["status"]) == (200, "pending")
    again = api.post(f"/api/v1/webhooks/{webhook.uuid}/deliveries/{pk}/replay")
    assert (again.status, again.code) == (409, "delivery_in_flight")
    relay()
    assert receiver.numbers == [1]


def test_what_came_after_a_position_is_sent_again(api, wallet, webhook, receiver):  # noqa: F811
    happen(wallet, 1, 2, 3)
    relay()
    answer = api.post(f"/api/v1/webhooks/{webhook.uuid}/replay", {"after": 1})
    assert (answer.status, answer.body) == (200, {"count": 2})
    relay()
    assert receiver.numbers == [1, 2, 3, 2, 3]


def test_a_delivery_that_does_not_exist_is_not_found(api, webhook):
    assert api.post(f"/api/v1/webhooks/{webhook.uuid}/deliveries/1/replay").status == 404
    assert api.get(f"/api/v1/webhooks/{uuid4()}").status == 404
    assert not Event.objects.exists()
