"""Reads of exchange accounts, addresses and synchronizations; never write. Whose rows, the caller says."""

from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Count, F, Max, Q, QuerySet
from django.utils import timezone

from .models import (
    AddressActivityLog,
    AddressSyncLog,
    DepositAddress,
    ExchangeAccount,
    SupportedExchange,
)

# Until the hundredth account of a beat, so that one that needs all of them does not stop the others.
DUE_AT_ONCE: Final = 100
RESUME_AFTER: Final = timedelta(seconds=60)
# Whatever of an account is not pinned or stored is looked for this often.
FULL_EVERY: Final = timedelta(days=7)


def list_exchanges() -> QuerySet[SupportedExchange]:
    """Return the exchanges that users may connect."""
    return SupportedExchange.objects.filter(is_active=True).order_by("name", "id")


def list_accounts(user: Any) -> QuerySet[ExchangeAccount]:
    """Return the user's accounts."""
    return ExchangeAccount.objects.present().filter(user=user)


def list_addresses(user: Any) -> QuerySet[DepositAddress]:
    """Return the user's addresses that were not removed."""
    return DepositAddress.objects.present().filter(user=user)


def list_history(user: Any, address_id: Any) -> QuerySet[AddressActivityLog]:
    """Return what was done to an address of the user, a removed one included."""
    return AddressActivityLog.objects.filter(user=user, address_id=address_id)


def list_syncs(user: Any) -> QuerySet[AddressSyncLog]:
    """Return the user's synchronizations."""
    return AddressSyncLog.objects.filter(user=user)


def list_due_accounts() -> list[ExchangeAccount]:
    """Return accounts whose synchronization is due and not queued, the longest waiting first.

    The hour of an account is spread by its id, so that a thousand that were connected at once do not come back at once.
    """
    now = timezone.now()
    every = timedelta(seconds=settings.EXCHANGES_SYNC_EVERY_SECONDS)
    has_rest = ~Q(sync_cursor=[]) & Q(last_sync_at__lte=now - RESUME_AFTER)
    is_due = Q(last_sync_at__isnull=True) | Q(last_sync_at__lte=now - every) | has_rest
    waiting = AddressSyncLog.objects.open().values("exchange_account_id")
    due = (
        ExchangeAccount.objects.present()
        .filter(is_due, is_active=True)
        .exclude(pk__in=waiting)
        .order_by(F("last_sync_at").asc(nulls_first=True), "pk")
    )
    spread = every / 10
    return [
        account
        for account in due[:DUE_AT_ONCE]
        if account.last_sync_at is None
        or account.sync_cursor
        or account.last_sync_at + every + spread * (account.pk.int % 100 / 100) <= now
    ]


def choose_kind(account: ExchangeAccount) -> str:
    """Return how much the next synchronization looks for: everything once a week, else what is known."""
    full = AddressSyncLog.objects.filter(
        exchange_account=account,
        sync_type=AddressSyncLog.Kind.FULL,
        created_at__gte=timezone.now() - FULL_EVERY,
    )
    kinds = AddressSyncLog.Kind
    return kinds.INCREMENTAL if full.exists() else kinds.FULL


def list_unchecked_accounts(every: timedelta) -> QuerySet[ExchangeAccount]:
    """Return active accounts whose key was not looked at for so long, or was refused and waits to be confirmed."""
    now = timezone.now()
    is_due = Q(checked_at__isnull=True) | Q(checked_at__lte=now - every)
    waits = Q(refused_at__lte=now - timedelta(seconds=60))
    return (
        ExchangeAccount.objects.present()
        .filter(is_due | waits, is_active=True)
        .order_by("checked_at")
    )


def list_addresses_to_check() -> QuerySet[DepositAddress]:
    """Return the addresses that are shown and not known to be changed."""
    return (
        DepositAddress.objects.present()
        .filter(tampered_at__isnull=True)
        .select_related("exchange_account")
        .order_by("pk")
    )


def get_stale_before() -> datetime:
    """Return the time before which an address was verified too long ago to be trusted without a look."""
    return timezone.now() - timedelta(seconds=settings.EXCHANGES_ADDRESS_FRESH_SECONDS)


# Across all users


def count_syncs() -> dict[str, int]:
    """Return how many synchronizations there are of each status."""
    counted = AddressSyncLog.objects.values("status").annotate(count=Count("pk"))
    found = {row["status"]: row["count"] for row in counted.order_by("status")}
    return {status: found.get(status, 0) for status in AddressSyncLog.Status.values}


def count_accounts_by_status() -> dict[str, int]:
    """Return how many accounts are in each state of synchronization."""
    counted = ExchangeAccount.objects.present().values("sync_status").annotate(count=Count("pk"))
    found = {row["sync_status"]: row["count"] for row in counted.order_by("sync_status")}
    return {status: found.get(status, 0) for status in ExchangeAccount.Status.values}


def analyze(since: Any) -> list[dict[str, Any]]:
    """Return how each exchange is used: accounts, people, addresses, synchronizations since a time."""
    accounts = ExchangeAccount.objects.present().values("exchange_id")
    of_accounts = accounts.annotate(
        accounts=Count("pk"),
        active=Count("pk", filter=Q(is_active=True)),
        users=Count("user", distinct=True),
        last_sync_at=Max("last_sync_at"),
    )
    addresses = DepositAddress.objects.present().values("exchange_id")
    of_addresses = addresses.annotate(
        addresses=Count("pk"),
        currencies=Count("currency", distinct=True),
        added=Count("pk", filter=Q(created_at__gte=since)),
    )
    syncs = AddressSyncLog.objects.filter(created_at__gte=since)
    of_syncs = syncs.values(exchange_id=F("exchange_account__exchange_id")).annotate(
        syncs=Count("pk"),
        succeeded=Count("pk", filter=Q(status="success")),
        partial=Count("pk", filter=Q(status="partial")),
        failed=Count("pk", filter=Q(status="failed")),
    )
    rows: dict[str, dict[str, Any]] = {}
    empty = dict.fromkeys(
        ("accounts", "active", "users", "addresses", "currencies", "added", "syncs", "succeeded", "partial", "failed"),
        0,
    )  # fmt: skip
    for found in (of_accounts, of_addresses, of_syncs):
        for counted in found.order_by():
            row: dict[str, Any] = dict(counted)
            name = row.pop("exchange_id")
            rows.setdefault(name, {"exchange": name, **empty, "last_sync_at": None}).update(row)
    return sorted(rows.values(), key=lambda row: (-row["accounts"], row["exchange"]))
