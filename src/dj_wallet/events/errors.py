"""Refusals of this app.

WalletException
├── WebhookInvalid          webhook_invalid
├── TooManyWebhooks         webhook_limit
└── DeliveryInFlight        delivery_in_flight
"""

from dj_wallet.ledger.errors import WalletException


class WebhookInvalid(WalletException):
    """Events cannot be sent to this address."""

    code = "webhook_invalid"


class TooManyWebhooks(WalletException):
    """The user has as many webhooks as anybody may have."""

    code = "webhook_limit"


class DeliveryInFlight(WalletException):
    """The event is on its way already."""

    code = "delivery_in_flight"
