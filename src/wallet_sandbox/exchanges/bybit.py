"""Bybit: HMAC over time, key, window and query; the network by `chain`."""

from .call import Answer, Call, same, sign_hex
from .coins import NETWORKS_OF
from .world import Key

IDS = {"bitcoin": "BTC", "ethereum": "ETH", "arbitrum": "ARBI", "base": "BASE", "avalanche": "CAVAX", "tron": "TRX", "solana": "SOL"}  # fmt: skip


def network_id(coin: str, network: str) -> str:
    return IDS.get(network, coin)


def _refuse(code: int, message: str, status: int = 200) -> Answer:
    return Answer(status, {"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}})


class Bybit:
    name = "bybit"
    hosts = frozenset({"api.bybit.com", "api.bybit.eu"})
    refusals = {
        "rate_limited": _refuse(10006, "Too many visits. Exceeded the API Rate Limit."),
        "maintenance": _refuse(10016, "Server error. Under maintenance.", 503),
        "permission": _refuse(10005, "Permission denied, please check your API key permissions."),
        "suspended": _refuse(10008, "User has been banned."),
        "unknown_key": _refuse(10003, "API key is invalid."),
    }

    def limit(self, call: Call) -> tuple[str, float, float, float] | None:
        if "/asset/" not in call.path:
            return None
        return call.headers.get("X-BAPI-API-KEY", "") + call.path, 1, 5, 1

    def answer(self, call: Call) -> Answer:
        if call.path == "/v5/market/time":
            now = call.world.now_ms()
            return self._ok({"timeSecond": str(now // 1000), "timeNano": str(now * 1_000_000)}, now)
        key = self._check(call)
        if isinstance(key, Answer):
            return key
        if call.path == "/v5/user/query-api":
            return self._permissions(call, key)
        if "read" not in key.permissions:
            return self.refusals["permission"]
        if call.path == "/v5/asset/coin/query-info":
            return self._ok({"rows": [
                {"coin": coin, "name": coin, "remainAmount": "1", "chains": [
                    {"chain": network_id(coin, network), "chainType": network.title(), "confirmation": "1",
                     "chainDeposit": str(int(call.deposits_are_open)), "chainWithdraw": "1", "depositMin": "0.0001"}
                    for network in networks
                ]}
                for coin, networks in NETWORKS_OF.items()
            ]})  # fmt: skip
        if call.path == "/v5/asset/deposit/query-address":
            coin = call.params.get("coin", "")
            if coin not in NETWORKS_OF:
                return _refuse(131001, "coin not supported")
            return self._ok({"coin": coin, "chains": [
                {"chain": network_id(coin, network), "chainType": network.title(), "addressDeposit": one.address,
                 "tagDeposit": one.tag or "", "contractAddress": "", "batchReleaseLimit": "-1"}
                for network in NETWORKS_OF[coin]
                for one in call.give(key, coin, network)[:1]
            ]})  # fmt: skip
        return _refuse(10404, "no such path", 404)

    def _permissions(self, call: Call, key: Key) -> Answer:
        wallet = ["AccountTransfer", *(["Withdraw"] if "withdraw" in key.permissions else [])]
        spot = ["SpotTrade"] if "trade" in key.permissions else []
        return self._ok({
            "id": "1", "note": "sandbox", "apiKey": key.key, "readOnly": 0 if spot else 1, "userID": 7, "isMaster": True,
            "permissions": {"ContractTrade": [], "Spot": spot, "Wallet": wallet, "Exchange": []},
            "ips": [key.allowed_ip or "*"], "deadlineDay": 83, "expiredAt": "2027-02-10T00:00:00Z",
        })  # fmt: skip

    def _check(self, call: Call) -> Key | Answer:
        key = call.find_key(call.headers.get("X-BAPI-API-KEY"))
        if key is None:
            return self.refusals["unknown_key"]
        sent = call.headers.get("X-BAPI-TIMESTAMP", "")
        window = call.headers.get("X-BAPI-RECV-WINDOW", "5000")
        origin = sent + key.key + window + (call.query if call.method == "GET" else call.body)
        if not same(call.headers.get("X-BAPI-SIGN"), sign_hex(key.secret, origin)):
            return _refuse(10004, f"error sign! origin_string[{origin}]")
        if call.is_late(int(sent), int(window)):
            return _refuse(
                10002, "invalid request, please check your server timestamp or recv_window param"
            )
        if not call.may_come_from(key):
            return _refuse(10010, "Unmatched IP, please check your API key's bound IP addresses.")
        return key

    def _ok(self, result: dict[str, object], now: int = 0) -> Answer:
        return Answer(
            200, {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": now}
        )
