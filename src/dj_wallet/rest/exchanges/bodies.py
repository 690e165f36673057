"""What answers look like. Credentials are in none of them; `schemas` describes them, a test holds the two together."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from django.conf import settings

from dj_wallet.exchanges import queries
from dj_wallet.exchanges.guides import get_guide
from dj_wallet.exchanges.models import (
    AddressActivityLog,
    AddressSyncLog,
    DepositAddress,
    ExchangeAccount,
    SupportedExchange,
)
from dj_wallet.exchanges.payment import make_payment_uri
from dj_wallet.exchanges.services.accounts import Connection
from dj_wallet.exchanges.services.addresses import is_intact
from dj_wallet.rest.bodies import show_time


def show_account(account: ExchangeAccount) -> dict[str, Any]:
    """Return an exchange account."""
    return {
        "id": str(account.pk),
        "exchange_id": account.exchange_id,
        "account_name": account.account_name,
        "key_hint": account.key_hint,
        "sandbox_mode": account.sandbox_mode,
        "is_active": account.is_active,
        "last_sync_at": show_moment(account.last_sync_at),
        "sync_status": account.sync_status,
        "error_code": account.error_code or None,
        "error_message": account.error_message or None,
        "permissions": account.permissions,
        "checked_at": show_moment(account.checked_at),
        "key_expires_at": show_moment(account.key_expires_at),
        "metadata": account.metadata,
        "created_at": show_time(account.created_at),
        "updated_at": show_time(account.updated_at),
    }


def show_account_to_staff(account: ExchangeAccount) -> dict[str, Any]:
    """Return an exchange account with whose it is."""
    return {**show_account(account), "user_id": str(account.user_id)}


def show_connection(connection: Connection) -> dict[str, Any]:
    """Return what a test of a connection found."""
    report = connection.report
    permissions = report.permissions
    return {
        "status": "success",
        "exchange": report.venue,
        "latency_ms": report.latency_ms,
        "clock_skew_ms": report.clock_skew_ms,
        "permissions": {
            "can_withdraw": permissions.can_withdraw,
            "can_trade": permissions.can_trade,
            "can_read_addresses": permissions.can_read_addresses,
            "is_ip_restricted": permissions.is_ip_restricted,
            "named": list(permissions.named),
        },
        "key_expires_at": show_moment(permissions.expires_at),
        "warnings": list(connection.warnings),
    }


# What `show_address` reads. A list of thousands asks for tuples of these: a model's instance costs four times as much.
ADDRESS_FIELDS: Final = (
    "id", "exchange_account_id", "exchange_id", "currency", "address", "tag", "tag_required", "network",
    "network_exchange_id", "network_label", "network_source", "address_type", "state", "label", "description",
    "is_active", "last_verified_at", "expires_at", "warnings", "seal", "exchange_metadata", "user_metadata", "created_at", "updated_at",
)  # fmt: skip


def show_address(address: DepositAddress) -> dict[str, Any]:
    """Return a deposit address; what was changed behind our back is not shown as one."""
    return show_addresses([address])[0]


def show_addresses(addresses: Iterable[DepositAddress]) -> list[dict[str, Any]]:
    """Return deposit addresses; each may be a tuple of its ADDRESS_FIELDS, too."""
    stale_before = queries.get_stale_before()
    return [_show_address(address, stale_before) for address in addresses]


def _show_address(address: DepositAddress, stale_before: datetime) -> dict[str, Any]:
    is_whole, verified_at = is_intact(address), address.last_verified_at
    return {
        "id": str(address.id),
        "exchange_account_id": str(address.exchange_account_id),
        "exchange_id": address.exchange_id,
        "currency": address.currency,
        "address": address.address if is_whole else None,
        "tag": address.tag if is_whole else None,
        "tag_required": address.tag_required,
        "network": address.network,
        "network_exchange_id": address.network_exchange_id,
        "network_label": address.network_label,
        "network_source": address.network_source,
        "address_type": address.address_type,
        "state": address.state,
        "label": address.label or None,
        "description": address.description or None,
        "is_active": address.is_active,
        "is_intact": is_whole,
        "is_stale": verified_at is None or verified_at < stale_before,
        "last_verified_at": show_moment(verified_at),
        "expires_at": show_moment(address.expires_at),
        "warnings": address.warnings,
        "payment_uri": make_payment_uri(address) if is_whole else None,
        "exchange_metadata": address.exchange_metadata,
        "user_metadata": address.user_metadata,
        "created_at": show_time(address.created_at),
        "updated_at": show_time(address.updated_at),
    }


def show_activity(entry: AddressActivityLog) -> dict[str, Any]:
    """Return an entry of an address's history."""
    return {
        "id": str(entry.pk),
        "address_id": str(entry.address_id),
        "action": entry.action,
        "old_values": entry.old_values,
        "new_values": entry.new_values,
        "ip_address": entry.ip_address,
        "user_agent": entry.user_agent,
        "created_at": show_time(entry.created_at),
    }


def show_sync(log: AddressSyncLog) -> dict[str, Any]:
    """Return a synchronization: progress while it runs, the record afterwards."""
    return {
        "id": str(log.pk),
        "exchange_account_id": str(log.exchange_account_id),
        "sync_type": log.sync_type,
        "status": log.status,
        "progress": {"done": len(log.results), "total": log.currencies_total},
        "currencies_synced": log.currencies_synced,
        "addresses_added": log.addresses_added,
        "addresses_updated": log.addresses_updated,
        "addresses_removed": log.addresses_removed,
        "sync_duration_ms": log.sync_duration_ms,
        "results": log.results,
        "error_details": log.error_details,
        "created_at": show_time(log.created_at),
        "started_at": show_moment(log.started_at),
        "finished_at": show_moment(log.finished_at),
    }


def show_exchange(exchange: SupportedExchange) -> dict[str, Any]:
    """Return an exchange that can be connected."""
    return {
        "id": exchange.pk,
        "name": exchange.name,
        "ccxt_id": exchange.ccxt_id,
        "website_url": exchange.website_url,
        "api_doc_url": exchange.api_doc_url,
        "is_active": exchange.is_active,
        "supports_deposit_addresses": exchange.supports_deposit_addresses,
        "rate_limit_per_minute": exchange.rate_limit_per_minute,
        "requires_passphrase": exchange.requires_passphrase,
        "sandbox_available": exchange.sandbox_available
        and bool(settings.EXCHANGES_SANDBOX_ADDRESS),
    }


def show_exchange_info(exchange: SupportedExchange, *, can_create: bool) -> dict[str, Any]:
    """Return an exchange with what its users should know before they connect it."""
    return {
        **show_exchange(exchange),
        "can_create_address": can_create,
        "supported_currencies": exchange.supported_currencies,
        "least_privilege": get_guide(exchange.pk),
        "egress_ips": list(settings.EXCHANGES_EGRESS_IPS),
        "permission_policy": settings.EXCHANGES_PERMISSION_POLICY,
        "status": "disrupted" if exchange.disrupted_at else "ok",
        "disrupted_at": show_moment(exchange.disrupted_at),
    }


def show_moment(moment: Any) -> str | None:
    """Return the time as ISO 8601, or None."""
    return None if moment is None else show_time(moment)
