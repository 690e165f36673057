"""OKX: HMAC over time, method, path and body, and a passphrase; every chain and every old address in one answer."""

import datetime

from .call import Answer, Call, same, sign_base64
from .coins import NETWORKS_OF, TAGGED
from .world import Given, Key

CHAINS = {
    "bitcoin": "Bitcoin", "ethereum": "ERC20", "arbitrum": "Arbitrum One", "base": "Base", "tron": "TRC20", "solana": "Solana",
    "xrp": "Ripple", "stellar": "Stellar Lumens", "cardano": "Cardano", "polkadot": "Polkadot", "litecoin": "Litecoin",
    "bitcoin-cash": "BitcoinCash", "dogecoin": "Dogecoin", "cosmos": "Cosmos", "avalanche": "Avalanche C-Chain",
    "near": "NEAR", "algorand": "Algorand", "filecoin": "Filecoin", "tezos": "Tezos", "eos": "EOS", "aptos": "Aptos",
    "sui": "SUI", "celestia": "Celestia", "injective": "INJ", "sei": "SEI", "ton": "TON", "hedera": "Hedera",
    "icp": "Dfinity", "kaspa": "Kaspa", "mina": "Mina",
}  # fmt: skip


class OKX:
    name = "okx"
    hosts = frozenset({"www.okx.com", "eea.okx.com", "us.okx.com"})
    refusals = {
        "rate_limited": Answer(429, {"code": "50011", "msg": "Too Many Requests", "data": []}),
        "maintenance": Answer(503, {"code": "50001", "msg": "Service temporarily unavailable. Try again later", "data": []}),
        "permission": Answer(401, {"code": "50120", "msg": "API key doesn't have permission to use this function", "data": []}),
        "suspended": Answer(403, {"code": "50007", "msg": "User blocked", "data": []}),
        "unknown_key": Answer(401, {"code": "50111", "msg": "Invalid OK-ACCESS-KEY", "data": []}),
    }  # fmt: skip

    def limit(self, call: Call) -> tuple[str, float, float, float] | None:
        if not call.path.startswith("/api/v5/asset/"):
            return None
        return call.headers.get("OK-ACCESS-KEY", "") + call.path, 1, 6, 1

    def answer(self, call: Call) -> Answer:
        if call.path == "/api/v5/public/time":
            return self._ok([{"ts": str(call.world.now_ms())}])
        key = self._check(call)
        if isinstance(key, Answer):
            return key
        if call.path == "/api/v5/account/config":
            return self._permissions(key)
        if call.path == "/api/v5/account/balance":
            return self._ok([{"details": [], "totalEq": "0", "uTime": str(call.world.now_ms())}])
        if "read" not in key.permissions:
            return self.refusals["permission"]
        if call.path == "/api/v5/asset/currencies":
            return self._ok([
                {"ccy": coin, "chain": f"{coin}-{CHAINS[network]}", "name": coin, "canDep": call.deposits_are_open, "canWd": True,
                 "mainNet": at == 0, "minDep": "0.0001", "minDepArrivalConfirm": "1", "needTag": network in TAGGED, "ctAddr": ""}
                for coin, networks in NETWORKS_OF.items()
                for at, network in enumerate(networks)
            ])  # fmt: skip
        if call.path == "/api/v5/asset/deposit-address":
            coin = call.params.get("ccy", "")
            if coin not in NETWORKS_OF:
                return Answer(200, {"code": "51000", "msg": "Parameter ccy error", "data": []})
            return self._ok([
                self._address(coin, network, one)
                for network in NETWORKS_OF[coin]
                for one in call.give(key, coin, network)
            ])  # fmt: skip
        return Answer(404, {"code": "404", "msg": "no such path", "data": []})

    def _address(self, coin: str, network: str, one: Given) -> dict[str, object]:
        row: dict[str, object] = {
            "ccy": coin, "chain": f"{coin}-{CHAINS[network]}", "addr": one.address, "to": "6", "ctAddr": "",
            "selected": one.is_current,
        }  # fmt: skip
        if one.tag and network == "ton":
            row["addrEx"] = {"comment": one.tag}
        elif one.tag:
            row["tag"] = one.tag
        return row

    def _permissions(self, key: Key) -> Answer:
        rights = {"read": "read_only", "trade": "trade", "withdraw": "withdraw"}
        named = ",".join(rights[one] for one in sorted(key.permissions))
        return self._ok(
            [
                {
                    "uid": f"uid-{key.key}",
                    "perm": named or "none",
                    "ip": key.allowed_ip,
                    "label": "sandbox",
                }
            ]
        )

    def _check(self, call: Call) -> Key | Answer:
        name = call.headers.get("OK-ACCESS-KEY")
        if not name:
            return Answer(
                401, {"code": "50103", "msg": "Request header OK-ACCESS-KEY can not be empty."}
            )
        key = call.find_key(name)
        if key is None:
            return self.refusals["unknown_key"]
        if not same(call.headers.get("OK-ACCESS-PASSPHRASE"), key.passphrase):
            return Answer(
                401, {"code": "50105", "msg": "Request header OK-ACCESS-PASSPHRASE incorrect."}
            )
        sent = call.headers.get("OK-ACCESS-TIMESTAMP", "")
        signed = sign_base64(key.secret, sent + call.method + call.full_path + call.body)
        if not same(call.headers.get("OK-ACCESS-SIGN"), signed):
            return Answer(401, {"code": "50113", "msg": "Invalid Sign"})
        if call.is_late(datetime.datetime.fromisoformat(sent).timestamp() * 1000, 30_000):
            return Answer(401, {"code": "50102", "msg": "Timestamp request expired"})
        if not call.may_come_from(key):
            return Answer(401, {"code": "50110", "msg": f"Your IP {call.ip} is not included in your API key's IP whitelist."})  # fmt: skip
        return key

    def _ok(self, data: list[dict[str, object]]) -> Answer:
        return Answer(200, {"code": "0", "msg": "", "data": data})
