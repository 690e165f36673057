"""What is told about accounts and addresses: activity for their owner, events for others. No secret is in either."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dj_wallet.events.services import publish_event

from .metrics import count_activity
from .models import AddressActivityLog, AddressSyncLog, DepositAddress, ExchangeAccount

MAX_USER_AGENT_CHARACTERS: Final = 500


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asked, as far as it is known: nobody for what workers do by themselves."""

    ip_address: str | None = None
    user_agent: str = ""


NOBODY: Final = Origin()


def log_activity(
    account: ExchangeAccount,
    action: str,
    *,
    address: DepositAddress | None = None,
    old: Mapping[str, Any] | None = None,
    new: Mapping[str, Any] | None = None,
    origin: Origin = NOBODY,
) -> None:
    """Record what was done, in the transaction in which it is done, and count it."""
    AddressActivityLog.objects.create(
        exchange_account=account,
        address=address,
        user_id=account.user_id,
        action=action,
        old_values=None if old is None else dict(old),
        new_values=None if new is None else dict(new),
        ip_address=origin.ip_address,
        user_agent=origin.user_agent[:MAX_USER_AGENT_CHARACTERS],
    )
    count_activity(account.exchange_id, action)


def publish(account: ExchangeAccount, event_type: str, **data: Any) -> None:
    """Publish an event about an account, in the transaction in which it happens."""
    publish_event(
        event_type=event_type,
        subject=f"exchange_account:{account.pk}",
        data={
            "exchange_account_id": str(account.pk),
            "user_id": str(account.user_id),
            "exchange": account.exchange_id,
            **data,
        },
    )


def describe_address(address: DepositAddress) -> dict[str, Any]:
    """Return what an event and an entry of the activity say of an address."""
    return {
        "address_id": str(address.pk),
        "currency": address.currency,
        "network": address.network,
        "address": address.address,
        "tag": address.tag,
        "state": address.state,
    }


def describe_sync(log: AddressSyncLog) -> dict[str, Any]:
    """Return what an event says of a synchronization that ended."""
    return {
        "sync_id": str(log.pk),
        "status": log.status,
        "currencies_synced": log.currencies_synced,
        "addresses_added": log.addresses_added,
        "addresses_updated": log.addresses_updated,
        "addresses_removed": log.addresses_removed,
        "error": log.error_details,
    }
