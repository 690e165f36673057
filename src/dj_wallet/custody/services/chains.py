"""The row of a network: made when first served, frozen when the books are in doubt."""

import logging
from typing import Any

from django.db.models.functions import Now

from dj_wallet.custody.chain.networks import DECIMAL_PLACES, Network, to_coins
from dj_wallet.custody.models import Chain, KeyAccount
from dj_wallet.custody.served import Served, get_served
from dj_wallet.events.services import publish_event
from dj_wallet.ledger.accounts import ensure_asset
from dj_wallet.ledger.models import Asset

logger = logging.getLogger(__name__)

# A deposit or withdrawal that is not worth a hundred of the smallest useful outputs is not worth its fees.
USEFUL_OUTPUTS = 100


def ensure_chain(name: str) -> Chain:
    """Return the row of a served network, made with the network's own defaults if it is new.

    :raises NetworkNotServed: it is not configured
    """
    network = get_served(name).network
    found = Chain.objects.filter(pk=name).first()
    return found or _create_chain(network)


def _create_chain(network: Network) -> Chain:
    asset = ensure_asset(network.asset, decimal_places=DECIMAL_PLACES)
    Asset.objects.filter(pk=asset.pk).update(kind=Asset.Kind.CRYPTO)
    least = to_coins(USEFUL_OUTPUTS * network.min_output)
    defaults: dict[str, Any] = {
        "asset": asset,
        "confirmations": network.confirmations,
        "min_deposit": least,
        "min_withdrawal": least,
        "fee_rate_per_kb": to_coins(network.fee_floor_per_kb),
    }
    return Chain.objects.get_or_create(network=network.name, defaults=defaults)[0]


def lock_key_account(chain: Chain, served: Served) -> KeyAccount:
    """Return the current account of keys, locked: indexes and outputs of a network are given out one at a time."""
    accounts = KeyAccount.objects.select_for_update()
    identifier = served.current.identifier
    KeyAccount.objects.get_or_create(chain=chain, identifier=identifier)
    return accounts.get(chain=chain, identifier=identifier)


def freeze(chain: Chain, reason: str, **data: Any) -> None:
    """Stop everything that leaves until the operator lifts it, and raise the alert `reserve.mismatch`."""
    logger.error("%s is frozen: %s %s", chain.pk, reason, data)
    Chain.objects.filter(pk=chain.pk, frozen_because="").update(frozen_because=reason[:300])
    publish_event(
        event_type="reserve.mismatch",
        subject=f"network:{chain.pk}",
        data={"network": chain.pk, "reason": reason, **data},
    )


def unfreeze(chain: Chain) -> None:
    """Let withdrawals go on. Only a person decides this."""
    Chain.objects.filter(pk=chain.pk).update(frozen_because="")


def note_state(chain: Chain, state: str, note: str = "", **columns: Any) -> None:
    """Record how the network fares, for health checks and people."""
    Chain.objects.filter(pk=chain.pk).update(
        state=state, state_note=note[:300], scanned_at=Now(), **columns
    )
    chain.state, chain.state_note = state, note[:300]
