"""Demo data: two users with wallets, an operator, an API key, and curl lines that work. Never in production."""

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import Any, Final, TypedDict

from django.db import transaction

from dj_wallet.custody.services.users import generate_deposit_address
from dj_wallet.identity.access import DEFAULT_KEY_SCOPES
from dj_wallet.identity.models import User
from dj_wallet.identity.queries import find_api_key
from dj_wallet.identity.services import create_api_key
from dj_wallet.ledger.models import Asset
from dj_wallet.models import Wallet

from .demo_exchanges import connect_exchanges

ASSETS: Final = (
    ("USD", "US dollar", 2, Asset.Kind.FIAT),
    ("DOGE", "Dogecoin", 8, Asset.Kind.CRYPTO),
    ("PTS", "Points", 0, Asset.Kind.POINTS),
)
# The slug of each asset's wallet; the first is the one that `user.deposit()` means.
SLUGS: Final = {"USD": "default", "DOGE": "doge", "PTS": "points"}
USERS: Final = ("alice", "bob")
OWNER: Final = "alice"
# Signs in to the admin and may do everything there.
OPERATOR: Final = "operator"
# The demo's program is trusted to say what came in.
KEY_SCOPES: Final = DEFAULT_KEY_SCOPES | {"deposits:write"}


class Login(TypedDict):
    """A demo user's login."""

    username: str
    password: str


class Demo(TypedDict):
    """What `wallet up` shows."""

    api_key: str
    users: list[Login]
    curl: list[str]
    faucet: str | None


def load_demo(*, url: str, file: Path | None) -> Demo:
    """Create what is missing and return what to show.

    Passwords and the API key are remembered in `file`; without one they are new each time. Idempotent.
    """
    remembered = read_file(file)
    with transaction.atomic():
        for code, name, decimal_places, kind in ASSETS:
            fields = {"name": name, "decimal_places": decimal_places, "kind": kind}
            Asset.objects.get_or_create(code=code, defaults=fields)
        passwords = remembered.get("passwords", {})
        users = {name: ensure_user(name, passwords.get(name)) for name in (*USERS, OPERATOR)}
        User.objects.filter(username=OPERATOR).update(is_staff=True, is_superuser=True)
        wallets = {name: ensure_wallets(users[name][0]) for name in USERS}
        api_key = ensure_api_key(users[OWNER][0], remembered.get("api_key"))
    if panel := os.environ.get("WALLET_EXCHANGE_PANEL_URL"):
        connect_exchanges(users[OWNER][0], panel)
    logins = [Login(username=name, password=password) for name, (_, password) in users.items()]
    write_file(
        file, {"api_key": api_key, "passwords": {name: pw for name, (_, pw) in users.items()}}
    )
    curl = list_curl_lines(url, api_key, wallets["alice"]["USD"], wallets["bob"]["USD"])
    faucet = os.environ.get("WALLET_FAUCET_URL")
    if faucet:
        address = generate_deposit_address(users[OWNER][0].pk).address
        curl += list_coin_lines(url, api_key, faucet, address)
    return Demo(api_key=api_key, users=logins, curl=curl, faucet=faucet)


def ensure_user(username: str, password: str | None) -> tuple[User, str]:
    """Return the user and a password that opens the account: the remembered one, else a new one."""
    user, _ = User.objects.get_or_create(username=username)
    if password is None or not user.check_password(password):
        password = password or secrets.token_urlsafe(12)
        user.set_password(password)
        user.save(update_fields=["password"])
    return user, password


def ensure_wallets(user: User) -> dict[str, Wallet]:
    """Return the user's demo wallets by asset."""
    return {
        asset: Wallet.objects.get_or_create_wallet(user, slug, asset_id=asset)[0]
        for asset, slug in SLUGS.items()
    }


def ensure_api_key(user: User, text: str | None) -> str:
    """Return the remembered key if it is usable and the user's, else a new one; it may do what the curl lines do."""
    found = find_api_key(text) if text else None
    if not (text and found and found.user == user):
        return create_api_key(user=user, name="demo", scopes=KEY_SCOPES)[1]
    if not set(found.scopes) >= KEY_SCOPES:
        found.scopes = sorted({*found.scopes, *KEY_SCOPES})
        found.save(update_fields=["scopes"])
    return text


def list_curl_lines(url: str, api_key: str, own: Wallet, other: Wallet) -> list[str]:
    """Return lines to paste into a shell, in this order. Keys make a second paste of the last two harmless."""
    curl = f"curl -H 'Authorization: Bearer {api_key}' -H 'Content-Type: application/json'"
    wallet = f"{url}/wallets/{own.uuid}"
    transfer = json.dumps({"from": str(own.uuid), "to": str(other.uuid), "amount": "12.50"})
    return [
        f"{curl} -X POST {url}/wallets/",
        f"{curl} {wallet}/deposit -d '{{\"amount\": 10000}}'",
        f"{curl} {wallet}/",
        f"{curl} -H 'Idempotency-Key: demo-transfer' {url}/api/v1/transfers -d '{transfer}'",
        f"{curl} -H 'Idempotency-Key: demo-withdrawal' {wallet}/withdraw -d '{{\"amount\": 5000}}'",
        f"{curl} {wallet}/transactions/",
    ]


def list_coin_lines(url: str, api_key: str, faucet: str, address: str) -> list[str]:
    """Return lines that pay coins of the sandbox to the owner's deposit address and show them arrive."""
    pay = json.dumps({"address": address, "amount": "100"})
    return [
        f"curl -H 'Content-Type: application/json' {faucet}/faucet -d '{pay}'",
        f"curl -H 'Authorization: Bearer {api_key}' {url}/api/v1/wallet/balance/",
    ]


def read_file(file: Path | None) -> dict[str, Any]:
    """Return what an earlier run remembered; a file that is missing or broken is empty."""
    with contextlib.suppress(OSError, ValueError):
        remembered = json.loads(file.read_text()) if file else {}
        return remembered if isinstance(remembered, dict) else {}
    return {}


def write_file(file: Path | None, remembered: dict[str, Any]) -> None:
    """Remember for the next run, readable by us alone; all of it or nothing."""
    if file is None:
        return
    draft = file.with_name(f"{file.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        json.dump(remembered, output)
    draft.replace(file)
