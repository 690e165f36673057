"""Payouts in the admin: the queue of those in doubt, their evidence, and what operators may do about them.

Nothing is edited. Each action is one call of a service, each with a permission of its own: cancel, ask the bank again,
propose what became of it, approve what somebody else proposed.
"""

from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _

from dj_wallet.admin import ReadOnlyAdmin, read_id, read_uuid
from dj_wallet.admin_pages import Column, format_amount
from dj_wallet.ledger.errors import WalletException

from .bank import list_banks
from .errors import StatementInvalid
from .iso20022 import read_statements
from .models import (
    Circuit,
    Discrepancy,
    PaymentFile,
    Payout,
    RecurringPayout,
    Resolution,
    Statement,
    StatementLine,
)
from .queries import list_timeline
from .services import (
    ask_bank_again,
    cancel_payout,
    close_discrepancy,
    decide_resolution,
    import_statement,
    propose_resolution,
)
from .services.resolution import UNDECIDED

PAGE = "admin/dj_wallet_payouts/form.html"
MAX_REASON = 255


class DoubtFilter(admin.SimpleListFilter):
    """The operators' queue."""

    title = _("in doubt")
    parameter_name = "doubt"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("operator", _("waits for an operator")), ("any", _("unknown or waiting"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        doubtful = {
            "operator": [Payout.Status.REVIEW],
            "any": [Payout.Status.REVIEW, Payout.Status.UNKNOWN],
        }.get(self.value() or "")
        return queryset if doubtful is None else queryset.filter(status__in=doubtful)


class ProposalForm(forms.Form):
    """What an operator found out."""

    verdict = forms.ChoiceField(choices=Resolution.Verdict.choices)
    reason = forms.CharField(max_length=MAX_REASON, widget=forms.TextInput(attrs={"size": 60}))


class StatementForm(forms.Form):
    """A camt.053 file of a bank."""

    bank = forms.ChoiceField()
    file = forms.FileField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        cast(forms.ChoiceField, self.fields["bank"]).choices = [(one, one) for one in list_banks()]


class NoteForm(forms.Form):
    """How a discrepancy was dealt with."""

    note = forms.CharField(max_length=MAX_REASON, widget=forms.TextInput(attrs={"size": 60}))


class FormPages(ReadOnlyAdmin):
    """A read-only admin with pages of its own for a row."""

    pages: ClassVar[tuple[str, ...]] = ()

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                f"<int:object_id>/{verb}/",
                self.admin_site.admin_view(getattr(self, f"{verb}_view")),
                name=f"{self.opts.app_label}_{self.opts.model_name}_{verb}",
            )
            for verb in self.pages
        ]
        return [*own, *super().get_urls()]

    def url(self, verb: str, pk: int | None = None) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{verb}"
        args = [] if pk is None else [pk]
        return reverse(name, args=args, current_app=self.admin_site.name)

    def get_row(self, request: HttpRequest, object_id: int, permission: str) -> Any:
        """Return the row if the user may do this to it.

        :raises PermissionDenied: the user may not
        """
        user = cast(Any, request.user)
        allowed = user.has_perm(f"{self.opts.app_label}.{permission}")
        if not (allowed and self.has_view_permission(request)):
            raise PermissionDenied
        row = self.get_object(request, str(object_id))
        if row is None:
            raise Http404
        return row

    def ask(
        self, request: HttpRequest, title: Any, form: forms.Form | None, back: str, text: Any = ""
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "form": form,
            "text": text,
            "back": back,
        }
        return render(request, PAGE, context)

    def tell(self, request: HttpRequest, refusal: WalletException) -> None:
        self.message_user(request, str(refusal), messages.ERROR)


