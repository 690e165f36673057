"""HTX: HMAC over method, host, path and sorted query; chains like `trc20usdt`."""

import datetime
from urllib.parse import unquote

from .call import Answer, Call, same, sign_base64
from .coins import NETWORKS_OF, TAGGED
from .world import Key

HOST = "api.huobi.pro"
BASE_CHAINS = {"ethereum": "ETH", "tron": "TRX", "solana": "SOL", "arbitrum": "ARB", "base": "BASE", "avalanche": "CCHAIN"}  # fmt: skip
PREFIXES = {"tron": "trc20", "solana": "sol", "arbitrum": "arb", "base": "base"}


def network_id(coin: str, network: str) -> str:
    own = coin.lower()
    if len(NETWORKS_OF[coin]) == 1 or (coin == "ETH" and network == "ethereum"):
        return own
    return f"{own}erc20" if network == "ethereum" else PREFIXES[network] + own


class HTX:
    name = "htx"
    hosts = frozenset({HOST, "api.hbdm.vn"})
    refusals = {
        "rate_limited": Answer(429, {"status": "error", "err-code": "api-request-too-many", "err-msg": "exceeded rate limit"}),
        "maintenance": Answer(503, {"status": "error", "err-code": "maintenance", "err-msg": "system maintenance"}),
        "permission": Answer(403, {"code": 403, "message": "Insufficient permission: forbidden"}),
        "suspended": Answer(200, {"code": 2010, "message": "account suspended"}),
        "unknown_key": Answer(200, {"status": "error", "err-code": "api-signature-not-valid", "err-msg": "Signature not valid: Incorrect Access key [Access key error]", "data": None}),
    }  # fmt: skip

    def limit(self, call: Call) -> tuple[str, float, float, float] | None:
        key = call.params.get("AccessKeyId", "")
        return (key, 1, 20, 2) if "/deposit/" in call.path else None

    def answer(self, call: Call) -> Answer:
        if call.path == "/v1/common/timestamp":
            return Answer(200, {"status": "ok", "data": call.world.now_ms()})
        if call.path == "/v2/reference/currencies":
            return self._ok([{"currency": coin.lower(), "instStatus": "normal", "chains": [
                self._chain(call, coin, network) for network in networks
            ]} for coin, networks in NETWORKS_OF.items()])  # fmt: skip
        key = self._check(call)
        if isinstance(key, Answer):
            return key
        if call.path == "/v2/user/uid":
            return self._ok(12345)
        if call.path == "/v2/user/api-key":
            return self._permissions(key)
        if "read" not in key.permissions:
            return self.refusals["permission"]
        if call.path == "/v2/account/deposit/address":
            coin = call.params.get("currency", "").upper()
            if coin not in NETWORKS_OF:
                return Answer(200, {"code": 2002, "message": "invalid field value in currency"})
            return self._ok([
                {"currency": coin.lower(), "address": one.address, "addressTag": one.tag or "", "chain": network_id(coin, network)}
                for network in NETWORKS_OF[coin]
                for one in call.give(key, coin, network)[:1]
            ])  # fmt: skip
        return Answer(404, {"code": 404, "message": "no such path"})

    def _chain(self, call: Call, coin: str, network: str) -> dict[str, object]:
        row: dict[str, object] = {
            "chain": network_id(coin, network), "displayName": network.title(), "numOfConfirmations": 1, "minDepositAmt": "0.1",
            "depositStatus": "allowed" if call.deposits_are_open else "prohibited", "addrDepositTag": network in TAGGED,
        }  # fmt: skip
        if (network in BASE_CHAINS and row["chain"] != coin.lower()) or network in {
            "ethereum",
            "avalanche",
        }:
            row["baseChain"] = BASE_CHAINS[network]
        return row

    def _permissions(self, key: Key) -> Answer:
        rights = {"read": "readOnly", "trade": "trade", "withdraw": "withdraw"}
        named = ",".join(rights[one] for one in sorted(key.permissions))
        days = -1
        if key.valid_until:
            days = max(
                0,
                (key.valid_until - int(datetime.datetime.now(datetime.UTC).timestamp())) // 86_400,
            )
        return self._ok([{
            "accessKey": key.key, "note": "sandbox", "permission": named or "none", "ipAddresses": key.allowed_ip,
            "validDays": days, "status": "normal",
        }])  # fmt: skip

    def _check(self, call: Call) -> Key | Answer:
        key = call.find_key(call.params.get("AccessKeyId"))
        if key is None:
            return self.refusals["unknown_key"]
        signed, _, signature = call.query.rpartition("&Signature=")
        text = "\n".join((call.method, HOST, call.path, signed))
        if not same(unquote(signature), sign_base64(key.secret, text)):
            return Answer(200, {"code": 1003, "message": "invalid signature"})
        sent = datetime.datetime.fromisoformat(call.params["Timestamp"]).replace(
            tzinfo=datetime.UTC
        )
        if call.is_late(sent.timestamp() * 1000, 300_000):
            return Answer(200, {"status": "error", "err-code": "api-signature-not-valid", "err-msg": "Signature not valid: Timestamp is out of range"})  # fmt: skip
        if not call.may_come_from(key):
            return Answer(200, {"status": "error", "err-code": "api-signature-not-valid", "err-msg": "Signature not valid: Incorrect IP address [ip error]"})  # fmt: skip
        return key

    def _ok(self, data: object) -> Answer:
        return Answer(200, {"code": 200, "data": data})
