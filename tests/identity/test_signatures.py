"""Signed requests of services: heard once, and only as they were sent."""

import time
from typing import Any

import pytest
from allauth.idp.oidc.models import Token
from django.test import Client

from dj_wallet.identity import signatures
from dj_wallet.identity.key_text import parse_key_text
from dj_wallet.identity.models import ApiKey, UsedNonce, User
from dj_wallet.identity.services import create_api_key, revoke_api_key
from dj_wallet.identity.signatures import SCHEME, describe, forget_nonces, make_header, sign
from dj_wallet.identity.tasks import forget_expired


@pytest.fixture(autouse=True)
def paths(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.identity.internal_urls"


@pytest.fixture
def key(alice: User) -> tuple[ApiKey, str]:
    return create_api_key(user=alice, name="auctions", scopes=["internal"], is_signing=True)


def send(
    header: str,
    body: bytes = b'{"a": 1}',
    target: str = "/internal?x=1",
    method: str = "POST",
    **more: Any,
) -> Any:
    return Client(raise_request_exception=False).generic(
        method, target, body, "application/json", headers={"Authorization": header}, **more
    )


def refuse(caplog: Any, header: str, why: str, **sent: Any) -> None:
    answer = send(header, **sent)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "signature_invalid")
    assert why in caplog.text


def test_a_signed_request_is_heard(key):
    header = make_header(key[1], "POST", "/internal?x=1", b'{"a": 1}')
    answer = send(header)
    assert (answer.status_code, answer.json()) == (200, {"got": {"a": 1}})
    assert ApiKey.objects.get().last_used_at is not None


def test_a_request_without_a_body_is_heard(key):
    header = make_header(key[1], "GET", "/internal")
    answer = send(header, b"", "/internal", "GET")
    assert answer.json() == {"user": "alice", "credential": f"key:{key[0].prefix}"}


def test_the_same_request_is_not_heard_again(key, caplog):
    header = make_header(key[1], "POST", "/internal?x=1", b'{"a": 1}')
    assert send(header).status_code == 200
    refuse(caplog, header, "replayed")
    assert UsedNonce.objects.count() == 1


@pytest.mark.parametrize(
    "sent",
    [
        {"body": b'{"a": 2}'},
        {"body": b""},
        {"target": "/internal?x=2"},
        {"target": "/internal"},
        {"method": "PUT"},
    ],
    ids=str,
)
def test_what_was_changed_on_the_way_is_not_heard(key, caplog, sent):
    refuse(
        caplog, make_header(key[1], "POST", "/internal?x=1", b'{"a": 1}'), "does not match", **sent
    )
    assert not UsedNonce.objects.exists()


def make(text: str, *, timestamp: int, nonce: str = "n" * 16) -> str:
    parts = parse_key_text(text)
    assert parts
    value = sign(parts.secret, describe(timestamp, nonce, "POST", "/internal?x=1", b'{"a": 1}'))
    return f"{SCHEME} Key={parts.prefix}, Timestamp={timestamp}, Nonce={nonce}, Signature={value}"


@pytest.mark.parametrize("seconds", [-330, 330, 10**11])
def test_a_request_of_another_time_is_not_heard(key, caplog, seconds):
    refuse(caplog, make(key[1], timestamp=int(time.time()) + seconds), "too far away")


@pytest.mark.parametrize("seconds", [-290, 290])
def test_clocks_may_differ_a_little(key, seconds):
    assert send(make(key[1], timestamp=int(time.time()) + seconds)).status_code == 200


def test_two_keys_may_use_the_same_nonce(key, alice):
    _, other = create_api_key(user=alice, name="other", scopes=["internal"], is_signing=True)
    for text in (key[1], other):
        assert send(make(text, timestamp=int(time.time()))).status_code == 200


