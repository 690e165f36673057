"""Any other exchange, by CCXT's unified calls: an address counts only if the answer itself names the network asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

from .answers import Row, find_text, read_dict, sort_out
from .contract import (
    Addresses,
    Client,
    DepositAddress,
    NetworkOption,
    Networks,
    NetworkSource,
    Permissions,
)
from .errors import NetworkMismatch, VenueNotSupported
from .networks import find_network


class Generic:
    networks: Networks = "listed"

    async def list_networks(self, client: Client, currency: str | None) -> list[NetworkOption]:
        if not client.has.get("fetchCurrencies"):
            raise VenueNotSupported(
                "CCXT cannot tell the networks of this exchange, so no address can be verified.",
                venue=client.id,
            )
        return [
            _read_option(code, network_code, network)
            for code, coin in (await _load(client)).items()
            for network_code, network in (coin.get("networks") or {}).items()
        ]

    async def fetch_addresses(
        self, client: Client, currency: str, options: Sequence[NetworkOption]
    ) -> Addresses:
        await _load(client)
        if client.has.get("fetchDepositAddressesByNetwork"):
            by_network = await client.fetch_deposit_addresses_by_network(currency)
            rows = [
                _read(client.id, option, by_network[option.venue_network])
                for option in options
                if option.venue_network in by_network
            ]
        elif client.has.get("fetchDepositAddress"):
            rows = [await self._fetch(client, option) for option in options]
        else:
            raise VenueNotSupported("CCXT cannot ask this exchange for addresses.", venue=client.id)
        return sort_out(client.id, rows)

    async def _fetch(self, client: Client, option: NetworkOption) -> Row:
        answer = await client.fetch_deposit_address(
            option.currency, {"network": option.venue_network}
        )
        return _read(client.id, option, answer)

    async def create_address(
        self, client: Client, currency: str, option: NetworkOption
    ) -> DepositAddress:
        raise VenueNotSupported("We make no addresses at this exchange.", venue=client.id)

    async def fetch_permissions(self, client: Client) -> Permissions:
        """Prove that the key opens the account; what it may do, CCXT cannot say."""
        await client.fetch_balance()
        return Permissions(can_withdraw=None, can_trade=None)


async def _load(client: Client) -> dict[str, Any]:
    """Return the currencies, kept with the client, whose unified calls look into them."""
    if not client.currencies:
        client.currencies = read_dict(await client.fetch_currencies())
        client.currencies_by_id = {coin["id"]: coin for coin in client.currencies.values()}
    found: dict[str, Any] = client.currencies
    return found


def _read_option(code: str, network_code: str, row: Mapping[str, Any]) -> NetworkOption:
    network = find_network(network_code)
    return NetworkOption(
        currency=code,
        network=network.id if network else "",
        venue_network=network_code,
        label=str(row.get("id") or network_code),
        deposits_enabled=row.get("deposit") is not False,
    )


def _read(venue: str, option: NetworkOption, answer: Any) -> Row:
    """:raises NetworkMismatch: the answer names another network, or none"""
    row = read_dict(answer)
    named = find_network(row.get("network") or "")
    if named is None or named.id != option.network or row.get("currency") != option.currency:
        raise NetworkMismatch(
            "The exchange's answer does not name the network that was asked for.",
            venue=venue,
            currency=option.currency,
            network=option.network,
        )
    return Row(option, find_text(row, "address") or "", find_text(row, "tag"), NetworkSource.VENUE)


ADAPTER = Generic()
