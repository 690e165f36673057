"""Custody in the admin: the operator's limits can be edited, nothing that money touched can."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q
from django.http import HttpRequest

from dj_wallet.admin import ReadOnlyAdmin, name_holders_of, read_uuid
from dj_wallet.admin_pages import format_amount
from dj_wallet.admin_theme import ModelAdmin
from dj_wallet.ledger.errors import WalletException
from dj_wallet.models import Wallet

from .chain.networks import DECIMAL_PLACES
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


class RowsAdmin(ReadOnlyAdmin):
    """Rows to look at. Those of wallets name them, with their holders."""

    actions = []

    def get_wallet(self, row: Any) -> Wallet | None:
        """Return the wallet that a row is about."""
        return getattr(row, "wallet", None)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        def list_wallets(row: Any) -> list[Any]:
            wallet = self.get_wallet(row)
            return [] if wallet is None else [wallet]

        return name_holders_of(list_wallets, super().get_changelist(request, **kwargs))

    @admin.display(description="wallet")
    def of_wallet(self, row: Any) -> str:
        wallet = self.get_wallet(row)
        return "-" if wallet is None else self.link_to_wallet(wallet)

    @admin.display(description="amount", ordering="amount")
    def coins(self, row: Any) -> str:
        return format_amount(row.amount, DECIMAL_PLACES)


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
            self.log_change(request, chain, "Freeze lifted")


@admin.register(WithdrawalRequest)
class WithdrawalAdmin(RowsAdmin):
    """Withdrawals; large ones are approved here."""

    list_display = (
        "id",
        "of_wallet",
        "coins",
        "fee_coins",
        "destination_address",
        "status",
        "hold_reason",
        "created_at",
    )
    list_select_related = ("wallet",)
    list_filter = ("status", ("hold_reason", admin.EmptyFieldListFilter), "chain")
    search_fields = ("id",)
    search_help_text = "UUID of the withdrawal or its wallet, transaction or destination, exactly"
    ordering = ("-pk",)
    actions = ["approve", "give_up"]

    def match(self, term: str) -> Q:
        found = Q(txid=term) | Q(destination_address=term)
        if number := read_uuid(term):
            found |= Q(pk=number) | Q(wallet__uuid=number)
        return found

    @admin.display(description="fee", ordering="fee")
    def fee_coins(self, row: WithdrawalRequest) -> str:
        return format_amount(row.fee, DECIMAL_PLACES)

    def has_approve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dj_wallet_custody.change_withdrawalrequest")

    @admin.action(description="Approve", permissions=["approve"])
    def approve(self, request: HttpRequest, queryset: Any) -> None:
        for withdrawal in queryset:
            try:
                approve_withdrawal(withdrawal_id=withdrawal.pk, approver=request.user)
            except WalletException as refusal:
                self.message_user(request, f"{withdrawal}: {refusal}", messages.ERROR)
            else:
                self.log_change(request, withdrawal, "Approved")

    @admin.action(description="Give up what the signer refused", permissions=["approve"])
    def give_up(self, request: HttpRequest, queryset: Any) -> None:
        for withdrawal in queryset:
            try:
                fail_withdrawal(withdrawal_id=withdrawal.pk, failure_code=GIVEN_UP)
            except WalletException as refusal:
                self.message_user(request, f"{withdrawal}: {refusal}", messages.ERROR)
            else:
                self.log_change(request, withdrawal, "Given up")


@admin.register(ChainTransaction)
class ChainTransactionAdmin(RowsAdmin):
    """Our transactions; what the signer refused can be asked of it again."""

    list_display = ("uuid", "status", "txid", "height", "coins", "fee_coins", "note", "created_at")
    list_filter = ("status", "chain")
    search_fields = ("txid",)
    search_help_text = "UUID or id of the transaction, exactly"
    ordering = ("-pk",)
    exclude = ("unsigned", "raw")
    actions = ["sign_again"]

    def match(self, term: str) -> Q:
        number = read_uuid(term)
        return Q(txid=term) if number is None else Q(uuid=number)

    @admin.display(description="fee", ordering="network_fee")
    def fee_coins(self, row: ChainTransaction) -> str:
        return format_amount(row.network_fee, DECIMAL_PLACES)

    def has_approve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dj_wallet_custody.change_chaintransaction")

    @admin.action(description="Ask the signer again", permissions=["approve"])
    def sign_again(self, request: HttpRequest, queryset: Any) -> None:
        for sent in queryset:
            ask_again(sent.pk)
            self.log_change(request, sent, "Asked again")


@admin.register(Address)
class AddressAdmin(RowsAdmin):
    """Addresses of ours."""

    list_display = (
        "address",
        "purpose",
        "of_wallet",
        "is_current",
        "derivation_index",
        "created_at",
    )
    list_select_related = ("wallet",)
    list_filter = ("purpose", "chain")
    search_fields = ("address",)
    search_help_text = "The address, or the UUID of its wallet, exactly"
    ordering = ("-pk",)

    def match(self, term: str) -> Q:
        number = read_uuid(term)
        return Q(address=term) if number is None else Q(wallet__uuid=number)


@admin.register(Output)
class OutputAdmin(RowsAdmin):
    """Outputs of ours: deposits, and our own change."""

    list_display = (
        "outpoint",
        "of_wallet",
        "coins",
        "status",
        "height",
        "spent_height",
        "created_at",
    )
    list_select_related = ("address__wallet",)
    list_filter = ("status", "chain")
    search_fields = ("txid",)
    search_help_text = "Id of the transaction, or the UUID of the wallet, exactly"
    ordering = ("-pk",)

    def get_wallet(self, row: Output) -> Wallet | None:
        return row.address.wallet

    def match(self, term: str) -> Q:
        number = read_uuid(term)
        return Q(txid=term) if number is None else Q(address__wallet__uuid=number)

    @admin.display(description="output", ordering="txid")
    def outpoint(self, row: Output) -> str:
        return str(row)


@admin.register(AllowedAddress)
class AllowedAddressAdmin(RowsAdmin):
    """Destinations that wallets trust."""

    list_display = ("address", "of_wallet", "usable_at", "created_at")
    list_select_related = ("wallet",)
    ordering = ("-pk",)


@admin.register(Reconciliation)
class ReconciliationAdmin(RowsAdmin):
    """Comparisons of ledger and chain."""

    list_display = (
        "id",
        "chain",
        "height",
        "ledger_coins",
        "outputs_coins",
        "unexplained_coins",
        "created_at",
    )
    ordering = ("-pk",)

    @admin.display(description="ledger")
    def ledger_coins(self, row: Reconciliation) -> str:
        return format_amount(row.ledger, DECIMAL_PLACES)

    @admin.display(description="outputs")
    def outputs_coins(self, row: Reconciliation) -> str:
        return format_amount(row.outputs, DECIMAL_PLACES)

    @admin.display(description="unexplained")
    def unexplained_coins(self, row: Reconciliation) -> str:
        return format_amount(row.unexplained, DECIMAL_PLACES)
