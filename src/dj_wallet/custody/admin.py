"""Custody in the admin: the operator's limits can be edited, nothing that money touched can."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest

from dj_wallet.admin_theme import ModelAdmin
from dj_wallet.ledger.errors import WalletException

from .models import (
    Address,
    AllowedAddress,
    Chain,
    ChainTransaction,
    Output,
    Reconciliation,
    WithdrawalRequest,
)
from .services.chains import unfreeze
from .services.spending import ask_again
from .services.withdrawals import approve_withdrawal, fail_withdrawal

GIVEN_UP = "given_up_by_operator"


class ReadOnlyAdmin(ModelAdmin):
    """Rows to look at."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Chain)
class ChainAdmin(ModelAdmin):
    """Networks: the limits are the operator's, the cursor is the scanner's."""

    list_display = ("network", "state", "height", "node_height", "frozen_because", "is_paused")
    readonly_fields = (
        "network",
        "asset",
        "state",
        "state_note",
        "height",
        "block_hash",
        "chainwork",
        "node_height",
        "scanned_at",
        "fee_rate_per_kb",
        "frozen_because",
    )
    actions = ("lift_freeze",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Chain, form: Any, change: bool) -> None:
        """Save what was edited alone: the scanner writes the same row."""
        if form.changed_data:
            obj.save(update_fields=form.changed_data)

    @admin.action(description="Let withdrawals go on", permissions=["change"])
    def lift_freeze(self, request: HttpRequest, queryset: Any) -> None:
        for chain in queryset:
            unfreeze(chain)


@admin.register(WithdrawalRequest)
class WithdrawalAdmin(ReadOnlyAdmin):
    """Withdrawals; large ones are approved here."""

    list_display = ("id", "status", "hold_reason", "amount", "fee", "destination_address")
    list_filter = ("status", "hold_reason", "chain")
    search_fields = ("id", "txid", "destination_address")
    actions = ("approve", "give_up")

    def has_approve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dj_wallet_custody.change_withdrawalrequest")

    @admin.action(description="Approve", permissions=["approve"])
    def approve(self, request: HttpRequest, queryset: Any) -> None:
        for withdrawal in queryset:
            try:
                approve_withdrawal(withdrawal_id=withdrawal.pk, approver=request.user)
            except WalletException as refusal:
                self.message_user(request, f"{withdrawal}: {refusal}", messages.ERROR)

    @admin.action(description="Give up what the signer refused", permissions=["approve"])
    def give_up(self, request: HttpRequest, queryset: Any) -> None:
        for withdrawal in queryset:
            try:
                fail_withdrawal(withdrawal_id=withdrawal.pk, failure_code=GIVEN_UP)
            except WalletException as refusal:
                self.message_user(request, f"{withdrawal}: {refusal}", messages.ERROR)


@admin.register(ChainTransaction)
class ChainTransactionAdmin(ReadOnlyAdmin):
    """Our transactions; what the signer refused can be asked of it again."""

    list_display = ("uuid", "status", "txid", "height", "amount", "network_fee", "note")
    list_filter = ("status", "chain")
    search_fields = ("txid",)
    exclude = ("unsigned", "raw")
    actions = ("sign_again",)

    def has_approve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dj_wallet_custody.change_chaintransaction")

    @admin.action(description="Ask the signer again", permissions=["approve"])
    def sign_again(self, request: HttpRequest, queryset: Any) -> None:
        for sent in queryset:
            ask_again(sent.pk)


@admin.register(Address)
class AddressAdmin(ReadOnlyAdmin):
    """Addresses of ours."""

    list_display = ("address", "purpose", "wallet", "is_current", "derivation_index")
    list_filter = ("purpose", "chain")
    search_fields = ("address",)


@admin.register(Output)
class OutputAdmin(ReadOnlyAdmin):
    """Outputs of ours."""

    list_display = ("txid", "vout", "amount", "status", "height", "spent_height")
    list_filter = ("status", "chain")
    search_fields = ("txid",)


@admin.register(AllowedAddress)
class AllowedAddressAdmin(ReadOnlyAdmin):
    """Destinations that wallets trust."""

    list_display = ("address", "wallet", "usable_at")


@admin.register(Reconciliation)
class ReconciliationAdmin(ReadOnlyAdmin):
    """Comparisons of ledger and chain."""

    list_display = ("chain", "height", "ledger", "outputs", "unexplained", "created_at")
