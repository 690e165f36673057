"""The paths of events and webhooks."""

from dj_wallet.rest.routes import either

from .views import (
    DeliveriesView,
    DeliveryReplayView,
    EventsView,
    WebhookReplayView,
    WebhookSecretView,
    WebhooksView,
    WebhookView,
)

urlpatterns = [
    *either("api/v1/events", EventsView, "events"),
    *either("api/v1/webhooks", WebhooksView, "webhooks"),
    *either("api/v1/webhooks/<uuid:uuid>", WebhookView, "webhook"),
    *either("api/v1/webhooks/<uuid:uuid>/secret", WebhookSecretView, "webhook-secret"),
    *either("api/v1/webhooks/<uuid:uuid>/replay", WebhookReplayView, "webhook-replay"),
    *either("api/v1/webhooks/<uuid:uuid>/deliveries", DeliveriesView, "deliveries"),
    *either(
        "api/v1/webhooks/<uuid:uuid>/deliveries/<int:delivery_id>/replay",
        DeliveryReplayView,
        "delivery-replay",
    ),
]
