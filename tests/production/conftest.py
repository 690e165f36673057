"""A Vault that is not one, on a real socket, and processes with nothing but their own environment."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

REQUIRED = {
    "SECRET_KEY": "canary-secret-key-0123456789-abcdefghijklmnopqrstuvwxyz-0123456789",
    "DATABASE_URL": "postgresql://wallet:canary-database-password@db/wallet",
    "ALLOWED_HOSTS": "wallets.example.com",
    "CSRF_TRUSTED_ORIGINS": "https://wallets.example.com",
}


class FakeVault:
    """AppRole and one KV version 2 secret."""

    def __init__(self) -> None:
        self.secret: dict[str, Any] = {}
        self.is_sealed = False
        self.paths: list[str] = []
        vault = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                good = sent == {"role_id": "wallets", "secret_id": "canary-secret-id"}
                if self.path != "/v1/auth/approle/login":
                    self.answer(404, {"errors": []})
                elif not good:
                    self.answer(400, {"errors": ["invalid role or secret ID"]})
                else:
                    self.answer(200, {"auth": {"client_token": "canary-vault-token"}})

            def do_GET(self) -> None:
                vault.paths.append(self.path)
                if self.headers.get("X-Vault-Token") != "canary-vault-token":
                    self.answer(403, {"errors": ["permission denied"]})
                elif self.path != "/v1/secret/data/dj-wallets":
                    self.answer(404, {"errors": []})
                else:
                    self.answer(200, {"data": {"data": vault.secret, "metadata": {}}})

            def answer(self, status: int, body: Any) -> None:
                if vault.is_sealed:
                    status, body = 503, {"errors": ["Vault is sealed"]}
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        self.variables = {
            "VAULT_ADDR": f"http://127.0.0.1:{self.server.server_port}",
            "VAULT_ROLE_ID": "wallets",
            "VAULT_SECRET_ID": "canary-secret-id",
        }


@pytest.fixture
def vault() -> Iterator[FakeVault]:
    fake = FakeVault()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run() -> Run:
    """A function that runs Python in production with these variables and no others."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            env={
                "WALLET_ENV": "production",
                "PYTHONPATH": os.pathsep.join(sys.path),
                "DJANGO_SETTINGS_MODULE": "wallet_service.settings",
                **{name: value for name, value in variables.items() if value},
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return run
