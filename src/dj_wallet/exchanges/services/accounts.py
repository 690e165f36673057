"""Connecting, changing, testing and removing exchange accounts."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NoReturn

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from dj_wallet.exchanges import runtime
from dj_wallet.exchanges.credentials import make_fingerprint, open_credentials, seal_credentials
from dj_wallet.exchanges.credentials.fingerprint import make_digest
from dj_wallet.exchanges.errors import (
    AccountChanged,
    AccountExists,
    AccountInactive,
    AccountMismatch,
    ApiKeyInUse,
    VenueError,
    WithdrawPermissionPresent,
    WithdrawPermissionUnknown,
)
from dj_wallet.exchanges.guides import get_guide
from dj_wallet.exchanges.journal import NOBODY, Origin, log_activity, publish
from dj_wallet.exchanges.metrics import count_sync
from dj_wallet.exchanges.models import AddressSyncLog, ExchangeAccount
from dj_wallet.exchanges.venues.contract import ConnectionReport, Credentials, Permissions
from dj_wallet.exchanges.venues.errors import (
    AccountSuspended,
    CredentialsIncomplete,
    InvalidCredentials,
    IPNotAllowed,
    PermissionMissing,
    RateLimited,
    RestrictedLocation,
    TLSInvalid,
    VenueBlocked,
)

from .supported import get_supported, record_reachability

logger = logging.getLogger(__name__)

# The exchange must have said twice, so far apart, that it does not know a key, before the account is switched off.
CONFIRM_AFTER: Final = timedelta(seconds=60)
WARNING_DAYS: Final = (1, 7, 14)
# Failures that say something of the account or its exchange; all others are about one currency.
ABOUT_ACCOUNT: Final = (
    InvalidCredentials, AccountSuspended, IPNotAllowed, PermissionMissing, RateLimited, RestrictedLocation, TLSInvalid,
    VenueBlocked,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Connection:
    """What a test of a connection found."""

    report: ConnectionReport
    warnings: tuple[str, ...]


def connect_account(
    *,
    user: Any,
    exchange_id: str,
    account_name: str,
    credentials: Credentials,
    sandbox_mode: bool = False,
    metadata: Mapping[str, Any] | None = None,
    origin: Origin = NOBODY,
) -> ExchangeAccount:
    """Test a key and keep it, sealed. Must not run inside a transaction: the exchange is asked.

    :raises AccountExists: the user has an account of this name there
    :raises ApiKeyInUse: the key is connected already, by whomever
    :raises WithdrawPermissionPresent: the key may withdraw, and the policy is to refuse such
    :raises VenueError: the exchange is not supported, or does not accept the key
    """
    exchange, venue = get_supported(exchange_id)
    if venue.requires_passphrase and not credentials.passphrase:
        raise CredentialsIncomplete(f"{venue.name} keys have a passphrase.", venue=venue.id)
    account = ExchangeAccount(
        user=user,
        exchange=exchange,
        account_name=account_name,
        sandbox_mode=sandbox_mode,
        metadata=dict(metadata or {}),
        key_hint=credentials.hint,
        fingerprint=make_fingerprint(venue.id, credentials.api_key, sandbox=sandbox_mode),
    )
    _refuse_doubles(account)
    report = runtime.check_connection(describe_account(account, credentials))
    refuse_excess(venue.id, report.permissions)
    account.sealed_key, account.sealed_credentials = seal_credentials(account, credentials)
    note_report(account, report)
    try:
        with transaction.atomic():
            account.save(force_insert=True)
            log_activity(account, "exchange.connected", new=show_facts(account), origin=origin)
            publish(account, "exchange.connected", sandbox=sandbox_mode)
    except IntegrityError:
        _refuse_doubles(account)
        raise
    return account


def update_account(
    account: ExchangeAccount,
    *,
    account_name: str | None = None,
    is_active: bool | None = None,
    metadata: Mapping[str, Any] | None = None,
    credentials: Credentials | None = None,
    origin: Origin = NOBODY,
) -> ExchangeAccount:
    """Change what is given. New credentials are tested first and must open the same account; else the old ones stay.

    Must not run inside a transaction if credentials are given.

    :raises AccountExists: the user has an account of this name there
    :raises ApiKeyInUse: the new key is connected already
    :raises AccountMismatch: the new key opens another account
    :raises AccountChanged: the account was changed or removed meanwhile
    :raises VenueError: the exchange does not accept the new key
    """
    old, version = show_facts(account), account.credentials_version
    changed = ["updated_at"]
    if credentials is not None:
        changed += _take_credentials(account, credentials)
    for name, value in (
        ("account_name", account_name),
        ("is_active", is_active),
        ("metadata", None if metadata is None else dict(metadata)),
    ):
        if value is not None:
            setattr(account, name, value)
            changed.append(name)
    if is_active:
        account.refused_at, changed = None, [*changed, "refused_at"]
    try:
        with transaction.atomic():
            _lock_version(account, version)
            account.save(update_fields=changed)
            log_activity(
                account, "exchange.updated", old=old, new=show_facts(account), origin=origin
            )
            if credentials is not None:
                publish(account, "exchange.credentials_changed")
    except IntegrityError:
        _refuse_doubles(account)
        raise
    if credentials is not None or is_active is False:
        runtime.forget(str(account.pk))
    return account


def _lock_version(account: ExchangeAccount, version: int) -> None:
    """:raises AccountChanged: somebody removed the account or changed its key meanwhile"""
    present = ExchangeAccount.objects.present().filter(pk=account.pk, credentials_version=version)
    if not present.select_for_update().exists():
        raise AccountChanged(
            "The exchange account was changed meanwhile: read it again.", venue=account.exchange_id
        )


def _take_credentials(account: ExchangeAccount, credentials: Credentials) -> list[str]:
    """Test new credentials and seal them into the account; return the names of the fields that changed."""
    account.fingerprint = make_fingerprint(
        account.exchange_id, credentials.api_key, sandbox=account.sandbox_mode
    )
    _refuse_doubles(account)
    trial = describe_account(account, credentials, version=account.credentials_version + 1)
    try:
        report = runtime.check_connection(trial)
    finally:
        runtime.forget(str(account.pk))
    refuse_excess(account.exchange_id, report.permissions)
    uid = _digest_uid(account, report.permissions)
    if uid and account.account_uid and uid != account.account_uid:
        raise AccountMismatch(
            "The new key opens another account of the exchange: connect it as one of its own.",
            venue=account.exchange_id,
        )
    account.credentials_version += 1
    account.key_hint = credentials.hint
    account.sealed_key, account.sealed_credentials = seal_credentials(account, credentials)
    note_report(account, report)
    return [
        "fingerprint", "credentials_version", "key_hint", "sealed_key", "sealed_credentials", *REPORTED,
    ]  # fmt: skip


def remove_account(account: ExchangeAccount, *, origin: Origin = NOBODY) -> None:
    """Erase the credentials and the key that opened them; keep the account and its addresses as history. Idempotent."""
    now = timezone.now()
    with transaction.atomic():
        locked = ExchangeAccount.objects.select_for_update().get(pk=account.pk)
        if locked.deleted_at is not None:
            return
        old = show_facts(locked)
        locked.sealed_key = locked.sealed_credentials = locked.key_hint = ""
        locked.fingerprint = None
        locked.is_active, locked.deleted_at = False, now
        locked.credentials_version += 1
        locked.save()
        locked.addresses.present().update(deleted_at=now, is_active=False, updated_at=now)
        if locked.syncs.open().update(
            status=AddressSyncLog.Status.FAILED,
            finished_at=now,
            lease_until=None,
            error_details={"code": AccountInactive.code, "message": "The account was removed."},
        ):
            count_sync(locked.exchange_id, AddressSyncLog.Status.FAILED)
        log_activity(locked, "exchange.removed", old=old, origin=origin)
        publish(locked, "exchange.removed")
    runtime.forget(str(account.pk))


def check_account(account: ExchangeAccount, *, origin: Origin = NOBODY) -> Connection:
    """Ask the exchange what the key may do, and note the answer. Must not run inside a transaction.

    A key that may withdraw switches the account off if the policy is to refuse such: rights are given later, too.

    :raises WithdrawPermissionPresent: the account was switched off for that
    :raises VenueError: why there is no answer; what follows from it is noted
    """
    try:
        report = runtime.check_connection(describe_account(account))
    except VenueError as error:
        note_failure(account, error)
        raise
    with transaction.atomic():
        note_report(account, report)
        account.refused_at = None
        account.error_code = account.error_message = ""
        account.save(update_fields=[*REPORTED, "refused_at", "error_code", "error_message"])
        _warn_of_expiry(account)
        record_reachability(account.exchange_id, None)
        log_activity(account, "exchange.tested", new=account.permissions, origin=origin)
    try:
        refuse_excess(account.exchange_id, report.permissions)
    except WithdrawPermissionPresent as error:
        switch_off(account, error)
        raise
    return Connection(report, list_warnings(report.permissions))


def note_failure(account: ExchangeAccount, error: VenueError) -> None:
    """Note why an exchange gave no answer: an account is switched off only for what cannot mend itself.

    "Invalid key" must be said twice, a minute apart: exchanges say it in passing, and Binance says it of other IPs too.
    """
    if not isinstance(error, ABOUT_ACCOUNT) and not error.is_outage:
        return
    with transaction.atomic():
        record_reachability(account.exchange_id, error)
        if account.error_code != error.code:
            _alert(account, error)
        if isinstance(error, InvalidCredentials) and not _is_confirmed(account):
            return
        account.error_code, account.error_message = error.code, str(error)
        account.save(update_fields=["error_code", "error_message", "updated_at"])
    if isinstance(error, InvalidCredentials | AccountSuspended):
        switch_off(account, error)


def _alert(account: ExchangeAccount, error: VenueError) -> None:
    """Tell of a failure when it begins, not each time it is met."""
    if isinstance(error, RateLimited):
        publish(account, "exchange.rate_limited", retry_after=error.retry_after)
    elif error.is_outage:
        publish(account, "exchange.connection_failed", code=error.code, message=str(error))


def _is_confirmed(account: ExchangeAccount) -> bool:
    """Tell whether the exchange refused the key before, long enough ago; else remember that it did now."""
    now = timezone.now()
    if account.refused_at is None:
        account.refused_at = now
        account.error_code = InvalidCredentials.code
        account.error_message = (
            "The exchange did not accept the key once: a second time switches the account off."
        )
        account.save(update_fields=["refused_at", "error_code", "error_message", "updated_at"])
        return False
    return now - account.refused_at >= CONFIRM_AFTER


def switch_off(account: ExchangeAccount, error: VenueError) -> None:
    """Stop using an account and tell its owner why. The credentials stay: the owner may mend the key and switch it on."""
    with transaction.atomic():
        if not ExchangeAccount.objects.filter(pk=account.pk, is_active=True).update(
            is_active=False, error_code=error.code, error_message=str(error)
        ):
            return
        account.is_active, account.error_code, account.error_message = False, error.code, str(error)
        log_activity(account, "exchange.switched_off", new={"code": error.code})
        publish(account, "exchange.credentials_invalid", code=error.code, message=str(error))
    runtime.forget(str(account.pk))


def describe_account(
    account: ExchangeAccount, credentials: Credentials | None = None, *, version: int | None = None
) -> runtime.Account:
    """Return the account as the runtime knows it; its credentials are opened when a client is made."""
    return runtime.Account(
        id=str(account.pk),
        owner=str(account.user_id),
        venue=account.exchange_id,
        credentials_version=version or account.credentials_version,
        load_credentials=lambda: credentials or open_credentials(account),
        sandbox=account.sandbox_mode,
    )


def get_usable(account: ExchangeAccount) -> runtime.Account:
    """Return an account that may be used, as the runtime knows it.

    :raises AccountInactive: it is switched off or removed
    """
    if not account.is_active or account.deleted_at is not None:
        raise AccountInactive(
            "The exchange account is switched off. Mend its key and switch it on.",
            venue=account.exchange_id,
            venue_message=account.error_message,
        )
    return describe_account(account)


def refuse_excess(exchange_id: str, permissions: Permissions) -> None:
    """Refuse keys that may do more than ours need, unless the policy is to warn.

    :raises WithdrawPermissionPresent: the key may withdraw
    :raises WithdrawPermissionUnknown: nobody says whether it may
    """
    if settings.EXCHANGES_PERMISSION_POLICY == "warn" or permissions.can_withdraw is False:
        return
    guide = get_guide(exchange_id)
    if permissions.can_withdraw:
        raise WithdrawPermissionPresent(
            "This key may withdraw. Make one that may only read.", venue=exchange_id, guide=guide
        )
    raise WithdrawPermissionUnknown(
        "The exchange does not say whether this key may withdraw.", venue=exchange_id, guide=guide
    )


REPORTED: Final = ("permissions", "account_uid", "key_expires_at", "checked_at", "updated_at")


def note_report(account: ExchangeAccount, report: ConnectionReport) -> None:
    """Take over what a test found, without saving."""
    permissions = report.permissions
    account.permissions = {
        "can_withdraw": permissions.can_withdraw,
        "can_trade": permissions.can_trade,
        "can_read_addresses": permissions.can_read_addresses,
        "is_ip_restricted": permissions.is_ip_restricted,
        "named": list(permissions.named),
        "warnings": list(list_warnings(permissions)),
    }
    account.account_uid = _digest_uid(account, permissions) or account.account_uid
    account.key_expires_at = permissions.expires_at
    account.checked_at = timezone.now()


def _digest_uid(account: ExchangeAccount, permissions: Permissions) -> str:
    """Return what tells the exchange's account from others of it: its number there is nobody's business."""
    if not permissions.account_uid:
        return ""
    return make_digest("account-uid", account.exchange_id, permissions.account_uid)


def list_warnings(permissions: Permissions) -> tuple[str, ...]:
    """Return what the owner of a key should mend, most dangerous first."""
    found = (
        (permissions.can_withdraw is True, "The key may withdraw."),
        (permissions.can_withdraw is None, "Whether the key may withdraw is not known."),
        (
            permissions.can_trade is True,
            "The key may trade; reading addresses needs no such right.",
        ),
        (permissions.is_ip_restricted is False, "The key is not tied to IP addresses."),
    )
    return tuple(says for is_so, says in found if is_so)


def _warn_of_expiry(account: ExchangeAccount) -> None:
    """Tell at fourteen, seven and one day before the key's end, once each."""
    if account.key_expires_at is None:
        return
    left = account.key_expires_at - timezone.now()
    due = next((days for days in WARNING_DAYS if left <= timedelta(days=days)), None)
    warned = account.expiry_warned_days
    if due is None or (warned is not None and warned <= due):
        if due is None and warned is not None:  # a later end: begin anew
            account.expiry_warned_days = None
            account.save(update_fields=["expiry_warned_days"])
        return
    account.expiry_warned_days = due
    account.save(update_fields=["expiry_warned_days"])
    publish(
        account,
        "exchange.credentials_expiring",
        expires_at=account.key_expires_at.isoformat(),
        days=due,
    )


def show_facts(account: ExchangeAccount) -> dict[str, Any]:
    """Return what the activity says of an account."""
    return {
        "account_name": account.account_name,
        "exchange": account.exchange_id,
        "is_active": account.is_active,
        "sandbox_mode": account.sandbox_mode,
        "credentials_version": account.credentials_version,
        "metadata": account.metadata,
    }


def _refuse_doubles(account: ExchangeAccount) -> None:
    """:raises AccountExists, ApiKeyInUse: somebody has the name or the key"""
    others = ExchangeAccount.objects.exclude(pk=account.pk)
    if others.filter(fingerprint=account.fingerprint).exists():
        _refuse_key(account)
    if (
        others.present()
        .filter(
            user_id=account.user_id,
            exchange_id=account.exchange_id,
            account_name=account.account_name,
        )
        .exists()
    ):
        raise AccountExists(
            "You have an account of this name at this exchange.", venue=account.exchange_id
        )


def _refuse_key(account: ExchangeAccount) -> NoReturn:
    """Say nothing of whose account it is."""
    raise ApiKeyInUse("This API key is connected already.", venue=account.exchange_id)
