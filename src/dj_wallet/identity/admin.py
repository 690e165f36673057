"""Users and their API keys in the admin. A key's secret is shown once, when a service makes it: never here."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from dj_wallet.admin_theme import ModelAdmin, UserForms

from .models import ApiKey, User
from .services import revoke_api_key


@admin.register(User)
class UserAdmin(UserForms, DjangoUserAdmin, ModelAdmin):  # type: ignore[type-arg]
    """Who signs in. A user who holds wallets is deactivated, not deleted."""

    ordering = ("username",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin):
    """What programs sign in with; can be revoked."""

    list_display = (
        "name",
        "user",
        "prefix",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )
    list_select_related = ("user",)
    search_fields = ("name", "prefix", "user__username")
    exclude = ("secret_hash",)
    actions = ["revoke"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dj_wallet_identity.change_apikey")

    @admin.action(description=_("Revoke"), permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for api_key in queryset:
            revoke_api_key(api_key)
            self.log_change(request, api_key, "Revoked")
        self.message_user(request, _("The keys are revoked."), messages.SUCCESS)
