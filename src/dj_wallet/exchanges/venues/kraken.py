"""Kraken: a network is a deposit method with a name for people, asked currency by currency.

CCXT takes a method it does not find for the default one, so that the address of another network comes back. Here the
method is always named, from the venue's own list.
"""

import re
from collections.abc import Sequence
from typing import Any

from .answers import Row, find_text, read_dict, read_list, read_moment, read_text, sort_out, verify
from .contract import (
    Addresses,
    AddressState,
    Client,
    DepositAddress,
    NetworkOption,
    Networks,
    NetworkSource,
    Permissions,
)
from .errors import AddressNotAvailable

CURRENCIES = {"BTC": "XBT", "DOGE": "XDG"}
OWN_CODES = {code: currency for currency, code in CURRENCIES.items()}

# Methods of coins on their own chain, by their whole name.
METHODS = {
    "Bitcoin": "bitcoin", "Litecoin": "litecoin", "Dogecoin": "dogecoin", "Bitcoin Cash": "bitcoin-cash", "Dash": "dash",
    "Ether (Hex)": "ethereum", "Ethereum": "ethereum", "Ethereum Classic": "ethereum-classic", "Ripple XRP": "xrp",
    "Stellar XLM": "stellar", "Solana": "solana", "Tron": "tron", "ADA": "cardano", "Cardano": "cardano",
    "Polkadot": "polkadot", "Kusama": "kusama", "Cosmos": "cosmos", "Celestia": "celestia", "Injective": "injective",
    "Sei": "sei", "NEAR": "near", "Near": "near", "Algorand": "algorand", "Filecoin": "filecoin", "XTZ": "tezos",
    "Tezos": "tezos", "EOS": "eos", "Aptos": "aptos", "Sui": "sui", "TON": "ton", "Toncoin": "ton", "Hedera": "hedera",
    "Internet Computer": "icp", "Kaspa": "kaspa", "Avalanche C-Chain": "avalanche",
}  # fmt: skip
# As in: Tether USD (TRC20); USDC - Arbitrum One (Unified).
ENDINGS = {
    "ERC20": "ethereum", "TRC20": "tron", "SPL": "solana", "BEP20": "bsc", "Ethereum": "ethereum", "Tron": "tron",
    "Solana": "solana", "Polygon": "polygon", "Arbitrum One": "arbitrum", "Optimism": "optimism", "Base": "base",
    "Avalanche C-Chain": "avalanche", "BNB Smart Chain": "bsc", "Linea": "linea", "Ink": "",
}  # fmt: skip
_ENDING = re.compile(r".* - (.+) \(Unified\)|.*\((\w+)\)")


def read_method(method: str) -> str:
    """Return the network of a deposit method, or nothing: an unknown one is never guessed."""
    if method in METHODS:
        return METHODS[method]
    match = _ENDING.fullmatch(method)
    return ENDINGS.get(match[1] or match[2], "") if match else ""


class Kraken:
    networks: Networks = "per_currency"

    async def list_networks(self, client: Client, currency: str | None) -> list[NetworkOption]:
        if currency is None:
            return await self._list_currencies(client)
        asset = CURRENCIES.get(currency, currency)
        answer = await client.privatePostDepositMethods({"asset": asset})
        return [
            NetworkOption(
                currency=currency,
                network=read_method(read_text(row, "method")),
                venue_network=read_text(row, "method"),
                label=read_text(row, "method"),
                minimum_deposit=find_text(row, "minimum"),
            )
            for row in read_list(answer, "result")
        ]

    async def _list_currencies(self, client: Client) -> list[NetworkOption]:
        """Return the currencies alone: their networks are private, and asked one by one."""
        assets = read_dict(await client.publicGetAssets(), "result")
        codes = {read_text(row, "altname") for row in assets.values()}
        return [
            NetworkOption(OWN_CODES.get(code, code), "", "", "")
            for code in sorted(codes)
            if "." not in code  # staked and held variants
        ]

    async def fetch_addresses(
        self, client: Client, currency: str, options: Sequence[NetworkOption]
    ) -> Addresses:
        rows: list[Row] = []
        for option in options:
            rows += await self._fetch(client, option)
        return sort_out("kraken", rows)

    async def _fetch(self, client: Client, option: NetworkOption) -> list[Row]:
        answer = await client.privatePostDepositAddresses({
            "asset": CURRENCIES.get(option.currency, option.currency),
            "method": option.venue_network,
        })  # fmt: skip
        rows = [self._read(option, row) for row in read_list(answer, "result")]
        # The venue keeps five and lists the newest first; the others credit until they expire.
        return [
            row if at == 0 else row._replace(state=AddressState.INACTIVE)
            for at, row in enumerate(rows)
        ]

    def _read(self, option: NetworkOption, row: dict[str, Any]) -> Row:
        return Row(
            option,
            find_text(row, "address") or "",
            find_text(row, "tag", "memo"),
            NetworkSource.REQUEST,
            expires_at=read_moment(row.get("expiretm")),
        )

    async def create_address(
        self, client: Client, currency: str, option: NetworkOption
    ) -> DepositAddress:
        answer = await client.privatePostDepositAddresses({
            "asset": CURRENCIES.get(currency, currency),
            "method": option.venue_network,
            "new": "true",
        })  # fmt: skip
        rows = read_list(answer, "result")
        if not rows:
            raise AddressNotAvailable(
                "The exchange made no address.", venue="kraken", currency=currency
            )
        return verify("kraken", self._read(option, read_dict(rows[0])))

    async def fetch_permissions(self, client: Client) -> Permissions:
        row = read_dict(await client.privatePostGetApiKeyInfo(), "result")
        named = tuple(sorted(str(name) for name in read_list(row, "permissions")))
        ips = tuple(str(ip) for ip in row.get("ipAllowlist") or ())
        return Permissions(
            can_withdraw=any("withdraw" in name for name in named),
            can_trade=any("trades" in name and "query" not in name for name in named),
            can_read_addresses="query-funds" in named,
            allowed_ips=ips,
            is_ip_restricted=bool(ips),
            expires_at=read_moment(row.get("validUntil")),
            account_uid=find_text(row, "iban") or "",
            named=named,
        )


ADAPTER = Kraken()
