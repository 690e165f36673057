"""Signed messages to addresses that users type."""

import json
import time
from datetime import timedelta

import pytest
from django.utils import timezone
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from dj_wallet.events import services
from dj_wallet.events.errors import TooManyWebhooks, WebhookInvalid
from dj_wallet.events.models import Delivery, DeliveryAttempt, Destination
from dj_wallet.events.secrets import open_sealed, seal
from dj_wallet.events.sinks import webhook as sink
from dj_wallet.identity.models import User
from tests.events.conftest import Receiver, happen, make_due, relay

pytestmark = pytest.mark.django_db


@pytest.fixture
def secret(webhook) -> str:
    return open_sealed(webhook.secret)


def test_a_receiver_can_verify_what_it_got(wallet, webhook, receiver, secret):
    (event,) = happen(wallet, 7)
    relay()
    ((headers, body),) = receiver.received
    message = Webhook(secret).verify(body, headers)
    event.refresh_from_db()
    assert message == {
        "id": str(event.uuid),
        "type": "deposit.confirmed",
        "timestamp": event.created_at.isoformat().replace("+00:00", "Z"),
        "subject": f"wallet:{wallet.uuid}",
        "position": 1,
        "data": {"number": 7},
    }


def test_a_changed_message_does_not_verify(wallet, webhook, receiver, secret):
    happen(wallet, 7)
    relay()
    ((headers, body),) = receiver.received
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body.replace(b'"number":7', b'"number":8'), headers)


def test_after_a_rotation_both_secrets_verify_for_a_day(wallet, webhook, receiver, secret):
    new = services.rotate_secret(webhook)
    happen(wallet, 1)
    relay()
    Destination.objects.update(old_secret_until=timezone.now() - timedelta(seconds=1))
    happen(wallet, 2)
    relay()
    (first, body), (second, later) = receiver.received
    Webhook(new).verify(body, first)
    Webhook(secret).verify(body, first)
    Webhook(new).verify(later, second)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(later, second)


def test_a_secret_is_stored_sealed(webhook, secret, settings):
    assert secret.startswith("whsec_")
    assert secret not in webhook.secret
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    assert open_sealed(webhook.secret) == secret
    assert open_sealed(seal("x")) == "x"


def test_a_gone_receiver_is_sent_nothing_more(wallet, webhook, receiver):
    receiver.statuses = [410]
    happen(wallet, 1, 2)
    relay()
    webhook.refresh_from_db()
    assert webhook.disabled_at is not None
    assert receiver.received == []


def test_a_redirect_is_not_followed(wallet, webhook, receiver):
    receiver.statuses = [302]
    happen(wallet, 1)
    relay()
    assert receiver.received == []
    assert DeliveryAttempt.objects.get().answer == "302 ok"


def test_what_was_said_is_kept(wallet, webhook, receiver):
    receiver.statuses = [500]
    happen(wallet, 1)
    relay()
    make_due()
    relay()
    log = list(DeliveryAttempt.objects.order_by("pk").values_list("outcome", "answer"))
    assert log == [("retry", "500 ok"), ("delivered", "200 ok")]


def test_an_answer_that_drips_is_cut_off(wallet, webhook, receiver, monkeypatch):
    monkeypatch.setattr(sink, "TOTAL_SECONDS", 0.5)

    def drip(handler, _):
        for _ in range(40):
            handler.wfile.write(b"H")
            time.sleep(0.05)
        return 200

    receiver.answer = drip
    happen(wallet, 1)
    services.fan_out_events()
    services.deliver_events(webhook.pk)
    assert DeliveryAttempt.objects.get().outcome == "unreachable"


def test_a_closed_port_is_unreachable(wallet, webhook, receiver):
    receiver.close()
    happen(wallet, 1)
    relay()
    assert Delivery.objects.get().status == Delivery.Status.PENDING
    assert DeliveryAttempt.objects.get().answer == "ConnectError"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "2002:7f00:1::",
        "64:ff9b::7f00:1", "2001:0:7f00:1::",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_never_connected_to(settings, address):
    settings.WEBHOOKS_TO_PRIVATE_ADDRESSES = False
    assert not sink.is_allowed(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_a_public_address_may_be_connected_to(settings, address):
    settings.WEBHOOKS_TO_PRIVATE_ADDRESSES = False
    assert sink.is_allowed(address)


def test_a_name_that_leads_home_is_not_followed(wallet, webhook, receiver: Receiver, settings):
    settings.WEBHOOKS_TO_PRIVATE_ADDRESSES = False
    Destination.objects.update(url=receiver.url.replace("127.0.0.1", "localhost"))
    happen(wallet, 1)
    relay()
    assert receiver.received == []
    assert DeliveryAttempt.objects.get().answer == "AddressForbidden"


@pytest.mark.parametrize(
    "url",
    [
        "", "nonsense", "ftp://example.com/", "http://example.com/", "https://", "https://127.0.0.1/",
        "https://[::1]/", "https://user:password@example.com/", "https://example.com/#part",
        "https://example.com:99999/", "https://example.com/\x00", "https://exa\nmple.com/", "javascript:alert(1)",
        "https://example.com/" + "x" * 500, "https://2130706433/", "https://0x7f.1/",
    ],
)  # fmt: skip
def test_an_address_that_events_may_not_be_sent_to_is_refused(user, settings, url):
    settings.WEBHOOKS_TO_PRIVATE_ADDRESSES = False
    with pytest.raises(WebhookInvalid):
        services.create_webhook(user=user, url=url)
    assert not Destination.objects.exists()


@pytest.mark.parametrize("names", [[""], ["x" * 101], ["\n"], ["é"], ["a"] * 101])
def test_a_name_that_no_event_can_have_is_refused(user, receiver, names):
    with pytest.raises(WebhookInvalid):
        services.create_webhook(user=user, url=receiver.url, event_types=names)
    assert not Destination.objects.exists()


def test_a_user_has_a_limit_of_webhooks(user, receiver):
    for _ in range(services.MAX_WEBHOOKS):
        services.create_webhook(user=user, url=receiver.url)
    with pytest.raises(TooManyWebhooks):
        services.create_webhook(user=user, url=receiver.url)
    services.create_webhook(user=User.objects.create(username="bob"), url=receiver.url)
    assert Destination.objects.filter(user=user).count() == services.MAX_WEBHOOKS


def test_text_arrives_as_it_is(wallet, webhook, receiver, secret):
    services.publish_event(
        event_type="test", subject=f"wallet:{wallet.uuid}", data={"number": 1, "text": "Ünï €"}
    )
    relay()
    ((headers, body),) = receiver.received
    assert json.loads(body)["data"]["text"] == "Ünï €"
    Webhook(secret).verify(body, headers)
