"""Whatever is sent: a clear error with a stable code, and nothing changed."""

import json

import pytest

from dj_wallet.models import Wallet

SOME_UUID = "0d3f5a1c-6e52-4c7e-9a6b-1f2c3d4e5f60"
DEEP = b'{"amount": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

# Bodies of POST /wallets/<uuid>/deposit and .../withdraw.
UNITS = [
    (b'{"amount": "100"}', 400, "invalid_request"),
    (b'{"amount": "NaN"}', 400, "invalid_request"),
    (b'{"amount": 1.0}', 400, "invalid_request"),
    (b'{"amount": 0.1}', 400, "invalid_request"),
    (b'{"amount": 1e2}', 400, "invalid_request"),
    (b'{"amount": 1e400}', 400, "invalid_request"),
    (b'{"amount": -1e-400}', 400, "invalid_request"),
    (b'{"amount": 1e999999999999999999999}', 400, "json_invalid"),
    (b'{"amount": true}', 400, "invalid_request"),
    (b'{"amount": null}', 400, "invalid_request"),
    (b'{"amount": []}', 400, "invalid_request"),
    (b'{"amount": [100]}', 400, "invalid_request"),
    (b'{"amount": {"value": 100}}', 400, "invalid_request"),
    (b"{}", 400, "invalid_request"),
    (b"", 400, "invalid_request"),
    (b'{"amount": 100, "amount_": 1}', 400, "invalid_request"),
    (b'{"amount": 0}', 422, "amount_invalid"),
    (b'{"amount": -0}', 422, "amount_invalid"),
    (b'{"amount": -1}', 422, "amount_invalid"),
    (b'{"amount": 1' + b"0" * 64 + b"}", 422, "amount_invalid"),
    (b'{"amount": ' + b"9" * 90 + b"}", 422, "amount_invalid"),
    (b'{"amount": ' + b"9" * 101 + b"}", 400, "json_invalid"),
    (b'{"amount": ' + b"9" * 500_000 + b"}", 400, "json_invalid"),
    (b'{"amount": 0.' + b"1" * 500_000 + b"}", 400, "json_invalid"),
    (b'{"amount": NaN}', 400, "json_invalid"),
    (b'{"amount": Infinity}', 400, "json_invalid"),
    (b'{"amount": -Infinity}', 400, "json_invalid"),
    (b'{"amount": 0x10}', 400, "json_invalid"),
    (b'{"amount": 01}', 400, "json_invalid"),
    (b'{"amount": 100} x', 400, "json_invalid"),
    (b'{"amount": 100, "amount": 100}', 400, "json_invalid"),
    (b"{'amount': 100}", 400, "json_invalid"),
    (b"[]", 400, "json_invalid"),
    (b"100", 400, "json_invalid"),
    (b"null", 400, "json_invalid"),
    (b'"amount"', 400, "json_invalid"),
    (b'\xef\xbb\xbf{"amount": 100}', 400, "json_invalid"),
    ('{"amount": 100}'.encode("utf-16"), 400, "json_invalid"),
    (b'{"amount": 100, "\xff": 1}', 400, "json_invalid"),
    (b'{"amount": 100, "\\u0000": 1}', 400, "json_invalid"),
    (b'{"amount": 100, "x": "\\ud800"}', 400, "json_invalid"),
    (b'{"amount": "\x00"}', 400, "json_invalid"),
    (DEEP, 400, "json_invalid"),
    (b'{"amount": ' + b"[" * 32 + b"]" * 32 + b"}", 400, "json_invalid"),
    (b'{"amount": 100, "x": "' + b"x" * 2_000_000 + b'"}', 413, "body_too_large"),
    (b"{" + b" " * 2_000_000 + b"}", 413, "body_too_large"),
]


def show(value: object) -> str:
    return repr(value)[:40]


@pytest.mark.parametrize("verb", ["deposit", "withdraw"])
@pytest.mark.parametrize(("body", "status", "code"), UNITS, ids=show)
def test_amounts_in_the_smallest_unit(api, wallet, unchanged, verb, body, status, code):
    answer = api.send("POST", f"/wallets/{wallet.uuid}/{verb}", body)
    assert (answer.status, answer.code) == (status, code)


AMOUNTS = [
    (12.5, 400, "invalid_request"),
    (1, 400, "invalid_request"),
    (True, 400, "invalid_request"),
    (None, 400, "invalid_request"),
    (["1"], 400, "invalid_request"),
    ({}, 400, "invalid_request"),
    ("", 422, "amount_invalid"),
    ("abc", 422, "amount_invalid"),
    ("NaN", 422, "amount_invalid"),
    ("sNaN", 422, "amount_invalid"),
    ("Infinity", 422, "amount_invalid"),
    ("-Infinity", 422, "amount_invalid"),
    ("1e400", 422, "amount_invalid"),
    ("1e-400", 422, "amount_invalid"),
    ("1e99999999999", 422, "amount_invalid"),
    ("0", 422, "amount_invalid"),
    ("0.00", 422, "amount_invalid"),
    ("-1", 422, "amount_invalid"),
    ("0.001", 422, "amount_invalid"),
    ("1,00", 422, "amount_invalid"),
    ("1_000", 422, "amount_invalid"),
    (" 1", 422, "amount_invalid"),
    ("1\n", 422, "amount_invalid"),
    ("0x1", 422, "amount_invalid"),
    ("\u0661", 422, "amount_invalid"),
    ("\uff11", 422, "amount_invalid"),
    ("1" * 63, 422, "amount_invalid"),
    ("9" * 100_000, 422, "amount_invalid"),
]


