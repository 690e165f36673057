"""KuCoin: version 3 of its addresses, where one call gives all chains. CCXT's own methods switch versions in shared state."""

from collections.abc import Sequence
from typing import Any

from .answers import (
    Row,
    find_number,
    find_text,
    read_dict,
    read_list,
    read_moment,
    read_text,
    sort_out,
    verify,
)
from .contract import (
    Addresses,
    Client,
    DepositAddress,
    NetworkOption,
    Networks,
    NetworkSource,
    Permissions,
)
from .networks import COMMON_IDS

# `avax` may be either of Avalanche's chains here; the C-Chain is `avaxc`.
NETWORK_IDS = {**COMMON_IDS, "OP": "optimism", "ZKS20": "zksync", "MANTLE": "mantle"}


class KuCoin:
    networks: Networks = "listed"

    async def list_networks(self, client: Client, currency: str | None) -> list[NetworkOption]:
        coins = read_list(await client.publicGetCurrencies({"version": "v3"}), "data")
        return [
            NetworkOption(
                currency=read_text(coin, "currency").upper(),
                network=NETWORK_IDS.get(read_text(row, "chainId").upper(), ""),
                venue_network=read_text(row, "chainId"),
                label=find_text(row, "chainName") or read_text(row, "chainId"),
                deposits_enabled=row.get("isDepositEnabled") is True,
                tag_required=row.get("needTag") is True,
                confirmations=find_number(row, "confirms"),
                minimum_deposit=find_text(row, "depositMinSize"),
                contract=find_text(row, "contractAddress") or "",
            )
            for coin in coins
            for row in coin.get("chains") or ()
        ]

    async def fetch_addresses(
        self, client: Client, currency: str, options: Sequence[NetworkOption]
    ) -> Addresses:
        answer = await client.privateGetDepositAddresses({"currency": currency, "version": "v3"})
        known = {option.venue_network: option for option in options}
        rows = []
        for row in read_list(answer, "data"):
            option = known.get(read_text(row, "chainId"))
            if option is not None and read_text(row, "currency").upper() == currency:
                rows.append(self._read(option, row))
        return sort_out("kucoin", rows)

    def _read(self, option: NetworkOption, row: dict[str, Any]) -> Row:
        return Row(
            option,
            find_text(row, "address") or "",
            find_text(row, "memo"),
            NetworkSource.VENUE,
            expires_at=read_moment(row.get("expirationDate"), unit=1000),
        )

    async def create_address(
        self, client: Client, currency: str, option: NetworkOption
    ) -> DepositAddress:
        answer = await client.privatePostDepositAddressCreate({
            "currency": currency,
            "chain": option.venue_network,
        })  # fmt: skip
        return verify("kucoin", self._read(option, read_dict(answer, "data")))

    async def fetch_permissions(self, client: Client) -> Permissions:
        row = read_dict(await client.privateGetUserApiKey(), "data")
        named = tuple(sorted(filter(None, read_text(row, "permission").split(","))))
        ips = tuple(filter(None, (find_text(row, "ipWhitelist") or "").split(",")))
        trading = {"Spot", "Futures", "Margin", "Trade", "Unified"}
        return Permissions(
            can_withdraw=any(
                name in {"Withdrawal", "Transfer", "InnerTransfer", "FlexTransfers"}
                for name in named
            ),
            can_trade=not trading.isdisjoint(named),
            can_read_addresses="General" in named,
            allowed_ips=ips,
            is_ip_restricted=bool(ips),
            account_uid=find_text(row, "uid") or "",
            named=named,
        )


ADAPTER = KuCoin()
