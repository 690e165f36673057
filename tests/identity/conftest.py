"""People who sign in with browsers, and an issuer that is not ours, on a real socket."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.core.cache import cache
from django.test import Client

from dj_wallet.identity.models import User

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def fresh_throttles() -> None:
    cache.clear()


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_user(username="alice", password=PASSWORD)


@pytest.fixture
def bob(db: None) -> User:
    return User.objects.create_user(username="bob", password=PASSWORD)


@pytest.fixture
def operator(db: None) -> User:
    return User.objects.create_user(
        username="operator", password=PASSWORD, is_staff=True, is_superuser=True
    )


class Browser:
    """Somebody at the pages."""

    def __init__(self, user: User | None = None, address: str = "127.0.0.1") -> None:
        self.client = Client(
            REMOTE_ADDR=address, HTTP_USER_AGENT="Test browser", enforce_csrf_checks=False
        )
        self.user = user
        self.secret = ""

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(path, **more)

    def post(self, path: str, data: Any = None, **more: Any) -> Any:
        return self.client.post(path, data or {}, **more)

    def sign_in(self, password: str = PASSWORD) -> Any:
        assert self.user
        return self.post("/accounts/login/", {"login": self.user.username, "password": password})

    def set_up_second_factor(self) -> None:
        """Give the user an authenticator app, as the pages would."""
        self.secret = totp.generate_totp_secret()
        totp.TOTP.activate(self.user, self.secret)
        RecoveryCodes.activate(self.user)

    def make_code(self, ahead: int = 0) -> str:
        """Return what the authenticator app shows, or will show so many periods from now."""
        counter = int(time.time()) // 30 + ahead
        return totp.format_hotp_value(totp.hotp_value(self.secret, counter))

    def sign_in_fully(self) -> None:
        """Sign in with password and second factor."""
        assert self.sign_in()["Location"].startswith("/accounts/2fa/authenticate/")
        answer = self.post("/accounts/2fa/authenticate/", {"code": self.make_code()})
        assert answer.status_code == 302, answer.content

    def age_proofs(self, seconds: int) -> None:
        """Let time pass since the last proof."""
        session = self.client.session
        for record in session["account_authentication_methods"]:
            record["at"] -= seconds
        session.save()


@pytest.fixture
def browser(alice: User) -> Browser:
    return Browser(alice)


@pytest.fixture
def operators_browser(operator: User) -> Browser:
    return Browser(operator)


class FakeIssuer:
    """A Keycloak-shaped issuer: signs tokens, publishes its keys over HTTP, and can break."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.asked = 0
        self.status = 200
        self.body: bytes | None = None
        self.rotate("first")
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                body = issuer.body if issuer.body is not None else issuer.publish()
                self.send_response(issuer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        self.name = f"http://127.0.0.1:{self.server.server_port}/realms/test"
        self.jwks = f"{self.name}/protocol/openid-connect/certs"

    def rotate(self, kid: str, *, elliptic: bool = False) -> None:
        """Sign with a new key from now on; the old ones stay published."""
        self.kid = kid
        self.keys[kid] = (
            ec.generate_private_key(ec.SECP256R1())
            if elliptic
            else rsa.generate_private_key(public_exponent=65537, key_size=2048)
        )

    def publish(self) -> bytes:
        shown = []
        for kid, key in self.keys.items():
            is_rsa = isinstance(key, rsa.RSAPrivateKey)
            kind = jwt.algorithms.RSAAlgorithm if is_rsa else jwt.algorithms.ECAlgorithm
            shown.append({**json.loads(kind.to_jwk(key.public_key())), "kid": kid, "use": "sig"})
        return json.dumps({"keys": shown}).encode()

    def claim(self, **claims: Any) -> dict[str, Any]:
        now = int(time.time())
        return {
            "iss": self.name,
            "aud": ["account", "dj-wallets"],
            "sub": "f:1:somebody",
            "typ": "Bearer",
            "azp": "shop",
            "iat": now,
            "exp": now + 300,
            "scope": "openid wallets:read",
            **claims,
        }

    def sign(self, *, algorithm: str = "RS256", kid: str | None = None, **claims: Any) -> str:
        given = {name: value for name, value in self.claim(**claims).items() if value is not None}
        headers = {"kid": kid or self.kid}
        return jwt.encode(given, self.keys[self.kid], algorithm=algorithm, headers=headers)


@pytest.fixture
def issuer(settings: Any) -> Iterator[FakeIssuer]:
    fake = FakeIssuer()
    settings.WALLET_TRUSTED_ISSUER = fake.name
    settings.WALLET_TRUSTED_ISSUER_JWKS = fake.jwks
    yield fake
    fake.server.shutdown()
    fake.server.server_close()
