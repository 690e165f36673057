"""Kraken: HMAC-SHA512 over path, nonce and body; a network is a deposit method; five addresses for each."""

import base64
import hashlib
import hmac
from urllib.parse import parse_qsl

from .call import Answer, Call, same
from .coins import NETWORKS_OF
from .world import Key

ASSETS = {"BTC": "XBT", "DOGE": "XDG"}
COINS = {asset: coin for coin, asset in ASSETS.items()}
NAMES = {
    "bitcoin": "Bitcoin", "xrp": "Ripple XRP", "stellar": "Stellar XLM", "solana": "Solana", "tron": "Tron",
    "cardano": "ADA", "polkadot": "Polkadot", "litecoin": "Litecoin", "bitcoin-cash": "Bitcoin Cash",
    "dogecoin": "Dogecoin", "cosmos": "Cosmos", "avalanche": "Avalanche C-Chain", "near": "NEAR",
    "algorand": "Algorand", "filecoin": "Filecoin", "tezos": "XTZ", "eos": "EOS", "aptos": "Aptos", "sui": "Sui",
    "celestia": "Celestia", "injective": "Injective", "sei": "Sei", "ton": "Toncoin", "hedera": "Hedera",
    "icp": "Internet Computer", "kaspa": "Kaspa", "mina": "Mina",
}  # fmt: skip
ENDINGS = {"ethereum": "(ERC20)", "tron": "(TRC20)", "solana": "(SPL)", "arbitrum": "- Arbitrum One (Unified)", "base": "- Base (Unified)"}  # fmt: skip
MAX_ADDRESSES = 5


def method_name(coin: str, network: str) -> str:
    if coin == "ETH" and network == "ethereum":
        return "Ether (Hex)"
    if len(NETWORKS_OF[coin]) == 1 and network in NAMES:
        return NAMES[network]
    return f"{coin} {ENDINGS[network]}"


class Kraken:
    name = "kraken"
    hosts = frozenset({"api.kraken.com"})
    refusals = {
        "rate_limited": Answer(200, {"error": ["EAPI:Rate limit exceeded"]}),
        "maintenance": Answer(200, {"error": ["EService:Unavailable"]}),
        "permission": Answer(200, {"error": ["EGeneral:Permission denied"]}),
        "suspended": Answer(200, {"error": ["EAccount:Suspended"]}),
        "unknown_key": Answer(200, {"error": ["EAPI:Invalid key"]}),
    }

    def limit(self, call: Call) -> tuple[str, float, float, float] | None:
        # 15 at once and one more in three seconds come to 35 in a minute.
        return (call.headers.get("API-Key", ""), 1, 35, 60) if "/private/" in call.path else None

    def answer(self, call: Call) -> Answer:
        if call.path == "/0/public/Time":
            return self._ok({"unixtime": call.world.now_ms() // 1000})
        if call.path == "/0/public/Assets":
            assets = {coin: ASSETS.get(coin, coin) for coin in NETWORKS_OF}
            return self._ok({name: {"altname": name, "decimals": 8} for name in assets.values()})
        key = self._check(call)
        if isinstance(key, Answer):
            return key
        form = dict(parse_qsl(call.body))
        if call.path == "/0/private/GetApiKeyInfo":
            return self._permissions(key)
        if "read" not in key.permissions:
            return self.refusals["permission"]
        coin = COINS.get(form.get("asset", ""), form.get("asset", ""))
        if coin not in NETWORKS_OF:
            return Answer(200, {"error": ["EQuery:Unknown asset"]})
        methods = {method_name(coin, network): network for network in NETWORKS_OF[coin]}
        if call.path == "/0/private/DepositMethods":
            return self._ok([{"method": name, "limit": False, "gen-address": True, "minimum": "0.0001"} for name in methods])  # fmt: skip
        if call.path != "/0/private/DepositAddresses":
            return Answer(200, {"error": ["EGeneral:Unknown method"]})
        network = methods.get(form.get("method", ""))
        if network is None:
            return Answer(200, {"error": ["EFunding:No funding method"]})
        return self._addresses(call, key, coin, network, wants_new=form.get("new") == "true")

    def _addresses(
        self, call: Call, key: Key, coin: str, network: str, *, wants_new: bool
    ) -> Answer:
        if wants_new:
            if len(call.world.list_addresses("kraken", key.key, coin, network)) >= MAX_ADDRESSES:
                return Answer(200, {"error": ["EFunding:Too many addresses"]})
            call.world.rotate("kraken", key.key, coin, network)
        given = call.give(key, coin, network)
        return self._ok([
            {
                "address": one.address,
                "expiretm": str(one.expires_at),
                "new": one.is_current,
                **({"tag": one.tag} if one.tag else {}),
            }
            for one in (given[:1] if wants_new else given)
        ])  # fmt: skip

    def _permissions(self, key: Key) -> Answer:
        rights = {"read": "query-funds", "trade": "modify-trades", "withdraw": "withdraw-funds"}
        return self._ok({
            "apiKeyName": "sandbox", "permissions": [rights[one] for one in sorted(key.permissions)], "iban": f"AA{key.key}",
            "validUntil": str(key.valid_until), "ipAllowlist": [key.allowed_ip] if key.allowed_ip else [],
        })  # fmt: skip

    def _check(self, call: Call) -> Key | Answer:
        key = call.find_key(call.headers.get("API-Key"))
        if key is None:
            return self.refusals["unknown_key"]
        nonce = dict(parse_qsl(call.body)).get("nonce", "")
        message = call.path.encode() + hashlib.sha256((nonce + call.body).encode()).digest()
        signature = hmac.digest(base64.b64decode(key.secret), message, hashlib.sha512)
        if not same(call.headers.get("API-Sign"), base64.b64encode(signature).decode()):
            return Answer(200, {"error": ["EAPI:Invalid signature"]})
        if call.is_replayed(key, nonce):
            return Answer(200, {"error": ["EAPI:Invalid nonce"]})
        if not call.may_come_from(key):
            return Answer(200, {"error": ["EGeneral:Permission denied:IP address is not allowed"]})
        return key

    def _ok(self, result: object) -> Answer:
        return Answer(200, {"error": [], "result": result})