@pytest.mark.parametrize(("amount", "status", "code"), AMOUNTS, ids=show)
def test_amounts_in_strings(api, wallet, bobs_wallet, unchanged, amount, status, code):
    body = {"from": str(wallet.uuid), "to": str(bobs_wallet.uuid), "amount": amount}
    answer = api.post("/api/v1/transfers", body, key="k")
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize(("amount", "status", "code"), AMOUNTS, ids=show)
def test_amounts_in_batches(api, wallet, unchanged, amount, status, code):
    item = {"type": "deposit", "to": str(wallet.uuid), "amount": amount, "idempotency_key": "k"}
    answer = api.post("/api/v1/batches", {"items": [item]})
    if status == 400:
        assert (answer.status, answer.code) == (status, code)
    else:
        assert answer.body["results"][0]["error"]["code"] == code


@pytest.mark.parametrize("side", ["from", "to"])
@pytest.mark.parametrize(
    "uuid",
    [
        None,
        1,
        True,
        [],
        {},
        "",
        "x",
        "0" * 32,
        f"{{{SOME_UUID}}}",
        f"urn:uuid:{SOME_UUID}",
        f"{SOME_UUID} ",
        "\x00",
        "é" * 36,
    ],
)
def test_a_uuid_has_one_spelling(api, wallet, bobs_wallet, unchanged, side, uuid):
    body = {"from": str(wallet.uuid), "to": str(bobs_wallet.uuid), "amount": "1", side: uuid}
    answer = api.post("/api/v1/transfers", body, key="k")
    assert answer.status == 400
    if answer.code == "invalid_request":
        assert list(answer.body["error"]["details"]) == [side]


@pytest.mark.parametrize(
    "scheduled_for",
    [
        "",
        "soon",
        "2030-01-01",
        "2030-01-01T00:00:00",
        "2030-02-30T00:00:00Z",
        "2030-01-01T25:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        1893456000,
        True,
        [],
    ],
)
def test_a_time_is_an_instant(api, wallet, unchanged, scheduled_for):
    answer = api.post(
        f"/wallets/{wallet.uuid}/withdraw", {"amount": 1, "scheduled_for": scheduled_for}
    )
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert list(answer.body["error"]["details"]) == ["scheduled_for"]


@pytest.mark.parametrize(
    "change",
    [
        {"slug": ""},
        {"slug": "x" * 51},
        {"slug": "a b"},
        {"slug": "\u00e9t\u00e9"},
        {"slug": "line\n"},
        {"slug": 1},
        {"slug": None},
        {"asset": ""},
        {"asset": "x" * 33},
        {"asset": 1},
        {"asset": ["USD"]},
        {"meta": []},
        {"meta": "x"},
        {"meta": {"rate": 0.5}},
        {"meta": {"deep": [{"rate": 1e400}]}},
        {"meta": {"action": "x"}},
        {"meta": {"text": "x" * 5000}},
        {"meta": {"keys": {"x" * 5000: 1}}},
        {"balance": 100},
        {"holder": "bob"},
    ],
    ids=show,
)
def test_wallets_are_made_of_what_we_know(api, unchanged, change):
    answer = api.send("POST", "/wallets/", json.dumps(change).replace("Infinity", "1e400").encode())
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert list(answer.body["error"]["details"]) == list(change)


@pytest.mark.parametrize(
    "meta", [b'{"a": "\\u0000"}', b'{"\\ud83d": 1}', b'{"a": [["\\udead"]]}', b"[" * 40 + b"]" * 40]
)
def test_meta_that_no_database_keeps_is_refused(api, unchanged, meta):
    answer = api.send("POST", "/wallets/", b'{"meta": ' + meta + b"}")
    assert (answer.status, answer.code) == (400, "json_invalid")


def test_meta_keeps_what_json_can_say(api):
    meta = {"big": 10**30, "emoji": "\U0001f415", "quote": '"\\', "none": None, "nested": [[{}]]}
    uuid = api.post("/wallets/", {"meta": meta}).body["uuid"]
    assert Wallet.objects.get(uuid=uuid).meta == meta
    assert api.get(f"/wallets/{uuid}/").body["meta"] == meta


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "",
    ],
)
def test_another_content_type_is_refused(api, wallet, unchanged, content_type):
    answer = api.send(
        "POST", f"/wallets/{wallet.uuid}/deposit", b'{"amount": 100}', Content_Type=content_type
    )
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "uuid", [SOME_UUID, "x", "0", "00000000-0000-0000-0000-00000000000", "%00", "..%2f", "' OR 1=1"]
)
def test_a_wallet_that_does_not_exist(api, unchanged, uuid):
    for answer in (
        api.get(f"/wallets/{uuid}/"),
        api.get(f"/wallets/{uuid}/transactions/"),
        api.get(f"/wallets/{uuid}/transactions/1/"),
        api.post(f"/wallets/{uuid}/deposit", {"amount": 1}),
        api.post(f"/wallets/{uuid}/withdraw", {"amount": 1}),
    ):
        assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/wallets/"),
        ("DELETE", "/api/v1/transfers"),
        ("PATCH", "/healthz"),
        ("OPTIONS", "/wallets/"),
    ],
)
def test_other_methods_are_refused(api, unchanged, method, path):
    answer = api.send(method, path, b"{}")
    assert (answer.status, answer.code) == (405, "method_not_allowed")