@admin.register(Payout)
class PayoutAdmin(FormPages):
    """Payouts with their timeline; the queue of those in doubt is a filter."""

    pages = ("cancel", "ask_bank", "propose", "decide")
    list_display = ("uuid", "amount", "status", "bank", "attempts", "doubted_since", "created_at")
    list_filter = (DoubtFilter, "status", "bank", "created_at")
    search_fields = ("uuid",)
    search_help_text = _("UUID of the payout, its transaction or its wallet; number")
    list_select_related = ("transaction__wallet",)
    ordering = ("-pk",)
    change_form_template = "admin/dj_wallet_payouts/payout.html"
    fields = (
        *("uuid", "amount", "status", "failure_code", "bank", "bank_reference", "destination"),
        *("scheduled_for", "due_at", "attempts", "lookups", "sent_at", "held_at", "doubted_since"),
        *("bank_response", "payment_file", "recurring", "created_at", "updated_at"),
    )
    export_columns: ClassVar[tuple[Column, ...]] = (
        ("uuid", lambda row: row.uuid),
        ("wallet", lambda row: row.transaction.wallet.uuid),
        ("amount", lambda row: row.transaction.amount),
        ("asset", lambda row: row.transaction.wallet.asset_id),
        ("status", lambda row: row.status),
        ("bank", lambda row: row.bank),
        ("bank_reference", lambda row: row.bank_reference),
        ("failure_code", lambda row: row.failure_code),
        ("attempts", lambda row: row.attempts),
        ("created_at", lambda row: row.created_at.isoformat()),
    )

    def match(self, term: str) -> Q:
        found = Q(bank_reference=term) if term else Q()
        if number := read_uuid(term):
            found |= Q(uuid=number) | Q(transaction__uuid=number)
            found |= Q(transaction__wallet__uuid=number)
        if (pk := read_id(term)) is not None:
            found |= Q(pk=pk)
        return found

    @admin.display(description=_("amount"))
    def amount(self, payout: Payout) -> str:
        wallet = payout.transaction.wallet
        return (
            f"{format_amount(payout.transaction.amount, wallet.decimal_places)} {wallet.asset_id}"
        )

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        payout = self.get_object(request, object_id)
        if payout is None or not self.has_view_permission(request, payout):
            return super().change_view(request, object_id, form_url, extra_context)
        user = cast(Any, request.user)
        may = {
            "cancel": payout.status in {Payout.Status.PENDING, Payout.Status.RETRYING}
            and payout.sent_at is None
            and user.has_perm("dj_wallet_payouts.cancel_payout"),
            "ask_bank": payout.status in UNDECIDED and user.has_perm("dj_wallet_payouts.ask_bank"),
            "propose": payout.status in UNDECIDED
            and user.has_perm("dj_wallet_payouts.propose_resolution"),
        }
        page = {
            "timeline": list_timeline(payout),
            "proposal": payout.resolutions.filter(status=Resolution.Status.PROPOSED).first(),
            "discrepancies": payout.discrepancies.filter(closed_at=None),
            "urls": {verb: self.url(verb, payout.pk) for verb in self.pages},
            "may": may,
            "may_decide": user.has_perm("dj_wallet_payouts.approve_resolution"),
        }
        context = {**(extra_context or {}), "payout_page": page}
        return super().change_view(request, object_id, form_url, context)

    def cancel_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        payout = self.get_row(request, object_id, "cancel_payout")
        back = self.url("change", payout.pk)
        if request.method != "POST":
            return self.ask(request, _("Cancel the payout"), None, back)
        try:
            cancel_payout(payout=payout, actor=str(request.user))
        except WalletException as refusal:
            self.tell(request, refusal)
        else:
            self.log_change(request, payout, "Cancelled")
        return HttpResponseRedirect(back)

    def ask_bank_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        payout = self.get_row(request, object_id, "ask_bank")
        back = self.url("change", payout.pk)
        if request.method != "POST":
            return self.ask(request, _("Ask the bank again"), None, back)
        try:
            ask_bank_again(payout=payout, actor=str(request.user))
        except WalletException as refusal:
            self.tell(request, refusal)
        else:
            self.log_change(request, payout, "Asked the bank again")
        return HttpResponseRedirect(back)

    def propose_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        payout = self.get_row(request, object_id, "propose_resolution")
        back = self.url("change", payout.pk)
        form = ProposalForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            text = _("Somebody else has to approve it.")
            return self.ask(request, _("Propose what became of it"), form, back, text)
        try:
            propose_resolution(payout=payout, operator=request.user, **form.cleaned_data)
        except WalletException as refusal:
            self.tell(request, refusal)
        else:
            self.log_change(request, payout, f"Proposed: {form.cleaned_data['verdict']}")
        return HttpResponseRedirect(back)

    def decide_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        payout = self.get_row(request, object_id, "approve_resolution")
        back = self.url("change", payout.pk)
        proposal = payout.resolutions.filter(status=Resolution.Status.PROPOSED).first()
        if proposal is None or request.method != "POST":
            return HttpResponseRedirect(back)
        approve = "approve" in request.POST
        try:
            decide_resolution(resolution=proposal, approve=approve, operator=request.user)
        except WalletException as refusal:
            self.tell(request, refusal)
        else:
            verb = "Approved" if approve else "Rejected"
            self.log_change(request, payout, f"{verb}: {proposal.verdict}")
        return HttpResponseRedirect(back)


