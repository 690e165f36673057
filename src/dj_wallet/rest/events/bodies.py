"""How events, webhooks and deliveries look to clients."""

from typing import Any

from dj_wallet.events.models import Delivery, Destination
from dj_wallet.events.sinks import build_message


def show_webhook(webhook: Destination) -> dict[str, Any]:
    """Return a webhook without its secret."""
    return {
        "id": webhook.uuid,
        "url": webhook.url,
        "event_types": webhook.event_types,
        "is_enabled": webhook.disabled_at is None,
        "disabled_reason": webhook.disabled_reason or None,
        "failing_since": webhook.failing_since,
        "created_at": webhook.created_at,
    }


def show_delivery(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery; its event and its log come with it."""
    is_pending = delivery.status == Delivery.Status.PENDING
    return {
        "id": delivery.pk,
        "event": build_message(delivery.event),
        "status": delivery.status,
        "next_attempt_at": delivery.next_attempt_at if is_pending else None,
        "delivered_at": delivery.delivered_at,
        "attempts": [
            {
                "attempted_at": attempt.attempted_at,
                "outcome": attempt.outcome,
                "answer": attempt.answer,
                "duration_ms": attempt.duration_ms,
            }
            for attempt in delivery.log.all()
        ],
    }
