"""KuCoin: HMAC over time, method, path and body; the passphrase is signed too; version 3 of its addresses."""

from urllib.parse import unquote

from .call import Answer, Call, read_json, same, sign_base64
from .coins import NETWORKS_OF, TAGGED
from .world import Given, Key

IDS = {"bitcoin": "btc", "ethereum": "eth", "arbitrum": "arbitrum", "base": "base", "avalanche": "avaxc", "tron": "trx", "solana": "sol"}  # fmt: skip
MAX_ADDRESSES = 3


def network_id(coin: str, network: str) -> str:
    return IDS.get(network, coin.lower())


class KuCoin:
    name = "kucoin"
    hosts = frozenset({"api.kucoin.com", "api-futures.kucoin.com"})
    refusals = {
        "rate_limited": Answer(429, {"code": "429000", "msg": "Too many requests"}),
        "maintenance": Answer(503, {"code": "400000", "msg": "System under maintenance"}),
        "permission": Answer(
            403, {"code": "400007", "msg": "Access denied--Require more permission."}
        ),
        "suspended": Answer(401, {"code": "411100", "msg": "User are frozen."}),
        "unknown_key": Answer(401, {"code": "400003", "msg": "KC-API-KEY not exists"}),
    }

    def limit(self, call: Call) -> tuple[str, float, float, float] | None:
        return (call.headers.get("KC-API-KEY", ""), 5, 4000, 30) if "deposit" in call.path else None

    def answer(self, call: Call) -> Answer:
        if call.path == "/api/v1/timestamp":
            return self._ok(call.world.now_ms())
        if call.path == "/api/v3/currencies":
            return self._ok([{"currency": coin, "name": coin, "precision": 8, "chains": [
                {"chainId": network_id(coin, network), "chainName": network.title(), "isDepositEnabled": call.deposits_are_open,
                 "isWithdrawEnabled": True, "confirms": 1, "needTag": network in TAGGED, "contractAddress": "", "depositMinSize": None}
                for network in networks
            ]} for coin, networks in NETWORKS_OF.items()])  # fmt: skip
        key = self._check(call)
        if isinstance(key, Answer):
            return key
        if call.path == "/api/v1/user/api-key":
            return self._permissions(key)
        if "read" not in key.permissions:
            return self.refusals["permission"]
        if call.path == "/api/v3/deposit-addresses":
            coin = call.params.get("currency", "")
            if coin not in NETWORKS_OF:
                return Answer(200, {"code": "900014", "msg": "The currency does not exist"})
            return self._ok([
                self._address(coin, network, one)
                for network in NETWORKS_OF[coin]
                for one in call.give(key, coin, network)[:1]
            ])  # fmt: skip
        if call.path == "/api/v3/deposit-address/create":
            return self._create(call, key)
        return Answer(404, {"code": "404000", "msg": "Url Not Found"})

    def _create(self, call: Call, key: Key) -> Answer:
        form = read_json(call.body)
        coin = str(form.get("currency"))
        networks = {network_id(coin, network): network for network in NETWORKS_OF.get(coin, ())}
        network = networks.get(str(form.get("chain")))
        if network is None:
            return Answer(200, {"code": "900014", "msg": "Invalid chainId"})
        if len(call.world.list_addresses("kucoin", key.key, coin, network)) >= MAX_ADDRESSES:
            return Answer(200, {"code": "260000", "msg": "Deposit address already exists."})
        call.world.rotate("kucoin", key.key, coin, network)
        return self._ok(self._address(coin, network, call.give(key, coin, network)[0]))

    def _address(self, coin: str, network: str, one: Given) -> dict[str, object]:
        return {
            "address": one.address, "memo": one.tag, "chainId": network_id(coin, network), "chainName": network.title(),
            "currency": coin, "contractAddress": "", "to": "MAIN", "expirationDate": one.expires_at * 1000, "remark": "",
        }  # fmt: skip

    def _permissions(self, key: Key) -> Answer:
        rights = {"read": "General", "trade": "Spot", "withdraw": "Withdrawal"}
        named = ",".join(rights[one] for one in sorted(key.permissions))
        return self._ok({
            "remark": "sandbox", "apiKey": key.key, "apiVersion": 3, "permission": named or "None",
            "ipWhitelist": key.allowed_ip, "createdAt": 1, "uid": 7, "isMaster": True,
        })  # fmt: skip

    def _check(self, call: Call) -> Key | Answer:
        key = call.find_key(call.headers.get("KC-API-KEY"))
        if key is None:
            return self.refusals["unknown_key"]
        if not same(call.headers.get("KC-API-PASSPHRASE"), sign_base64(key.secret, key.passphrase)):
            return Answer(401, {"code": "400004", "msg": "Invalid KC-API-PASSPHRASE"})
        sent = call.headers.get("KC-API-TIMESTAMP", "0")
        signed = sign_base64(key.secret, sent + call.method + unquote(call.full_path) + call.body)
        if not same(call.headers.get("KC-API-SIGN"), signed):
            return Answer(401, {"code": "400005", "msg": "Invalid KC-API-SIGN"})
        if call.is_late(int(sent), 5_000):
            return Answer(400, {"code": "400002", "msg": "KC-API-TIMESTAMP Invalid"})
        if not call.may_come_from(key):
            return Answer(401, {"code": "400006", "msg": "The requested ip address is not in the api whitelist"})  # fmt: skip
        return key

    def _ok(self, data: object) -> Answer:
        return Answer(200, {"code": "200000", "data": data})
