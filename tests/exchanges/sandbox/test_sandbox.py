"""The sandbox as a server of its own: what it refuses, without CCXT in between."""

import base64
import hashlib
import hmac
import json
import ssl
import time
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from tests.exchanges.stand import Sandbox, account_of, credentials_of
from wallet_sandbox.exchanges.world import FAULTS, VENUES, make_world

HOSTS = {"kraken": "api.kraken.com", "bitfinex": "api.bitfinex.com", "binance": "api.binance.com"}


def send(sandbox: Sandbox, venue: str, method: str, path: str, **options: Any) -> httpx.Response:
    """Send a request to a venue of the sandbox, whose certificate must be of the sandbox's authority."""
    context = ssl.create_default_context(cafile=str(sandbox.ca_file))
    with httpx.Client(verify=context, trust_env=False) as client:
        request = client.build_request(
            method,
            f"https://{sandbox.address}{path}",
            extensions={"sni_hostname": HOSTS[venue]},
            **options,
        )
        request.headers["Host"] = HOSTS[venue]
        return client.send(request)


def ask_kraken(sandbox: Sandbox, nonce: int) -> dict[str, Any]:
    credentials, path = credentials_of("kraken"), "/0/private/GetApiKeyInfo"
    body = urlencode({"nonce": nonce})
    message = path.encode() + hashlib.sha256(f"{nonce}{body}".encode()).digest()
    sign = hmac.digest(base64.b64decode(credentials.api_secret), message, hashlib.sha512)
    headers = {"API-Key": credentials.api_key, "API-Sign": base64.b64encode(sign).decode()}
    return send(sandbox, "kraken", "POST", path, content=body, headers=headers).json()


def ask_bitfinex(sandbox: Sandbox, nonce: int) -> httpx.Response:
    credentials, path, body = credentials_of("bitfinex"), "/v2/auth/r/permissions", "{}"
    message = f"/api{path}{nonce}{body}".encode()
    sign = hmac.new(credentials.api_secret.encode(), message, hashlib.sha384).hexdigest()
    headers = {"bfx-apikey": credentials.api_key, "bfx-nonce": str(nonce), "bfx-signature": sign}
    return send(sandbox, "bitfinex", "POST", path, content=body, headers=headers)


def ask_binance(sandbox: Sandbox, at: float, coin: str = "BTC") -> httpx.Response:
    credentials = credentials_of("binance")
    query = urlencode({"coin": coin, "timestamp": int(at * 1000), "recvWindow": 5000})
    sign = hmac.new(credentials.api_secret.encode(), query.encode(), hashlib.sha256).hexdigest()
    path = f"/sapi/v1/capital/deposit/address?{query}&signature={sign}"
    return send(sandbox, "binance", "GET", path, headers={"X-MBX-APIKEY": credentials.api_key})


def test_a_replayed_nonce_is_refused_by_kraken(sandbox):
    assert ask_kraken(sandbox, 5)["error"] == []
    assert ask_kraken(sandbox, 5)["error"] == ["EAPI:Invalid nonce"]
    assert ask_kraken(sandbox, 4)["error"] == ["EAPI:Invalid nonce"]
    assert ask_kraken(sandbox, 6)["error"] == []


def test_a_replayed_nonce_is_refused_by_bitfinex(sandbox):
    assert ask_bitfinex(sandbox, 5).status_code == 200
    replayed = ask_bitfinex(sandbox, 5)
    assert (replayed.status_code, replayed.json()) == (500, ["error", 10114, "nonce: small"])


def test_a_late_request_is_refused_by_binance(sandbox):
    assert ask_binance(sandbox, time.time()).status_code == 200
    late = ask_binance(sandbox, time.time() - 60)
    assert (late.status_code, late.json()["code"]) == (400, -1021)


