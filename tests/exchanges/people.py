"""People with exchange accounts, connected to the sandbox as a user would."""

import base64
import hashlib

from dj_wallet.exchanges.models import ExchangeAccount
from dj_wallet.exchanges.services.accounts import connect_account
from tests.exchanges.stand import credentials_of

SECRET = "the secret of the tests' fingerprints"


def make_key(number: int) -> str:
    """Return a key of 32 bytes, the same for a number."""
    return (
        base64.urlsafe_b64encode(hashlib.sha256(b"key %d" % number).digest()).decode().rstrip("=")
    )


def connect(user, venue: str = "binance", person: str = "alice", **changes) -> ExchangeAccount:
    """Connect a demo person's key."""
    return connect_account(
        **{
            "user": user,
            "exchange_id": venue,
            "account_name": f"{person} at {venue}",
            "credentials": credentials_of(venue, person),
            "sandbox_mode": True,
            **changes,
        }
    )
