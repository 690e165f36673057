"""The pages of a wallet about its limits and lots: what they show, and the form that sets limits."""

from decimal import Decimal
from typing import Any, Final, NamedTuple, cast

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext_lazy as _

from .abstract_models import AbstractWallet
from .admin_pages import SHOWN, describe_holder, format_amount
from .ledger.errors import WalletException
from .ledger.money import to_scale, trim
from .services.limits import LimitStatus, get_limits, set_limits
from .services.lots import list_lots

MAX_REASON: Final = 255
LABELS: Final = {
    "overdraft_limit": _("Overdraft limit"),
    "minimum_balance": _("Minimum balance"),
    "per_transaction": _("Per transaction"),
    "per_day": _("Per day"),
    "per_month": _("Per month"),
}


class LimitRow(NamedTuple):
    """One limit of a wallet, ready to show."""

    name: Any
    value: str
    left: str
    renews_at: Any = None


class LotRow(NamedTuple):
    """One lot of a wallet, ready to show."""

    pk: int
    source: str
    remaining: str
    amount: str
    expires_at: Any
    is_withdrawable: bool


class LimitsForm(forms.Form):
    """All limits of one wallet; empty for none. An overdraft has a limit: a wallet without one is made in code."""

    overdraft_limit = forms.CharField(max_length=100)
    minimum_balance = forms.CharField(max_length=100, required=False)
    per_transaction = forms.CharField(max_length=100, required=False)
    per_day = forms.CharField(max_length=100, required=False)
    per_month = forms.CharField(max_length=100, required=False)
    reason = forms.CharField(max_length=MAX_REASON, widget=forms.TextInput(attrs={"size": 60}))


def list_limits(status: LimitStatus, places: int) -> list[LimitRow]:
    """Return the limits that are set."""
    left = {
        "per_day": (status.left_today, status.day_renews_at),
        "per_month": (status.left_this_month, status.month_renews_at),
    }
    rows = []
    for name, label in LABELS.items():
        value = getattr(status, name)
        if value:
            room, renews_at = left.get(name, (None, None))
            rows.append(
                LimitRow(
                    label, format_amount(value, places), format_amount(room, places), renews_at
                )
            )
        elif value is not None and name != "overdraft_limit":
            rows.append(LimitRow(label, format_amount(value, places), ""))
    return rows


def list_lot_rows(wallet: AbstractWallet) -> list[LotRow]:
    """Return the lots that are spent next."""
    places = wallet.decimal_places
    return [
        LotRow(
            lot.pk,
            lot.source,
            format_amount(lot.remaining, places),
            format_amount(lot.amount, places),
            lot.expires_at,
            lot.is_withdrawable,
        )
        for lot in list_lots(wallet=wallet)[:SHOWN]
    ]


class LimitsPages:
    """The part of the admin of wallets that sets limits."""

    def has_limit_permission(self, request: HttpRequest) -> bool:
        is_allowed: bool = cast(Any, self)._has_permission(request, "limit")
        return is_allowed

    def describe_rules(self, wallet: AbstractWallet) -> dict[str, Any]:
        """Return what the page of a wallet says of its limits and lots."""
        status = get_limits(wallet=wallet)
        return {
            "limits": list_limits(status, wallet.decimal_places),
            "lots": list_lot_rows(wallet),
        }

    def limits_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Ask for all limits and a reason, then set them."""
        admin = cast(Any, self)
        if not self.has_limit_permission(request):
            raise PermissionDenied
        wallet = admin._get_wallet(request, object_id)
        if request.method != "POST":
            return self._show_limits(request, wallet, LimitsForm(initial=_read_initial(wallet)))
        form = LimitsForm(request.POST)
        if not form.is_valid():
            return self._show_limits(request, wallet, form)
        given = {name: form.cleaned_data[name].strip() or None for name in LABELS}
        reason = form.cleaned_data["reason"]
        try:
            set_limits(wallet=wallet, reason=reason, operator=str(request.user.pk), **given)
        except WalletException as refusal:
            form.add_error(None, str(refusal))
            return self._show_limits(request, wallet, form)
        told = ", ".join(f"{name} {value}" for name, value in given.items() if value)
        admin.log_change(request, wallet, f"Limits set ({told}): {reason}")
        admin.message_user(request, _("The limits are set."))
        return HttpResponseRedirect(admin._url("change", wallet))

    def _show_limits(
        self, request: HttpRequest, wallet: AbstractWallet, form: LimitsForm
    ) -> HttpResponse:
        admin = cast(Any, self)
        context = {
            "title": _("Set the limits"),
            "form": form,
            "wallet": wallet,
            "holder": describe_holder(wallet),
            "back": admin._url("change", wallet),
        }
        answer: HttpResponse = admin._render(request, "admin/dj_wallet/wallet/limits.html", context)
        return answer


def _read_initial(wallet: AbstractWallet) -> dict[str, str]:
    status = get_limits(wallet=wallet)
    return {
        name: _write_plainly(getattr(status, name), wallet.decimal_places)
        for name in LABELS
        if getattr(status, name) is not None
    }


def _write_plainly(value: Decimal, places: int) -> str:
    try:
        return f"{to_scale(value, places):f}"
    except WalletException:
        return f"{trim(value):f}"