def test_who_ignores_the_limit_is_turned_away_with_a_wait(sandbox):
    answers = [ask_bitfinex_address(sandbox, nonce) for nonce in range(1, 12)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 61


def ask_bitfinex_address(sandbox: Sandbox, nonce: int) -> httpx.Response:
    credentials, path = credentials_of("bitfinex"), "/v2/auth/w/deposit/address"
    body = json.dumps({"wallet": "exchange", "method": "BITCOIN", "op_renew": 0})
    message = f"/api{path}{nonce}{body}".encode()
    sign = hmac.new(credentials.api_secret.encode(), message, hashlib.sha384).hexdigest()
    headers = {"bfx-apikey": credentials.api_key, "bfx-nonce": str(nonce), "bfx-signature": sign}
    return send(sandbox, "bitfinex", "POST", path, content=body, headers=headers)


def test_a_request_that_makes_no_sense_is_refused(sandbox):
    headers = {"X-MBX-APIKEY": credentials_of("binance").api_key}
    answer = send(
        sandbox, "binance", "GET", "/sapi/v1/capital/deposit/address?x=1", headers=headers
    )
    assert answer.status_code == 400


def test_plain_http_is_not_spoken_to_venues(sandbox):
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://{sandbox.address}/api/v3/time", trust_env=False)


def test_an_unknown_host_is_no_venue(sandbox):
    context = ssl.create_default_context(cafile=str(sandbox.ca_file))
    with httpx.Client(verify=context, trust_env=False) as client:
        assert client.get(f"https://{sandbox.address}/").status_code == 421


def test_the_authority_survives_a_restart(sandbox, tmp_path):
    first = Sandbox(tmp_path)
    authority = first.ca_file.read_bytes()
    first.stop()
    again = Sandbox(tmp_path)
    assert again.ca_file.read_bytes() == authority
    assert ask_kraken(again, 1)["error"] == []
    again.stop()


def test_the_panel_shows_every_fault_and_every_demo_key(sandbox):
    page = sandbox.client.get("/").text
    assert all(f"<option value={kind}>" in page for kind in FAULTS)
    assert all(key in page for venue, key in make_world().keys)


def test_a_fault_is_switched_on_by_the_pages_form_and_cleared(sandbox):
    form = {"venue": "okx", "kind": "down", "path": "", "times": "", "seconds": "1"}
    assert sandbox.client.post("/control/faults", data=form).status_code == 303
    assert [fault["kind"] for fault in sandbox.client.get("/control/state").json()["faults"]] == [
        "down"
    ]
    sandbox.repair()
    assert sandbox.client.get("/control/state").json()["faults"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"kind": "explode"},
        {"kind": "down", "venue": "nowhere"},
        {"kind": "slow", "seconds": "x"},
    ],
)
def test_an_unknown_fault_is_refused_and_changes_nothing(sandbox, wrong):
    assert sandbox.client.post("/control/faults", json=wrong).status_code == 400
    assert sandbox.client.get("/control/state").json()["faults"] == []


def test_pages_of_other_sites_switch_nothing(sandbox):
    headers = {"Origin": "https://elsewhere.example"}
    form = {"venue": "*", "kind": "down"}
    assert sandbox.client.post("/control/faults", data=form, headers=headers).status_code == 403
    assert sandbox.client.get("/control/state").json()["faults"] == []


def test_a_deleted_key_opens_nothing(sandbox):
    sandbox.set("delete", venue="kraken", key=credentials_of("kraken").api_key)
    assert ask_kraken(sandbox, 1)["error"] == ["EAPI:Invalid key"]


def test_a_key_of_ones_own_can_be_added(sandbox):
    sandbox.set("keys", venue="binance", key="mine", secret="words", permissions=["read", "trade"])
    keys = sandbox.client.get("/control/state").json()["keys"]
    assert [key["permissions"] for key in keys if key["key"] == "mine"] == [["read", "trade"]]


def test_every_venue_has_the_demo_people():
    people = {venue: account_of(venue).owner for venue in VENUES}
    assert set(people.values()) == {"alice"}
    assert {venue for venue, _ in make_world().keys} == set(VENUES)
