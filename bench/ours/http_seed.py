"""Fill the service's database: one program with an API key and 1,000 wallets. Prints them as JSON.

Runs with the settings of the service itself.
"""

import json

import django

django.setup()

from dj_wallet.identity.models import User  # noqa: E402 - models exist only after setup()
from dj_wallet.identity.services import create_api_key  # noqa: E402
from dj_wallet.services import WalletService  # noqa: E402

WALLET_COUNT = 1_000
OPENING_BALANCE = 1_000_000
# A page, as a person may have.
READ_COUNT = 50


def seed() -> dict[str, object]:
    user = User.objects.create_user("bench")
    _, key = create_api_key(user=user, name="bench")
    wallets = [user.create_wallet(f"wallet-{number}") for number in range(WALLET_COUNT)]
    for wallet in wallets:
        WalletService.deposit(wallet, OPENING_BALANCE)
    reader = User.objects.create_user("reader")
    _, readers_key = create_api_key(user=reader, name="bench")
    own = [reader.create_wallet(f"wallet-{number}") for number in range(READ_COUNT)]
    return {
        "key": key,
        "wallets": [str(wallet.uuid) for wallet in wallets],
        "readers_key": readers_key,
        "readers_wallets": [str(wallet.uuid) for wallet in own],
    }


if __name__ == "__main__":
    print(json.dumps(seed()))
