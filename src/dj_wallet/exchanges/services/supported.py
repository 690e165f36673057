"""The exchanges that users may connect: a row for each adapter, and what they were found to list."""

from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from dj_wallet.events.services import publish_event
from dj_wallet.exchanges.errors import VenueError
from dj_wallet.exchanges.models import SupportedExchange
from dj_wallet.exchanges.venues import Venue, get_venue, list_venues
from dj_wallet.exchanges.venues.contract import NetworkOption
from dj_wallet.exchanges.venues.errors import VenueNotSupported


def ensure_supported_exchanges(*, using: str | None = None) -> None:
    """Have a row for each venue with an adapter; what an operator switched off stays off. Idempotent."""
    rows = [
        SupportedExchange(
            id=venue.id,
            name=venue.name,
            ccxt_id=venue.ccxt_id,
            website_url=venue.website,
            api_doc_url=venue.api_docs,
            rate_limit_per_minute=venue.addresses_per_minute,
            requires_passphrase=venue.requires_passphrase,
            sandbox_available=True,
            updated_at=timezone.now(),
        )
        for venue in list_venues()
    ]
    facts = [
        "name", "ccxt_id", "website_url", "api_doc_url", "rate_limit_per_minute", "requires_passphrase",
        "sandbox_available", "updated_at",
    ]  # fmt: skip
    SupportedExchange.objects.using(using).bulk_create(
        rows, update_conflicts=True, unique_fields=["id"], update_fields=facts
    )


def get_supported(name: str) -> tuple[SupportedExchange, Venue]:
    """Return the exchange of this id or one of its old names.

    :raises VenueNotSupported: it is not one that users may connect
    """
    venue = get_venue(name)
    exchange = SupportedExchange.objects.filter(pk=venue.id, is_active=True).first()
    if exchange is None:
        raise VenueNotSupported(f"{venue.name} cannot be connected here.", venue=venue.id)
    return exchange, venue


def record_networks(exchange_id: str, options: Sequence[NetworkOption]) -> None:
    """Keep what a live exchange lists, for those who ask without an account. Nothing of a user is in it."""
    networks: dict[str, list[dict[str, Any]]] = {}
    for option in options:
        networks.setdefault(option.currency, []).append(show_option(option))
    exchange = SupportedExchange.objects.get(pk=exchange_id)
    exchange.supported_currencies = sorted(networks)
    exchange.metadata = {**exchange.metadata, "networks": networks}
    exchange.save(update_fields=["supported_currencies", "metadata", "updated_at"])


def show_option(option: NetworkOption) -> dict[str, Any]:
    """Return a network of a currency as JSON."""
    return {
        "network": option.network or None,
        "network_exchange_id": option.venue_network,
        "network_label": option.label,
        "deposits_enabled": option.deposits_enabled,
        "tag_required": option.tag_required,
        "confirmations": option.confirmations,
        "minimum_deposit": option.minimum_deposit,
        "contract": option.contract or None,
    }


def record_reachability(exchange_id: str, error: VenueError | None) -> None:
    """Tell once that an exchange is disrupted, and once that it answers again."""
    if error is not None and not error.is_outage:
        return
    rows = SupportedExchange.objects.filter(pk=exchange_id)
    now = timezone.now()
    if error is None:
        if rows.filter(disrupted_at__isnull=False).update(disrupted_at=None):
            _publish("exchange.recovered", exchange_id, {})
    elif rows.filter(disrupted_at__isnull=True).update(disrupted_at=now):
        _publish("exchange.disrupted", exchange_id, {"code": error.code, "message": str(error)})


def _publish(event_type: str, exchange_id: str, data: dict[str, Any]) -> None:
    publish_event(
        event_type=event_type,
        subject=f"exchange:{exchange_id}",
        data={"exchange": exchange_id, **data},
    )
