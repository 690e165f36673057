"""Coinbase (Advanced Trade; Coinbase Pro was closed): a wallet for each currency, a list of addresses in each.

CCXT's own call fails, and its by-network variant keeps the oldest of several addresses. Here all pages are read, and the
address that the venue marks as the one to receive with is the current one.
"""

from collections.abc import Sequence
from itertools import count
from typing import Any

from .answers import Row, find_text, read_dict, read_list, read_text, sort_out, verify
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
from .errors import CurrencyNotSupported, VenueBadResponse

NETWORK_IDS = {
    "bitcoin": "bitcoin", "litecoin": "litecoin", "dogecoin": "dogecoin", "bitcoincash": "bitcoin-cash",
    "bitcoin-cash": "bitcoin-cash", "dash": "dash", "zcash": "zcash", "ethereum": "ethereum",
    "ethereumclassic": "ethereum-classic", "base": "base", "polygon": "polygon", "arbitrum": "arbitrum",
    "optimism": "optimism", "avacchain": "avalanche", "avalanche": "avalanche", "solana": "solana", "tron": "tron",
    "ripple": "xrp", "xrp": "xrp", "stellar": "stellar", "cardano": "cardano", "polkadot": "polkadot", "cosmos": "cosmos",
    "algorand": "algorand", "filecoin": "filecoin", "tezos": "tezos", "eos": "eos", "near": "near", "aptos": "aptos",
    "sui": "sui", "hedera": "hedera", "internetcomputer": "icp", "injective": "injective", "celestia": "celestia",
    "sei": "sei", "ton": "ton", "kaspa": "kaspa", "vechain": "vechain",
}  # fmt: skip
MAX_PAGES = 40


class Coinbase:
    networks: Networks = "in_addresses"

    async def list_networks(self, client: Client, currency: str | None) -> list[NetworkOption]:
        """The networks of a currency are those on which the account has addresses: the venue lists no others."""
        if currency is None:
            rows = read_list(await client.v2PublicGetCurrenciesCrypto(), "data")
            return [NetworkOption(read_text(row, "code").upper(), "", "", "") for row in rows]
        options = [
            self._read(currency, row).option for row in await self._list_rows(client, currency)
        ]
        return list(dict.fromkeys(options))

    async def fetch_addresses(
        self, client: Client, currency: str, options: Sequence[NetworkOption]
    ) -> Addresses:
        """Return all addresses, whatever the options: they come in one list that names the networks."""
        rows = await self._list_rows(client, currency)
        current: dict[str, dict[str, Any]] = {}
        # The newest first, unless one is marked.
        for row in sorted(rows, key=lambda row: row.get("default_receive") is not True):
            current.setdefault(read_text(row, "network"), row)
        return sort_out(
            "coinbase",
            (
                self._read(currency, row, is_current=current[read_text(row, "network")] is row)
                for row in rows
            ),
        )

    def _read(self, currency: str, row: dict[str, Any], *, is_current: bool = True) -> Row:
        network = read_text(row, "network")
        option = NetworkOption(currency, NETWORK_IDS.get(network, ""), network, network)
        extra = row.get("address_info")
        info = extra if isinstance(extra, dict) else {}
        tag = find_text(info, "destination_tag", "memo") or find_text(row, "destination_tag")
        state = AddressState.CURRENT if is_current else AddressState.INACTIVE
        return Row(option, find_text(row, "address") or "", tag, NetworkSource.VENUE, state)

    async def _list_rows(self, client: Client, currency: str) -> list[dict[str, Any]]:
        wallet = await self._get_wallet(client, currency)
        rows: list[dict[str, Any]] = []
        query: dict[str, Any] = {"account_id": wallet, "limit": 100}
        for page in count(1):
            answer = await client.v2PrivateGetAccountsAccountIdAddresses(query)
            rows += map(read_dict, read_list(answer, "data"))
            after = find_text(read_dict(answer, "pagination"), "next_starting_after")
            if after is None:
                return rows
            query["starting_after"] = _next_page(after, page)
        raise AssertionError

    async def _get_wallet(self, client: Client, currency: str) -> str:
        """Return the id of the wallet of a currency, kept with the client: it never changes.

        :raises CurrencyNotSupported: the account has none
        """
        wallets: dict[str, str] = client.options.setdefault("wallets", {})
        if currency not in wallets:
            wallets.update(await self._list_wallets(client))
        if currency not in wallets:
            raise CurrencyNotSupported(
                "The account has no wallet of this currency.", venue="coinbase", currency=currency
            )
        return wallets[currency]

    async def _list_wallets(self, client: Client) -> dict[str, str]:
        wallets: dict[str, str] = {}
        query: dict[str, Any] = {"limit": 250}
        for page in count(1):
            answer = await client.v3PrivateGetBrokerageAccounts(query)
            for row in read_list(answer, "accounts"):
                code = read_text(row, "currency").upper()
                if row.get("default") is True or code not in wallets:
                    wallets[code] = read_text(row, "uuid")
            if read_dict(answer).get("has_next") is not True:
                return wallets
            query["cursor"] = _next_page(read_text(answer, "cursor"), page)
        raise AssertionError

    async def create_address(
        self, client: Client, currency: str, option: NetworkOption
    ) -> DepositAddress:
        wallet = await self._get_wallet(client, currency)
        answer = await client.v2PrivatePostAccountsAccountIdAddresses({
            "account_id": wallet,
            "network": option.venue_network,
        })  # fmt: skip
        return verify("coinbase", self._read(currency, read_dict(answer, "data")))

    async def fetch_permissions(self, client: Client) -> Permissions:
        row = read_dict(await client.v3PrivateGetBrokerageKeyPermissions())
        return Permissions(
            can_withdraw=row.get("can_transfer") is not False,
            can_trade=row.get("can_trade") is not False,
            can_read_addresses=row.get("can_view") is True,
            account_uid=find_text(row, "portfolio_uuid") or "",
            named=tuple(sorted(name for name, value in row.items() if value is True)),
        )


def _next_page(cursor: str, page: int) -> str:
    if page >= MAX_PAGES:
        raise VenueBadResponse("The exchange's list has no end.", venue="coinbase")
    return cursor


ADAPTER = Coinbase()
