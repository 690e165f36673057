"""Events and their deliveries in the admin: read here, replayed by an action."""

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from dj_wallet.admin import ReadOnlyAdmin, read_uuid

from .errors import DeliveryInFlight
from .models import Delivery, Destination, Event
from .services import replay_delivery


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """What happened."""

    list_display = ("position", "type", "subject", "created_at")
    search_fields = ("uuid",)
    search_help_text = _("UUID, type or subject (wallet:<uuid>), exactly")
    ordering = ("-id",)
    actions = []

    def match(self, term: str) -> Q:
        number = read_uuid(term)
        return Q(type=term) | Q(subject=term) if number is None else Q(uuid=number)


@admin.register(Destination)
class DestinationAdmin(ReadOnlyAdmin):
    """Where events go."""

    list_display = ("kind", "url", "user", "failures", "retry_at", "disabled_at", "disabled_reason")
    list_select_related = ("user",)
    list_filter = ("kind",)
    actions = []
    exclude = ("secret", "old_secret")


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """What is on its way, and the dead letters."""

    list_display = ("event", "destination", "status", "attempts", "next_attempt_at", "delivered_at")
    list_select_related = ("event", "destination")
    list_filter = ("status",)
    ordering = ("-id",)
    actions = ["replay"]

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dj_wallet_events.change_delivery")

    @admin.action(description=_("Send again"), permissions=["replay"])
    def replay(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        count = 0
        for delivery in queryset:
            try:
                replay_delivery(delivery)
            except DeliveryInFlight:
                continue
            self.log_change(request, delivery, "Sent again")
            count += 1
        self.message_user(request, _("%d events are sent again.") % count, messages.SUCCESS)
