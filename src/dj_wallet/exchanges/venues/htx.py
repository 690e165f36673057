"""HTX, once Huobi: one call gives all chains, under ids like `trc20usdt` that only its list of currencies explains."""

import datetime
from collections.abc import Sequence
from typing import Any

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
from .errors import VenueApiError, VenueNotSupported
from .failures import scrub
from .networks import COMMON_IDS

# `baseChain` of a token; a coin's own chain has the id of the coin.
NETWORK_IDS = {**COMMON_IDS, "ARB": "arbitrum", "OP": "optimism", "CCHAIN": "avalanche"}


class HTX:
    networks: Networks = "listed"

    async def list_networks(self, client: Client, currency: str | None) -> list[NetworkOption]:
        coins = _read(await client.spotPublicGetV2ReferenceCurrencies())
        return [
            NetworkOption(
                currency=read_text(coin, "currency").upper(),
                network=NETWORK_IDS.get(
                    (find_text(row, "baseChain") or read_text(row, "chain")).upper(), ""
                ),
                venue_network=read_text(row, "chain"),
                label=find_text(row, "displayName") or read_text(row, "chain"),
                deposits_enabled=row.get("depositStatus") == "allowed",
                tag_required=row.get("addrDepositTag") is True,
                confirmations=find_number(row, "numOfConfirmations"),
                minimum_deposit=find_text(row, "minDepositAmt"),
                contract=find_text(row, "contractAddress") or "",
            )
            for coin in coins
            for row in read_list(coin, "chains")
        ]

    async def fetch_addresses(
        self, client: Client, currency: str, options: Sequence[NetworkOption]
    ) -> Addresses:
        answer = await client.spotPrivateGetV2AccountDepositAddress({"currency": currency.lower()})
        known = {option.venue_network: option for option in options}
        rows = []
        for row in _read(answer):
            option = known.get(read_text(row, "chain"))
            if option is not None and read_text(row, "currency").upper() == currency:
                address, tag = find_text(row, "address"), find_text(row, "addressTag")
                rows.append(Row(option, address or "", tag, NetworkSource.VENUE))
        return sort_out("htx", rows)

    async def create_address(
        self, client: Client, currency: str, option: NetworkOption
    ) -> DepositAddress:
        raise VenueNotSupported("HTX makes no further addresses by its API.", venue="htx")

    async def fetch_permissions(self, client: Client) -> Permissions:
        answer = await client.spotPrivateGetV2UserUid()
        uid = find_text(_checked(answer), "data") or ""
        keys = _read(
            await client.spotPrivateGetV2UserApiKey({"uid": uid, "accessKey": client.apiKey})
        )
        row: dict[str, Any] = next(
            (key for key in keys if read_text(key, "accessKey") == client.apiKey), {}
        )
        named = tuple(sorted(filter(None, read_text(row, "permission").split(","))))
        ips = tuple(filter(None, (find_text(row, "ipAddresses") or "").split(",")))
        return Permissions(
            can_withdraw="withdraw" in named,
            can_trade="trade" in named,
            can_read_addresses="readOnly" in named,
            allowed_ips=ips,
            is_ip_restricted=bool(ips),
            expires_at=_read_expiry(row),
            account_uid=uid,
            named=named,
        )


def _read_expiry(row: dict[str, Any]) -> datetime.datetime | None:
    """`validDays` counts what is left; -1 stands for ever."""
    days = find_number(row, "validDays")
    if days is None or days < 0:
        return None
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)


def _checked(answer: Any) -> dict[str, Any]:
    """Return the answer if it says that it is a success: CCXT lets codes through that it does not know.

    :raises VenueApiError: it says something else
    """
    row = read_dict(answer)
    if find_text(row, "code") != "200":
        raise VenueApiError(
            "The exchange refused the request.",
            venue="htx",
            venue_message=scrub(f"{row.get('code')} {row.get('message')}"),
        )
    return row


def _read(answer: Any) -> list[Any]:
    return read_list(_checked(answer), "data")


ADAPTER = HTX()
