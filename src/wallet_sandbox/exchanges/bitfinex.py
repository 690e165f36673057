"""Bitfinex: HMAC-SHA384 over path, nonce and body; errors are lists with status 500."""

from urllib.parse import unquote

from .call import Answer, Call, read_json, same, sign_hex
from .coins import NETWORKS_OF, TAGGED
from .world import Key

IDS = {"USDT": "UST", "USDC": "UDC", "ALGO": "ALG", "ATOM": "ATO", "MANA": "MNA", "BCH": "BCHN"}
METHODS = {
    ("BTC", "bitcoin"): "BITCOIN", ("LTC", "litecoin"): "LITECOIN", ("ETH", "ethereum"): "ETHEREUM",
    ("USDT", "ethereum"): "TETHERUSE", ("USDT", "tron"): "TETHERUSX", ("USDT", "solana"): "TETHERUSDTSOL",
}  # fmt: skip


def method_name(coin: str, network: str) -> str | None:
    """Return the deposit method; several networks of one coin beside Tether's are not offered."""
    if (coin, network) in METHODS:
        return METHODS[coin, network]
    return IDS.get(coin, coin) if network == NETWORKS_OF[coin][0] else None


class Bitfinex:
    name = "bitfinex"
    hosts = frozenset({"api.bitfinex.com", "api-pub.bitfinex.com"})
    refusals = {
        "rate_limited": Answer(429, ["error", 11010, "ratelimit: error"]),
        "maintenance": Answer(503, ["error", 20060, "maintenance"]),
        "permission": Answer(500, ["error", 10100, "apikey: permission invalid"]),
        "suspended": Answer(500, ["error", 10020, "account: suspended"]),
        "unknown_key": Answer(500, ["error", 10100, "apikey: invalid"]),
    }

    def limit(self, call: Call) -> tuple[str, float, float, float] | None:
        return (call.ip, 1, 10, 60) if "deposit/address" in call.path else None

    def answer(self, call: Call) -> Answer:
        if call.path.startswith("/v2/conf/"):
            return self._configuration(call, unquote(call.path.removeprefix("/v2/conf/")))
        key = self._check(call)
        if isinstance(key, Answer):
            return key
        if call.path == "/v2/auth/r/permissions":
            has = key.permissions
            return Answer(200, [
                ["account", int("read" in has), 0], ["history", 1, 0], ["orders", 1, int("trade" in has)], ["positions", 1, 0],
                ["settings", 0, 0], ["wallets", int("read" in has), 0], ["withdraw", 0, int("withdraw" in has)],
            ])  # fmt: skip
        if call.path == "/v2/auth/w/deposit/address":
            return self._address(call, key)
        return Answer(500, ["error", 10020, "path: invalid"])

    def _configuration(self, call: Call, wanted: str) -> Answer:
        methods: dict[str, list[str]] = {}
        pools, statuses = [], {}
        for coin, networks in NETWORKS_OF.items():
            for network in networks:
                if method := method_name(coin, network):
                    methods.setdefault(method, []).append(IDS.get(coin, coin))
                    is_open, tagged = int(call.deposits_are_open), int(network in TAGGED)
                    statuses[method] = [
                        method,
                        is_open,
                        1,
                        None,
                        None,
                        None,
                        None,
                        tagged,
                        tagged,
                        None,
                        None,
                        1,
                    ]
            if networks == ("ethereum",) or coin == "USDC":
                pools.append([IDS.get(coin, coin), "ETH"])
        parts = {
            "pub:map:tx:method": [[method, coins] for method, coins in methods.items()],
            "pub:map:currency:pool": pools,
            "pub:info:tx:status": list(statuses.values()),
        }
        return Answer(200, [parts.get(part, []) for part in wanted.split(",")])

    def _address(self, call: Call, key: Key) -> Answer:
        if "read" not in key.permissions:
            return self.refusals["permission"]
        form = read_json(call.body)
        found = [
            (coin, network)
            for coin, networks in NETWORKS_OF.items()
            for network in networks
            if method_name(coin, network) == form.get("method")
        ]
        if not found:
            return Answer(500, ["error", 10020, "method: invalid"])
        coin, network = found[0]
        if form.get("op_renew") == 1:
            call.world.rotate("bitfinex", key.key, coin, network)
        given = call.give(key, coin, network)
        if not given:
            return Answer(
                200,
                [
                    call.world.now_ms(),
                    "acc_dep",
                    None,
                    None,
                    [],
                    None,
                    "FAILURE",
                    "address pending",
                ],
            )
        one = given[0]
        method = method_name(coin, one.network) or form["method"]
        pair = [one.tag, one.address] if one.tag else [one.address, None]
        return Answer(200, [
            call.world.now_ms(), "acc_dep", None, None, [None, method, IDS.get(coin, coin), None, *pair], None, "SUCCESS", "success",
        ])  # fmt: skip

    def _check(self, call: Call) -> Key | Answer:
        key = call.find_key(call.headers.get("bfx-apikey"))
        if key is None:
            return self.refusals["unknown_key"]
        nonce = call.headers.get("bfx-nonce", "")
        signed = sign_hex(key.secret, f"/api{call.path}{nonce}{call.body}", "sha384")
        if not same(call.headers.get("bfx-signature"), signed):
            return Answer(500, ["error", 10100, "apikey: digest invalid"])
        if call.is_replayed(key, nonce):
            return Answer(500, ["error", 10114, "nonce: small"])
        if not call.may_come_from(key):
            return Answer(500, ["error", 10100, "ip: not allowed"])
        return key
