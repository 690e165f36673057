"""Binance: HMAC over the query string, one address for each request."""

from .call import Answer, Call, same, sign_hex
from .coins import NETWORKS_OF, TAGGED
from .world import Key

IDS = {
    "bitcoin": "BTC", "ethereum": "ETH", "arbitrum": "ARBITRUM", "base": "BASE", "avalanche": "AVAXC", "tron": "TRX",
    "solana": "SOL",
}  # fmt: skip
EXPLORERS = {
    "ETH": "https://etherscan.io/address/", "TRX": "https://tronscan.org/#/address/", "SOL": "https://solscan.io/account/",
    "ARBITRUM": "https://arbiscan.io/address/", "BASE": "https://basescan.org/address/",
}  # fmt: skip


def network_id(coin: str, network: str) -> str:
    return IDS.get(network, coin)


class Binance:
    name = "binance"
    hosts = frozenset(
        {"api.binance.com", "api1.binance.com", "fapi.binance.com", "dapi.binance.com"}
    )
    refusals = {
        "rate_limited": Answer(429, {"code": -1003, "msg": "Too many requests; current limit of IP is 12000 request weight per 1 MINUTE."}),
        "banned": Answer(418, {"code": -1003, "msg": "Way too many requests; IP banned."}),
        "maintenance": Answer(503, {"code": -1000, "msg": "System is under maintenance."}),
        "permission": Answer(401, {"code": -1002, "msg": "You are not authorized to execute this request."}),
        "suspended": Answer(400, {"code": -2060, "msg": "Account suspended."}),
        "unknown_key": Answer(401, {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}),
    }  # fmt: skip

    def limit(self, call: Call) -> tuple[str, float, float, float] | None:
        return (call.ip, 10, 12_000, 60) if "/sapi/" in call.path else None

    def answer(self, call: Call) -> Answer:
        if call.path == "/api/v3/time":
            return Answer(200, {"serverTime": call.world.now_ms()})
        refused = self._check(call)
        if isinstance(refused, Answer):
            return refused
        if call.path == "/sapi/v1/capital/config/getall":
            return Answer(200, [self._coin(call, coin) for coin in NETWORKS_OF])
        if call.path == "/sapi/v1/account/apiRestrictions":
            return self._permissions(refused)
        if call.path == "/sapi/v1/capital/deposit/address":
            return self._address(call, refused)
        return Answer(404, {"code": -1, "msg": "no such path"})

    def _check(self, call: Call) -> Key | Answer:
        name = call.headers.get("X-MBX-APIKEY")
        if not name:
            return Answer(401, {"code": -2014, "msg": "API-key format invalid."})
        key = call.find_key(name)
        if key is None or not call.may_come_from(key) or "read" not in key.permissions:
            return self.refusals["unknown_key"]
        signed, _, signature = call.query.rpartition("&signature=")
        if not same(sign_hex(key.secret, signed), signature):
            return Answer(400, {"code": -1022, "msg": "Signature for this request is not valid."})
        if call.is_late(int(call.params["timestamp"]), int(call.params.get("recvWindow", 5000))):
            return Answer(400, {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."})  # fmt: skip
        return key

    def _coin(self, call: Call, coin: str) -> dict[str, object]:
        networks = [
            {
                "network": network_id(coin, network), "coin": coin, "name": network.title(), "isDefault": at == 0,
                "depositEnable": call.deposits_are_open, "withdrawEnable": True, "addressRegex": "", "minConfirm": 1,
                "memoRegex": "^[0-9]{1,20}$" if network in TAGGED else "", "sameAddress": network in TAGGED,
                "depositDust": "0.0001", "contractAddress": "",
            }
            for at, network in enumerate(NETWORKS_OF[coin])
        ]  # fmt: skip
        return {"coin": coin, "name": coin, "free": "1.5", "locked": "0.5", "networkList": networks}

    def _permissions(self, key: Key) -> Answer:
        return Answer(200, {
            "ipRestrict": bool(key.allowed_ip), "createTime": 1, "enableReading": "read" in key.permissions,
            "enableWithdrawals": "withdraw" in key.permissions, "enableInternalTransfer": False,
            "permitsUniversalTransfer": False, "enableSpotAndMarginTrading": "trade" in key.permissions,
            "enableMargin": False, "enableFutures": False, "enableVanillaOptions": False,
        })  # fmt: skip

    def _address(self, call: Call, key: Key) -> Answer:
        coin = call.params.get("coin", "")
        if coin not in NETWORKS_OF:
            return Answer(
                400, {"code": -4019, "msg": "The current currency is not open for recharge"}
            )
        networks = {network_id(coin, network): network for network in NETWORKS_OF[coin]}
        asked = call.params.get("network") or next(iter(networks))
        if asked not in networks:
            return Answer(400, {"code": -4018, "msg": "The network does not exist."})
        given = call.give(key, coin, networks[asked])
        if not given:
            return Answer(200, {"coin": coin, "address": "", "tag": "", "url": ""})
        first = given[0]
        url = EXPLORERS.get(network_id(coin, first.network), "https://explorer.example/address/")
        if call.fault and call.fault.kind == "without_url":
            url = ""
        return Answer(200, {
            "coin": coin, "address": first.address, "tag": first.tag or "", "url": url and url + first.address,
        })  # fmt: skip
