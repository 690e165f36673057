"""Binance: one call for each network, whose answer names the network only by the address of a block explorer."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

from .answers import Row, find_number, find_text, read_dict, read_list, read_text, sort_out
from .contract import (
    Addresses,
    Client,
    DepositAddress,
    NetworkOption,
    Networks,
    NetworkSource,
    Permissions,
)
from .errors import NetworkMismatch, VenueBadResponse, VenueNotSupported
from .networks import COMMON_IDS

# AVAX is the X-Chain here, BNB the Beacon Chain.
NETWORK_IDS = {
    **COMMON_IDS,
    "ZKSYNCERA": "zksync",
    "CELO": "celo",
    "SCROLL": "scroll",
    "FTM": "fantom",
}
# The host of the explorer says which chain an address is on, where several chains share a form.
EXPLORERS = {
    "etherscan.io": "ethereum", "www.etherscan.io": "ethereum", "bscscan.com": "bsc", "www.bscscan.com": "bsc",
    "polygonscan.com": "polygon", "arbiscan.io": "arbitrum", "optimistic.etherscan.io": "optimism",
    "basescan.org": "base", "snowtrace.io": "avalanche", "tronscan.org": "tron", "solscan.io": "solana",
}  # fmt: skip


class Binance:
    """Deposit addresses of the spot wallet; the futures wallets have none of their own."""

    networks: Networks = "listed"

    async def list_networks(self, client: Client, currency: str | None) -> list[NetworkOption]:
        # The answer carries the balances of the key's owner: only what is named here leaves this function.
        coins = read_list(await client.sapiGetCapitalConfigGetall())
        return [
            NetworkOption(
                currency=read_text(coin, "coin").upper(),
                network=NETWORK_IDS.get(read_text(row, "network"), ""),
                venue_network=read_text(row, "network"),
                label=find_text(row, "name") or read_text(row, "network"),
                deposits_enabled=row.get("depositEnable") is True,
                tag_required=bool(find_text(row, "memoRegex") or row.get("sameAddress") is True),
                confirmations=find_number(row, "minConfirm"),
                minimum_deposit=find_text(row, "depositDust"),
                contract=find_text(row, "contractAddress") or "",
            )
            for coin in coins
            for row in read_list(coin, "networkList")
        ]

    async def fetch_addresses(
        self, client: Client, currency: str, options: Sequence[NetworkOption]
    ) -> Addresses:
        rows = await asyncio.gather(*(self._fetch(client, option) for option in options))
        return sort_out("binance", rows)

    async def _fetch(self, client: Client, option: NetworkOption) -> Row:
        answer = await client.sapiGetCapitalDepositAddress({
            "coin": option.currency,
            "network": option.venue_network,
        })  # fmt: skip
        row = read_dict(answer)
        if read_text(row, "coin").upper() != option.currency:
            raise VenueBadResponse("The exchange answered for another currency.", venue="binance")
        explorer = EXPLORERS.get(urlsplit(find_text(row, "url") or "").hostname or "")
        if explorer not in {None, option.network}:
            raise NetworkMismatch(
                f"The exchange answered with an address of {explorer}.",
                venue="binance",
                currency=option.currency,
                network=option.network,
            )
        source = NetworkSource.VENUE if explorer else NetworkSource.REQUEST
        return Row(option, find_text(row, "address") or "", find_text(row, "tag"), source)

    async def create_address(
        self, client: Client, currency: str, option: NetworkOption
    ) -> DepositAddress:
        raise VenueNotSupported("Binance makes no further addresses by its API.", venue="binance")

    async def fetch_permissions(self, client: Client) -> Permissions:
        row = read_dict(await client.sapiGetAccountApiRestrictions())
        moving = ("enableWithdrawals", "permitsUniversalTransfer", "enableInternalTransfer")
        trading = (
            "enableSpotAndMarginTrading",
            "enableFutures",
            "enableMargin",
            "enableVanillaOptions",
            "enablePortfolioMarginTrading",
            "enableFixApiTrade",
        )
        return Permissions(
            can_withdraw=any(row.get(name) is True for name in moving),
            can_trade=any(row.get(name) is True for name in trading),
            can_read_addresses=row.get("enableReading") is True,
            allowed_ips=None if row.get("ipRestrict") is True else (),
            is_ip_restricted=row.get("ipRestrict") is True,
            expires_at=None,
            named=tuple(sorted(name for name, value in row.items() if value is True)),
        )


ADAPTER = Binance()
