"""Exchange accounts in the admin: to look at, to test, to switch off and to synchronize. Credentials are in no page."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from dj_wallet.admin import ReadOnlyAdmin, read_uuid

from .errors import VenueError
from .models import (
    AddressActivityLog,
    AddressSyncLog,
    DepositAddress,
    ExchangeAccount,
    SupportedExchange,
)
from .services.accounts import check_account, update_account
from .services.syncs import FORCED, request_syncs


@admin.register(SupportedExchange)
class SupportedExchangeAdmin(ReadOnlyAdmin):
    """Which exchanges users may connect."""

    list_display = ("name", "id", "is_active", "rate_limit_per_minute", "disrupted_at")
    list_filter = ("is_active",)
    search_fields = ("id",)
    actions = ["allow", "stop"]

    def match(self, term: str) -> Q:
        return Q(pk=term.lower()) | Q(name__iexact=term)

    def has_switch_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dj_wallet_exchanges.change_supportedexchange")

    @admin.action(description=_("Let users connect"), permissions=["switch"])
    def allow(self, request: HttpRequest, queryset: QuerySet[SupportedExchange]) -> None:
        self._switch(request, queryset, is_active=True)

    @admin.action(description=_("Let nobody connect"), permissions=["switch"])
    def stop(self, request: HttpRequest, queryset: QuerySet[SupportedExchange]) -> None:
        self._switch(request, queryset, is_active=False)

    def _switch(
        self, request: HttpRequest, queryset: QuerySet[SupportedExchange], *, is_active: bool
    ) -> None:
        for exchange in queryset:
            exchange.is_active = is_active
            exchange.save(update_fields=["is_active", "updated_at"])
            self.log_change(request, exchange, "Allowed" if is_active else "Stopped")


@admin.register(ExchangeAccount)
class ExchangeAccountAdmin(ReadOnlyAdmin):
    """The accounts of all users, without what opens them."""

    list_display = (
        "account_name", "exchange", "user", "key_hint", "is_active", "sync_status", "last_sync_at", "error_code",
    )  # fmt: skip
    list_filter = ("exchange", "is_active", "sync_status", "sandbox_mode")
    list_select_related = ("exchange", "user")
    search_fields = ("id",)
    exclude = ("sealed_key", "sealed_credentials", "fingerprint")
    actions = ["test_connection", "synchronize", "switch_off", "export_csv"]
    export_columns = (
        ("id", lambda account: account.pk),
        ("user", lambda account: account.user_id),
        ("exchange", lambda account: account.exchange_id),
        ("name", lambda account: account.account_name),
        ("active", lambda account: account.is_active),
        ("synchronized", lambda account: account.last_sync_at),
        ("status", lambda account: account.sync_status),
    )

    def match(self, term: str) -> Q:
        return Q(pk=read_uuid(term)) | Q(account_name=term) | Q(user__username=term)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dj_wallet_exchanges.change_exchangeaccount")

    @admin.action(description=_("Test the connection"), permissions=["operate"])
    def test_connection(self, request: HttpRequest, queryset: QuerySet[ExchangeAccount]) -> None:
        for account in queryset.filter(deleted_at__isnull=True)[:10]:
            try:
                check_account(account)
            except VenueError as error:
                self.message_user(request, f"{account}: {error.code} {error}", messages.WARNING)
            else:
                self.message_user(request, f"{account}: the key works.", messages.SUCCESS)

    @admin.action(description=_("Synchronize now"), permissions=["operate"])
    def synchronize(self, request: HttpRequest, queryset: QuerySet[ExchangeAccount]) -> None:
        present = list(queryset.filter(deleted_at__isnull=True, is_active=True))
        logs, _skipped = request_syncs(present, priority=FORCED)
        self.message_user(request, f"{len(logs)} synchronizations are queued.", messages.SUCCESS)

    @admin.action(description=_("Switch off"), permissions=["operate"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[ExchangeAccount]) -> None:
        for account in queryset.filter(deleted_at__isnull=True):
            update_account(account, is_active=False)
            self.log_change(request, account, "Switched off")


@admin.register(DepositAddress)
class DepositAddressAdmin(ReadOnlyAdmin):
    """Deposit addresses. None can be edited: a changed one would be a stolen deposit."""

    list_display = (
        "currency", "network", "address", "tag", "state", "exchange", "user", "last_verified_at", "tampered_at",
    )  # fmt: skip
    list_filter = ("exchange", "state", "is_active")
    list_select_related = ("exchange", "user")
    search_fields = ("id",)
    exclude = ("seal",)
    export_columns = (
        ("id", lambda address: address.pk),
        ("user", lambda address: address.user_id),
        ("exchange", lambda address: address.exchange_id),
        ("currency", lambda address: address.currency),
        ("network", lambda address: address.network),
        ("address", lambda address: address.address),
        ("tag", lambda address: address.tag),
        ("state", lambda address: address.state),
    )

    def match(self, term: str) -> Q:
        return Q(pk=read_uuid(term)) | Q(address=term)


@admin.register(AddressSyncLog)
class AddressSyncLogAdmin(ReadOnlyAdmin):
    """Synchronizations and what became of each currency."""

    list_display = (
        "created_at", "exchange_account", "sync_type", "status", "addresses_added", "addresses_removed", "sync_duration_ms",
    )  # fmt: skip
    list_filter = ("status", "sync_type")
    list_select_related = ("exchange_account",)
    search_fields = ("id",)
    actions: list[Any] = []

    def match(self, term: str) -> Q:
        return Q(pk=read_uuid(term)) | Q(exchange_account_id=read_uuid(term))


@admin.register(AddressActivityLog)
class AddressActivityLogAdmin(ReadOnlyAdmin):
    """What was done to accounts and addresses, and from where."""

    list_display = ("created_at", "action", "exchange_account", "address", "user", "ip_address")
    list_filter = ("action",)
    list_select_related = ("exchange_account", "address", "user")
    search_fields = ("id",)
    actions: list[Any] = []

    def match(self, term: str) -> Q:
        uuid = read_uuid(term)
        return Q(pk=uuid) | Q(address_id=uuid) | Q(exchange_account_id=uuid)
