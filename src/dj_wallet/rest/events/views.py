"""The feed of events, webhooks, and what became of deliveries."""

from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ChoiceField

from dj_wallet.events import services
from dj_wallet.events.models import Delivery
from dj_wallet.events.sinks import build_message
from dj_wallet.rest.schema import WITH_BODY, errors
from dj_wallet.rest.views import ApiView

from . import queries, schemas
from .bodies import show_delivery, show_webhook


class EventsView(ApiView):
    """What happened."""

    scope = "events"

    @extend_schema(
        operation_id="list_events",
        summary="Follow what happened",
        description="In the order in which it is told to everybody. Ask again with `after` set to `next_after`: "
        "nothing is missed and nothing comes twice.",
        parameters=[schemas.FeedInput],
        responses={200: schemas.FeedBody, **errors(400)},
        tags=["events"],
    )
    def get(self, request: Request) -> Response:
        asked = schemas.FeedInput(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        after = asked.validated_data["after"]
        events = queries.list_events(
            request, after=after, event_type=asked.validated_data.get("type")
        )
        page = list(events[: asked.validated_data["limit"]])
        last = page[-1].position if page else after
        return Response({"results": [build_message(event) for event in page], "next_after": last})


class WebhooksView(ApiView):
    """Where events are sent."""

    scope = "events"

    @extend_schema(
        operation_id="create_webhook",
        summary="Create a webhook",
        description="Messages are signed as Standard Webhooks says, with the secret that only this answer shows.",
        request=schemas.WebhookInput,
        responses={201: schemas.NewWebhookBody, **errors(*WITH_BODY)},
        tags=["webhooks"],
    )
    def post(self, request: Request) -> Response:
        webhook, secret = services.create_webhook(
            user=queries.get_owner(request), **self.read(schemas.WebhookInput)
        )
        headers = {"Location": reverse("webhook", args=[webhook.uuid])}
        return Response(
            {**show_webhook(webhook), "secret": secret}, status.HTTP_201_CREATED, headers=headers
        )

    @extend_schema(
        operation_id="list_webhooks",
        summary="List webhooks",
        responses={200: schemas.WebhookBody(many=True), **errors(400)},
        tags=["webhooks"],
    )
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(queries.list_webhooks(request))
        return self.get_paginated_response([show_webhook(webhook) for webhook in page or []])


class WebhookView(ApiView):
    """One webhook."""

    scope = "events"

    @extend_schema(
        operation_id="get_webhook",
        summary="Get a webhook",
        responses={200: schemas.WebhookBody, **errors(404)},
        tags=["webhooks"],
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        return Response(show_webhook(queries.get_webhook(request, uuid)))

    @extend_schema(
        operation_id="change_webhook",
        summary="Change, enable or disable a webhook",
        request=schemas.WebhookChange,
        responses={200: schemas.WebhookBody, **errors(*WITH_BODY, 404)},
        tags=["webhooks"],
    )
    def patch(self, request: Request, uuid: UUID) -> Response:
        webhook = queries.get_webhook(request, uuid)
        services.change_webhook(webhook, **self.read(schemas.WebhookChange))
        return Response(show_webhook(webhook))

    @extend_schema(
        operation_id="delete_webhook",
        summary="Delete a webhook",
        responses={204: None, **errors(404)},
        tags=["webhooks"],
    )
    def delete(self, request: Request, uuid: UUID) -> Response:
        queries.get_webhook(request, uuid).delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


class WebhookSecretView(ApiView):
    """The secret that a webhook's messages are signed with."""

    scope = "events"

    @extend_schema(
        operation_id="rotate_webhook_secret",
        summary="Get a new secret",
        description="For 24 hours messages are signed with the old one too.",
        request=None,
        responses={200: schemas.NewWebhookBody, **errors(404)},
        tags=["webhooks"],
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        webhook = queries.get_webhook(request, uuid)
        secret = services.rotate_secret(webhook)
        return Response({**show_webhook(webhook), "secret": secret})


class WebhookReplayView(ApiView):
    """Events to send once more."""

    scope = "events"

    @extend_schema(
        operation_id="replay_events",
        summary="Send events again",
        request=schemas.ReplayInput,
        responses={200: schemas.ReplayBody, **errors(*WITH_BODY, 404)},
        tags=["webhooks"],
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        webhook = queries.get_webhook(request, uuid)
        count = services.replay_events(webhook, **self.read(schemas.ReplayInput))
        return Response({"count": count})


class DeliveriesView(ApiView):
    """What went to a webhook."""

    scope = "events"

    @extend_schema(
        operation_id="list_deliveries",
        summary="List deliveries, with every attempt",
        parameters=[OpenApiParameter("status", str, enum=schemas.DELIVERY_STATUSES)],
        responses={200: schemas.DeliveryBody(many=True), **errors(400, 404)},
        tags=["webhooks"],
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        deliveries = queries.list_deliveries(queries.get_webhook(request, uuid))
        if (wanted := request.query_params.get("status")) is not None:
            deliveries = deliveries.filter(status=read_status(wanted))
        page: Any = self.paginate_queryset(deliveries)
        return self.get_paginated_response([show_delivery(delivery) for delivery in page])


class DeliveryReplayView(ApiView):
    """One event to send once more."""

    scope = "events"

    @extend_schema(
        operation_id="replay_delivery",
        summary="Send one event again",
        request=None,
        responses={200: schemas.DeliveryBody, **errors(404, 409)},
        tags=["webhooks"],
    )
    def post(self, request: Request, uuid: UUID, delivery_id: int) -> Response:
        webhook = queries.get_webhook(request, uuid)
        delivery = queries.get_delivery(webhook, delivery_id)
        services.replay_delivery(delivery)
        return Response(show_delivery(queries.get_delivery(webhook, delivery_id)))


def read_status(text: str) -> str:
    """Return the status of deliveries that is asked for.

    :raises ValidationError: there is no such status
    """
    return str(ChoiceField(choices=Delivery.Status.choices).run_validation(text))
