"""A second factor, and a fresh one: what the admin asks before it lets anybody in, and risky actions before they happen.

A proof is an authenticator code, a passkey or a recovery code that allauth noted in the session.
"""

import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlencode

from allauth.account.authentication import get_authentication_records
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse

View = TypeVar("View", bound=Callable[..., HttpResponseBase])

FRESH_SECONDS: Final = 300
FACTORS: Final = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)


def has_second_factor_set_up(user: Any) -> bool:
    """Tell whether the user has an authenticator app or a passkey."""
    return bool(is_mfa_enabled(user, types=FACTORS))


def has_second_factor(request: HttpRequest) -> bool:
    """Tell whether the session was proved with a second factor. No query."""
    return bool(_list_proofs(request))


def has_fresh_second_factor(request: HttpRequest) -> bool:
    """Tell whether it was in the last five minutes. No query."""
    oldest = time.time() - FRESH_SECONDS
    return any(proof.get("at", 0) >= oldest for proof in _list_proofs(request))


def is_step_up_needed(request: HttpRequest) -> bool:
    """Tell whether a risky action must wait for a fresh second factor.

    Users without one are let through only where none is asked of anybody, which is not so in production.
    """
    if has_fresh_second_factor(request):
        return False
    return bool(settings.WALLET_REQUIRE_MFA) or has_second_factor_set_up(request.user)


def find_step_up(request: HttpRequest) -> HttpResponse | None:
    """Return where the user proves a second factor anew, or None if that is not needed."""
    if not is_step_up_needed(request):
        return None
    back = request.get_full_path() if request.method == "GET" else request.path
    return _redirect_to_proof(request, back)


def step_up_required(view: View) -> View:
    """Let the view wait for a fresh second factor. What was posted is not done; the form is asked for again."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return find_step_up(request) or view(request, *args, **kwargs)

    return cast(View, guarded)


def guard_admin(site: AdminSite) -> None:
    """Close the site's own sign-in, and let in only who has proved a second factor, where the settings ask for one.

    The site's own page knows neither second factors nor throttles.
    """
    is_staff = site.has_permission

    def has_permission(request: HttpRequest) -> bool:
        return is_staff(request) and may_pass(request)

    site.has_permission = has_permission  # type: ignore[method-assign]
    site.login = sign_in_to_admin  # type: ignore[method-assign]


def may_pass(request: HttpRequest) -> bool:
    """Tell whether the session is proved well enough for what staff may see."""
    return not settings.WALLET_REQUIRE_MFA or has_second_factor(request)


def find_staff_proof(request: HttpRequest) -> HttpResponse | None:
    """Return where staff prove a second factor before they go on, or None if that is not needed."""
    user = request.user
    if not (user.is_authenticated and user.is_staff) or may_pass(request):
        return None
    return _redirect_to_proof(request, request.get_full_path())


def sign_in_to_admin(request: HttpRequest, extra_context: Any = None) -> HttpResponse:
    """Send whoever wants into the admin to the page that is missing: sign-in, set-up of a second factor, or its proof.

    :raises PermissionDenied: they are signed in and not staff
    """
    back = request.GET.get("next") or reverse("admin:index")
    if not request.user.is_authenticated:
        return _redirect("account_login", back)
    if not (request.user.is_active and request.user.is_staff):
        raise PermissionDenied
    if may_pass(request):
        return _redirect_inside(back)
    return _redirect_to_proof(request, back)


def _list_proofs(request: HttpRequest) -> list[dict[str, Any]]:
    if not request.user.is_authenticated:
        return []
    records = get_authentication_records(request, request.user)
    return [record for record in records if record.get("method") == "mfa"]


def _redirect_to_proof(request: HttpRequest, back: str) -> HttpResponse:
    user = request.user
    if not has_second_factor_set_up(user):
        return _redirect("mfa_index", back)
    has_app = is_mfa_enabled(user, types=[Authenticator.Type.TOTP])
    return _redirect("mfa_reauthenticate" if has_app else "mfa_reauthenticate_webauthn", back)


def _redirect(name: str, back: str) -> HttpResponse:
    return HttpResponseRedirect(f"{reverse(name)}?{urlencode({'next': back})}")


def _redirect_inside(back: str) -> HttpResponse:
    """Go to a page of the admin and nowhere else: `next` is what a stranger may have written."""
    index = reverse("admin:index")
    return HttpResponseRedirect(back if back.startswith(index) else index)
