"""Every write of users' keys."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone

from dj_wallet.leases import changing
from dj_wallet.sealing import seal

from .access import ALL_SCOPES, DEFAULT_KEY_SCOPES
from .audit import record_event
from .errors import AddressesInvalid, KeyEnded, ScopesInvalid
from .kept import name_key
from .key_text import hash_secret, make_key_text
from .models import ApiKey, AuditEvent, User

USE_RECORDED_EVERY: Final = timedelta(minutes=1)
MAX_ADDRESSES: Final = 50
DEFAULT_OVERLAP: Final = timedelta(days=1)


def create_api_key(
    *,
    user: User,
    name: str,
    expires_at: datetime | None = None,
    scopes: Iterable[str] | None = None,
    allowed_addresses: Iterable[str] = (),
    is_signing: bool = False,
    replaces: ApiKey | None = None,
    request: HttpRequest | None = None,
) -> tuple[ApiKey, str]:
    """Create a key for the user; return it and its text, which cannot be had again.

    Without scopes it gets `DEFAULT_KEY_SCOPES`. The secret of a signing key is kept, sealed: it signs requests.

    :raises ScopesInvalid: there is no such scope
    :raises AddressesInvalid: an entry is neither address nor network
    """
    text = make_key_text()
    api_key = ApiKey(
        user=user,
        name=name,
        prefix=text.prefix,
        secret_hash=hash_secret(text.secret),
        expires_at=expires_at,
        scopes=check_scopes(DEFAULT_KEY_SCOPES if scopes is None else scopes),
        allowed_addresses=read_networks(allowed_addresses),
        signing_secret=seal(text.secret, purpose="identity") if is_signing else "",
        replaces=replaces,
    )
    with transaction.atomic():
        api_key.save(force_insert=True)
        _record(AuditEvent.Event.KEY_CREATED, api_key, request, scopes=api_key.scopes)
    return api_key, str(text)


def check_scopes(scopes: Iterable[str], *, held: Iterable[str] = ALL_SCOPES) -> list[str]:
    """Return the scopes in order, without duplicates.

    :param held: what its maker has; nobody gives what they have not
    :raises ScopesInvalid: one is not among these
    """
    asked = set(scopes)
    if unknown := asked - ALL_SCOPES:
        raise ScopesInvalid(f"There is no scope {', '.join(sorted(unknown))}.")
    if missing := asked - set(held):
        raise ScopesInvalid(f"You cannot give {', '.join(sorted(missing))}.")
    return sorted(asked)


def read_networks(entries: Iterable[str]) -> list[str]:
    """Return addresses and networks in their canonical form.

    :raises AddressesInvalid: one is neither, or there are more than 50
    """
    try:
        networks: Sequence[str] = [str(ip_network(entry)) for entry in entries]
    except ValueError as error:
        raise AddressesInvalid(str(error)) from None
    if len(networks) > MAX_ADDRESSES:
        raise AddressesInvalid(f"At most {MAX_ADDRESSES} addresses.")
    return list(dict.fromkeys(networks))


def roll_api_key(
    api_key: ApiKey, *, overlap: timedelta = DEFAULT_OVERLAP, request: HttpRequest | None = None
) -> tuple[ApiKey, str]:
    """Create the successor of a key, with all that the key may do; return it and its text.

    The old key goes on working for `overlap` and then ends, or sooner if it would have ended sooner. A key has one
    successor: rolled again, it is refused.

    :raises KeyEnded: it was rolled or revoked before
    """
    with transaction.atomic():
        old = ApiKey.objects.select_for_update().get(pk=api_key.pk)
        if old.revoked_at is not None or hasattr(old, "replaced_by"):
            raise KeyEnded("The key was rolled or revoked before.")
        end = timezone.now() + overlap
        lifetime = None if old.expires_at is None else old.expires_at - old.created_at
        new, text = create_api_key(
            user=old.user,
            name=old.name,
            expires_at=None if lifetime is None else timezone.now() + lifetime,
            scopes=old.scopes,
            allowed_addresses=old.allowed_addresses,
            is_signing=old.is_signing,
            replaces=old,
            request=request,
        )
        old.expires_at = end if old.expires_at is None else min(end, old.expires_at)
        old.save(update_fields=["expires_at"])
        _record(AuditEvent.Event.KEY_ROLLED, old, request, successor=new.prefix)
    return new, text


def revoke_api_key(api_key: ApiKey, *, request: HttpRequest | None = None) -> None:
    """Make the key useless for ever; the first revocation stands."""
    now = timezone.now()
    kept = changing([name_key(api_key.prefix)], DEFAULT_DB_ALIAS)
    with transaction.atomic(), kept:
        if ApiKey.objects.filter(pk=api_key.pk, revoked_at__isnull=True).update(revoked_at=now):
            api_key.revoked_at = now
            _record(AuditEvent.Event.KEY_REVOKED, api_key, request)


def record_use(api_key: ApiKey) -> None:
    """Note that the key was used, at most once a minute: reads should not cost a write each."""
    now = timezone.now()
    stale = now - USE_RECORDED_EVERY
    if api_key.last_used_at is not None and api_key.last_used_at > stale:
        return
    not_yet_noted = Q(last_used_at__isnull=True) | Q(last_used_at__lte=stale)
    with changing([name_key(api_key.prefix)], DEFAULT_DB_ALIAS):
        ApiKey.objects.filter(not_yet_noted, pk=api_key.pk).update(last_used_at=now)
    api_key.last_used_at = now


def _record(
    event: AuditEvent.Event, api_key: ApiKey, request: HttpRequest | None, **details: Any
) -> None:
    actor = getattr(request, "user", None)
    record_event(
        event,
        user=api_key.user,
        request=request,
        actor=actor if isinstance(actor, User) else None,
        key=api_key.prefix,
        **details,
    )
