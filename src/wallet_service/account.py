"""The page that people come to when they sign in: their account at a glance."""

from typing import Final, cast

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from dj_wallet.identity.models import AuditEvent, User
from dj_wallet.identity.queries import list_api_keys
from dj_wallet.identity.step_up import has_second_factor_set_up

SHOWN: Final = 10


@login_required
def show_account(request: HttpRequest) -> HttpResponse:
    """Show who is signed in, how well the account is protected, its keys, and what happened to it last."""
    user = cast(User, request.user)
    context = {
        "has_second_factor": has_second_factor_set_up(user),
        "api_keys": list_api_keys(user).order_by("-pk")[:SHOWN],
        "events": AuditEvent.objects.filter(user=user).order_by("-pk")[:SHOWN],
    }
    return render(request, "wallet_service/account.html", context)