@pytest.mark.parametrize(
    "credentials",
    [
        "",
        "Key=x",
        "Key=aaaaaaaaaaaa, Timestamp=1, Nonce=nnnnnnnnnnnnnnnn, Signature=" + "g" * 64,
        "\u00e9",
        "x" * 9000,
    ],
)
def test_a_malformed_header_is_refused(db, caplog, credentials):
    refuse(caplog, f"{SCHEME} {credentials}", "malformed")


def test_an_unknown_or_ended_key_signs_nothing(key, caplog):
    unknown = make_header("wk_aaaaaaaaaaaa_" + "a" * 43, "POST", "/internal?x=1", b'{"a": 1}')
    refuse(caplog, unknown, "unknown or ended")
    revoke_api_key(key[0])
    refuse(caplog, make_header(key[1], "POST", "/internal?x=1", b'{"a": 1}'), "unknown or ended")


def test_a_signing_key_does_not_travel(key):
    answer = send(f"Bearer {key[1]}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "api_key_invalid")


def test_a_plain_key_signs_nothing(alice, caplog):
    _, text = create_api_key(user=alice, name="plain", scopes=["internal"])
    refuse(caplog, make_header(text, "POST", "/internal?x=1", b'{"a": 1}'), "unknown or ended")


def test_the_secret_is_sealed(key):
    secret = key[1].split("_", 2)[2]
    assert secret not in key[0].signing_secret
    assert key[0].signing_secret


def test_an_older_secret_key_still_opens_the_seal(key, settings, caplog):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "a new one", [settings.SECRET_KEY]
    assert send(make_header(key[1], "POST", "/internal?x=1", b'{"a": 1}')).status_code == 200
    settings.SECRET_KEY_FALLBACKS = []
    refuse(caplog, make_header(key[1], "POST", "/internal?x=1", b'{"a": 1}'), "another SECRET_KEY")


def test_scopes_hold_for_signed_requests_too(alice):
    _, text = create_api_key(user=alice, name="reader", scopes=["wallets:read"], is_signing=True)
    answer = send(make_header(text, "POST", "/internal?x=1", b'{"a": 1}'))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "internal_only")


def test_addresses_hold_for_signed_requests_too(alice):
    _, text = create_api_key(
        user=alice,
        name="here",
        scopes=["internal"],
        is_signing=True,
        allowed_addresses=["10.0.0.0/8"],
    )
    header = make_header(text, "POST", "/internal?x=1", b'{"a": 1}')
    answer = send(header)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "address_not_allowed")
    # It was not heard, so from the right place it still is.
    assert send(header, REMOTE_ADDR="10.1.2.3").status_code == 200


def test_a_body_beyond_the_limit_is_refused(key):
    body = b'{"a": "' + b"x" * (1024 * 1024) + b'"}'
    answer = send(make_header(key[1], "POST", "/internal?x=1", body), body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_old_nonces_are_forgotten(key):
    send(make_header(key[1], "POST", "/internal?x=1", b'{"a": 1}'))
    assert forget_nonces() == 0
    UsedNonce.objects.update(expires_at="2020-01-01T00:00:00Z")
    assert forget_nonces() == 1


def test_a_nonce_is_kept_as_long_as_its_request_could_be_accepted(key):
    sent_at = int(time.time()) + 290
    send(make(key[1], timestamp=sent_at))
    latest = sent_at + signatures.WINDOW.total_seconds()
    assert UsedNonce.objects.get().expires_at.timestamp() >= latest


def test_what_has_expired_is_forgotten_by_the_clock(key, alice):
    send(make_header(key[1], "POST", "/internal?x=1", b'{"a": 1}'))
    UsedNonce.objects.update(expires_at="2020-01-01T00:00:00Z")
    ended = {"type": Token.Type.ACCESS_TOKEN, "expires_at": "2020-01-01T00:00:00Z"}
    Token.objects.create(user=alice, hash="ended", **ended)
    Token.objects.create(user=alice, hash="good", **{**ended, "expires_at": "2999-01-01T00:00:00Z"})
    forget_expired()
    assert not UsedNonce.objects.exists()
    assert list(Token.objects.values_list("hash", flat=True)) == ["good"]
