"""Coinbase (Advanced Trade): a JWT signed with ES256 or Ed25519 for each request; wallets, each with pages of addresses."""

import base64
import binascii
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

from .call import Answer, Call, read_json
from .coins import NETWORKS_OF
from .world import Given, Key

IDS = {
    "xrp": "ripple",
    "bitcoin-cash": "bitcoincash",
    "icp": "internetcomputer",
    "avalanche": "avacchain",
}
WALLETS_PER_PAGE = 250
ADDRESSES_PER_PAGE = 25


def network_id(network: str) -> str:
    return IDS.get(network, network)


def _refuse(status: int, name: str, message: str) -> Answer:
    return Answer(status, {"errors": [{"id": name, "message": message}]})


class Coinbase:
    name = "coinbase"
    hosts = frozenset({"api.coinbase.com"})
    refusals = {
        "rate_limited": _refuse(429, "rate_limit_exceeded", "Too many requests"),
        "maintenance": _refuse(503, "internal_server_error", "Under maintenance"),
        "permission": _refuse(403, "invalid_scope", "Invalid scope: permission denied"),
        "suspended": _refuse(403, "account_suspended", "Your account is suspended"),
        "unknown_key": Answer(401, "Unauthorized\n"),
    }

    def limit(self, call: Call) -> tuple[str, float, float, float] | None:
        return (call.headers.get("Authorization", "")[:40], 1, 10_000, 3600)

    def answer(self, call: Call) -> Answer:
        if call.path == "/v2/time":
            return Answer(200, {"data": {"epoch": call.world.now_ms() // 1000, "iso": "-"}})
        if call.path == "/v2/currencies/crypto":
            return Answer(200, {"data": [{"code": coin, "name": coin, "exponent": 8, "type": "crypto"} for coin in NETWORKS_OF]})  # fmt: skip
        key = self._check(call)
        if key is None:
            return self.refusals["unknown_key"]
        if not call.may_come_from(key):
            return _refuse(401, "unauthorized", "IP address is not allowed")
        if call.path == "/api/v3/brokerage/key_permissions":
            has = key.permissions
            return Answer(200, {
                "can_view": "read" in has, "can_trade": "trade" in has, "can_transfer": "withdraw" in has,
                "portfolio_uuid": f"portfolio-{key.key}", "portfolio_type": "DEFAULT",
            })  # fmt: skip
        if "read" not in key.permissions:
            return self.refusals["permission"]
        if call.path == "/api/v3/brokerage/accounts":
            return self._wallets(call)
        parts = call.path.split("/")
        if len(parts) == 5 and parts[1:3] == ["v2", "accounts"] and parts[4] == "addresses":
            coin = parts[3].removeprefix("wallet-")
            if coin in NETWORKS_OF:
                return (
                    self._create(call, key, coin)
                    if call.method == "POST"
                    else self._list(call, key, coin)
                )
        return _refuse(404, "not_found", "Not found")

    def _wallets(self, call: Call) -> Answer:
        # The extra ones come first: only who reads all pages finds the coins.
        coins = [f"X{number}" for number in range(call.world.extra_wallets)] + list(NETWORKS_OF)
        start = int(call.params.get("cursor") or 0)
        size = min(int(call.params.get("limit", 49)), WALLETS_PER_PAGE)
        page = coins[start : start + size]
        rows = [{"uuid": f"wallet-{coin}", "currency": coin, "default": True, "active": True, "type": "ACCOUNT_TYPE_CRYPTO"} for coin in page]  # fmt: skip
        has_next = start + size < len(coins)
        return Answer(200, {"accounts": rows, "has_next": has_next, "cursor": str(start + size) if has_next else "", "size": len(rows)})  # fmt: skip

    def _list(self, call: Call, key: Key, coin: str) -> Answer:
        """Return a page of addresses, the newest first."""
        rows = [
            self._address(network, one, age)
            for network in NETWORKS_OF[coin]
            for age, one in enumerate(call.give(key, coin, network))
        ]
        start = next(
            (
                at + 1
                for at, row in enumerate(rows)
                if row["id"] == call.params.get("starting_after")
            ),
            0,
        )
        page = rows[start : start + ADDRESSES_PER_PAGE]
        after = page[-1]["id"] if start + ADDRESSES_PER_PAGE < len(rows) else None
        return Answer(200, {"pagination": {"next_starting_after": after}, "data": page})

    def _create(self, call: Call, key: Key, coin: str) -> Answer:
        wanted = read_json(call.body).get("network")
        network = next(
            (one for one in NETWORKS_OF[coin] if network_id(one) == wanted), NETWORKS_OF[coin][0]
        )
        call.world.rotate("coinbase", key.key, coin, network)
        return Answer(201, {"data": self._address(network, call.give(key, coin, network)[0], 0)})

    def _address(self, network: str, one: Given, age: int) -> dict[str, Any]:
        info = {"address": one.address, **({"destination_tag": one.tag} if one.tag else {})}
        return {
            "id": f"{network}-{age}", "address": one.address, "address_info": info, "network": network_id(network),
            "resource": "address", "default_receive": one.is_current,
        }  # fmt: skip

    def _check(self, call: Call) -> Key | None:
        """Return the key whose JWT this is: signature, uri and time."""
        try:
            head, claims, signature = (
                call.headers.get("Authorization", "").removeprefix("Bearer ").split(".")
            )
            header, said = json.loads(_decode(head)), json.loads(_decode(claims))
            key = call.find_key(said["sub"])
            if key is None:
                return None
            _verify(key.secret, header["alg"], _decode(signature), f"{head}.{claims}".encode())
            uri = said.get("uri") or said["uris"][0]
        except (ValueError, KeyError, IndexError, InvalidSignature, binascii.Error):
            return None
        now = call.world.now_ms() / 1000
        if (
            uri != f"{call.method} api.coinbase.com{call.path}"
            or not said["nbf"] - 5 <= now <= said["exp"]
        ):
            return None
        return key


def _verify(secret: str, algorithm: str, signature: bytes, message: bytes) -> None:
    """:raises InvalidSignature: the secret did not sign this"""
    if algorithm == "EdDSA":
        seed = base64.b64decode(secret)[:32]
        ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key().verify(signature, message)
        return
    private = serialization.load_pem_private_key(secret.encode(), None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise InvalidSignature
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    private.public_key().verify(
        utils.encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256())
    )


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
