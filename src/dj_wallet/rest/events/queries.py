"""What a caller may hear and whose webhooks it may touch."""

from typing import Any, cast
from uuid import UUID

from django.db.models import Prefetch, QuerySet
from django.http import Http404
from rest_framework.request import Request

from dj_wallet.events.models import Delivery, DeliveryAttempt, Destination, Event
from dj_wallet.identity.access import INTERNAL, Credential, has_one_of


def get_owner(request: Request) -> Any:
    """Return the user whose webhooks the caller manages: None, the operator, for keys of our own services."""
    return None if is_internal(request) else request.user


def is_internal(request: Request) -> bool:
    """Tell whether one of our own services is asking."""
    credential = cast(Credential, request.auth)
    return credential.is_service and has_one_of(credential, [INTERNAL])


def list_events(request: Request, *, after: int, event_type: str | None) -> QuerySet[Event]:
    """Return what happened after the position: to the caller's wallets, or at all for staff and services."""
    events = Event.objects.filter(position__gt=after).order_by("position")
    if not (is_internal(request) or request.user.is_staff):
        events = events.filter(user=request.user.pk)
    return events if event_type is None else events.filter(type=event_type)


def list_webhooks(request: Request) -> QuerySet[Destination]:
    """Return the webhooks that the caller manages."""
    return Destination.objects.filter(kind=Destination.Kind.WEBHOOK, user=get_owner(request))


def get_webhook(request: Request, uuid: UUID) -> Destination:
    """Return a webhook of the caller's.

    :raises Http404: there is none
    """
    webhook = list_webhooks(request).filter(uuid=uuid).first()
    if webhook is None:
        raise Http404
    return webhook


def list_deliveries(webhook: Destination) -> QuerySet[Delivery]:
    """Return what went or should go to the webhook, with events and attempts."""
    log = Prefetch("log", DeliveryAttempt.objects.order_by("pk"))
    return webhook.deliveries.select_related("event").prefetch_related(log)


def get_delivery(webhook: Destination, delivery_id: int) -> Delivery:
    """Return a delivery of the webhook.

    :raises Http404: there is none
    """
    delivery = list_deliveries(webhook).filter(pk=delivery_id).first()
    if delivery is None:
        raise Http404
    return delivery