@admin.register(Statement)
class StatementAdmin(FormPages):
    """Statements; adding one is importing a file."""

    list_display = ("bank", "identifier", "account", "begins_at", "ends_at", "created_at")
    list_filter = ("bank",)
    ordering = ("-pk",)
    fields = ("bank", "identifier", "account", "begins_at", "ends_at", "created_at")
    actions = []

    def has_add_permission(self, request: HttpRequest) -> bool:
        return cast(Any, request.user).has_perm("dj_wallet_payouts.add_statement") is True

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        is_sent = request.method == "POST"
        form = StatementForm(*([request.POST, request.FILES] if is_sent else []))
        back = self.url("changelist")
        if form.is_valid():
            try:
                self._import(request, form)
                return HttpResponseRedirect(back)
            except WalletException as refusal:
                form.add_error("file", str(refusal))
        return self.ask(request, _("Import a statement"), form, back)

    def _import(self, request: HttpRequest, form: StatementForm) -> None:
        """:raises StatementInvalid: the file cannot be read"""
        parsed = read_statements(form.cleaned_data["file"].read())
        if not parsed:
            raise StatementInvalid("The file holds no statement.")
        for one in parsed:
            statement, is_new = import_statement(bank=form.cleaned_data["bank"], statement=one)
            done = _("Imported") if is_new else _("Imported before")
            self.message_user(request, f"{done}: {statement}", messages.SUCCESS)

    def match(self, term: str) -> Q:
        return Q(identifier=term)


@admin.register(StatementLine)
class StatementLineAdmin(ReadOnlyAdmin):
    """What each line was found to be."""

    list_display = ("reference", "amount", "asset", "verdict", "booked_at", "statement", "payout")
    list_filter = ("verdict", "statement__bank")
    list_select_related = ("statement", "payout")
    ordering = ("-pk",)
    actions = []

    def match(self, term: str) -> Q:
        return Q(reference=term) | Q(bank_reference=term)


@admin.register(Discrepancy)
class DiscrepancyAdmin(FormPages):
    """What does not fit between the bank and us."""

    pages = ("close",)
    list_display = ("kind", "payout", "created_at", "closed_at", "closed_by")
    list_filter = ("kind", ("closed_at", admin.EmptyFieldListFilter))
    list_select_related = ("payout",)
    ordering = ("-pk",)
    actions = []
    change_form_template = "admin/dj_wallet_payouts/discrepancy.html"

    def close_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        found = self.get_row(request, object_id, "change_discrepancy")
        back = self.url("change", found.pk)
        form = NoteForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return self.ask(request, _("Close the discrepancy"), form, back)
        close_discrepancy(
            discrepancy=found, note=form.cleaned_data["note"], operator=str(request.user)
        )
        self.log_change(request, found, f"Closed: {form.cleaned_data['note']}")
        return HttpResponseRedirect(back)

    def match(self, term: str) -> Q:
        number = read_uuid(term)
        return Q(payout__uuid=number) if number else Q(pk=read_id(term))


@admin.register(RecurringPayout)
class RecurringPayoutAdmin(ReadOnlyAdmin):
    """Plans."""

    list_display = ("uuid", "wallet", "amount", "frequency", "next_at", "status")
    list_filter = ("status", "frequency")
    list_select_related = ("wallet",)
    ordering = ("-pk",)
    actions = []

    def match(self, term: str) -> Q:
        number = read_uuid(term)
        return Q(uuid=number) | Q(wallet__uuid=number) if number else Q(pk=read_id(term))


@admin.register(PaymentFile)
class PaymentFileAdmin(ReadOnlyAdmin):
    """Files of orders."""

    list_display = ("message_id", "bank", "orders", "total", "created_at")
    list_filter = ("bank",)
    ordering = ("-pk",)
    actions = []

    def match(self, term: str) -> Q:
        return Q(message_id=term)


@admin.register(Circuit)
class CircuitAdmin(ReadOnlyAdmin):
    """How the banks are doing."""

    list_display = ("bank", "failures", "open_until", "updated_at")
    actions = []

    def match(self, term: str) -> Q:
        return Q(bank=term)
