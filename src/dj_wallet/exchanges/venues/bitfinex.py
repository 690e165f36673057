"""Bitfinex: a network is a deposit method like TETHERUSX; one call for each, which creates the address if there is none."""

from collections.abc import Sequence
from typing import Any

from .answers import Row, find_text, read_list, sort_out, verify
from .contract import (
    Addresses,
    Client,
    DepositAddress,
    NetworkOption,
    Networks,
    NetworkSource,
    Permissions,
)
from .errors import AddressNotAvailable, NetworkMismatch, VenueBadResponse
from .networks import COMMON_IDS

CURRENCIES = {
    "USDT": "UST", "USDC": "UDC", "ALGO": "ALG", "ATOM": "ATO", "MANA": "MNA", "DASH": "DSH", "BCH": "BCHN", "DOGE": "DOGE",
}  # fmt: skip
OWN_CODES = {code: currency for currency, code in CURRENCIES.items()}

METHODS = {
    "BITCOIN": "bitcoin", "LITECOIN": "litecoin", "ETHEREUM": "ethereum", "ETHEREUMC": "ethereum-classic",
    "TETHERUSE": "ethereum", "TETHERUSX": "tron", "TETHERUSDTSOL": "solana", "TETHERUSDTAVAX": "avalanche",
    "TETHERUSDTARB": "arbitrum", "TETHERUSDTPLY": "polygon",
}  # fmt: skip
# The chain that carries a token, in the venue's codes.
POOLS = {"ETH": "ethereum", "TRX": "tron", "SOL": "solana", "MATIC": "polygon"}
CONF = "pub:map:tx:method,pub:map:currency:pool,pub:info:tx:status"


def _read_network(method: str, coin: str, pools: dict[str, str]) -> str:
    """Return the network of a method: by its name, else by the chain that carries the coin it is named after."""
    if method in METHODS:
        return METHODS[method]
    if method != coin:
        return ""
    return (
        POOLS.get(pools[coin], "")
        if coin in pools
        else COMMON_IDS.get(OWN_CODES.get(coin, coin), "")
    )


class Bitfinex:
    networks: Networks = "listed"

    async def list_networks(self, client: Client, currency: str | None) -> list[NetworkOption]:
        answer = read_list(await client.publicGetConfConfig({"config": CONF}))
        if len(answer) != 3:
            raise VenueBadResponse("The exchange's answer has not the documented form.")
        methods, pairs, statuses = (_read_pairs(part) for part in answer)
        pools = {coin: str(rest[0]) for coin, rest in pairs.items()}
        return [
            self._read_option(method, str(coin), pools, statuses.get(method, []))
            for method, (coins, *_) in methods.items()
            for coin in (coins if isinstance(coins, list) else [coins])
        ]

    def _read_option(
        self, method: str, coin: str, pools: dict[str, str], status: list[Any]
    ) -> NetworkOption:
        """`status`: deposits, withdrawals, four unused, payment id for deposits, for withdrawals, two unused, confirmations."""
        return NetworkOption(
            currency=OWN_CODES.get(coin, coin),
            network=_read_network(method, coin, pools),
            venue_network=method,
            label=method,
            deposits_enabled=not status or status[0] == 1,
            tag_required=len(status) > 6 and status[6] == 1,
            confirmations=status[10] if len(status) > 10 and isinstance(status[10], int) else None,
        )

    async def fetch_addresses(
        self, client: Client, currency: str, options: Sequence[NetworkOption]
    ) -> Addresses:
        return sort_out(
            "bitfinex", [await self._ask(client, option, renew=0) for option in options]
        )

    async def create_address(
        self, client: Client, currency: str, option: NetworkOption
    ) -> DepositAddress:
        return verify("bitfinex", await self._ask(client, option, renew=1))

    async def _ask(self, client: Client, option: NetworkOption, *, renew: int) -> Row:
        answer = read_list(await client.privatePostAuthWDepositAddress({
            "wallet": "exchange",
            "method": option.venue_network,
            "op_renew": renew,
        }))  # fmt: skip
        if len(answer) < 8 or answer[6] != "SUCCESS":
            raise AddressNotAvailable("The exchange gave no address.", venue="bitfinex")
        given = answer[4]
        if not isinstance(given, list) or len(given) < 6:
            raise VenueBadResponse("The exchange's answer has not the documented form.")
        _, method, coin, _, address, pool_address = given[:6]
        if (method, OWN_CODES.get(coin, coin)) != (option.venue_network, option.currency):
            raise NetworkMismatch(
                f"The exchange answered for {str(method)[:50]} instead of {option.venue_network}.",
                venue="bitfinex",
                currency=option.currency,
                network=option.network,
            )
        # With a pool address, the first one is the tag.
        row = {"address": pool_address or address, "tag": address if pool_address else None}
        return Row(
            option, find_text(row, "address") or "", find_text(row, "tag"), NetworkSource.VENUE
        )

    async def fetch_permissions(self, client: Client) -> Permissions:
        rows = read_list(await client.privatePostAuthRPermissions())
        scopes = {
            str(row[0]): (row[1] == 1, row[2] == 1)
            for row in rows
            if isinstance(row, list) and len(row) >= 3
        }
        named = [
            f"{scope}:{right}"
            for scope, rights in scopes.items()
            for right, has in zip(("read", "write"), rights, strict=True)
            if has
        ]
        if "wallets" not in scopes:
            raise VenueBadResponse("The exchange's answer has not the documented form.")
        return Permissions(
            can_withdraw=any(f"{scope}:write" in named for scope in ("withdraw", "ui_withdraw")),
            can_trade=any(
                f"{scope}:write" in named for scope in ("orders", "positions", "funding")
            ),
            can_read_addresses="wallets:read" in named,
            named=tuple(sorted(named)),
        )


def _read_pairs(part: Any) -> dict[str, list[Any]]:
    """Return [[key, value, ...], ...] as key -> the rest."""
    return {
        str(row[0]): list(row[1:])
        for row in read_list(part)
        if isinstance(row, list) and len(row) > 1
    }


ADAPTER = Bitfinex()
