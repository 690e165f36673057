"""Bybit: one call gives the current address of a currency on every chain."""

from collections.abc import Sequence

from .answers import Row, find_text, read_date, read_dict, read_list, read_text, sort_out
from .contract import (
    Addresses,
    Client,
    DepositAddress,
    NetworkOption,
    Networks,
    NetworkSource,
    Permissions,
)
from .errors import VenueNotSupported
from .networks import COMMON_IDS

NETWORK_IDS = {
    **COMMON_IDS,
    "ARBI": "arbitrum",
    "OP": "optimism",
    "CAVAX": "avalanche",
    "MANTLE": "mantle",
}


class Bybit:
    networks: Networks = "listed"

    async def list_networks(self, client: Client, currency: str | None) -> list[NetworkOption]:
        coins = read_list(await client.privateGetV5AssetCoinQueryInfo(), "result", "rows")
        return [
            NetworkOption(
                currency=read_text(coin, "coin").upper(),
                network=NETWORK_IDS.get(read_text(row, "chain"), ""),
                venue_network=read_text(row, "chain"),
                label=find_text(row, "chainType") or read_text(row, "chain"),
                deposits_enabled=find_text(row, "chainDeposit") == "1",
                minimum_deposit=find_text(row, "depositMin"),
                contract=find_text(row, "contractAddress") or "",
            )
            for coin in coins
            for row in read_list(coin, "chains")
        ]

    async def fetch_addresses(
        self, client: Client, currency: str, options: Sequence[NetworkOption]
    ) -> Addresses:
        answer = await client.privateGetV5AssetDepositQueryAddress({"coin": currency})
        result = read_dict(answer, "result")
        known = {option.venue_network: option for option in options}
        rows = []
        for row in (
            read_list(result, "chains") if read_text(result, "coin").upper() == currency else ()
        ):
            if option := known.get(read_text(row, "chain")):
                address, tag = find_text(row, "addressDeposit"), find_text(row, "tagDeposit")
                rows.append(Row(option, address or "", tag, NetworkSource.VENUE))
        return sort_out("bybit", rows)

    async def create_address(
        self, client: Client, currency: str, option: NetworkOption
    ) -> DepositAddress:
        raise VenueNotSupported("Bybit makes no further addresses by its API.", venue="bybit")

    async def fetch_permissions(self, client: Client) -> Permissions:
        row = read_dict(await client.privateGetV5UserQueryApi(), "result")
        groups = read_dict(row, "permissions")
        named = sorted(
            {str(name) for names in groups.values() if isinstance(names, list) for name in names}
        )
        ips = tuple(
            ip for ip in row.get("ips") or () if isinstance(ip, str) and ip not in {"", "*"}
        )
        trading = {
            "SpotTrade",
            "Order",
            "Position",
            "OptionsTrade",
            "DerivativesTrade",
            "CopyTrading",
            "BlockTrade",
        }
        return Permissions(
            can_withdraw="Withdraw" in named,
            can_trade=find_text(row, "readOnly") == "0" and not trading.isdisjoint(named),
            can_read_addresses=True,
            allowed_ips=ips,
            is_ip_restricted=bool(ips),
            expires_at=None if ips else read_date(row.get("expiredAt")),
            account_uid=find_text(row, "userID") or "",
            named=tuple(named),
        )


ADAPTER = Bybit()
