"""Users, their keys, clients and what happened, in the admin. Secrets are shown once, when they are made.

Whoever changes who may do what proves a second factor anew.
"""

from typing import TYPE_CHECKING, Any

from allauth.account.models import EmailAddress
from allauth.idp.oidc.admin import ClientAdmin as AllauthClientAdmin
from allauth.idp.oidc.models import Client, Token
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from dj_wallet.admin_theme import ModelAdmin, UserForms

from .access import ALL_SCOPES, DEFAULT_KEY_SCOPES
from .errors import AddressesInvalid, KeyEnded
from .models import ApiKey, AuditEvent, ExternalIdentity, User
from .services import create_api_key, read_networks, revoke_api_key, roll_api_key
from .step_up import find_step_up


def is_superuser(request: HttpRequest) -> bool:
    """Tell whether a superuser asks."""
    return bool(getattr(request.user, "is_superuser", False))


if TYPE_CHECKING:
    Mixin = ModelAdmin
else:
    Mixin = object


class SteppedUp(Mixin):
    """An admin whose forms and actions wait for a fresh second factor."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        asked = find_step_up(request) if request.method == "POST" else None
        return asked or super().changelist_view(request, extra_context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        return find_step_up(request) or super().changeform_view(
            request, object_id, form_url, extra_context
        )

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> Any:
        return find_step_up(request) or super().delete_view(request, object_id, extra_context)


class ReadOnly:
    """An admin that shows."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(User)
class UserAdmin(SteppedUp, UserForms, DjangoUserAdmin, ModelAdmin):  # type: ignore[type-arg]
    """Who signs in. A user who holds wallets is deactivated, not deleted.

    Only superusers say who may do what: whoever may change users could otherwise become everything.
    """

    ordering = ("username",)
    rights = ("is_staff", "is_superuser", "groups", "user_permissions")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if is_superuser(request) else (*fields, *self.rights)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_above = obj is not None and (obj.is_staff or obj.is_superuser)
        may_change: bool = super().has_change_permission(request, obj)
        return may_change and (is_superuser(request) or not is_above)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        return find_step_up(request) or super().user_change_password(request, id, form_url)


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """A key to make."""

    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in sorted(ALL_SCOPES)],
        initial=sorted(DEFAULT_KEY_SCOPES),
        widget=forms.CheckboxSelectMultiple,
        required=False,
    )
    allowed_addresses = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("IP addresses and networks, one on each line. Empty: from anywhere."),
    )
    is_signing = forms.BooleanField(
        required=False, help_text=_("The key signs requests instead of travelling with them.")
    )

    class Meta:
        model = ApiKey
        fields = ("user", "name", "expires_at")

    def clean_allowed_addresses(self) -> list[str]:
        try:
            return read_networks(self.cleaned_data["allowed_addresses"].split())
        except AddressesInvalid as error:
            raise forms.ValidationError(str(error)) from error


@admin.register(ApiKey)
class ApiKeyAdmin(SteppedUp, ModelAdmin):
    """What programs sign in with: made, rolled and revoked, never edited."""

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
    fields = (
        "user",
        "name",
        "prefix",
        "scopes",
        "allowed_addresses",
        "is_signing",
        "replaces",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )
    actions = ["revoke", "roll"]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = forms.ModelForm if change else ApiKeyForm
        return super().get_form(request, obj, change, form=form, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is not None:
            return self.fields
        return ("user", "name", "scopes", "allowed_addresses", "expires_at", "is_signing")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dj_wallet_identity.change_apikey")

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Make the key by the service, and show its text this once."""
        given = form.cleaned_data
        made, text = create_api_key(
            user=given["user"],
            name=given["name"],
            expires_at=given["expires_at"],
            scopes=given["scopes"],
            allowed_addresses=given["allowed_addresses"],
            is_signing=given["is_signing"],
            request=request,
        )
        for field in ApiKey._meta.concrete_fields:
            setattr(obj, field.attname, getattr(made, field.attname))
        obj._state.adding = False
        self._show(request, made, text)

    @admin.display(boolean=True, description=_("signs requests"))
    def is_signing(self, api_key: ApiKey) -> bool:
        return api_key.is_signing

    @admin.action(description=_("Revoke"), permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for api_key in queryset:
            revoke_api_key(api_key, request=request)
            self.log_change(request, api_key, "Revoked")
        self.message_user(request, _("The keys are revoked."), messages.SUCCESS)

    @admin.action(
        description=_("Roll: a new key, the old one works for a day"), permissions=["revoke"]
    )
    def roll(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for api_key in queryset:
            try:
                made, text = roll_api_key(api_key, request=request)
            except KeyEnded as error:
                self.message_user(request, f"{api_key}: {error}", messages.ERROR)
                continue
            self.log_change(request, api_key, f"Rolled, successor {made.prefix}")
            self._show(request, made, text)

    def _show(self, request: HttpRequest, api_key: ApiKey, text: str) -> None:
        said = _("The key of %(name)s, shown only this once: %(text)s")
        self.message_user(request, said % {"name": api_key.name, "text": text}, messages.WARNING)


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnly, ModelAdmin):
    """What happened to accounts, newest first."""

    list_display = ("created_at", "event", "username", "address", "actor", "details")
    list_filter = ("event", "created_at")
    list_select_related = ("actor",)
    search_fields = ("username", "address", "request_id")
    ordering = ("-pk",)
    show_full_result_count = False


@admin.register(ExternalIdentity)
class ExternalIdentityAdmin(SteppedUp, ModelAdmin):
    """Who the subjects of another issuer are here."""

    list_display = ("subject", "issuer", "user", "created_at")
    list_select_related = ("user",)
    search_fields = ("subject", "user__username")
    raw_id_fields = ("user",)


class ClientAdmin(SteppedUp, AllauthClientAdmin, ModelAdmin):  # type: ignore[misc]
    """Programs that act for users or for themselves; the secret is shown once."""

    exclude = ("secret",)
    readonly_fields = ("created_at",)


class GroupAdmin(SteppedUp, DjangoGroupAdmin, ModelAdmin):
    """Permissions that are given together."""


# allauth's own pages would show sealed secrets and tokens, and could be edited without a second factor.
REPLACED = (Client, Token, Authenticator, UserSession, EmailAddress, Group)
for model in REPLACED:
    if admin.site.is_registered(model):
        admin.site.unregister(model)
admin.site.register(Client, ClientAdmin)
admin.site.register(Group, GroupAdmin)
