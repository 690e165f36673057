"""OKX: one call gives every address of a currency on every chain; the chain is named `CURRENCY-Chain`."""

from collections.abc import Sequence

from .answers import Row, find_number, find_text, read_list, read_text, sort_out
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
from .errors import VenueNotSupported

CHAINS = {
    "Bitcoin": "bitcoin", "Litecoin": "litecoin", "Dogecoin": "dogecoin", "BitcoinCash": "bitcoin-cash", "Dash": "dash",
    "Zcash": "zcash", "ERC20": "ethereum", "Ethereum": "ethereum", "Ethereum Classic": "ethereum-classic", "BSC": "bsc",
    "Polygon": "polygon", "Arbitrum One": "arbitrum", "Optimism": "optimism", "Base": "base",
    "Avalanche C-Chain": "avalanche", "zkSync Era": "zksync", "Linea": "linea", "Scroll": "scroll", "CELO": "celo",
    "TRC20": "tron", "Ripple": "xrp", "Stellar Lumens": "stellar", "Solana": "solana", "Cardano": "cardano",
    "Polkadot": "polkadot", "Kusama": "kusama", "Cosmos": "cosmos", "Celestia": "celestia", "INJ": "injective",
    "SEI": "sei", "NEAR": "near", "Algorand": "algorand", "Filecoin": "filecoin", "Tezos": "tezos", "EOS": "eos",
    "Aptos": "aptos", "SUI": "sui", "TON": "ton", "Hedera": "hedera", "Dfinity": "icp", "Kaspa": "kaspa",
}  # fmt: skip


def _read_network(chain: str) -> str:
    return CHAINS.get(chain.partition("-")[2], "")


class OKX:
    networks: Networks = "listed"

    async def list_networks(self, client: Client, currency: str | None) -> list[NetworkOption]:
        rows = read_list(await client.privateGetAssetCurrencies(), "data")
        return [
            NetworkOption(
                currency=read_text(row, "ccy").upper(),
                network=_read_network(read_text(row, "chain")),
                venue_network=read_text(row, "chain"),
                label=read_text(row, "chain").partition("-")[2],
                deposits_enabled=row.get("canDep") is True,
                tag_required=row.get("needTag") is True,
                confirmations=find_number(row, "minDepArrivalConfirm"),
                minimum_deposit=find_text(row, "minDep"),
                contract=find_text(row, "ctAddr") or "",
            )
            for row in rows
        ]

    async def fetch_addresses(
        self, client: Client, currency: str, options: Sequence[NetworkOption]
    ) -> Addresses:
        answer = await client.privateGetAssetDepositAddress({"ccy": currency})
        known = {option.venue_network: option for option in options}
        rows = []
        for row in read_list(answer, "data"):
            option = known.get(read_text(row, "chain"))
            if option is not None and read_text(row, "ccy").upper() == currency:
                rows.append(self._read(option, row))
        return sort_out("okx", rows)

    def _read(self, option: NetworkOption, row: dict[str, object]) -> Row:
        extra = row.get("addrEx")
        comment = find_text(extra, "comment", "memo", "tag") if isinstance(extra, dict) else None
        # Addresses that are no longer `selected` still credit.
        state = AddressState.CURRENT if row.get("selected") is True else AddressState.INACTIVE
        tag = find_text(row, "tag", "memo", "pmtId") or comment
        return Row(option, find_text(row, "addr") or "", tag, NetworkSource.VENUE, state)

    async def create_address(
        self, client: Client, currency: str, option: NetworkOption
    ) -> DepositAddress:
        raise VenueNotSupported("OKX makes no further addresses by its API.", venue="okx")

    async def fetch_permissions(self, client: Client) -> Permissions:
        rows = read_list(await client.privateGetAccountConfig(), "data")
        row = rows[0] if rows and isinstance(rows[0], dict) else {}
        named = tuple(sorted(filter(None, read_text(row, "perm").split(","))))
        ips = tuple(filter(None, (find_text(row, "ip") or "").split(",")))
        return Permissions(
            can_withdraw="withdraw" in named,
            can_trade="trade" in named,
            can_read_addresses="read_only" in named,
            allowed_ips=ips,
            is_ip_restricted=bool(ips),
            account_uid=find_text(row, "uid") or "",
            named=named,
        )


ADAPTER = OKX()
