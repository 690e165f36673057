"""The admin: everything can be looked at; money moves by adjustment only, and each action is one call of a service.

What money touched can be neither added nor edited nor deleted here. Freezing needs the permission to change wallets,
adjusting the permission `dj_wallet.adjust_wallet`, setting limits `dj_wallet.limit_wallet`.
"""

import uuid
from collections.abc import Callable
from decimal import Decimal
from operator import attrgetter
from typing import Any, ClassVar, cast
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.module_loading import import_string
from django.utils.safestring import mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .abstract_models import AbstractWallet
from .admin_limits import LimitsPages
from .admin_pages import (
    Column,
    answer_csv,
    audit_wallet,
    describe_holder,
    format_amount,
    list_buckets,
    list_last_postings,
    list_locked,
    list_open_transactions,
    name_holders,
)
from .admin_theme import ModelAdmin
from .conf import wallet_settings
from .hold_queries import explain_hold
from .ledger.engine import Bucket
from .ledger.errors import WalletException
from .ledger.models import Account, Asset, BalanceRepair, LedgerEntry, Posting
from .ledger.money import EXACT, parse_amount
from .ledger.queries import get_balance
from .ledger.rule_models import Lot
from .models import Escrow, Hold, Purchase, PurchaseLine, Transaction, Transfer, Wallet
from .services.adjustments import adjust_wallet
from .services.escrow import dispute_escrow, refund_escrow, release_escrow
from .services.holds import release_hold

MAX_REASON = 255


