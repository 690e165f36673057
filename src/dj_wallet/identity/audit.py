"""What happens to accounts, written down: sign-ins, second factors, passwords, keys. A row and a log line each.

allauth and Django announce most of it by signals, which are received here.
"""

import logging
from typing import Any

from allauth.account import signals as account_signals
from allauth.account.adapter import get_adapter
from allauth.mfa import signals as mfa_signals
from django.contrib.auth import signals as auth_signals
from django.core.exceptions import PermissionDenied
from django.dispatch import receiver
from django.http import HttpRequest

from .models import AuditEvent, User

logger = logging.getLogger(__name__)

Event = AuditEvent.Event

MAX_USERNAME = 150
MAX_USER_AGENT = 200


def record_event(
    event: AuditEvent.Event,
    *,
    user: User | None,
    request: HttpRequest | None = None,
    actor: User | None = None,
    username: str = "",
    **details: Any,
) -> AuditEvent:
    """Write down what happened to the user's account, in the caller's transaction."""
    name = clean(user.username if user else username, MAX_USERNAME)
    address = find_address(request)
    level = logging.WARNING if user is None or "failed" in event.value else logging.INFO
    logger.log(level, "%s: user %r from %s %s", event.value, name, address or "-", details or "")
    return AuditEvent.objects.create(
        event=event,
        user=user,
        username=name,
        actor=actor or (user if request is not None else None),
        address=address,
        user_agent=clean(request.META.get("HTTP_USER_AGENT", ""), MAX_USER_AGENT)
        if request
        else "",
        request_id=getattr(request, "request_id", ""),
        details=details,
    )


def find_address(request: HttpRequest | None) -> str | None:
    """Return the client's address as the trusted proxies tell it, or None if nobody knows."""
    if request is None:
        return None
    try:
        address: str = get_adapter().get_client_ip(request)
    except PermissionDenied:
        return None
    return address


def clean(text: str, length: int) -> str:
    """Return the text as a column and a log line can hold it: short, printable."""
    return "".join(one if one.isprintable() else "?" for one in text[:length])


@receiver(account_signals.user_signed_up)
def note_sign_up(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    record_event(Event.SIGNED_UP, user=user, request=request)


@receiver(account_signals.user_logged_in)
def note_sign_in(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    record_event(Event.SIGNED_IN, user=user, request=request)


@receiver(auth_signals.user_login_failed)
def note_failure(
    sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    name = str(credentials.get("username") or credentials.get("email") or "")
    record_event(Event.SIGN_IN_FAILED, user=None, username=name, request=request)


@receiver(auth_signals.user_logged_out)
def note_sign_out(sender: Any, request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    if user is not None:
        record_event(Event.SIGNED_OUT, user=user, request=request)


@receiver(
    [account_signals.password_set, account_signals.password_changed, account_signals.password_reset]
)
def note_password(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    record_event(Event.PASSWORD_CHANGED, user=user, request=request)


@receiver(account_signals.email_changed)
def note_email(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    record_event(Event.EMAIL_CHANGED, user=user, request=request)


@receiver(mfa_signals.authenticator_added)
def note_added(
    sender: Any, request: HttpRequest, user: User, authenticator: Any, **kwargs: Any
) -> None:
    record_event(Event.SECOND_FACTOR_ADDED, user=user, request=request, type=authenticator.type)


@receiver(mfa_signals.authenticator_removed)
def note_removed(
    sender: Any, request: HttpRequest, user: User, authenticator: Any, **kwargs: Any
) -> None:
    record_event(Event.SECOND_FACTOR_REMOVED, user=user, request=request, type=authenticator.type)


@receiver(mfa_signals.authenticator_reset)
def note_reset(
    sender: Any, request: HttpRequest, user: User, authenticator: Any, **kwargs: Any
) -> None:
    record_event(Event.SECOND_FACTOR_RESET, user=user, request=request, type=authenticator.type)


@receiver(mfa_signals.authenticator_used)
def note_used(
    sender: Any, request: HttpRequest, user: User, authenticator: Any, **kwargs: Any
) -> None:
    record_event(Event.SECOND_FACTOR_USED, user=user, request=request, type=authenticator.type)


@receiver(mfa_signals.authentication_failed)
def note_failed_factor(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    record_event(Event.SECOND_FACTOR_FAILED, user=user, request=request)
