"""Events and their deliveries in the admin: read here, replayed by an action."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from dj_wallet.admin_theme import ModelAdmin

from .errors import DeliveryInFlight
from .models import Delivery, Destination, Event
from .services import replay_delivery


class ReadOnly(ModelAdmin):
    """Rows that nobody types."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Event)
class EventAdmin(ReadOnly):
    """What happened."""

    list_display = ("position", "type", "subject", "created_at")
    search_fields = ("=uuid", "=type", "=subject")
    ordering = ("-id",)
    show_full_result_count = False


@admin.register(Destination)
class DestinationAdmin(ReadOnly):
    """Where events go."""

    list_display = ("kind", "url", "user", "failures", "retry_at", "disabled_at", "disabled_reason")
    list_select_related = ("user",)
    list_filter = ("kind",)
    exclude = ("secret", "old_secret")


@admin.register(Delivery)
class DeliveryAdmin(ReadOnly):
    """What is on its way, and the dead letters."""

    list_display = ("event", "destination", "status", "attempts", "next_attempt_at", "delivered_at")
    list_select_related = ("event", "destination")
    list_filter = ("status",)
    ordering = ("-id",)
    show_full_result_count = False
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
