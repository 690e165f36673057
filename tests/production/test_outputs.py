"""Canaries: what is secret shows up in no log line, page, answer or record."""

import json
import logging
import re
from typing import Any

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import URLPattern, get_resolver, path

from dj_wallet.identity.models import ApiKey, AuditEvent, User
from dj_wallet.identity.services import create_api_key
from dj_wallet.identity.signatures import make_header
from dj_wallet.rest.middleware import RequestIdFilter
from tests.identity.conftest import Browser
from wallet_service.logs import HIDDEN, JsonFormatter, LineFormatter, hide_secrets

PASSWORD = "canary-password-of-alice"


class Written(logging.Handler):
    """Everything that is logged, as production writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(RequestIdFilter())
        self.setFormatter(JsonFormatter())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def written():
    handler = Written()
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler.lines
    root.removeHandler(handler)
    root.setLevel(level)


def fail_loudly(request: Any) -> None:
    """A bug whose error quotes what a bug might quote."""
    password = request.headers.get("X-Password", "")
    raise RuntimeError(f"Authorization: {request.headers.get('Authorization')} password={password}")


class Paths:
    """The paths of the service, and one with a bug."""

    urlpatterns: list[URLPattern] = [path("bug", fail_loudly), *get_resolver().url_patterns]  # type: ignore[list-item]


def test_no_secret_gets_out(db, written, settings, client):
    settings.ROOT_URLCONF = Paths
    alice = User.objects.create_user(
        username="alice", password=PASSWORD, is_staff=True, is_superuser=True
    )
    plain, text = create_api_key(user=alice, name="plain")
    signing, signing_text = create_api_key(
        user=alice, name="signing", scopes=["internal"], is_signing=True
    )
    browser = Browser(alice)
    browser.set_up_second_factor()
    codes = RecoveryCodes(alice.authenticator_set.get(type="recovery_codes")).get_unused_codes()
    shown = []

    def keep(answer: Any) -> Any:
        shown.append(answer.content.decode(errors="replace"))
        shown.append(str(answer.headers))
        return answer

    # Signing in, wrongly and rightly
    keep(browser.sign_in("canary-wrong-password"))
    keep(browser.sign_in(PASSWORD))
    keep(browser.post("/accounts/2fa/authenticate/", {"code": browser.make_code()}))
    session = browser.client.cookies["sessionid"].value
    shown = [one.replace(session, "") if "Set-Cookie" in one else one for one in shown]
    # All lists and pages of ours in the admin
    for name in ("user", "apikey", "auditevent", "externalidentity"):
        page = keep(browser.get(f"/admin/dj_wallet_identity/{name}/"))
        for address in set(
            re.findall(rf"/admin/dj_wallet_identity/{name}/[\w-]+/change/", page.content.decode())
        ):
            assert keep(browser.get(address)).status_code == 200
    keep(browser.get("/accounts/"))
    keep(browser.get("/accounts/sessions/"))
    keep(browser.get("/accounts/2fa/"))
    # The API: keys that work, that do not, in every header, and a bug
    bad = text[:-2] + "xx"
    for authorization in (
        f"Bearer {text}",
        f"Bearer {bad}",
        f"Basic {text}",
        "Bearer eyJhbGciOiJub25lIn0.eyJjYW5hcnkiOjF9.",
    ):
        for address in ("/wallets/", "/api/v1/api-keys", "/nope", "/bug"):
            asking = Client(raise_request_exception=False)
            keep(
                asking.get(
                    address, headers={"Authorization": authorization, "X-Password": PASSWORD}
                )
            )
    header = make_header(signing_text, "GET", "/wallets/")
    for _ in range(2):
        keep(Client().get("/wallets/", headers={"Authorization": header}))
    secrets = {
        "password": PASSWORD,
        "wrong password": "canary-wrong-password",
        "key": text.split("_", 2)[2],
        "bad key": bad.split("_", 2)[2],
        "signing key": signing_text.split("_", 2)[2],
        "hash": plain.secret_hash,
        "sealed": signing.signing_secret,
        "authenticator": browser.secret,
        "session": session,
        "signature": header[-64:],
        "SECRET_KEY": settings.SECRET_KEY,
        "database": settings.DATABASES["default"]["PASSWORD"] or "no password is set",
        "signing PEM": settings.WALLET_SIGNING_KEYS[0][40:100],
        "password hash": alice.password,
        **{f"recovery code {number}": code for number, code in enumerate(codes)},
    }
    records = json.dumps(
        [*AuditEvent.objects.values(), *ApiKey.objects.values("name", "scopes")], default=str
    )
    assert any("Internal Server Error" in line for line in written)
    assert any("Refused an API key" in line for line in written)
    for name, secret in secrets.items():
        assert not [
            line for line in written if secret in line and '"logger": "django.db' not in line
        ], name
        assert not [one for one in shown if secret in one], name
        assert secret not in records, name
    assert Session.objects.exists()


def test_statements_are_not_logged(settings):
    assert "django.db.backends" not in settings.LOGGING["loggers"]
    assert settings.LOGGING["root"]["level"] == "INFO"


def make_record(message: str, *arguments: Any, error: bool = False) -> logging.LogRecord:
    record = logging.LogRecord("test", logging.INFO, "x.py", 1, message, arguments, None)
    record.request_id = "abc"
    if error:
        try:
            raise ValueError("postgresql://wallet:canary@db/wallet")
        except ValueError as raised:
            record.exc_info = (type(raised), raised, raised.__traceback__)
    return record


def test_a_line_is_one_json_object():
    line = JsonFormatter().format(make_record("said %s\nand more", "é"))
    assert "\n" not in line
    read = json.loads(line)
    assert {**read, "time": ""} == {
        "time": "",
        "level": "INFO",
        "logger": "test",
        "message": "said é\nand more",
        "request_id": "abc",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", read["time"])


def test_an_error_has_its_stack_trace_without_secrets():
    for formatter in (JsonFormatter(), LineFormatter()):
        line = formatter.format(make_record("failed", error=True))
        assert "ValueError" in line
        assert "canary" not in line


@pytest.mark.parametrize(
    "text",
    [
        "wk_abcdefghijkl_canarycanarycanarycanarycanarycanary-_x",
        "Authorization: Bearer canary-canary-canary",
        "authorization: basic Y2FuYXJ5Y2FuYXJ5",
        "eyJjYW5hcnkiOjF9.eyJjYW5hcnkiOjF9.canary",
        "redis://:canary@127.0.0.1:6379/0",
        "postgresql://wallet:canary%40x@db:5432/wallet?sslmode=require",
        '{"password": "canary", "a": 1}',
        "password=canary&x=1",
        "client_secret='canary'",
        "secret_id: canary",
        "refresh_token=canary",
        "sessionid=canary; path=/",
        "Signature=" + "c4" * 32,
        "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\ncanary",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text):
    hidden = hide_secrets(f"before {text} behind")
    assert HIDDEN in hidden
    assert not re.search(r"canary|Y2FuYXJ5|eyJjYW5|c4c4", hidden)
    assert hidden.startswith("before ")


@pytest.mark.parametrize(
    "text",
    [
        "GET /wallets/019a-7f/ 200",
        "Fetched 2 keys from https://sso.example.com/certs",
        "signed_in: user 'alice' from 127.0.0.1",
        "payout 7: token of the claim is 3",
        "API key wk_abcdefghijkl_... is not for 10.0.0.1",
    ],
)
def test_what_is_no_secret_stays(text):
    assert hide_secrets(text) == text


def test_every_answer_says_what_may_be_loaded(db):
    for address in ("/accounts/login/", "/admin/login/", "/wallets/", "/nope", "/api/docs/"):
        policy = Client().get(address)["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in re.search(r"script-src [^;]*", policy)[0]
    assert "unsafe-eval" not in Client().get("/accounts/login/")["Content-Security-Policy"]