class ReadOnlyAdmin(ModelAdmin):
    """Lists, searches and exports; changes nothing."""

    list_per_page = 50
    show_full_result_count = False
    actions = ["export_csv"]
    export_columns: ClassVar[tuple[Column, ...]] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.action(description=_("Export as CSV"), permissions=["view"])
    def export_csv(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        name = self.model._meta.model_name or "export"
        return cast(HttpResponse, answer_csv(name, queryset, self.export_columns))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Look for exact matches, by index: ids, keys, slugs."""
        term = search_term.strip().replace("\x00", "")
        return (queryset.filter(self.match(term)) if term else queryset), False

    def match(self, term: str) -> Q:
        """Return what a search for the term looks for."""
        raise NotImplementedError

    def link_to(self, model: Any, pk: Any, text: str) -> str:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
        return format_html(
            '<a href="{}">{}</a>', reverse(name, args=[pk], current_app=self.admin_site.name), text
        )

    def link_to_wallet(self, wallet: AbstractWallet) -> str:
        return self.link_to(wallet, wallet.pk, f"{wallet.slug} · {describe_holder(wallet)}")


def find_step_up(request: HttpRequest) -> HttpResponse | None:
    """Return what the project's `STEP_UP` answers before money is moved by hand; None lets it be moved."""
    path = wallet_settings.STEP_UP
    return cast(HttpResponse | None, import_string(path)(request)) if path else None


def read_uuid(term: str) -> UUID | None:
    """Return the UUID that the text spells, or None."""
    try:
        return UUID(term)
    except ValueError:
        return None


def read_id(term: str) -> int | None:
    """Return the id that the text spells, or None."""
    return int(term) if term.isascii() and term.isdigit() and len(term) <= 18 else None


def name_holders_of(list_wallets: Callable[[Any], list[AbstractWallet]], base: type) -> type:
    """Return a change list that knows the holders of its page's wallets by a query for each type of holder."""

    class NamingChangeList(base):  # type: ignore[misc]
        def get_results(self, request: HttpRequest) -> None:
            super().get_results(request)
            rows = list(self.result_list)
            self.result_list: Any = rows
            name_holders(wallet for row in rows for wallet in list_wallets(row))

    return NamingChangeList


class BalanceFilter(admin.SimpleListFilter):
    """Wallets by what they hold."""

    title = _("balance")
    parameter_name = "holds"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("positive", _("above zero")),
            ("zero", _("zero")),
            ("negative", _("below zero")),
            ("reserved", _("with locked or pending money")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        conditions = {
            "positive": Q(balance__gt=0),
            "zero": Q(balance=0),
            "negative": Q(balance__lt=0),
            "reserved": Q(locked_balance__gt=0) | Q(pending_balance__gt=0),
        }
        condition = conditions.get(self.value() or "")
        return queryset if condition is None else queryset.filter(condition)


class ReasonForm(forms.Form):
    """Why a wallet is frozen or unfrozen."""

    reason = forms.CharField(max_length=MAX_REASON, widget=forms.TextInput(attrs={"size": 60}))


class AdjustmentForm(forms.Form):
    """A correction of one wallet. The key makes a second submission of the same form harmless."""

    ADD, TAKE = "add", "take"

    direction = forms.ChoiceField(
        choices=[(ADD, _("Add to the wallet")), (TAKE, _("Take from the wallet"))]
    )
    amount = forms.CharField(max_length=100)
    reason = forms.CharField(max_length=MAX_REASON, widget=forms.TextInput(attrs={"size": 60}))
    idempotency_key = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, decimal_places: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.decimal_places = decimal_places

    def clean_amount(self) -> Decimal:
        try:
            return parse_amount(self.cleaned_data["amount"].strip(), self.decimal_places)
        except WalletException as error:
            raise forms.ValidationError(str(error)) from error

    @property
    def change(self) -> Decimal:
        """What the wallet gets; below zero what is taken."""
        amount: Decimal = self.cleaned_data["amount"]
        is_added = self.cleaned_data["direction"] == self.ADD
        return amount if is_added else EXACT.minus(amount)


@admin.register(Wallet)
class WalletAdmin(LimitsPages, ReadOnlyAdmin):
    """Wallets, with freezing, adjustments and limits."""

    list_display = (
        "slug",
        "holder",
        "asset_code",
        "available",
        "locked",
        "pending",
        "state",
        "created_at",
    )
    list_filter = ("is_frozen", BalanceFilter, "asset", "created_at")
    search_fields = ("slug", "uuid", "holder_id")
    search_help_text = _("UUID, holder's id, slug or account number, exactly")
    ordering = ("-pk",)
    actions = ["freeze_wallets", "unfreeze_wallets", "export_csv"]
    change_form_template = "admin/dj_wallet/wallet/change_form.html"
    fieldsets = (
        (None, {"fields": ("uuid", "account", "slug", "holder", "asset_code", "overdraft")}),
        (
            _("More"),
            {"fields": ("state", "frozen_at", "frozen_reason", "meta", "created_at", "updated_at")},
        ),
    )
    export_columns: ClassVar[tuple[Column, ...]] = (
        ("id", lambda wallet: wallet.pk),
        ("uuid", lambda wallet: wallet.uuid),
        ("slug", lambda wallet: wallet.slug),
        ("holder_type", lambda wallet: wallet.holder_type.model),
        ("holder_id", lambda wallet: wallet.holder_id),
        ("asset", lambda wallet: wallet.asset_id),
        ("balance", lambda wallet: wallet.balance),
        ("locked_balance", lambda wallet: wallet.locked_balance),
        ("pending_balance", lambda wallet: wallet.pending_balance),
        ("is_frozen", lambda wallet: wallet.is_frozen),
        ("frozen_reason", lambda wallet: wallet.frozen_reason),
        ("created_at", lambda wallet: wallet.created_at.isoformat()),
    )

    def has_freeze_permission(self, request: HttpRequest) -> bool:
        """Freezing changes a wallet, though not by the form."""
        return self._has_permission(request, "change")

    def has_adjust_permission(self, request: HttpRequest) -> bool:
        return self._has_permission(request, "adjust")

    def _has_permission(self, request: HttpRequest, verb: str) -> bool:
        user = cast(Any, request.user)
        is_allowed: bool = user.has_perm(f"{self.opts.app_label}.{verb}_{self.opts.model_name}")
        return is_allowed and self.has_view_permission(request)

    def match(self, term: str) -> Q:
        found = Q(slug=term) | Q(holder_id=term)
        if number := read_uuid(term):
            found |= Q(uuid=number) | Q(holder_id=str(number))
        if (pk := read_id(term)) is not None:
            found |= Q(pk=pk)
        return found

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("holder_type")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return name_holders_of(lambda row: [row], super().get_changelist(request, **kwargs))

    @admin.display(description=_("holder"), ordering="holder_id")
    def holder(self, wallet: AbstractWallet) -> str:
        return describe_holder(wallet)

    @admin.display(description=_("account"))
    def account(self, wallet: AbstractWallet) -> str:
        return str(wallet.pk)

    @admin.display(description=_("available"), ordering="balance")
    def available(self, wallet: AbstractWallet) -> str:
        return format_amount(wallet.balance, wallet.decimal_places)

    @admin.display(description=_("locked"), ordering="locked_balance")
    def locked(self, wallet: AbstractWallet) -> str:
        return format_amount(wallet.locked_balance or None, wallet.decimal_places) or "-"

    @admin.display(description=_("pending"), ordering="pending_balance")
    def pending(self, wallet: AbstractWallet) -> str:
        return format_amount(wallet.pending_balance or None, wallet.decimal_places) or "-"

    @admin.display(description=_("asset"), ordering="asset_id")
    def asset_code(self, wallet: AbstractWallet) -> str:
        return wallet.asset_id

    @admin.display(description=_("state"), ordering="is_frozen")
    def state(self, wallet: AbstractWallet) -> str:
        return gettext("frozen") if wallet.is_frozen else gettext("in use")

    @admin.display(description=_("overdraft limit"))
    def overdraft(self, wallet: AbstractWallet) -> str:
        if wallet.overdraft_limit is None:
            return gettext("without limit")
        return format_amount(wallet.overdraft_limit, wallet.decimal_places)

    # Pages

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        pages = [
            ("freeze", self.freeze_view),
            ("unfreeze", self.unfreeze_view),
            ("adjust", self.adjust_view),
            ("limits", self.limits_view),
        ]
        own = [
            path(
                f"<int:object_id>/{verb}/", self.admin_site.admin_view(view), name=f"{name}_{verb}"
            )
            for verb, view in pages
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        wallet = self.get_object(request, object_id)
        if wallet is None or not self.has_view_permission(request, wallet):
            return super().change_view(request, object_id, form_url, extra_context)
        problems = audit_wallet(wallet, even_if_long="audit" in request.GET)
        page = {
            "wallet": wallet,
            "buckets": list_buckets(wallet),
            "postings": list_last_postings(wallet),
            "locked": list_locked(wallet),
            "open_transactions": list_open_transactions(wallet),
            "is_audited": problems is not None,
            "problems": problems,
            "can_freeze": self.has_freeze_permission(request),
            "can_adjust": self.has_adjust_permission(request),
            "can_limit": self.has_limit_permission(request),
            "rules": self.describe_rules(wallet),
            "urls": {
                verb: self._url(verb, wallet) for verb in ("freeze", "unfreeze", "adjust", "limits")
            },
        }
        request.GET = _without(request.GET, "audit")
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), "wallet_page": page}
        )

    def freeze_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return self._freeze_one(request, object_id, is_frozen=True)

    def unfreeze_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return self._freeze_one(request, object_id, is_frozen=False)

    @admin.action(description=_("Freeze"), permissions=["freeze"])
    def freeze_wallets(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        return self._freeze_many(request, queryset, is_frozen=True)

    @admin.action(description=_("Unfreeze"), permissions=["freeze"])
    def unfreeze_wallets(
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> HttpResponse | None:
        return self._freeze_many(request, queryset, is_frozen=False)

    def _freeze_one(self, request: HttpRequest, object_id: int, *, is_frozen: bool) -> HttpResponse:
        if not self.has_freeze_permission(request):
            raise PermissionDenied
        wallet = self._get_wallet(request, object_id)
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return self._ask_reason(request, form, [wallet], is_frozen=is_frozen)
        self._set_frozen(request, wallet, form.cleaned_data["reason"], is_frozen=is_frozen)
        return HttpResponseRedirect(self._url("change", wallet))

    def _freeze_many(
        self, request: HttpRequest, queryset: QuerySet[Any], *, is_frozen: bool
    ) -> HttpResponse | None:
        is_confirmed = "confirmed" in request.POST
        form = ReasonForm(request.POST if is_confirmed else None)
        if not form.is_valid():
            shown = list(queryset[: self.list_per_page])
            return self._ask_reason(
                request, form, shown, is_frozen=is_frozen, count=queryset.count()
            )
        for wallet in queryset:
            self._set_frozen(request, wallet, form.cleaned_data["reason"], is_frozen=is_frozen)
        return None

    def _set_frozen(
        self, request: HttpRequest, wallet: AbstractWallet, reason: str, *, is_frozen: bool
    ) -> None:
        if is_frozen:
            wallet.freeze(reason)
        else:
            wallet.unfreeze()
        done = _("Frozen") if is_frozen else _("Unfrozen")
        self.log_change(request, wallet, f"{done}: {reason}")
        self.message_user(request, f"{done}: {wallet.slug}", messages.SUCCESS)

    def _ask_reason(
        self,
        request: HttpRequest,
        form: ReasonForm,
        wallets: list[AbstractWallet],
        *,
        is_frozen: bool,
        count: int = 1,
    ) -> HttpResponse:
        name_holders(wallets)
        context = {
            "more": count - len(wallets),
            "select_across": request.POST.get("select_across", ""),
            "title": _("Freeze") if is_frozen else _("Unfreeze"),
            "form": form,
            "wallets": [(wallet, describe_holder(wallet)) for wallet in wallets],
            "is_frozen": is_frozen,
            "action": request.POST.get("action", ""),
            "back": self._url("change", wallets[0]) if len(wallets) == 1 else self._url_of_list(),
        }
        return self._render(request, "admin/dj_wallet/wallet/freeze.html", context)

    def adjust_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Ask, show what will be, then post; the key of the form travels through all three."""
        if not self.has_adjust_permission(request):
            raise PermissionDenied
        if asked := find_step_up(request):
            return asked
        wallet = self._get_wallet(request, object_id)
        places = wallet.decimal_places
        if request.method != "POST":
            form = AdjustmentForm(initial={"idempotency_key": uuid.uuid4()}, decimal_places=places)
            return self._show_adjustment(request, wallet, form)
        form = AdjustmentForm(request.POST, decimal_places=places)
        if not form.is_valid() or "edit" in request.POST:
            return self._show_adjustment(request, wallet, form)
        if "confirmed" not in request.POST:
            return self._show_adjustment(request, wallet, form, is_review=True)
        try:
            posted = adjust_wallet(
                wallet=wallet,
                change=form.change,
                reason=form.cleaned_data["reason"],
                operator=str(request.user.pk),
                idempotency_key=str(form.cleaned_data["idempotency_key"]),
            )
        except WalletException as refusal:
            form.add_error(None, str(refusal))
            return self._show_adjustment(request, wallet, form)
        change = f"{format_amount(form.change, places)} {wallet.asset_id}"
        if posted.replayed:
            text = _("Entry %(entry)s was posted before; nothing moved a second time.")
            self.message_user(request, text % {"entry": posted.entry_id}, messages.INFO)
        else:
            self.log_change(
                request,
                wallet,
                f"Adjusted by {change}, entry {posted.entry_id}: {form.cleaned_data['reason']}",
            )
            text = _("Adjusted by %(change)s: entry %(entry)s.")
            values = {"change": change, "entry": posted.entry_id}
            self.message_user(request, text % values, messages.SUCCESS)
        return HttpResponseRedirect(self._url("change", wallet))

    def _show_adjustment(
        self,
        request: HttpRequest,
        wallet: AbstractWallet,
        form: AdjustmentForm,
        *,
        is_review: bool = False,
    ) -> HttpResponse:
        context = {
            "title": _("Confirm the adjustment") if is_review else _("Adjust the balance"),
            "form": form,
            "wallet": wallet,
            "holder": describe_holder(wallet),
            "balance": format_amount(wallet.balance, wallet.decimal_places),
            "is_review": is_review,
            "back": self._url("change", wallet),
        }
        if is_review:
            after = EXACT.add(wallet.balance, form.change)
            context["change"] = format_amount(form.change, wallet.decimal_places)
            context["balance_after"] = format_amount(after, wallet.decimal_places)
        return self._render(request, "admin/dj_wallet/wallet/adjust.html", context)

    def _get_wallet(self, request: HttpRequest, object_id: int) -> AbstractWallet:
        wallet = self.get_object(request, str(object_id))
        if wallet is None:
            raise Http404
        return cast(AbstractWallet, wallet)

    def _url(self, verb: str, wallet: AbstractWallet) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{verb}"
        return reverse(name, args=[wallet.pk], current_app=self.admin_site.name)

    def _url_of_list(self) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"
        return reverse(name, current_app=self.admin_site.name)

    def _render(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        return render(
            request,
            template,
            {**self.admin_site.each_context(request), "opts": self.opts, **context},
        )


def _without(query: Any, name: str) -> Any:
    """Return a query string without a parameter that the admin does not know."""
    copy = query.copy()
    copy.pop(name, None)
    return copy


@admin.register(Transaction)
class TransactionAdmin(ReadOnlyAdmin):
    """The deposits and withdrawals of all wallets."""

    list_display = ("uuid", "of_wallet", "type", "shown_amount", "status", "created_at")
    list_filter = ("type", "status", "created_at")
    search_fields = ("uuid", "wallet__slug")
    search_help_text = _("UUID of the transaction or its wallet, idempotency key, entry number")
    ordering = ("-pk",)
    fields = (
        "uuid",
        "of_wallet",
        "type",
        "shown_amount",
        "status",
        "entry_id",
        "idempotency_key",
        "meta",
        "created_at",
        "updated_at",
    )
    export_columns: ClassVar[tuple[Column, ...]] = (
        ("id", lambda row: row.pk),
        ("uuid", lambda row: row.uuid),
        ("wallet", lambda row: row.wallet.uuid),
        ("slug", lambda row: row.wallet.slug),
        ("type", lambda row: row.type),
        ("amount", lambda row: row.amount),
        ("asset", lambda row: row.wallet.asset_id),
        ("status", lambda row: row.status),
        ("entry_id", lambda row: row.entry_id),
        ("idempotency_key", lambda row: row.idempotency_key),
        ("created_at", lambda row: row.created_at.isoformat()),
    )

    def match(self, term: str) -> Q:
        found = Q(idempotency_key=term) | Q(wallet__slug=term)
        if number := read_uuid(term):
            found |= Q(uuid=number) | Q(wallet__uuid=number)
        if (pk := read_id(term)) is not None:
            found |= Q(pk=pk) | Q(entry_id=pk)
        return found

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("wallet")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return name_holders_of(lambda row: [row.wallet], super().get_changelist(request, **kwargs))

    @admin.display(description=_("wallet"))
    def of_wallet(self, row: Transaction) -> str:
        return self.link_to_wallet(row.wallet)

    @admin.display(description=_("amount"), ordering="amount")
    def shown_amount(self, row: Transaction) -> str:
        amount = format_amount(row.amount, row.wallet.decimal_places)
        return f"{amount} {row.wallet.asset_id}"


@admin.register(Transfer)
class TransferAdmin(ReadOnlyAdmin):
    """What went from wallet to wallet."""

    list_display = ("uuid", "from_wallet", "to_wallet", "shown_amount", "status", "created_at")
    list_filter = ("status", "created_at")
    search_fields = ("uuid",)
    search_help_text = _("UUID of the transfer or of a wallet, idempotency key, entry number")
    ordering = ("-pk",)
    fields = (
        "uuid",
        "from_wallet",
        "to_wallet",
        "shown_amount",
        "status",
        "fee",
        "discount",
        "entry_id",
        "idempotency_key",
        "created_at",
        "updated_at",
    )
    export_columns: ClassVar[tuple[Column, ...]] = (
        ("id", lambda row: row.pk),
        ("uuid", lambda row: row.uuid),
        ("from_wallet", lambda row: row.withdraw.wallet.uuid),
        ("to_wallet", lambda row: row.deposit.wallet.uuid),
        ("withdrawn", lambda row: row.withdraw.amount),
        ("withdrawn_asset", lambda row: row.withdraw.wallet.asset_id),
        ("deposited", lambda row: row.deposit.amount),
        ("deposited_asset", lambda row: row.deposit.wallet.asset_id),
        ("status", lambda row: row.status),
        ("fee", lambda row: row.fee),
        ("discount", lambda row: row.discount),
        ("entry_id", lambda row: row.entry_id),
        ("created_at", lambda row: row.created_at.isoformat()),
    )

    def match(self, term: str) -> Q:
        found = Q(idempotency_key=term)
        if number := read_uuid(term):
            found |= Q(uuid=number)
            found |= Q(withdraw__wallet__uuid=number) | Q(deposit__wallet__uuid=number)
        if (pk := read_id(term)) is not None:
            found |= Q(pk=pk) | Q(entry_id=pk)
        return found

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("withdraw__wallet", "deposit__wallet")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return name_holders_of(
            lambda row: [row.withdraw.wallet, row.deposit.wallet],
            super().get_changelist(request, **kwargs),
        )

    @admin.display(description=_("from"))
    def from_wallet(self, row: Transfer) -> str:
        return self.link_to_wallet(row.withdraw.wallet)

    @admin.display(description=_("to"))
    def to_wallet(self, row: Transfer) -> str:
        return self.link_to_wallet(row.deposit.wallet)

    @admin.display(description=_("amount"), ordering="withdraw__amount")
    def shown_amount(self, row: Transfer) -> str:
        out, into = row.withdraw, row.deposit
        sent = f"{format_amount(out.amount, out.wallet.decimal_places)} {out.wallet.asset_id}"
        got = f"{format_amount(into.amount, into.wallet.decimal_places)} {into.wallet.asset_id}"
        return sent if sent == got else f"{sent} → {got}"


class LockedMoneyAdmin(ReadOnlyAdmin):
    """Holds and escrows: to look at, and to end by an action that needs a permission of its own."""

    end_permission: ClassVar[str]

    def has_end_permission(self, request: HttpRequest) -> bool:
        user = cast(Any, request.user)
        is_allowed: bool = user.has_perm(f"dj_wallet.{self.end_permission}")
        return is_allowed and self.has_view_permission(request)

    def run_each(
        self, request: HttpRequest, rows: QuerySet[Any], step: Callable[[Any], Any], done: str
    ) -> None:
        """Run the step for each row and say what came of it; a refusal stops no other row."""
        for row in rows:
            try:
                step(row)
            except WalletException as refusal:
                self.message_user(request, f"{row}: {refusal}", messages.ERROR)
            else:
                self.log_change(request, row, done)
                self.message_user(request, f"{done}: {row}", messages.SUCCESS)

    def show(self, amount: Decimal, wallet: AbstractWallet) -> str:
        return f"{format_amount(amount, wallet.decimal_places)} {wallet.asset_id}"


@admin.register(Hold)
class HoldAdmin(LockedMoneyAdmin):
    """Money reserved for something."""

    end_permission = "release_hold"
    list_display = ("uuid", "of_wallet", "reference", "left", "status", "expires_at", "created_at")
    list_filter = ("status", "reference_type", "created_at")
    search_fields = ("uuid",)
    search_help_text = _("UUID of the hold or its wallet, or the reference, exactly")
    ordering = ("-pk",)
    actions = ["release", "export_csv"]
    fields = (
        "uuid",
        "of_wallet",
        "reference",
        "placed",
        "left",
        "status",
        "expires_at",
        "history",
        "created_at",
        "updated_at",
    )
    export_columns: ClassVar[tuple[Column, ...]] = (
        ("uuid", lambda row: row.uuid),
        ("wallet", lambda row: row.wallet.uuid),
        ("asset", lambda row: row.wallet.asset_id),
        ("reference_type", lambda row: row.reference_type),
        ("reference_id", lambda row: row.reference_id),
        ("amount", lambda row: row.amount),
        ("remaining", lambda row: row.remaining),
        ("status", lambda row: row.status),
        ("expires_at", lambda row: row.expires_at and row.expires_at.isoformat()),
        ("created_at", lambda row: row.created_at.isoformat()),
    )

    def match(self, term: str) -> Q:
        found = Q(reference_id=term)
        if number := read_uuid(term):
            found |= Q(uuid=number) | Q(wallet__uuid=number)
        return found

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("wallet")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return name_holders_of(lambda row: [row.wallet], super().get_changelist(request, **kwargs))

    @admin.display(description=_("wallet"))
    def of_wallet(self, row: Hold) -> str:
        return self.link_to_wallet(row.wallet)

    @admin.display(description=_("for"))
    def reference(self, row: Hold) -> str:
        return f"{row.reference_type} {row.reference_id}"

    @admin.display(description=_("placed"))
    def placed(self, row: Hold) -> str:
        return self.show(row.amount, row.wallet)

    @admin.display(description=_("held"), ordering="remaining")
    def left(self, row: Hold) -> str:
        return self.show(row.remaining, row.wallet)

    @admin.display(description=_("history"))
    def history(self, row: Hold) -> str:
        lines = (
            (
                f"{step.created_at:%Y-%m-%d %H:%M:%S}",
                step.get_action_display(),
                self.show(step.amount, row.wallet),
                self.show(step.remaining, row.wallet),
                step.entry_id,
            )
            for step in explain_hold(row)
        )
        return format_html_join("", "{} {} {}, {} held, entry {}<br>", lines)

    @admin.action(description=_("Release"), permissions=["end"])
    def release(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.run_each(request, queryset, release_hold, gettext("Released"))


@admin.register(Escrow)
class EscrowAdmin(LockedMoneyAdmin):
    """Money kept for orders. A split is a decision with two figures: made over the API, not in a list."""

    end_permission = "end_escrow"
    list_display = ("order_id", "buyer", "seller", "kept", "fee", "status", "created_at")
    list_filter = ("status", "created_at")
    search_fields = ("order_id",)
    search_help_text = _("Order, UUID of the escrow or of a wallet, exactly")
    ordering = ("-pk",)
    actions = ["release", "refund", "dispute", "export_csv"]
    fields = (
        "uuid",
        "order_id",
        "buyer",
        "seller",
        "kept",
        "fee",
        "released_amount",
        "refunded_amount",
        "fee_charged",
        "status",
        "reason",
        "hold",
        "entry_id",
        "created_at",
        "updated_at",
    )
    export_columns: ClassVar[tuple[Column, ...]] = (
        ("uuid", lambda row: row.uuid),
        ("order_id", lambda row: row.order_id),
        ("buyer_wallet", lambda row: row.buyer_wallet.uuid),
        ("seller_wallet", lambda row: row.seller_wallet.uuid),
        ("asset", lambda row: row.buyer_wallet.asset_id),
        ("amount", lambda row: row.amount),
        ("fee_amount", lambda row: row.fee_amount),
        ("released_amount", lambda row: row.released_amount),
        ("refunded_amount", lambda row: row.refunded_amount),
        ("fee_charged", lambda row: row.fee_charged),
        ("status", lambda row: row.status),
        ("created_at", lambda row: row.created_at.isoformat()),
    )

    def match(self, term: str) -> Q:
        found = Q(order_id=term)
        if number := read_uuid(term):
            found |= Q(uuid=number) | Q(order_id=str(number))
            found |= Q(buyer_wallet__uuid=number) | Q(seller_wallet__uuid=number)
        return found

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        found = super().get_queryset(request)
        return found.select_related("buyer_wallet", "seller_wallet", "hold")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return name_holders_of(
            lambda row: [row.buyer_wallet, row.seller_wallet],
            super().get_changelist(request, **kwargs),
        )

    @admin.display(description=_("buyer"))
    def buyer(self, row: Escrow) -> str:
        return self.link_to_wallet(row.buyer_wallet)

    @admin.display(description=_("seller"))
    def seller(self, row: Escrow) -> str:
        return self.link_to_wallet(row.seller_wallet)

    @admin.display(description=_("amount"), ordering="amount")
    def kept(self, row: Escrow) -> str:
        return self.show(row.amount, row.buyer_wallet)

    @admin.display(description=_("fee"))
    def fee(self, row: Escrow) -> str:
        return self.show(row.fee_amount, row.buyer_wallet)

    @admin.action(description=_("Release to the seller"), permissions=["end"])
    def release(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.run_each(request, queryset, release_escrow, gettext("Released"))

    @admin.action(description=_("Refund to the buyer"), permissions=["end"])
    def refund(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.run_each(request, queryset, refund_escrow, gettext("Refunded"))

    @admin.action(description=_("Dispute"), permissions=["end"])
    def dispute(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.run_each(request, queryset, dispute_escrow, gettext("Disputed"))


@admin.register(Purchase)
class PurchaseAdmin(ReadOnlyAdmin):
    """Who bought for how much; the page shows the lines."""

    list_display = ("uuid", "payer", "shown_total", "shown_fee", "shown_discount", "created_at")
    list_filter = ("created_at",)
    search_fields = ("uuid",)
    search_help_text = _("UUID of the purchase or of the wallet, idempotency key, entry number")
    ordering = ("-pk",)
    fields = (
        "uuid",
        "payer",
        "shown_total",
        "shown_fee",
        "shown_discount",
        "lines_bought",
        "entry_id",
        "idempotency_key",
        "created_at",
    )
    export_columns: ClassVar[tuple[Column, ...]] = (
        ("id", lambda row: row.pk),
        ("uuid", lambda row: row.uuid),
        ("wallet", lambda row: row.wallet.uuid),
        ("total", lambda row: row.total),
        ("fee", lambda row: row.fee),
        ("discount", lambda row: row.discount),
        ("asset", lambda row: row.wallet.asset_id),
        ("entry_id", lambda row: row.entry_id),
        ("created_at", lambda row: row.created_at.isoformat()),
    )

    def match(self, term: str) -> Q:
        found = Q(idempotency_key=term)
        if number := read_uuid(term):
            found |= Q(uuid=number) | Q(wallet__uuid=number)
        if (pk := read_id(term)) is not None:
            found |= Q(pk=pk) | Q(entry_id=pk)
        return found

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("wallet")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return name_holders_of(lambda row: [row.wallet], super().get_changelist(request, **kwargs))

    @admin.display(description=_("wallet"))
    def payer(self, row: Purchase) -> str:
        return self.link_to_wallet(row.wallet)

    @admin.display(description=_("total"), ordering="total")
    def shown_total(self, row: Purchase) -> str:
        return f"{format_amount(row.total, row.wallet.decimal_places)} {row.wallet.asset_id}"

    @admin.display(description=_("fee"))
    def shown_fee(self, row: Purchase) -> str:
        return format_amount(row.fee, row.wallet.decimal_places)

    @admin.display(description=_("discount"))
    def shown_discount(self, row: Purchase) -> str:
        return format_amount(row.discount, row.wallet.decimal_places)

    @admin.display(description=_("lines"))
    def lines_bought(self, row: Purchase) -> str:
        lines = row.lines.order_by("pk")
        return format_html_join(
            mark_safe("<br>"), "{}", ((self.link_to(line, line.pk, str(line)),) for line in lines)
        )


@admin.register(PurchaseLine)
class PurchaseLineAdmin(ReadOnlyAdmin):
    """What was bought, how many, and how much of it was given back."""

    list_display = ("name", "quantity", "shown_total", "refunded_quantity", "shown_refunded", "of")
    search_fields = ("name",)
    search_help_text = _("Name of the product, UUID of the purchase, number of the line, exactly")
    ordering = ("-pk",)
    fields = (
        "of",
        "name",
        "quantity",
        "shown_price",
        "shown_total",
        "fee_payer",
        "is_fee_refundable",
        "refunded_quantity",
        "shown_refunded",
    )
    export_columns: ClassVar[tuple[Column, ...]] = (
        ("id", lambda row: row.pk),
        ("purchase", lambda row: row.purchase.uuid),
        ("name", lambda row: row.name),
        ("quantity", lambda row: row.quantity),
        ("unit_price", lambda row: row.unit_price),
        ("discount", lambda row: row.discount),
        ("fee", lambda row: row.fee),
        ("net", lambda row: row.net),
        ("total", lambda row: row.total),
        ("refunded_quantity", lambda row: row.refunded_quantity),
        ("refunded_amount", lambda row: row.refunded_amount),
    )

    def match(self, term: str) -> Q:
        found = Q(name=term)
        if number := read_uuid(term):
            found |= Q(purchase__uuid=number)
        if (pk := read_id(term)) is not None:
            found |= Q(pk=pk)
        return found

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("purchase__wallet")

    def _show(self, row: PurchaseLine, amount: Decimal) -> str:
        wallet = row.purchase.wallet
        return f"{format_amount(amount, wallet.decimal_places)} {wallet.asset_id}"

    @admin.display(description=_("purchase"))
    def of(self, row: PurchaseLine) -> str:
        return self.link_to(row.purchase, row.purchase_id, str(row.purchase.uuid))

    @admin.display(description=_("unit price"))
    def shown_price(self, row: PurchaseLine) -> str:
        return self._show(row, row.unit_price)

    @admin.display(description=_("total"), ordering="total")
    def shown_total(self, row: PurchaseLine) -> str:
        return self._show(row, row.total)

    @admin.display(description=_("given back"), ordering="refunded_amount")
    def shown_refunded(self, row: PurchaseLine) -> str:
        return self._show(row, row.refunded_amount)


@admin.register(BalanceRepair)
class BalanceRepairAdmin(ReadOnlyAdmin):
    """Balances that somebody had altered, and what `sync_balance` set them to."""

    list_display = ("created_at", "wallet", "shown_found", "shown_restored")
    list_filter = ("created_at",)
    search_fields = ("account",)
    search_help_text = _("Number of the account, exactly")
    ordering = ("-pk",)
    fields = list_display
    export_columns: ClassVar[tuple[Column, ...]] = (
        ("id", lambda row: row.pk),
        ("account", lambda row: row.account_id),
        ("found", lambda row: row.found),
        ("restored", lambda row: row.restored),
        ("created_at", lambda row: row.created_at.isoformat()),
    )

    def match(self, term: str) -> Q:
        pk = read_id(term)
        return Q(pk__in=[]) if pk is None else Q(account_id=pk)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("account")

    @admin.display(description=_("wallet"))
    def wallet(self, row: BalanceRepair) -> str:
        return self.link_to(Wallet, row.account_id, f"wallet {row.account_id}")

    @admin.display(description=_("found"))
    def shown_found(self, row: BalanceRepair) -> str:
        return f"{format_amount(row.found, row.account.decimal_places)} {row.account.asset_id}"

    @admin.display(description=_("restored"))
    def shown_restored(self, row: BalanceRepair) -> str:
        return f"{format_amount(row.restored, row.account.decimal_places)} {row.account.asset_id}"


@admin.register(Asset)
class AssetAdmin(ModelAdmin):
    """What is counted. An asset can be added and renamed; how many digits it has stays."""

    list_display = ("code", "name", "kind", "decimal_places")
    list_filter = ("kind",)
    search_fields = ("code", "name")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("code", "decimal_places") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    """Our own accounts. Their balances are derived, so a list shows none."""

    list_display = ("code", "asset_code", "id")
    list_filter = ("asset",)
    search_fields = ("code",)
    search_help_text = _("Code, asset or account number, exactly")
    ordering = ("code", "asset_id")
    fields = ("id", "code", "asset_code", "derived_balance")
    export_columns: ClassVar[tuple[Column, ...]] = (
        ("id", lambda row: row.pk),
        ("code", lambda row: row.code),
        ("asset", lambda row: row.asset_id),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(kind=Account.Kind.SYSTEM)

    def match(self, term: str) -> Q:
        found = Q(code=term) | Q(asset_id=term)
        pk = read_id(term)
        return found if pk is None else found | Q(pk=pk)

    @admin.display(description=_("asset"), ordering="asset_id")
    def asset_code(self, account: Account) -> str:
        return account.asset_id

    @admin.display(description=_("balance"))
    def derived_balance(self, account: Account) -> str:
        balance = get_balance(account.pk, using=account._state.db)
        return f"{format_amount(balance, account.decimal_places)} {account.asset_id}"


class LedgerAdmin(ReadOnlyAdmin):
    """Lines of the ledger, newest first."""

    search_help_text = _("Number of an entry or account, idempotency key or reference, exactly")

    def name_place(self, account: Account, bucket: int = Bucket.AVAILABLE) -> str:
        """Return the code of a system account, or a link to the wallet; with its part unless that is the usual one."""
        part = "" if bucket == Bucket.AVAILABLE else f" ({Bucket(bucket).label})"
        if account.kind == Account.Kind.SYSTEM:
            return f"{account.code}{part}"
        return self.link_to(Wallet, account.pk, f"wallet {account.pk}{part}")

    @admin.display(description=_("reference"))
    def reference(self, row: Any) -> str:
        return " ".join(part for part in (row.reference_type, row.reference_id) if part)


@admin.register(Posting)
class PostingAdmin(LedgerAdmin):
    """Movements: both sides in one line."""

    list_display = (
        "id",
        "entry_id",
        "kind",
        "source",
        "destination",
        "shown_amount",
        "reference",
        "created_at",
    )
    list_filter = ("kind", "created_at")
    search_fields = ("idempotency_key",)
    ordering = ("-pk",)
    export_columns: ClassVar[tuple[Column, ...]] = tuple(
        (name, attrgetter(name))
        for name in (
            "id",
            "entry_id",
            "kind",
            "source_account_id",
            "source_bucket",
            "destination_account_id",
            "destination_bucket",
            "amount",
            "source_balance_after",
            "destination_balance_after",
            "reference_type",
            "reference_id",
            "idempotency_key",
            "event_at",
            "created_at",
        )
    )

    def match(self, term: str) -> Q:
        found = Q(idempotency_key=term) | Q(reference_id=term)
        if (number := read_id(term)) is not None:
            found |= Q(pk=number) | Q(entry_id=number)
            found |= Q(source_account_id=number) | Q(destination_account_id=number)
        return found

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("source_account", "destination_account")

    @admin.display(description=_("from"))
    def source(self, row: Posting) -> str:
        return self.name_place(row.source_account, row.source_bucket)

    @admin.display(description=_("to"))
    def destination(self, row: Posting) -> str:
        return self.name_place(row.destination_account, row.destination_bucket)

    @admin.display(description=_("amount"), ordering="amount")
    def shown_amount(self, row: Posting) -> str:
        asset = row.source_account
        return f"{format_amount(row.amount, asset.decimal_places)} {asset.asset_id}"


@admin.register(LedgerEntry)
class LedgerEntryAdmin(LedgerAdmin):
    """Sides of postings, as debits and credits. A view: its lines have no page of their own."""

    list_display = (
        "entry_id",
        "entry_type",
        "place",
        "bucket",
        "shown_debit",
        "shown_credit",
        "shown_balance",
        "reference",
        "created_at",
    )
    list_display_links = None
    list_filter = ("bucket", "created_at")
    search_fields = ("idempotency_key",)
    ordering = ("-posting_id", "-id")
    export_columns: ClassVar[tuple[Column, ...]] = tuple(
        (name, attrgetter(name))
        for name in (
            "posting_id",
            "entry_id",
            "entry_type",
            "account_id",
            "bucket",
            "debit",
            "credit",
            "balance_after",
            "reference_type",
            "reference_id",
            "idempotency_key",
            "event_at",
            "created_at",
        )
    )

    def match(self, term: str) -> Q:
        found = Q(idempotency_key=term) | Q(reference_id=term)
        number = read_id(term)
        return found if number is None else found | Q(entry_id=number) | Q(account_id=number)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("account")

    @admin.display(description=_("account"))
    def place(self, row: LedgerEntry) -> str:
        return self.name_place(row.account)

    @admin.display(description=_("debit"))
    def shown_debit(self, row: LedgerEntry) -> str:
        return format_amount(row.debit, row.account.decimal_places) if row.debit else ""

    @admin.display(description=_("credit"))
    def shown_credit(self, row: LedgerEntry) -> str:
        return format_amount(row.credit, row.account.decimal_places) if row.credit else ""

    @admin.display(description=_("balance after"))
    def shown_balance(self, row: LedgerEntry) -> str:
        return format_amount(row.balance_after, row.account.decimal_places)


@admin.register(Lot)
class LotAdmin(ReadOnlyAdmin):
    """Credit that was granted, and what is left of it."""

    list_display = (
        "uuid",
        "of_wallet",
        "source",
        "shown_remaining",
        "shown_amount",
        "priority",
        "expires_at",
        "is_withdrawable",
    )
    list_filter = ("source", "is_withdrawable", "expires_at", "created_at")
    search_fields = ("uuid",)
    search_help_text = _("UUID, idempotency key, source, entry or account number, exactly")
    ordering = ("-pk",)
    fields = (
        "uuid",
        "of_wallet",
        "source",
        "origin",
        "shown_amount",
        "shown_remaining",
        "priority",
        "expires_at",
        "is_withdrawable",
        "entry_id",
        "idempotency_key",
        "revoked_at",
        "revoked_reason",
        "created_at",
    )
    export_columns: ClassVar[tuple[Column, ...]] = tuple(
        (name, attrgetter(name))
        for name in (
            "id",
            "uuid",
            "account_id",
            "source",
            "origin",
            "amount",
            "remaining",
            "priority",
            "expires_at",
            "is_withdrawable",
            "entry_id",
            "created_at",
        )
    )

    def match(self, term: str) -> Q:
        found = Q(idempotency_key=term) | Q(source=term)
        if number := read_uuid(term):
            found |= Q(uuid=number)
        if (pk := read_id(term)) is not None:
            found |= Q(entry_id=pk) | Q(account_id=pk)
        return found

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("account")

    @admin.display(description=_("wallet"))
    def of_wallet(self, lot: Lot) -> str:
        return self.link_to(Wallet, lot.account_id, f"wallet {lot.account_id}")

    @admin.display(description=_("left"), ordering="remaining")
    def shown_remaining(self, lot: Lot) -> str:
        return format_amount(lot.remaining, lot.account.decimal_places)

    @admin.display(description=_("granted"), ordering="amount")
    def shown_amount(self, lot: Lot) -> str:
        amount = format_amount(lot.amount, lot.account.decimal_places)
        return f"{amount} {lot.account.asset_id}"
