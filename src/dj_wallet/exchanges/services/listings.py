"""What exchanges list: asked with the caller's key where there is one, else what was seen last."""

import logging
from typing import Any

from django.conf import settings

from dj_wallet.exchanges import runtime
from dj_wallet.exchanges.errors import VenueError
from dj_wallet.exchanges.models import SupportedExchange
from dj_wallet.exchanges.queries import list_accounts

from .accounts import describe_account
from .supported import record_networks, show_option

logger = logging.getLogger(__name__)


def list_currencies(user: Any, exchange: SupportedExchange) -> dict[str, list[dict[str, Any]]]:
    """Return the networks of each currency of an exchange. Must not run inside a transaction.

    Kraken and Coinbase tell networks only currency by currency: their lists are empty here.
    """
    accounts = list_accounts(user).filter(exchange=exchange, is_active=True)
    account = accounts.order_by("sandbox_mode", "pk").first()
    if account is not None:
        try:
            options = runtime.list_networks(
                describe_account(account), timeout_seconds=settings.EXCHANGES_TEST_SECONDS
            )
        except VenueError as error:
            logger.info("%s does not list its currencies: %s", exchange.pk, error.code)
        else:
            if not account.sandbox_mode:
                record_networks(exchange.pk, options)
            listed: dict[str, list[dict[str, Any]]] = {}
            for option in options:
                networks = listed.setdefault(option.currency, [])
                if option.venue_network:
                    networks.append(show_option(option))
            return dict(sorted(listed.items()))
    kept: dict[str, list[dict[str, Any]]] = exchange.metadata.get("networks", {})
    return dict(sorted(kept.items()))
